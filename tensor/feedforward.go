package tensor

import (
	"fmt"
	"slices"
)

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
	y := newWhole(x.d, 1, x.shape...)
	hidden := f.In.n
	cost := bandCost{widths: []int{x.width(), hidden}, scratch: hidden + hidden/2, halo: 1, work: f.In.work()}
	eachBand(x, cost, func(b band) {
		wide := f.wide(x, b, 1)
		gated := New(x.d, b.images, b.y1-b.y0, x.shape[2], f.Out.in)
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

// Backward returns the gradient of x for y = Apply(x) under dy, and adds those
// of the parameters, and of the modulation if dmodulation is not nil, laid out
// like it. What lies between x and y is computed anew, band by band.
func (f *FeedForward) Backward(x, dy, dmodulation *Tensor) *Tensor {
	expect(slices.Equal(dy.shape, x.shape), "feedforward", "dy", fmt.Sprint(x.shape), dy)
	d, out := x.d, f.Out.specs[0]
	dx := New(d, x.shape...)
	hidden := f.In.n
	cost := bandCost{widths: []int{x.width(), hidden}, scratch: 3 * hidden, halo: 2, work: f.In.work()}
	eachBand(x, cost, func(b band) {
		around := b.grow(1)
		h := f.wide(x, b, 2)
		dyb := dy.rowsOf(around, 0)
		dgated := New(d, dyb.shape[0], dyb.shape[1], dyb.shape[2], f.Out.in)
		f.Out.transpose(0).multiply(dyb, dgated, Fused{}, 0)
		dyb.Release()
		gated, du := f.Depth.gateBackward(h, dgated, around)
		dgated.Release()

		dyb = dy.rowsOf(b, 0)
		gatedb := gated.within(b, around)
		out.accumulate(gatedb, dyb, b)
		gatedb.Release()
		gated.Release()

		hb := h.within(b, b.grow(2))
		dh := newParts(d, 2, hb.shape...)
		f.Depth.backward(hb, du, dh, b)
		du.Release()
		hb.Release()
		h.Release()

		xb, into := x.rowsOf(b, 0), dx.target(b)
		f.In.backwardBand(0, xb, dh, dyb, dmodulation, b, into)
		dx.commit(b, into)
		dh.Release()
		xb.Release()
		dyb.Release()
	})
	return dx
}

// wide returns the hidden channels of a band with a halo.
func (f *FeedForward) wide(x *Tensor, b band, halo int) *Tensor {
	xb := x.rowsOf(b, halo)
	defer xb.Release()
	h := newParts(x.d, 2, xb.shape[0], xb.shape[1], xb.shape[2], f.In.out)
	f.In.multiply(xb, h, Fused{}, b.image)
	return h
}

// Release frees the packed weights.
func (f *FeedForward) Release() {
	f.In.Release()
	f.Depth.Release()
	f.Out.Release()
}
