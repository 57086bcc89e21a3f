package autograd

import "hidiff/tensor"

// LayerNorm is [tensor.LayerNorm].
func LayerNorm(x *Variable, kind tensor.Norm, gamma, beta *tensor.Parameter) *Variable {
	y := tensor.LayerNorm(x.Tensor, kind, gamma, beta)
	return record("layernorm", y, []*tensor.Parameter{gamma, beta}, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(tensor.LayerNormBackward(xt, dy, kind, gamma, beta)) }
	}, x)
}
