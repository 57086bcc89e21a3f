package autograd

import "hidiff/tensor"

// Conv3x3 is [tensor.Linear.Conv3x3], with residual added if there is one.
func Conv3x3(l *tensor.Linear, x *Variable, c tensor.Conv, residual *Variable) *Variable {
	inputs := []*Variable{x}
	if residual != nil {
		inputs = append(inputs, residual)
		c.Residual = residual.Tensor
	}
	return record("conv3x3", l.Conv3x3(x.Tensor, c), l.Parameters(), func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) {
			dx, dresidual := l.Conv3x3Backward(xt, c, dy, x.needed())
			x.add(dx)
			if residual != nil {
				residual.add(dresidual)
			}
		}
	}, inputs...)
}
