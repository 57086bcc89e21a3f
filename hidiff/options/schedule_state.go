package options

import "hidiff/hidiff/checkpoint"

// Attributes are those of BasicSR's scheduler class in a run of totalIter iterations, for PyTorch to go on with.
func (o SchedulerOptions) Attributes(totalIter int) *checkpoint.Dict {
	var cumulative []int
	sum := 0
	for _, p := range o.Periods {
		sum += p
		cumulative = append(cumulative, sum)
	}
	switch o.Type {
	case cosineCyclic:
		return checkpoint.NewDict("periods", ints(o.Periods), "restart_weights", floats(o.RestartWeights),
			"eta_mins", floats(o.EtaMins), "cumulative_period", ints(cumulative))
	case cosineRestart:
		return checkpoint.NewDict("periods", ints(o.Periods), "restart_weights", floats(o.RestartWeights),
			"eta_min", o.EtaMin, "cumulative_period", ints(cumulative))
	case cosineTrue:
		return checkpoint.NewDict("T_max", int64(o.TMax), "eta_min", o.EtaMin)
	case multiStep, multiStepRestart:
		milestones := checkpoint.NewDict() // a Counter
		for _, m := range o.Milestones {
			n, _ := milestones.Get(int64(m))
			count, _ := n.(int64)
			milestones.Set(int64(m), count+1)
		}
		return checkpoint.NewDict("milestones", milestones, "gamma", o.Gamma,
			"restarts", ints(o.Restarts), "restart_weights", floats(o.RestartWeights))
	case linearLR, vibrateLR:
		return checkpoint.NewDict("total_iter", int64(totalIter))
	}
	return checkpoint.NewDict()
}

// ints and floats make Python lists.

func ints(values []int) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = int64(v)
	}
	return out
}

func floats(values []float64) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
