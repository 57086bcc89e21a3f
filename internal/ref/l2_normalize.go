package ref

import "math"

// L2Normalize divides each row along the last axis by its Euclidean norm, clamped
// below at eps. PyTorch: F.normalize(x, dim=-1, eps=eps).
func L2Normalize(x *Array, eps float64) *Array {
	expectSome("l2_normalize", "x", x, 1)
	y := New(x.Shape...)
	rows, n := x.last()
	for r := range rows {
		in, out := x.Data[r*n:(r+1)*n], y.Data[r*n:]
		norm := max(math.Sqrt(dot(in, in)), eps)
		for i, v := range in {
			out[i] = v / norm
		}
	}
	return y
}

// L2NormalizeBackward returns (g − y·(y·g))/norm, or g/eps where the norm is clamped.
func L2NormalizeBackward(x, gradOut *Array, eps float64) *Array {
	y := L2Normalize(x, eps)
	expect("l2_normalize", "gradOut", gradOut, x.Shape...)
	dx := New(x.Shape...)
	rows, n := x.last()
	for r := range rows {
		in, g, out := x.Data[r*n:(r+1)*n], gradOut.Data[r*n:(r+1)*n], y.Data[r*n:(r+1)*n]
		norm := math.Sqrt(dot(in, in))
		along := 0.0
		if norm >= eps {
			along = dot(out, g)
		}
		for i := range g {
			dx.Data[r*n+i] = (g[i] - out[i]*along) / max(norm, eps)
		}
	}
	return dx
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}
