package autograd

import "hidiff/tensor"

// MatMul is [tensor.MatMul].
func MatMul(a, b *Variable, transposeA, transposeB bool) *Variable {
	return record("matmul", tensor.MatMul(a.Tensor, b.Tensor, transposeA, transposeB), nil, func(n *node) func(*tensor.Tensor) {
		at, bt := n.save(a.Tensor), n.save(b.Tensor)
		return func(dy *tensor.Tensor) {
			if a.needed() {
				if transposeA {
					a.add(tensor.MatMul(bt, dy, transposeB, true))
				} else {
					a.add(tensor.MatMul(dy, bt, false, !transposeB))
				}
			}
			if b.needed() {
				if transposeB {
					b.add(tensor.MatMul(dy, at, true, transposeA))
				} else {
					b.add(tensor.MatMul(at, dy, !transposeA, false))
				}
			}
		}
	}, a, b)
}
