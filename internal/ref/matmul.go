package ref

import "slices"

// The three products of batched matrices (the last two axes; all axes before them
// equal in a and b) differ in which operand is transposed, and are each other's
// gradients. PyTorch: torch.matmul with .transpose(-2, -1).

// MatMulNN returns a·b: a [...,M,K], b [...,K,N], out [...,M,N].
func MatMulNN(a, b *Array) *Array { return matmul("matmul_nn", a, b, false, false) }

// MatMulNNBackward returns ∂a = g·bᵀ and ∂b = aᵀ·g.
func MatMulNNBackward(a, b, gradOut *Array) (da, db *Array) {
	return MatMulNT(gradOut, b), MatMulTN(a, gradOut)
}

// MatMulNT returns a·bᵀ: a [...,M,K], b [...,N,K], out [...,M,N].
func MatMulNT(a, b *Array) *Array { return matmul("matmul_nt", a, b, false, true) }

// MatMulNTBackward returns ∂a = g·b and ∂b = gᵀ·a.
func MatMulNTBackward(a, b, gradOut *Array) (da, db *Array) {
	return MatMulNN(gradOut, b), MatMulTN(gradOut, a)
}

// MatMulTN returns aᵀ·b: a [...,K,M], b [...,K,N], out [...,M,N].
func MatMulTN(a, b *Array) *Array { return matmul("matmul_tn", a, b, true, false) }

// MatMulTNBackward returns ∂a = b·gᵀ and ∂b = a·g.
func MatMulTNBackward(a, b, gradOut *Array) (da, db *Array) {
	return MatMulNT(b, gradOut), MatMulNN(a, gradOut)
}

func matmul(op string, a, b *Array, transA, transB bool) *Array {
	expectSome(op, "a", a, 2)
	lead := a.Shape[:len(a.Shape)-2]
	matrices := 1
	for _, d := range lead {
		matrices *= d
	}
	m, k := a.Shape[len(lead)], a.Shape[len(lead)+1]
	aRow, aCol := k, 1 // strides of a's element (i, l)
	if transA {
		m, k, aRow, aCol = k, m, 1, k
	}
	shapeB := []int{k, anySize}
	if transB {
		shapeB = []int{anySize, k}
	}
	expect(op, "b", b, slices.Concat(lead, shapeB)...)
	n := b.Shape[len(lead)+1]
	bRow, bCol := n, 1 // strides of b's element (l, j)
	if transB {
		n = b.Shape[len(lead)]
		bRow, bCol = 1, k
	}
	out := New(slices.Concat(lead, []int{m, n})...)
	for t := range matrices {
		a, b, out := a.Data[t*m*k:], b.Data[t*k*n:], out.Data[t*m*n:]
		for i := range m {
			for j := range n {
				sum := 0.0
				for l := range k {
					sum += a[i*aRow+l*aCol] * b[l*bRow+j*bCol]
				}
				out[i*n+j] = sum
			}
		}
	}
	return out
}
