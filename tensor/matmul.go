package tensor

import (
	"fmt"
	"slices"
)

var matmulShader = newShader[matmulParams, matmulConstants]("matmul")

type matmulParams struct{ M, N, K, ARow, BRow, YRow, A0, B0, Y0, Batch int }

type matmulConstants struct{ TA, TB bool }

// MatMul multiplies matrices, the last two axes of a and b; the axes before
// them must be equal. a is [..., M, K], or [..., K, M] if transposeA; b is
// [..., K, N], or [..., N, K] if transposeB; the result is [..., M, N].
// PyTorch: torch.matmul, after a.transpose(-2, -1) and b.transpose(-2, -1).
func MatMul(a, b *Tensor, transposeA, transposeB bool) *Tensor {
	lead, m, k := matrices("matmul", "a", a)
	leadB, kb, n := matrices("matmul", "b", b)
	if transposeA {
		m, k = k, m
	}
	if transposeB {
		kb, n = n, kb
	}
	expect(slices.Equal(lead, leadB) && k == kb, "matmul", "b", fmt.Sprintf("matrices that fit a of shape %v", a.shape), b)
	d := a.d
	batch := a.rows() / a.shape[len(lead)]
	y := New(d, append(lead, m, n)...)
	av, a0 := a.view()
	bv, b0 := b.view()
	matmulShader.run(d, "matmul", matmulConstants{transposeA, transposeB}, matmulParams{
		M: m, N: n, K: k, ARow: a.width(), BRow: b.width(), YRow: y.width(), A0: 4 * a0, B0: 4 * b0, Batch: batch,
	}, call{
		views:  views(av, bv, y.whole()),
		groups: spread(batch * ceilDiv(m, 64) * ceilDiv(n, 64)),
		work:   2 * float64(batch) * float64(m) * float64(n) * float64(k),
	})
	return y
}

// Transpose swaps the last two axes of x [..., M, N]: [..., N, M].
// PyTorch: x.transpose(-2, -1).
func Transpose(x *Tensor) *Tensor {
	lead, m, n := matrices("transpose", "x", x)
	batch := x.rows() / m
	y := New(x.d, append(lead, n, m)...)
	xv, x0 := x.view()
	matmulShader.run(x.d, "transpose", matmulConstants{}, matmulParams{
		M: m, N: n, ARow: x.width(), YRow: y.width(), A0: 4 * x0, Batch: batch,
	}, call{
		views:  views(xv, y.whole()),
		groups: spread(batch * ceilDiv(m, 32) * ceilDiv(n, 32)),
	})
	return y
}

// matrices splits x's shape into the leading axes and the last two.
func matrices(op, arg string, x *Tensor) (lead []int, rows, columns int) {
	n := len(x.shape)
	expect(n >= 2 && x.parts == 1, op, arg, "matrices [..., M, N] in one part", x)
	return slices.Clone(x.shape[:n-2]), x.shape[n-2], x.shape[n-1]
}
