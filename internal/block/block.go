// Package block gives conformance the building blocks of HI-Diff's networks, which package
// hidiff does not export.
package block

import (
	"hidiff/autograd"
	"hidiff/hidiff/checkpoint"
	"hidiff/tensor"
)

// Block is one building block of the released code by itself, with parameters that can be trained.
type Block struct {
	Parameters *tensor.Parameters

	// Forward runs it on inputs that carry the released code's argument names; images are
	// [N, H, W, C]. It panics as package tensor does.
	Forward func(in map[string]*autograd.Variable) *autograd.Variable

	// Release frees the block and its parameters.
	Release func()
}

// New makes a building block by the class name and constructor options (JSON) of the released
// code: Attention, FeedForward, TransformerBlock, HIM, BasicLayer, Downsample, Upsample,
// latent_encoder_gelu, latent_encoder_lrelu, denoising or simple_denoise, with its own state
// dict. Package hidiff sets it.
var New func(d *tensor.Device, class string, options []byte, state *checkpoint.StateDict) (*Block, error)
