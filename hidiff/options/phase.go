package options

// Phase is one phase of progressive learning: crops grow, and batches shrink.
type Phase struct {
	Start         int // its first iteration; the first phase starts at 1
	GTSize        int // side of the crops that are trained on
	MiniBatchSize int // crops per iteration
}

// Phases returns the phases in order; the last goes on to the end of the run. Without
// progressive learning there is one. A phase of 0 iterations starts where the next does.
func (d *DatasetSection) Phases() []Phase {
	if len(d.Iters) == 0 {
		return []Phase{{1, d.GTSize, d.BatchSizePerGPU}}
	}
	var out []Phase
	start := 1
	for i, n := range d.Iters {
		out = append(out, Phase{start, d.GTSizes[i], d.MiniBatchSizes[i]})
		start += n
	}
	return out
}

// PhaseAt returns the phase of an iteration, counted from 1, and its index.
func (d *DatasetSection) PhaseAt(iteration int) (index int, phase Phase) {
	phases := d.Phases()
	for i, p := range phases {
		if p.Start <= iteration {
			index = i
		}
	}
	return index, phases[index]
}
