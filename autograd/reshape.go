package autograd

import "hidiff/tensor"

// Reshape is [tensor.Tensor.Reshape].
func Reshape(x *Variable, shape ...int) *Variable {
	return record("reshape", x.Tensor.Reshape(shape...), nil, func(*node) func(*tensor.Tensor) {
		before := x.Shape()
		return func(dy *tensor.Tensor) { x.add(dy.Reshape(before...)) }
	}, x)
}
