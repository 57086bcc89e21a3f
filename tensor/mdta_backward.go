package tensor

import (
	"fmt"
	"slices"

	"hidiff/wgpu"
)

// Backward returns the gradient of x for y = Apply(x) under dy, and adds those
// of the parameters, and of the modulation if dmodulation is not nil, laid out
// like it. What lies between x and y is computed anew, in two passes over the
// bands: first the sums over all pixels, then the pixels' gradients.
func (a *Attention) Backward(x, dy, dmodulation *Tensor) *Tensor {
	expect(slices.Equal(dy.shape, x.shape) && dy.parts == x.parts, "mdta", "dy", fmt.Sprintf("%v in %d parts", x.shape, x.parts), dy)
	d, wide := x.d, a.QKV.n
	bands := a.bands(x, bandCost{widths: []int{x.width(), wide}, scratch: 3 * wide, halo: 2, work: a.work()})
	v := newParts(d, a.Heads, x.shape...)
	partials, qkv := a.correlate(x, v, bands)
	if len(bands) > 1 {
		qkv.Release()
		qkv = nil
	}
	m, sums, attn := a.attend(partials)
	partials.Release()
	dyv := a.outer(dy, v, bands)
	v.Release()
	maps, diagonals := a.differentiate(m, sums, attn, dyv)
	m.Release()
	sums.Release()
	attn.Release()
	dyv.Release()

	dx := New(d, x.shape...)
	for _, b := range bands {
		if qkv == nil {
			qkv = a.project(x, b, 2)
		}
		du := a.applyBack(qkv, dy, maps, diagonals, b.grow(1))
		own := qkv.within(b, b.grow(2))
		dqkv := newParts(d, own.parts, own.shape...)
		a.Depth.backward(own, du, dqkv, b)
		du.Release()
		own.Release()
		qkv.Release()
		qkv = nil

		xb, dyb := x.rowsOf(b, 0), dy.rowsOf(b, 0)
		into := dx.target(b)
		a.QKV.backwardBand(0, xb, dqkv, dyb, dmodulation, b, into)
		dx.commit(b, into)
		dqkv.Release()
		xb.Release()
		dyb.Release()
	}
	maps.Release()
	diagonals.Release()
	return dx
}

// outer returns the sum of dyᵀv over each image's pixels, [N, stored dim, stored
// channels of v], and adds the gradient of project_out's bias.
func (a *Attention) outer(dy, v *Tensor, bands []band) *Tensor {
	sums := New(dy.d, dy.shape[0], dy.width(), v.width())
	for _, b := range bands {
		dyb, vb := dy.rowsOf(b, 0), v.rowsOf(b, 0)
		sums.addSums(b, outer(dyb, vb, b.images))
		a.OutBias.addColumns(dyb)
		dyb.Release()
		vb.Release()
	}
	return sums
}

// differentiate returns the matrices that take q, k and dy to the gradients of
// q, k and v, as mdta.wgsl lays them out, and adds the gradients of temperature
// and project_out. m, sums and attn are what attend returned.
func (a *Attention) differentiate(m *Linear, sums, attn, dyv *Tensor) (maps, diagonals *Tensor) {
	d, n, dim := dyv.d, dyv.shape[0], a.QKV.in
	c, c4 := a.sizes()
	maps = New(d, n, a.Heads, 8*c4+pad4(dim), 4*c4)
	diagonals = New(d, n, a.Heads, 2, 4*c4)
	dproject, dtemperature := a.Out.gradient(d, dim*dim), New(d, n, a.Heads)
	mdtaShader.run(d, "products_back", mdtaConstants{Depth: m.depth}, mdtaParams{Heads: a.Heads, C: c, C4: c4, Images: n}, call{
		views:  views(dyv.whole(), a.Out.whole(), attn.whole(), wgpu.Whole(m.panels.buffer), maps.whole(), dproject.whole()),
		groups: [3]int{ceilDiv((c4+pad4(dim)/4)*c4, 64), n * a.Heads, 1},
		work:   4 * float64(n*dim) * float64(dim*c),
	})
	mdtaShader.run(d, "attend_back", mdtaConstants{}, mdtaParams{Heads: a.Heads, C: c, C4: c4}, call{
		views:  views(a.Temperature.whole(), sums.whole(), attn.whole(), maps.whole(), dtemperature.whole(), diagonals.whole()),
		groups: [3]int{n * a.Heads, 1, 1},
		work:   20 * float64(n*a.Heads*4*c4) * float64(4*c4),
	})
	a.Temperature.addColumns(dtemperature)
	dproject.Release()
	dtemperature.Release()
	return maps, diagonals
}

// applyBack returns the gradients of q, k and v, in 3*Heads parts, of the rows
// of b. qkv holds a row around them too, where there is one.
func (a *Attention) applyBack(qkv, dy, maps, diagonals *Tensor, b band) *Tensor {
	d := qkv.d
	c, c4 := a.sizes()
	u := newParts(d, qkv.parts, b.images, b.y1-b.y0, qkv.shape[2], qkv.Channels())
	a.Depth.convolve(qkv, u, b, "plain")
	du := newParts(d, u.parts, u.shape...)
	dyb := dy.rowsOf(b, 0)
	pixels := (b.y1 - b.y0) * u.shape[2]
	apply := func(values bool, x *Tensor, kinds, depth int) {
		xv, x0 := x.view()
		groups := spread(ceilDiv(ceilDiv(pixels, 8)*a.Heads*ceilDiv(c4, 2), 64))
		groups[2] = kinds * b.images
		mdtaShader.run(d, "apply_back", mdtaConstants{Values: values}, mdtaParams{
			Heads: a.Heads, C: c, C4: c4, Pixels: pixels, X0: x0, Image: b.image,
		}, call{
			views:  views(maps.whole(), diagonals.whole(), xv, du.whole()),
			groups: groups,
			work:   2 * float64(b.images*pixels) * float64(a.Heads*4*c4) * float64(kinds*depth),
		})
	}
	apply(false, u, 2, 4*c4)
	apply(true, dyb, 1, dyb.width())
	dyb.Release()
	u.Release()
	return du
}

// addColumns adds the sums of rows' columns to p's gradient, if it has one: p is
// like the bias of a map whose weight is frozen.
func (p *Parameter) addColumns(rows *Tensor) {
	if p != nil {
		LinearSpec{Out: p.Len(), In: p.Len(), Weight: &Parameter{}, Bias: p}.accumulate(rows, rows, band{})
	}
}
