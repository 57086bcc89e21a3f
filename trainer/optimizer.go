package trainer

import (
	"context"
	"math"

	"hidiff/tensor"
)

// Optimizer is Adam or AdamW over all parameters of a model at once, with a
// clip of the gradients' global norm before, and a moving average after. It
// never waits for the device.
type Optimizer struct {
	o       OptimOptions
	clip    float64
	stop    bool    // let no step pass after one that was skipped
	decay   float64 // of the moving average; 0 for none
	p       *tensor.Parameters
	m, v    *tensor.Tensor
	ema     *tensor.Tensor // nil for none
	skipped *tensor.Tensor // what tensor.ClipCoefficient counts
	norm    *tensor.Tensor // of the last step's gradients, before clipping
}

// NewOptimizer returns an optimizer whose moments are zero. clip is the largest
// norm of all gradients together, 0 for no limit; emaDecay is the moving
// average's, 0 for none.
func NewOptimizer(p *tensor.Parameters, o OptimOptions, clip, emaDecay float64) *Optimizer {
	a := &Optimizer{
		o: o, clip: clip, decay: emaDecay, p: p,
		m: p.Values.ZerosLike(), v: p.Values.ZerosLike(), skipped: tensor.New(p.Values.Device(), 2),
	}
	a.skipped.Zero()
	if emaDecay > 0 {
		a.ema = p.Values.Clone()
	}
	if clip == 0 {
		a.clip = math.Inf(1)
	}
	return a
}

// Step updates the parameters by their gradients, and clears those. number
// counts from 1. A step whose gradients are not finite leaves parameters and
// moments as they are, and is counted; see Skipped. The moving average takes in
// the parameters at every step, as BasicSR's does.
func (a *Optimizer) Step(number int, lr float64) {
	a.norm.Release()
	a.norm = tensor.GradNorm(a.p.Grads)
	coefficient := tensor.ClipCoefficient(a.norm, float32(a.clip), a.skipped, number, a.stop)
	defer coefficient.Release()
	tensor.AdamStep(a.p.Values, a.p.Grads, a.m, a.v, tensor.AdamOptions{
		LR: lr, Beta1: a.o.Betas[0], Beta2: a.o.Betas[1], Eps: a.o.Eps, WeightDecay: a.o.WeightDecay,
		Decoupled: a.o.Type == adamW, Step: number, Clip: coefficient,
	})
	if a.ema != nil {
		tensor.EMA(a.ema, a.p.Values, a.decay)
	}
	a.p.ZeroGrad()
}

// averaged runs f with the parameters' moving average in their place, if there
// is one; changed is called after each exchange.
func (a *Optimizer) averaged(changed func(), f func() error) error {
	if a.ema == nil {
		return f()
	}
	own := a.p.Values.Clone()
	defer own.Release()
	a.p.Values.CopyFrom(a.ema)
	changed()
	err := f()
	a.p.Values.CopyFrom(own)
	changed()
	return err
}

// GradNorm waits for the norm of the last step's gradients, before clipping.
func (a *Optimizer) GradNorm(ctx context.Context) (float64, error) {
	v, err := a.norm.Floats(ctx)
	if err != nil {
		return 0, err
	}
	return float64(v[0]), nil
}

// Skipped waits for how many steps were skipped since the optimizer was made,
// and the number of the first.
func (a *Optimizer) Skipped(ctx context.Context) (count, first int, err error) {
	v, err := a.skipped.Floats(ctx)
	if err != nil {
		return 0, 0, err
	}
	return int(v[0]), int(v[1]), nil
}

// params waits for all parameters and their moments.
func (a *Optimizer) params(ctx context.Context) ([]ParamState, error) {
	list := a.describe()
	for _, part := range []struct {
		t   *tensor.Tensor
		put func(p *ParamState, values []float32)
	}{
		{a.p.Values, func(p *ParamState, v []float32) { p.Value = v }},
		{a.m, func(p *ParamState, v []float32) { p.M = v }},
		{a.v, func(p *ParamState, v []float32) { p.V = v }},
		{a.ema, func(p *ParamState, v []float32) { p.EMA = v }},
	} {
		if part.t == nil {
			continue
		}
		flat, err := part.t.Floats(ctx)
		if err != nil {
			return nil, err
		}
		for i := range list {
			part.put(&list[i], a.p.Slice(flat, i))
		}
	}
	return list, nil
}

// describe lists the parameters without values.
func (a *Optimizer) describe() []ParamState {
	var list []ParamState
	for i := range a.p.All() {
		s := a.p.Spec(i)
		list = append(list, ParamState{Name: s.Name, Shape: s.Shape})
	}
	return list
}

// Load takes parameters and moments from a training state, ours or PyTorch's,
// and the networks saved with it, and returns its iteration.
func (a *Optimizer) Load(statePath string) (iter int, err error) {
	c, err := LoadCheckpoint(statePath, a.describe())
	if err != nil {
		return 0, err
	}
	a.restore(c.Params)
	return c.Iter, nil
}

// restore takes parameters and moments from a checkpoint. Where it has no
// moving average, that begins with the parameters.
func (a *Optimizer) restore(list []ParamState) {
	for _, part := range []struct {
		t   *tensor.Tensor
		get func(p ParamState) []float32
	}{
		{a.p.Values, func(p ParamState) []float32 { return p.Value }},
		{a.m, func(p ParamState) []float32 { return p.M }},
		{a.v, func(p ParamState) []float32 { return p.V }},
		{a.ema, func(p ParamState) []float32 {
			if p.EMA == nil {
				return p.Value
			}
			return p.EMA
		}},
	} {
		if part.t == nil {
			continue
		}
		flat := make([]float32, part.t.Len())
		for i, p := range list {
			copy(a.p.Slice(flat, i), part.get(p))
		}
		part.t.Set(flat)
	}
}

// Release frees the moments.
func (a *Optimizer) Release() {
	for _, t := range []*tensor.Tensor{a.m, a.v, a.ema, a.skipped, a.norm} {
		t.Release()
	}
}
