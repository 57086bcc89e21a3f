package tensor

import "fmt"

// Concat joins tensors [..., Ci], equal but for the last axis, along it.
// PyTorch: torch.cat(xs, 1) of images, torch.cat(xs, -1) of tokens.
func Concat(xs ...*Tensor) *Tensor {
	joinable("concat", xs)
	return unshuffle(1, xs)
}

// Columns returns channels at to at+channels-1 of x [..., C]: the gradient of
// one of the tensors that [Concat] joined.
func Columns(x *Tensor, at, channels int) *Tensor {
	expect(x.parts == 1 && at >= 0 && at+channels <= x.Channels(), "columns", "x", fmt.Sprintf("at least %d channels in one part", at+channels), x)
	return x.columns(at, 1, channels)
}

// columns copies channels in parts that begin at a stored one.
func (t *Tensor) columns(at, parts, channels int) *Tensor {
	y := newLike(t, parts, withChannels(t, channels))
	used := channels
	if parts > 1 {
		used = y.width() // the padding between parts is zero in x, too
	}
	return eachRows(y, func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		total := y.rows() * y.width()
		shuffleShader.run(t.d, "unshuffle", none{}, shuffleParams{
			Width: y.rows(), R: 1, Channels: used, Xs: t.width(), Ys: y.width(), Count: y.width(), Total: total, X0: 4*x0 + at, Y0: 4 * y0,
		}, call{
			views:  views(xv, xv, yv),
			groups: spread(ceilDiv(total, 64)),
		})
	}, t)
}
