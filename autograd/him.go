package autograd

import "hidiff/tensor"

// HIM is x + him(x, prior), [tensor.HIM.Apply], for the prior's keys and values
// in kv from channel at on.
func HIM(m *tensor.HIM, x, kv *Variable, at int) *Variable {
	return record("him", m.Apply(x.Tensor, kv.Tensor, at), m.Parameters(), func(n *node) func(*tensor.Tensor) {
		xt, kt := n.save(x.Tensor), n.save(kv.Tensor)
		return func(dy *tensor.Tensor) { x.add(m.Backward(xt, kt, at, dy, kv.gradient(kt))) }
	}, x, kv)
}
