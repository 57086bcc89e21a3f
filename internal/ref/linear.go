package ref

import "slices"

// Linear returns x·wᵀ + b over the last axis: x [...,K], w [M,K], b [M] or nil, out
// [...,M]. PyTorch: F.linear.
func Linear(x, w, b *Array) *Array {
	flat, m := linearSizes(x, w, b)
	out := MatMulNT(flat, w)
	if b != nil {
		for i := range out.Data {
			out.Data[i] += b.Data[i%m]
		}
	}
	return out.Reshape(slices.Concat(x.Shape[:len(x.Shape)-1], []int{m})...)
}

// LinearBackward is the vector–Jacobian product of [Linear]; db is nil without b.
func LinearBackward(x, w, b, gradOut *Array) (dx, dw, db *Array) {
	flat, m := linearSizes(x, w, b)
	expect("linear", "gradOut", gradOut, slices.Concat(x.Shape[:len(x.Shape)-1], []int{m})...)
	dx, dw = MatMulNTBackward(flat, w, gradOut.Reshape(flat.Shape[0], m))
	if b != nil {
		db = New(m)
		for i, g := range gradOut.Data {
			db.Data[i%m] += g
		}
	}
	return dx.Reshape(x.Shape...), dw, db
}

// linearSizes checks the inputs and returns x as a matrix [rows,K], and M.
func linearSizes(x, w, b *Array) (flat *Array, m int) {
	expectSome("linear", "x", x, 1)
	rows, k := x.last()
	expect("linear", "w", w, anySize, k)
	if b != nil {
		expect("linear", "b", b, w.Shape[0])
	}
	return x.Reshape(rows, k), w.Shape[0]
}
