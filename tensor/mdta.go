package tensor

import (
	"hidiff/shaders"
	"hidiff/wgpu"
)

// Attention is multi-dconv head transposed attention (MDTA), packed: LayerNorm,
// qkv 1x1, depthwise 3x3, attention among the channels of each head over all
// pixels, project_out 1x1. Source: Restormer §3.1; HI-Diff's Attention.
type Attention struct {
	Heads       int
	QKV         *Linear    // dim → 3*dim in 3*Heads parts, LayerNorm folded in
	Depth       *Depthwise // 3*dim channels in 3*Heads parts
	Temperature *Parameter // [Heads]
	Out         *Parameter // project_out's weight [dim, dim]
	OutBias     *Parameter // or nil
}

// An image is taken in tiles of 32 pixels of a row, and chunks of tiles are
// summed by themselves: enough to keep a GPU busy, few enough to add up fast.
const (
	tilePixels    = 32
	smallestChunk = 16 // tiles
	mostChunks    = 128
)

// Apply returns x + attn(x) for images [N, H, W, dim]. With inPlace it
// overwrites and returns x.
func (a *Attention) Apply(x *Tensor, inPlace bool) *Tensor {
	d := x.d
	n, h, w := x.geometry()
	dim := x.Channels()
	c := dim / a.Heads
	c4 := pad4(c) / 4
	blocks := ceilDiv(c4, 16)
	block4 := ceilDiv(c4, blocks)
	wide := a.QKV.n

	// Bands are found first, because the partial sums need one slot a chunk.
	var bands []band
	v := newWhole(d, a.Heads, n, h, w, dim)
	cost := bandCost{widths: []int{x.width(), wide}, scratch: wide, halo: 1}
	eachBand(x, cost, func(b band) { bands = append(bands, b) })
	across := ceilDiv(w, tilePixels)
	chunk := max(smallestChunk, ceilDiv(h*across, mostChunks))
	slots, first := 0, 0
	for _, b := range bands {
		if b.image == 0 {
			slots += ceilDiv((b.y1-b.y0)*across, chunk)
		}
	}
	size := (4*c4 + 2) * 4 * c4
	partials := New(d, n, a.Heads, slots, size)
	for _, b := range bands {
		if b.y0 == 0 {
			first = 0
		}
		xb := x.rowsOf(b, 1)
		qkv := NewParts(d, 3*a.Heads, xb.shape[0], xb.shape[1], w, 3*dim)
		a.QKV.multiply(xb, qkv, Fused{}, b.image)
		xb.Release()
		vb := v.target(b)
		qv, q0 := qkv.view()
		vv, v0 := vb.view()
		pixels, chunks := (b.y1-b.y0)*w, ceilDiv((b.y1-b.y0)*across, chunk)
		top, _ := b.halo(1)
		row := b.image*h + b.y0
		pv := wgpu.View{Buffer: partials.mem.buffer, Offset: 0, Size: partials.bytes()}
		d.run(call{
			kernel: d.kernel("mdta", "gram", nil),
			params: []any{h, w, row, pixels, row - top, q0, v0, a.Heads, c4, block4, chunk, first + b.image*a.Heads*slots, slots, c, 0, 0, 0},
			views:  []wgpu.View{qv, a.Depth.taps.whole(), vv, pv},
			groups: [3]int{chunks, a.Heads * blocks * blocks, b.images},
			work:   2 * float64(b.images*pixels) * float64(a.Heads) * (float64(4*c4)*float64(4*c4) + 27*float64(4*c4)),
		})
		first += chunks
		qkv.Release()
		v.commit(b, vb)
	}

	m := a.fold(partials, n, dim, c, c4, slots)
	f := Fused{Residual: x}
	if inPlace {
		f.Into = x
	}
	y := m.Apply(v, f)
	m.Release()
	v.Release()
	return y
}

// fold turns the partial sums into project_out·blockdiag(attn), one matrix per
// image.
func (a *Attention) fold(partials *Tensor, n, dim, c, c4, slots int) *Linear {
	d := partials.d
	m := &Linear{
		d: d, out: dim, in: dim, n: pad4(dim), k: a.Heads * 4 * c4, outParts: 1, inParts: a.Heads,
		images: n, shuffle: 1,
	}
	m.allocate()
	bias := a.Out
	if a.OutBias != nil {
		bias = a.OutBias
	}
	attn := New(d, n, a.Heads, 4*c4+2, 4*c4)
	d.run(call{
		kernel: d.kernel("mdta", "attend", shaders.Constants{"BIAS": a.OutBias != nil}),
		params: []any{0, 0, 0, 0, 0, 0, 0, a.Heads, c4, 0, 0, 0, slots, c, dim, ceilDiv(dim, 16) * 16, m.n},
		views: []wgpu.View{partials.whole(), a.Temperature.whole(), a.Out.whole(), bias.whole(), attn.whole(),
			wgpu.Whole(m.panels.buffer), wgpu.Whole(m.epilogue.buffer)},
		groups: [3]int{a.Heads, n, 1},
		work:   2 * float64(n*dim) * float64(dim*c),
	})
	attn.Release()
	partials.Release()
	return m
}

// Release frees the packed weights; the parameters are the caller's.
func (a *Attention) Release() {
	a.QKV.Release()
	a.Depth.Release()
}
