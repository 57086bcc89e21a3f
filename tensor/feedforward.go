package tensor

// FeedForward is the gated-dconv feed-forward network (GDFN) of a transformer
// block, packed: LayerNorm, project_in 1x1 to two halves, depthwise 3x3,
// gelu(a)*b, project_out 1x1. Source: Restormer §3.2; HI-Diff's FeedForward.
type FeedForward struct {
	In    *Linear    // dim → 2*hidden in 2 parts, LayerNorm folded in
	Depth *Depthwise // 2*hidden channels in 2 parts
	Out   *Linear    // hidden → dim
}

// Apply returns x + ffn(x) for images [N, H, W, dim], a new tensor: each band
// needs its neighbours' rows as they were.
func (f *FeedForward) Apply(x *Tensor) *Tensor {
	d := x.d
	y := newWhole(d, 1, x.shape...)
	hidden := f.In.n
	cost := bandCost{widths: []int{x.width(), hidden}, scratch: hidden + hidden/2, halo: 1}
	eachBand(x, cost, func(b band) {
		xb := x.rowsOf(b, 1)
		wide := NewParts(d, 2, xb.shape[0], xb.shape[1], xb.shape[2], f.In.out)
		f.In.multiply(xb, wide, Fused{}, b.image)
		xb.Release()
		gated := New(d, b.images, b.y1-b.y0, x.shape[2], f.Out.in)
		f.Depth.convolve(wide, gated, b, "gate")
		wide.Release()
		residual, yb := x.rowsOf(b, 0), y.target(b)
		f.Out.multiply(gated, yb, Fused{Residual: residual}, b.image)
		gated.Release()
		residual.Release()
		y.commit(b, yb)
	})
	return y
}

// Release frees the packed weights.
func (f *FeedForward) Release() {
	f.In.Release()
	f.Depth.Release()
	f.Out.Release()
}
