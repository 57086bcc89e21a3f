package trainer

import (
	"context"
	"math"

	"hidiff/hidiff/options"
	"hidiff/tensor"
	"hidiff/trainer/internal/experiment"
)

// optimizer is Adam or AdamW over all parameters of a model at once, with a
// clip of the gradients' global norm before, and a moving average after. It
// never waits for the device.
type optimizer struct {
	o       options.OptimOptions
	clip    float64
	stop    bool    // let no step pass after one that was skipped
	decay   float64 // of the moving average; 0 for none
	p       *tensor.Parameters
	m, v    *tensor.Tensor
	ema     *tensor.Tensor // nil for none
	skipped *tensor.Tensor // what tensor.ClipCoefficient counts
	norm    *tensor.Tensor // of the last step's gradients, before clipping
}

// newOptimizer returns an optimizer whose moments are zero. clip is the largest
// norm of all gradients together, 0 for no limit; emaDecay is the moving
// average's, 0 for none.
func newOptimizer(p *tensor.Parameters, o options.OptimOptions, clip, emaDecay float64) *optimizer {
	a := &optimizer{
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

// step updates the parameters by their gradients, and clears those. number
// counts from 1. A step whose gradients are not finite leaves parameters and
// moments as they are, and is counted; see skips. The moving average takes in
// the parameters at every step, as BasicSR's does.
func (a *optimizer) step(number int, lr float64) {
	a.norm.Release()
	a.norm = tensor.GradNorm(a.p.Grads)
	coefficient := tensor.ClipCoefficient(a.norm, float32(a.clip), a.skipped, number, a.stop)
	defer coefficient.Release()
	tensor.AdamStep(a.p.Values, a.p.Grads, a.m, a.v, tensor.AdamOptions{
		LR: lr, Beta1: a.o.Betas[0], Beta2: a.o.Betas[1], Eps: a.o.Eps, WeightDecay: a.o.WeightDecay,
		Decoupled: a.o.Type == options.AdamW, Step: number, Clip: coefficient,
	})
	if a.ema != nil {
		tensor.EMA(a.ema, a.p.Values, a.decay)
	}
	a.p.ZeroGrad()
}

// averaged runs f with the parameters' moving average in their place, if there
// is one; changed is called after each exchange.
func (a *optimizer) averaged(changed func(), f func() error) error {
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

// skips waits for how many steps were skipped since the optimizer was made,
// and the number of the first.
func (a *optimizer) skips(ctx context.Context) (count, first int, err error) {
	v, err := a.skipped.Floats(ctx)
	if err != nil {
		return 0, 0, err
	}
	return int(v[0]), int(v[1]), nil
}

// kept is a tensor that checkpoints keep, and where they do for each parameter.
type kept struct {
	t  *tensor.Tensor
	in func(p *experiment.ParamState) *[]float32
}

func (a *optimizer) kept() []kept {
	all := []kept{
		{a.p.Values, func(p *experiment.ParamState) *[]float32 { return &p.Value }},
		{a.m, func(p *experiment.ParamState) *[]float32 { return &p.M }},
		{a.v, func(p *experiment.ParamState) *[]float32 { return &p.V }},
	}
	if a.ema != nil {
		all = append(all, kept{a.ema, func(p *experiment.ParamState) *[]float32 { return &p.EMA }})
	}
	return all
}

// params waits for all parameters and their moments.
func (a *optimizer) params(ctx context.Context) ([]experiment.ParamState, error) {
	list := a.describe()
	for _, k := range a.kept() {
		flat, err := k.t.Floats(ctx)
		if err != nil {
			return nil, err
		}
		for i := range list {
			*k.in(&list[i]) = a.p.Slice(flat, i)
		}
	}
	return list, nil
}

// describe lists the parameters without values.
func (a *optimizer) describe() []experiment.ParamState {
	var list []experiment.ParamState
	for i := range a.p.All() {
		s := a.p.Spec(i)
		list = append(list, experiment.ParamState{Name: s.Name, Shape: s.Shape})
	}
	return list
}

// restore takes parameters and moments from a checkpoint. Where it has no
// moving average, that begins with the parameters.
func (a *optimizer) restore(list []experiment.ParamState) {
	for _, k := range a.kept() {
		flat := make([]float32, k.t.Len())
		for i, p := range list {
			if p.EMA == nil {
				p.EMA = p.Value
			}
			copy(a.p.Slice(flat, i), *k.in(&p))
		}
		k.t.Set(flat)
	}
}

// release frees the moments.
func (a *optimizer) release() {
	for _, t := range []*tensor.Tensor{a.m, a.v, a.ema, a.skipped, a.norm} {
		t.Release()
	}
}
