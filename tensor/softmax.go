package tensor

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
			params: []any{y.rows(), y.Channels(), y.width() / 4, x0, y0},
			views:  views(xv, yv),
			groups: spread(ceilDiv(y.rows(), 4)),
			work:   20 * float64(y.Len()),
		})
	}, x)
}
