package tensor

import (
	"fmt"
	"slices"
)

// Softmax returns exp(x)/Σexp(x) over the last axis of x.
// PyTorch: torch.softmax(x, -1).
func Softmax(x *Tensor) *Tensor {
	expect(x.parts == 1, "softmax", "x", "a last axis in one part", x)
	kernel := x.d.kernel("softmax", "softmax", nil)
	return eachRows(newLike(x, 1, x.shape), func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		x.d.run(call{
			kernel: kernel,
			params: []any{y.rows(), y.Channels(), y.width() / 4, x0, 0, y0},
			views:  views(xv, yv),
			groups: spread(ceilDiv(y.rows(), 4)),
			work:   20 * float64(y.Len()),
		})
	}, x)
}

// SoftmaxBackward returns the gradient of x, for dy that of y = Softmax(x).
func SoftmaxBackward(y, dy *Tensor) *Tensor {
	expect(slices.Equal(y.shape, dy.shape) && y.parts == 1 && dy.parts == 1, "softmax", "dy", fmt.Sprint(y.shape), dy)
	kernel := y.d.kernel("softmax", "backward", nil)
	return eachRows(newLike(y, 1, y.shape), func(_ band, dx *Tensor, in []*Tensor) {
		yv, y0 := in[0].view()
		gv, g0 := in[1].view()
		xv, x0 := dx.view()
		y.d.run(call{
			kernel: kernel,
			params: []any{dx.rows(), dx.Channels(), dx.width() / 4, y0, g0, x0},
			views:  views(yv, gv, xv),
			groups: spread(ceilDiv(dx.rows(), 4)),
			work:   4 * float64(dx.Len()),
		})
	}, y, dy)
}
