package autograd

import "hidiff/tensor"

// TokenMix is [tensor.TokenMix] without a residual.
func TokenMix(x *Variable, w, b *tensor.Parameter, act tensor.Activation) *Variable {
	y := tensor.TokenMix(x.Tensor, w, b, act, nil)
	return record("token_mix", y, []*tensor.Parameter{w, b}, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(tensor.TokenMixBackward(xt, w, b, act, dy)) }
	}, x)
}

// PatchMixer is [tensor.PatchMixer].
func PatchMixer(x *Variable, gamma, beta, w1, b1, w2, b2 *tensor.Parameter) *Variable {
	y := tensor.PatchMixer(x.Tensor, gamma, beta, w1, b1, w2, b2)
	return record("patch_mixer", y, []*tensor.Parameter{gamma, beta, w1, b1, w2, b2}, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) {
			x.add(tensor.PatchMixerBackward(xt, gamma, beta, w1, b1, w2, b2, dy))
		}
	}, x)
}
