package tensor

// Concat joins tensors [..., Ci], equal but for the last axis, along it.
// PyTorch: torch.cat(xs, 1) of images, torch.cat(xs, -1) of tokens.
func Concat(xs ...*Tensor) *Tensor {
	joinable("concat", xs)
	return unshuffle(1, xs)
}
