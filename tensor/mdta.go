package tensor

import "hidiff/wgpu"

var mdtaShader = newShader[mdtaParams, mdtaConstants]("mdta")

type mdtaParams struct {
	Heads, C, C4, Slots, Pixels, X0, Y0, Image, Images, Height, Width, OutRow, InRow, Block4, Chunk, FirstSlot int
}

type mdtaConstants struct {
	Bias, Values bool
	Depth        int
}

// gramShader has the kernel of [Attention.correlate] for eight lanes.
var gramShader = newShader[gramParams, gramConstants]("mdta_gram")

type gramParams struct {
	Heads, C, Slots, Rows, X0, Y0, Height, Width, OutRow, InRow, Chunk, FirstSlot int
}

type gramConstants struct{ Block int }

const (
	gramStrip       = 64 // STRIP of mdta_gram.wgsl
	mostStripChunks = 64
	mostBlock       = 48 // channels: what is summed must stay in a core's nearest memory
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
	wide := a.QKV.n
	bands := a.bands(x, bandCost{widths: []int{x.width(), wide}, scratch: wide, halo: 1, work: a.work()})
	v := newWhole(x.d, a.Heads, x.shape...)
	partials, qkv := a.correlate(x, v, bands)
	qkv.Release()
	m, sums, attn := a.attend(partials)
	partials.Release()
	sums.Release()
	attn.Release()
	f := Fused{Residual: x}
	if inPlace {
		f.Into = x
	}
	y := m.Apply(v, f)
	m.Release()
	v.Release()
	return y
}

// bands are found first, because the partial sums need one slot a chunk.
func (a *Attention) bands(x *Tensor, cost bandCost) (bands []band) {
	eachBand(x, cost, func(b band) { bands = append(bands, b) })
	return bands
}

// gramWork and work are floating-point operations per pixel, of the correlation and of the
// largest dispatch.
func (a *Attention) gramWork() int {
	_, c4 := a.sizes()
	return 2 * a.Heads * 4 * c4 * (4*c4 + 27)
}

func (a *Attention) work() int { return max(a.QKV.work(), a.gramWork()) }

// sizes returns the channels of a head, and as stored, in vec4.
func (a *Attention) sizes() (c, c4 int) {
	c = a.QKV.in / a.Heads
	return c, pad4(c) / 4
}

// correlate computes v, and returns sums over chunks of pixels of each head's
// qᵀk, q² and k²: [N, Heads, slots, stored c + 2, stored c]. qkv is that of the
// last band, with a row around it.
func (a *Attention) correlate(x, v *Tensor, bands []band) (partials, qkv *Tensor) {
	d := x.d
	n, h, w := x.geometry()
	c, c4 := a.sizes()
	block := a.gramBlock(d)
	tiles := func(rows int) int { return rows * ceilDiv(w, tilePixels) }
	least, most := smallestChunk, mostChunks
	if block > 0 {
		tiles = func(rows int) int { return ceilDiv(rows, gramStrip) * ceilDiv(w, 4) }
		least, most = 1, mostStripChunks
	}
	chunk := max(least, ceilDiv(tiles(h), most))
	slots, first := 0, 0
	for _, b := range bands {
		if b.image == 0 {
			slots += ceilDiv(tiles(b.y1-b.y0), chunk)
		}
	}
	partials = New(d, n, a.Heads, slots, 4*c4+2, 4*c4)
	for _, b := range bands {
		if b.y0 == 0 {
			first = 0
		}
		qkv.Release()
		qkv = a.project(x, b, 1)
		vb := v.target(b)
		qv, q0 := qkv.view()
		vv, v0 := vb.view()
		pixels, chunks := (b.y1-b.y0)*w, ceilDiv(tiles(b.y1-b.y0), chunk)
		top, _ := b.halo(1)
		row := b.image*h + b.y0
		to := call{
			views: views(qv, a.Depth.taps.whole(), vv, partials.whole()),
			work:  float64(b.images*pixels) * float64(a.gramWork()),
		}
		if block > 0 {
			to.groups = [3]int{chunks, a.Heads * (c / block) * (c / block), b.images}
			gramShader.run(d, "gram", gramConstants{block}, gramParams{
				Heads: a.Heads, C: c, Slots: slots, Rows: b.y1 - b.y0, X0: q0, Y0: v0, Height: h, Width: w,
				OutRow: row, InRow: row - top, Chunk: chunk, FirstSlot: first + b.image*a.Heads*slots,
			}, to)
		} else {
			blocks := ceilDiv(c4, 16)
			to.groups = [3]int{chunks, a.Heads * blocks * blocks, b.images}
			mdtaShader.run(d, "gram", mdtaConstants{}, mdtaParams{
				Heads: a.Heads, C: c, C4: c4, Slots: slots, Pixels: pixels, X0: q0, Y0: v0, Height: h, Width: w,
				OutRow: row, InRow: row - top, Block4: ceilDiv(c4, blocks), Chunk: chunk, FirstSlot: first + b.image*a.Heads*slots,
			}, to)
		}
		first += chunks
		v.commit(b, vb)
	}
	return partials, qkv
}

