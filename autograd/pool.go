package autograd

import "hidiff/tensor"

// AdaptiveAvgPool is [tensor.AdaptiveAvgPool].
func AdaptiveAvgPool(x *Variable, out int) *Variable {
	return record("adaptive_avg_pool", tensor.AdaptiveAvgPool(x.Tensor, out), nil, func(*node) func(*tensor.Tensor) {
		shape := x.Shape()
		return func(dy *tensor.Tensor) { x.add(tensor.AdaptiveAvgPoolBackward(dy, shape[1], shape[2])) }
	}, x)
}
