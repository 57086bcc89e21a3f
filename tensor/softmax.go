package tensor

import (
	"fmt"
	"slices"
)

var softmaxShader = newShader[softmaxParams, none]("softmax")

type softmaxParams struct{ Rows, Channels, Width, X0, Dy0, Y0 int }

// Softmax returns exp(x)/Σexp(x) over the last axis of x.
// PyTorch: torch.softmax(x, -1).
func Softmax(x *Tensor) *Tensor {
	expect(x.parts == 1, "softmax", "x", "a last axis in one part", x)
	return eachRows(newLike(x, 1, x.shape), func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		softmaxShader.run(x.d, "softmax", none{}, softmaxParams{
			Rows: y.rows(), Channels: y.Channels(), Width: y.width() / 4, X0: x0, Y0: y0,
		}, call{
			views:  views(xv, yv),
			groups: spread(ceilDiv(y.rows(), 4)),
			work:   20 * float64(y.Len()),
		})
	}, x)
}

// SoftmaxBackward returns the gradient of x, for dy that of y = Softmax(x).
func SoftmaxBackward(y, dy *Tensor) *Tensor {
	expect(slices.Equal(y.shape, dy.shape) && y.parts == 1 && dy.parts == 1, "softmax", "dy", fmt.Sprint(y.shape), dy)
	return eachRows(newLike(y, 1, y.shape), func(_ band, dx *Tensor, in []*Tensor) {
		yv, y0 := in[0].view()
		gv, g0 := in[1].view()
		xv, x0 := dx.view()
		softmaxShader.run(y.d, "backward", none{}, softmaxParams{
			Rows: dx.rows(), Channels: dx.Channels(), Width: dx.width() / 4, X0: y0, Dy0: g0, Y0: x0,
		}, call{
			views:  views(yv, gv, xv),
			groups: spread(ceilDiv(dx.rows(), 4)),
			work:   4 * float64(dx.Len()),
		})
	}, y, dy)
}
