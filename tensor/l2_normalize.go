package tensor

// L2Normalize divides each row along the last axis of x by its Euclidean norm,
// or by eps where that is larger. PyTorch: F.normalize(x, dim=-1, eps=eps).
func L2Normalize(x *Tensor, eps float32) *Tensor {
	kernel := x.d.kernel("l2_normalize", "normalize_rows", nil)
	return eachRows(newLike(x, x.parts, x.shape), func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		x.d.run(call{
			kernel: kernel,
			params: []any{y.rows(), y.width() / 4, x0, y0, eps},
			views:  views(xv, yv),
			groups: spread(ceilDiv(y.rows(), 4)),
			work:   3 * float64(y.Len()),
		})
	}, x)
}
