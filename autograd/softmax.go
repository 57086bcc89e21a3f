package autograd

import "hidiff/tensor"

// Softmax is [tensor.Softmax].
func Softmax(x *Variable) *Variable {
	y := tensor.Softmax(x.Tensor)
	return record("softmax", y, nil, func(n *node) func(*tensor.Tensor) {
		yt := n.save(y)
		return func(dy *tensor.Tensor) { x.add(tensor.SoftmaxBackward(yt, dy)) }
	}, x)
}
