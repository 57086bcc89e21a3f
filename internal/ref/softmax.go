package ref

import (
	"math"
	"slices"
)

// Softmax returns exp(x)/Σexp(x) over the last axis; the row's maximum is subtracted
// first, so no exponential overflows. PyTorch: torch.softmax(x, -1).
func Softmax(x *Array) *Array {
	expectSome("softmax", "x", x, 1)
	y := New(x.Shape...)
	rows, n := x.last()
	for r := range rows {
		in, out := x.Data[r*n:(r+1)*n], y.Data[r*n:(r+1)*n]
		top, sum := slices.Max(in), 0.0
		for i, v := range in {
			out[i] = math.Exp(v - top)
			sum += out[i]
		}
		for i := range out {
			out[i] /= sum
		}
	}
	return y
}

// SoftmaxBackward returns y·(g − Σ g·y), the sum taken over the last axis.
func SoftmaxBackward(x, gradOut *Array) *Array {
	y := Softmax(x)
	expect("softmax", "gradOut", gradOut, x.Shape...)
	dx := New(x.Shape...)
	rows, n := x.last()
	for r := range rows {
		g, out := gradOut.Data[r*n:(r+1)*n], y.Data[r*n:(r+1)*n]
		along := dot(g, out)
		for i := range g {
			dx.Data[r*n+i] = out[i] * (g[i] - along)
		}
	}
	return dx
}
