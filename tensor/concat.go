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
	d := t.d
	y := newLike(t, parts, withChannels(t, channels))
	used := channels
	if parts > 1 {
		used = y.width() // the padding between parts is zero in x, too
	}
	kernel := d.kernel("shuffle", "unshuffle", nil)
	return eachRows(y, func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		total := y.rows() * y.width()
		d.run(call{
			kernel: kernel,
			params: []any{y.rows(), 1, used, t.width(), y.width(), 0, y.width(), total, 4*x0 + at, 4 * y0, 0, 0, 0},
			views:  views(xv, xv, yv),
			groups: spread(ceilDiv(total, 64)),
		})
	}, t)
}
