package tensor

import (
	"fmt"
	"slices"

	"hidiff/wgpu"
)

var himShader = newShader[himParams, himConstants]("him")

type himParams struct {
	Pixels, C4, Channels, Heads, C, Cp, Tokens, Images, Image, X0, Dy0, Y0, KvAt, KvRow int
	Eps                                                                                 float32
}

type himConstants struct {
	Norm              Norm
	Tokens4, PerHead4 int
	QBias, Beta       bool
}

// HIM is the hierarchical integration module, packed: cross-attention of an
// image's pixels to the prior's tokens. Source: HI-Diff §3.2.
type HIM struct {
	Heads          int
	Norm           Norm
	Gamma, Beta    *Parameter // norm1; Beta is nil if BiasFree
	Query, QBias   *Parameter // [dim, dim]; [dim] or nil
	Proj, ProjBias *Parameter // [dim, dim]; [dim]
}

// Apply returns x + him(x, prior) for images x [N, H, W, dim]. kv [N, L, ...]
// holds the prior's keys and values, Linear(norm2(prior)), from channel at on:
// 2*Heads parts, each padded to a multiple of four.
func (m *HIM) Apply(x, kv *Tensor, at int) *Tensor {
	f := m.fold(x, kv, at)
	defer f.release()
	y := newWhole(x.d, 1, x.shape...)
	eachBand(x, bandCost{widths: []int{x.width(), x.width()}, work: f.work()}, func(b band) {
		xb, yb := x.rowsOf(b, 0), y.target(b)
		f.eachPixel("apply", b, xb, yb, 0, m.ProjBias.whole())
		xb.Release()
		y.commit(b, yb)
	})
	return y
}

// Backward returns the gradient of x, for dy that of y = Apply(x, kv, at). It
// adds to those of the parameters, and to dkv, which is laid out like kv or nil,
// that of the keys and values.
func (m *HIM) Backward(x, kv *Tensor, at int, dy, dkv *Tensor) *Tensor {
	expect(slices.Equal(dy.shape, x.shape) && dy.parts == 1, "him", "dy", fmt.Sprint(x.shape), dy)
	expect(dkv == nil || slices.Equal(dkv.shape, kv.shape) && dkv.parts == kv.parts, "him", "dkv", fmt.Sprintf("%v in %d parts", kv.shape, kv.parts), dkv)
	d, n, dim := x.d, x.shape[0], x.Channels()
	f := m.fold(x, kv, at)
	defer f.release()
	// The gradients of scores and outs: what the pixels of each image sum to.
	dtable, dconstants, douts := New(d, n, x.width(), f.all), New(d, n, f.all), New(d, n, f.all, x.width())
	dx := newWhole(d, 1, x.shape...)
	cost := bandCost{widths: []int{x.width(), f.all}, scratch: x.width() + 2*f.all, work: f.work()}
	eachBand(x, cost, func(b band) {
		xb, dyb, dxb := x.rowsOf(b, 0), dy.rowsOf(b, 0), dx.target(b)
		normal, attention, dscores := New(d, xb.shape...), New(d, withChannels(xb, f.all)...), New(d, withChannels(xb, f.all)...)
		gv, g0 := dyb.view()
		f.eachPixel("backward", b, xb, dxb, g0, gv, normal.whole(), attention.whole(), dscores.whole())
		dtable.addSums(b, outer(normal, dscores, b.images))
		dconstants.addSums(b, columnSums(dscores, b.images))
		douts.addSums(b, outer(attention, dyb, b.images))
		for _, t := range []*Tensor{xb, dyb, normal, attention, dscores} {
			t.Release()
		}
		dx.commit(b, dxb)
	})

	dgamma, dbeta := m.Gamma.gradient(d, dim), m.Beta.gradient(d, dim)
	f.run("unfold", [3]int{dim, 1, 1}, kv.whole(), dconstants.whole(), m.Gamma.whole(), f.optional(m.Beta), m.Query.whole(),
		dgamma.whole(), dbeta.whole(), dtable.whole())
	dquery, dqbias, dproj, dprojbias := m.Query.gradient(d, dim*dim), m.QBias.gradient(d, dim), m.Proj.gradient(d, dim*dim), m.ProjBias.gradient(d, dim)
	f.run("weights", spread(ceilDiv(dim*dim, 64)), kv.whole(), dconstants.whole(), dtable.whole(), douts.whole(),
		dquery.whole(), dqbias.whole(), dproj.whole(), dprojbias.whole())
	if dkv != nil {
		f.run("tokens", spread(ceilDiv(kv.rows()*dim, 64)), f.optional(m.QBias), dconstants.whole(), dtable.whole(), douts.whole(),
			m.Query.whole(), m.Proj.whole(), dkv.whole())
	}
	for _, t := range []*Tensor{dtable, dconstants, douts, dgamma, dbeta, dquery, dqbias, dproj, dprojbias} {
		t.Release()
	}
	return dx
}

