package autograd

import "hidiff/tensor"

// After says what a linear map does after the product, as [tensor.Fused] does:
// Post(Act(product + bias) + Residual), or with Reverse a reverse diffusion
// step from Residual.
type After struct {
	Act, Post tensor.Activation
	Residual  *Variable
	Reverse   *tensor.Reverse
}

func (a After) fused() tensor.Fused {
	f := tensor.Fused{Act: a.Act, Post: a.Post, Reverse: a.Reverse}
	if a.Residual != nil {
		f.Residual = a.Residual.Tensor
	}
	return f
}

// Linear is [tensor.Linear.Apply].
func Linear(l *tensor.Linear, x *Variable, after After) *Variable {
	inputs := []*Variable{x}
	if after.Residual != nil {
		inputs = append(inputs, after.Residual)
	}
	return record("linear", l.Apply(x.Tensor, after.fused()), l.Parameters(), func(n *node) func(*tensor.Tensor) {
		f := after.fused()
		xt := n.save(x.Tensor)
		if f.Residual != nil {
			f.Residual = n.save(f.Residual)
		}
		return func(dy *tensor.Tensor) {
			dx, dresidual := l.Backward(xt, f, dy, nil, x.needed())
			x.add(dx)
			if after.Residual != nil {
				after.Residual.add(dresidual)
			}
		}
	}, inputs...)
}
