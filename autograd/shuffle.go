package autograd

import "hidiff/tensor"

// PixelShuffle is [tensor.PixelShuffle].
func PixelShuffle(x *Variable, r int) *Variable {
	return record("pixel_shuffle", tensor.PixelShuffle(x.Tensor, r), nil, func(*node) func(*tensor.Tensor) {
		return func(dy *tensor.Tensor) { x.add(tensor.PixelUnshuffle(r, dy)) }
	}, x)
}

// PixelUnshuffle is [tensor.PixelUnshuffle].
func PixelUnshuffle(r int, xs ...*Variable) *Variable {
	return record("pixel_unshuffle", tensor.PixelUnshuffle(r, tensors(xs)...), nil, func(*node) func(*tensor.Tensor) {
		channels := channelsOf(xs)
		return func(dy *tensor.Tensor) {
			joined := tensor.PixelShuffle(dy, r)
			split(joined, xs, channels)
			joined.Release()
		}
	}, xs...)
}

// split hands the columns of dy to the variables that were joined.
func split(dy *tensor.Tensor, xs []*Variable, channels []int) {
	at := 0
	for i, x := range xs {
		if x.needed() {
			x.add(tensor.Columns(dy, at, channels[i]))
		}
		at += channels[i]
	}
}

func tensors(xs []*Variable) []*tensor.Tensor {
	out := make([]*tensor.Tensor, len(xs))
	for i, x := range xs {
		out[i] = x.Tensor
	}
	return out
}

func channelsOf(xs []*Variable) []int {
	out := make([]int, len(xs))
	for i, x := range xs {
		out[i] = x.Channels()
	}
	return out
}
