package tensor

import "math"

var optimizerShader = newShader[optimizerParams, optimizerConstants]("optimizer")

type optimizerParams struct {
	Total, P0, G0, M0, V0                                  int
	Stop                                                   bool
	Limit, Decay, Shrink                                   float32
	Beta1, Rest1, Beta2, Rest2, Step, Root, Eps, Iteration float32
}

type optimizerConstants struct{ Clipped bool }

// AdamOptions are the hyper-parameters of one step of Adam or AdamW.
type AdamOptions struct {
	LR, Beta1, Beta2, Eps float64
	WeightDecay           float64
	Decoupled             bool    // AdamW: the decay acts on the parameter, not on the gradient
	Step                  int     // number of this step; the first is 1
	Clip                  *Tensor // what gradients are multiplied by, from [ClipCoefficient]; nil for no clip
}

// AdamStep updates the parameters p and moments m and v in place, for the
// gradient g: flat tensors of one size, of which g shares memory with none.
// The moments are zero before the first step.
// PyTorch: torch.optim.Adam, or with Decoupled torch.optim.AdamW.
func AdamStep(p, g, m, v *Tensor, o AdamOptions) {
	for _, x := range []*Tensor{g, m, v} {
		expect(x.Len() == p.Len() && x.bytes() == p.bytes(), "adam", "g, m or v", "the parameters' shape", x)
	}
	d := p.d
	pv, p0 := p.view()
	gv, g0 := g.view()
	mv, m0 := m.view()
	vv, v0 := v.view()
	coefficient := gv
	if o.Clip != nil {
		coefficient = o.Clip.whole()
	}
	decay, shrink := o.WeightDecay, 1.0
	if o.Decoupled {
		decay, shrink = 0, 1-o.LR*o.WeightDecay
	}
	step := o.LR / (1 - math.Pow(o.Beta1, float64(o.Step)))
	root := 1 / math.Sqrt(1-math.Pow(o.Beta2, float64(o.Step)))
	total := int(p.bytes() / 16)
	optimizerShader.run(d, "adam", optimizerConstants{Clipped: o.Clip != nil}, optimizerParams{
		Total: total, P0: p0, G0: g0, M0: m0, V0: v0, Decay: float32(decay), Shrink: float32(shrink),
		Beta1: float32(o.Beta1), Rest1: float32(1 - o.Beta1), Beta2: float32(o.Beta2), Rest2: float32(1 - o.Beta2),
		Step: float32(step), Root: float32(root), Eps: float32(o.Eps),
	}, call{
		views:  views(gv, coefficient, pv, mv, vv),
		groups: spread(ceilDiv(total, 64)),
		work:   16 * float64(p.Len()),
	})
}

// EMA moves average towards p, both flat and of one size:
// average = decay*average + (1-decay)*p. BasicSR: model_ema.
func EMA(average, p *Tensor, decay float64) {
	expect(average.Len() == p.Len(), "ema", "average", "the parameters' shape", average)
	d := p.d
	pv, p0 := p.view()
	av, a0 := average.view()
	total := int(p.bytes() / 16)
	optimizerShader.run(d, "ema", optimizerConstants{}, optimizerParams{Total: total, P0: a0, G0: p0, Rest1: float32(1 - decay)}, call{
		views:  views(pv, av),
		groups: spread(ceilDiv(total, 64)),
		work:   3 * float64(p.Len()),
	})
}

// GradNorm returns the Euclidean norm of the flat gradient g, shape [1].
func GradNorm(g *Tensor) *Tensor {
	return reduce(g, g, reduction{op: square, scale: 1, root: true})
}

// ClipCoefficient returns min(1, limit/(norm + 1e-6)), shape [1], for a norm
// from [GradNorm]. PyTorch: clip_grad_norm_. If the norm is not finite it is -1,
// for which [AdamStep] does nothing: such a step is counted in skipped[0], and
// the first one's iteration noted in skipped[1]. skipped is a tensor [2], zero at
// first. With stop, all steps after the first such one are skipped, too, so that
// parameters stay as they were before it. A limit of +Inf clips nothing.
func ClipCoefficient(norm *Tensor, limit float32, skipped *Tensor, iteration int, stop bool) *Tensor {
	expect(norm.Len() == 1, "clip_grad_norm", "norm", "[1]", norm)
	expect(skipped.Len() == 2, "clip_grad_norm", "skipped", "[2]", skipped)
	d := norm.d
	c := New(d, 1)
	optimizerShader.run(d, "clip_coefficient", optimizerConstants{}, optimizerParams{
		Stop: stop, Limit: min(limit, math.MaxFloat32), Iteration: float32(iteration),
	}, call{
		views:  views(norm.whole(), c.whole(), skipped.whole()),
		groups: [3]int{1, 1, 1},
	})
	return c
}