// gradient returns where p's gradient is added: n values that nobody reads, if
// p is missing or frozen. Release it.
func (p *Parameter) gradient(d *Device, n int) *Tensor {
	if p == nil || p.Grad == nil {
		return New(d, n)
	}
	return p.Grad.Share()
}

// addSums adds the sums of a band's pixels to those of their images in t; the
// bands of an image come from the top down.
func (t *Tensor) addSums(b band, sums *Tensor) {
	if b.y0 > 0 {
		sums = Accumulate(t.Image(b.image), sums)
	}
	t.d.Copy(t.mem.buffer, t.offset+int64(b.image)*t.bytes()/int64(t.shape[0]), sums.mem.buffer, sums.offset, sums.bytes())
	sums.Release()
}

// foldedHIM is a HIM made ready for images x and their keys and values.
type foldedHIM struct {
	*HIM
	x, kv        *Tensor
	at           int
	all          int     // tokens of all heads, each head's padded to a multiple of 4
	scores, outs *Tensor // see him.wgsl
}

func (m *HIM) fold(x, kv *Tensor, at int) *foldedHIM {
	if len(kv.shape) != 3 || kv.shape[0] != x.shape[0] {
		panic(&ShapeError{"him", "kv", fmt.Sprintf("[%d, tokens, ...]", x.shape[0]), kv.shape})
	}
	f := &foldedHIM{HIM: m, x: x, kv: kv, at: at, all: m.Heads * pad4(kv.shape[1])}
	f.scores = New(x.d, x.shape[0], x.width()+2, f.all)
	f.outs = New(x.d, x.shape[0], f.all, x.width())
	f.run("fold", [3]int{m.Heads, x.shape[0], 1}, kv.whole(), f.optional(m.QBias), m.Gamma.whole(), f.optional(m.Beta),
		m.Query.whole(), m.Proj.whole(), f.scores.whole(), f.outs.whole())
	return f
}

// work is that of a pixel, in floating-point operations.
func (f *foldedHIM) work() int { return 4 * f.x.width() * f.all }

func (f *foldedHIM) release() {
	f.scores.Release()
	f.outs.Release()
}

// optional binds a parameter that need not be there.
func (f *foldedHIM) optional(p *Parameter) wgpu.View {
	if p == nil {
		return f.Query.whole()
	}
	return p.whole()
}

// run dispatches an entry point for the small matrices, of all images.
func (f *foldedHIM) run(entry string, groups [3]int, all ...wgpu.View) {
	himShader.run(f.x.d, entry, f.constants(), f.params(), call{
		views: all, groups: groups, work: 4 * float64(f.kv.rows()) * float64(f.x.Channels()*f.x.Channels()),
	})
}

// eachPixel dispatches an entry point for the pixels of a band: x in, y out,
// and what it binds between them, dy at an offset of dy0 vec4.
func (f *foldedHIM) eachPixel(entry string, b band, x, y *Tensor, dy0 int, more ...wgpu.View) {
	xv, x0 := x.view()
	yv, y0 := y.view()
	all := append(append(views(xv, f.scores.whole(), f.outs.whole()), more...), yv)
	pixels := (b.y1 - b.y0) * x.shape[2]
	groups := ceilDiv(pixels, 64)
	p := f.params()
	p.Pixels, p.Image, p.X0, p.Dy0, p.Y0 = pixels, b.image, x0, dy0, y0
	himShader.run(x.d, entry, f.constants(), p, call{
		views:  all,
		groups: [3]int{min(groups, 65535), ceilDiv(groups, 65535), b.images},
		work:   float64(b.images*pixels) * float64(f.work()),
	})
}

func (f *foldedHIM) constants() himConstants {
	return himConstants{f.Norm, f.all / 4, f.all / f.Heads / 4, f.QBias != nil, f.Beta != nil}
}

// params are those that all entry points need.
func (f *foldedHIM) params() himParams {
	dim := f.x.Channels()
	c := dim / f.Heads
	return himParams{
		C4: f.x.width() / 4, Channels: dim, Heads: f.Heads, C: c, Cp: pad4(c), Tokens: f.kv.shape[1], Images: f.x.shape[0],
		KvAt: f.at, KvRow: f.kv.width(), Eps: LayerNormEps,
	}
}
