package autograd

import "hidiff/tensor"

// L2Normalize is [tensor.L2Normalize].
func L2Normalize(x *Variable, eps float32) *Variable {
	return record("l2_normalize", tensor.L2Normalize(x.Tensor, eps), nil, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(tensor.L2NormalizeBackward(xt, dy, eps)) }
	}, x)
}
