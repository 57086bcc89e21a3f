package tensor

import (
	"fmt"
	"slices"
)

var l2NormalizeShader = newShader[l2NormalizeParams, none]("l2_normalize")

type l2NormalizeParams struct {
	Rows, Width, X0, Dy0, Y0 int
	Eps                      float32
}

// L2Normalize divides each row along the last axis of x by its Euclidean norm,
// or by eps where that is larger. PyTorch: F.normalize(x, dim=-1, eps=eps).
func L2Normalize(x *Tensor, eps float32) *Tensor {
	return eachRows(newLike(x, x.parts, x.shape), func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		l2NormalizeShader.run(x.d, "normalize_rows", none{}, l2NormalizeParams{
			Rows: y.rows(), Width: y.width() / 4, X0: x0, Y0: y0, Eps: eps,
		}, call{
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
	return eachRows(newLike(x, x.parts, x.shape), func(_ band, dx *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		gv, g0 := in[1].view()
		yv, y0 := dx.view()
		l2NormalizeShader.run(x.d, "backward", none{}, l2NormalizeParams{
			Rows: dx.rows(), Width: dx.width() / 4, X0: x0, Dy0: g0, Y0: y0, Eps: eps,
		}, call{
			views:  views(xv, gv, yv),
			groups: spread(ceilDiv(dx.rows(), 4)),
			work:   8 * float64(dx.Len()),
		})
	}, x, dy)
}
