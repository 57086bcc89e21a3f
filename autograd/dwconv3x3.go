package autograd

import "hidiff/tensor"

// Depthwise is [tensor.Depthwise.Apply].
func Depthwise(w *tensor.Depthwise, x *Variable) *Variable {
	return record("dwconv3x3", w.Apply(x.Tensor), w.Parameters(), func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(w.Backward(xt, dy)) }
	}, x)
}
