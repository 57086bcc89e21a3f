package trainer

import (
	"hidiff/autograd"
	"hidiff/tensor"
)

// Model is one stage of training: networks on a device. Methods panic as
// package tensor does.
type Model interface {
	// Parameters are those that are trained, in the optimizer's order, each
	// named with its network in front: net_g.output.weight.
	Parameters() *tensor.Parameters

	// Loss records the forward pass for blurry and sharp images [N, H, W, 3]
	// on tape, and returns the losses whose sum is to become small, each of
	// shape [1]. Whatever it draws depends on seed alone.
	Loss(tape *autograd.Tape, lq, gt *tensor.Tensor, seed uint64) []*autograd.Variable

	// LossNames are what logs call the losses: l_pix, l_pix_diff.
	LossNames() []string

	// Repack makes changed parameters take effect.
	Repack()

	// Validate restores blurry images [N, H, W, 3], H and W multiples of 8.
	// UsesOracle says that it looks at the sharp images to do so.
	Validate(lq, gt *tensor.Tensor, seed uint64) *tensor.Tensor
	UsesOracle() bool

	// Release frees networks and parameters.
	Release()
}
