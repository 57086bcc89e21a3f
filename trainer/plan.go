package trainer

import (
	"context"
	"fmt"
	"time"

	"hidiff/hidiff/options"
	"hidiff/tensor"
	"hidiff/wgpu"
)

// Plan says what a training takes, phase by phase of progressive learning.
type Plan struct {
	Parameters int
	Phases     []PhasePlan
}

// PhasePlan is a phase's share of a [Plan].
type PhasePlan struct {
	options.Phase
	Iterations    int
	Checkpointing bool          // whether blocks are computed again in the backward pass, to save memory
	Peak          int64         // bytes on the device
	Dispatches    int           // of an iteration
	Work          float64       // floating-point operations of an iteration
	Duration      time.Duration // estimated, of all iterations
}

// MemoryError says that a phase does not fit the device's memory.
type MemoryError struct {
	Phase  options.Phase
	Needed int64 // with everything recomputed that can be; 0 where even that is not known
	Budget int64
}

func (e *MemoryError) Error() string {
	needed := "more"
	if e.Needed > 0 {
		needed = wgpu.FormatBytes(e.Needed)
	}
	return fmt.Sprintf("%d crops of %d pixels need %s of GPU memory, and %s is there: make mini_batch_sizes smaller and train.accumulate larger, or gt_sizes smaller",
		e.Phase.MiniBatchSize, e.Phase.GTSize, needed, wgpu.FormatBytes(e.Budget))
}

// NewPlan finds the memory by a dry run of each phase, and the time by a real
// iteration on one small crop. It ends with ctx.
func NewPlan(ctx context.Context, o RunOptions) (p Plan, err error) {
	defer tensor.Catch(&err)
	train := o.Dataset("train")
	phases := train.Phases()
	for i, phase := range phases {
		end := o.Train.TotalIter
		if i+1 < len(phases) {
			end = min(end, phases[i+1].Start-1)
		}
		if end < phase.Start {
			continue
		}
		_, s, err := o.dryRun(ctx, phase)
		if err != nil {
			return p, err
		}
		s.Iterations = end - phase.Start + 1
		p.Phases = append(p.Phases, s)
	}
	rate, n, err := o.speed(ctx, phases[0].GTSize)
	if err != nil {
		return p, err
	}
	p.Parameters = n
	for i := range p.Phases {
		s := &p.Phases[i]
		s.Duration = time.Duration(float64(s.Iterations) * s.Work / rate * float64(time.Second))
	}
	return p, nil
}

// dryRun finds what an iteration of a phase takes, with checkpointing only
// where memory asks for it, unless the options say.
func (o RunOptions) dryRun(ctx context.Context, phase options.Phase) (recompute bool, s PhasePlan, err error) {
	for _, recompute := range []bool{false, true} {
		if o.Train.Checkpointing == options.On && !recompute || o.Train.Checkpointing == options.Off && recompute {
			continue
		}
		if s, err = o.count(ctx, phase, recompute, o.Device.Budget()); err == nil || !tensor.IsOutOfMemory(err) {
			return recompute, s, err
		}
	}
	e := &MemoryError{Phase: phase, Budget: o.Device.Budget()}
	if s, err := o.count(ctx, phase, o.Train.Checkpointing != options.Off, 0); err == nil {
		e.Needed = s.Peak
	}
	return false, s, e
}

// count makes two iterations on a device that only counts.
func (o RunOptions) count(ctx context.Context, phase options.Phase, recompute bool, budget int64) (s PhasePlan, err error) {
	defer tensor.Catch(&err)
	d := o.Device.DryRun(budget)
	s = PhasePlan{Phase: phase, Checkpointing: recompute}
	steps, err := o.steps(d, recompute)
	if err != nil {
		return s, err
	}
	defer steps.Release()
	var before wgpu.Stats
	for number := range 2 { // transposes are packed in the first
		before = d.Stats()
		if err := steps.blank(ctx, d, number+1, phase.MiniBatchSize, phase.GTSize); err != nil {
			return s, err
		}
	}
	after := d.Stats()
	s.Peak, s.Dispatches, s.Work = after.Peak, int(after.Dispatches-before.Dispatches)*o.Train.Accumulate, (after.Work-before.Work)*float64(o.Train.Accumulate)
	return s, nil
}

// speed measures operations per second, and counts parameters.
func (o RunOptions) speed(ctx context.Context, size int) (rate float64, parameters int, err error) {
	d := o.Device
	steps, err := o.steps(d, false)
	if err != nil {
		return 0, 0, err
	}
	defer steps.Release()
	var before wgpu.Stats
	var start time.Time
	for number := range 2 { // the first compiles kernels
		before, start = d.Stats(), time.Now()
		if err := steps.blank(ctx, d, number+1, 1, size); err != nil {
			return 0, 0, err
		}
		if err := d.Wait(ctx); err != nil {
			return 0, 0, err
		}
	}
	return (d.Stats().Work - before.Work) / time.Since(start).Seconds(), steps.model.Parameters().Count(), nil
}

// steps returns a stepper of steps of one batch.
func (o RunOptions) steps(d *tensor.Device, recompute bool) (*Stepper, error) {
	model, err := o.Build(d)
	if err != nil {
		return nil, err
	}
	train := *o.Train
	train.Accumulate = 1
	s := NewStepper(model, train)
	s.tape.Checkpointing = recompute
	return s, nil
}

// blank makes a step on n empty images.
func (s *Stepper) blank(ctx context.Context, d *tensor.Device, number, n, size int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Step(number, 0, func(int) (Batch, error) {
		zeros := make([]float32, n*size*size*3)
		return Batch{tensor.From(d, zeros, n, size, size, 3), tensor.From(d, zeros, n, size, size, 3), 1}, nil
	})
}

// recompute decides on checkpointing for the whole run, by its largest phase.
func (r *run) recompute(ctx context.Context) (bool, error) {
	if r.Train.Checkpointing != options.Auto {
		return r.Train.Checkpointing == options.On, nil
	}
	_, now := r.Dataset("train").PhaseAt(r.iter + 1)
	largest := now
	for _, p := range r.Dataset("train").Phases() {
		if p.Start > r.iter && p.Start <= r.Train.TotalIter && pixels(p) > pixels(largest) {
			largest = p
		}
	}
	recompute, s, err := r.dryRun(ctx, largest)
	if err != nil {
		return false, err
	}
	if recompute {
		r.watch.Info("Blocks are computed again in the backward pass, so that %d crops of %d pixels take %s of GPU memory",
			largest.MiniBatchSize, largest.GTSize, wgpu.FormatBytes(s.Peak))
	}
	return recompute, nil
}

func pixels(p options.Phase) int { return p.MiniBatchSize * p.GTSize * p.GTSize }