// gramBlock is the BLOCK of mdta_gram.wgsl, or 0 where it does not serve.
func (a *Attention) gramBlock(d *Device) int {
	c, _ := a.sizes()
	if !d.eightLanes() || c%8 != 0 {
		return 0
	}
	for block := min(c, mostBlock); ; block -= 8 {
		if c%block == 0 {
			return block
		}
	}
}

// project returns qkv before the depthwise convolution, of a band of x and
// halo rows around it.
func (a *Attention) project(x *Tensor, b band, halo int) *Tensor {
	xb := x.rowsOf(b, halo)
	qkv := newParts(x.d, 3*a.Heads, withChannels(xb, a.QKV.out)...)
	a.QKV.multiply(xb, qkv, Fused{}, b.image)
	xb.Release()
	return qkv
}

// attend returns project_out·blockdiag(attn), one matrix per image, and what it
// is made of: the sums over all pixels [copies, N, Heads, stored c + 2, stored c]
// and the attention matrices [copies, N, Heads, stored c, stored c], with zeros
// in the padding. All copies are the same.
func (a *Attention) attend(partials *Tensor) (m *Linear, sums, attn *Tensor) {
	d, n, slots, dim := partials.d, partials.shape[0], partials.shape[2], a.QKV.in
	c, c4 := a.sizes()
	copies := ceilDiv(ceilDiv(dim, 16)*c4, 256) // one for each workgroup of a head
	sums = New(d, copies, n, a.Heads, 4*c4+2, 4*c4)
	attn = New(d, copies, n, a.Heads, 4*c4, 4*c4)
	m = &Linear{
		d: d, out: dim, in: dim, n: pad4(dim), k: a.Heads * 4 * c4, outParts: 1, inParts: a.Heads,
		images: n, shuffle: 1,
	}
	m.allocate()
	if m.k != m.storedK() {
		d.Clear(m.panels.buffer, 0, int64(n)*m.weightBytes())
	}
	bias := a.Out
	if a.OutBias != nil {
		bias = a.OutBias
	}
	mdtaShader.run(d, "attend", mdtaConstants{Bias: a.OutBias != nil, Depth: m.depth}, mdtaParams{Heads: a.Heads, C: c, C4: c4, Slots: slots, Images: n}, call{
		views: views(a.Temperature.whole(), a.Out.whole(), partials.whole(), bias.whole(), sums.whole(), attn.whole(),
			wgpu.Whole(m.panels.buffer), wgpu.Whole(m.epilogue.buffer)),
		groups: [3]int{copies, n * a.Heads, 1},
		work:   float64(copies*partials.Len()) + 10*float64(attn.Len()) + 2*float64(n*dim)*float64(dim*c),
	})
	return m, sums, attn
}

// Release frees the packed weights; the parameters are the caller's.
func (a *Attention) Release() {
	a.QKV.Release()
	a.Depth.Release()
}
