package autograd

import "hidiff/tensor"

// Concat is [tensor.Concat].
func Concat(xs ...*Variable) *Variable {
	return record("concat", tensor.Concat(tensors(xs)...), nil, func(*node) func(*tensor.Tensor) {
		channels := channelsOf(xs)
		return func(dy *tensor.Tensor) { split(dy, xs, channels) }
	}, xs...)
}
