package autograd

import "hidiff/tensor"

// FeedForward is x + ffn(x), [tensor.FeedForward.Apply], and consumes x. If the
// prior modulates its LayerNorm, f.In is a [tensor.NewModulatedLinear] and
// modulation holds k1 and k2; else modulation is nil.
func FeedForward(f *tensor.FeedForward, x, modulation *Variable) *Variable {
	run := func(modulation *tensor.Tensor, g func(f *tensor.FeedForward)) {
		b := *f
		if modulation != nil {
			b.In = f.In.Modulated(modulation)
			defer b.In.Release()
		}
		g(&b)
	}
	return block("feedforward", f.Parameters(), x, modulation, func(x, modulation *tensor.Tensor, _ bool) (y *tensor.Tensor) {
		run(modulation, func(f *tensor.FeedForward) { y = f.Apply(x) })
		return y
	}, func(x, modulation, dy, dmodulation *tensor.Tensor) (dx *tensor.Tensor) {
		run(modulation, func(f *tensor.FeedForward) { dx = f.Backward(x, dy, dmodulation) })
		return dx
	})
}

// block records one half of a transformer block. Of all that it computes, the
// tape keeps x alone.
func block(op string, params []*tensor.Parameter, x, modulation *Variable,
	apply func(x, modulation *tensor.Tensor, inPlace bool) *tensor.Tensor,
	backward func(x, modulation, dy, dmodulation *tensor.Tensor) *tensor.Tensor,
) *Variable {
	inputs := []*Variable{x}
	var mt *tensor.Tensor
	if modulation != nil {
		inputs, mt = append(inputs, modulation), modulation.Tensor
	}
	y := apply(x.Tensor, mt, x.tape == nil && !x.Shared())
	v := record(op, y, params, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		if mt != nil {
			mt = n.save(mt)
		}
		return func(dy *tensor.Tensor) {
			var dm *tensor.Tensor
			if modulation != nil {
				dm = modulation.gradient(mt)
			}
			x.add(backward(xt, mt, dy, dm))
		}
	}, inputs...)
	if y != x.Tensor {
		x.Release()
	}
	return v
}
