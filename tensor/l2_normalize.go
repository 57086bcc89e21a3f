package tensor

import (
	"fmt"
	"slices"
)

// L2Normalize divides each row along the last axis of x by its Euclidean norm,
// or by eps where that is larger. PyTorch: F.normalize(x, dim=-1, eps=eps).
func L2Normalize(x *Tensor, eps float32) *Tensor {
	kernel := x.d.kernel("l2_normalize", "normalize_rows", nil)
	return eachRows(newLike(x, x.parts, x.shape), func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		x.d.run(call{
			kernel: kernel,
			params: []any{y.rows(), y.width() / 4, x0, 0, y0, eps},
			views:  views(xv, yv),
			groups: spread(ceilDiv(y.rows(), 4)),
			work:   3 * float64(y.Len()),
		})
	}, x)
}

// L2NormalizeBackward returns the gradient of x, for dy that of
// y = L2Normalize(x, eps).
func L2NormalizeBackward(x, dy *Tensor, eps float32) *Tensor {
	expect(slices.Equal(x.shape, dy.shape) && x.parts == dy.parts, "l2_normalize", "dy", fmt.Sprintf("%v in %d parts", x.shape, x.parts), dy)
	kernel := x.d.kernel("l2_normalize", "backward", nil)
	return eachRows(newLike(x, x.parts, x.shape), func(_ band, dx *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		gv, g0 := in[1].view()
		yv, y0 := dx.view()
		x.d.run(call{
			kernel: kernel,
			params: []any{dx.rows(), dx.width() / 4, x0, g0, y0, eps},
			views:  views(xv, gv, yv),
			groups: spread(ceilDiv(dx.rows(), 4)),
			work:   8 * float64(dx.Len()),
		})
	}, x, dy)
}
