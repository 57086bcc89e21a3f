package tensor

import (
	"fmt"

	"hidiff/shaders"
	"hidiff/wgpu"
)

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
	d := x.d
	if len(kv.shape) != 3 || kv.shape[0] != x.shape[0] {
		panic(&ShapeError{"him", "kv", fmt.Sprintf("[%d, tokens, ...]", x.shape[0]), kv.shape})
	}
	n, tokens, dim := x.shape[0], kv.shape[1], x.Channels()
	c := dim / m.Heads
	perHead := pad4(tokens)
	scores := New(d, n, x.width()+2, m.Heads*perHead)
	outs := New(d, n, m.Heads*perHead, x.width())
	optional := func(p *Parameter) wgpu.View {
		if p == nil {
			return m.Query.whole()
		}
		return p.whole()
	}
	constants := func(extra shaders.Constants) shaders.Constants {
		c := shaders.Constants{"TOKENS4": m.Heads * perHead / 4, "PER_HEAD4": perHead / 4}
		for k, v := range extra {
			c[k] = v
		}
		return c
	}
	params := func(pixels, image, x0, y0 int) []any {
		return []any{pixels, x.width() / 4, dim, m.Heads, c, pad4(c), tokens, image, x0, y0, at, kv.width(), float32(LayerNormEps)}
	}
	d.run(call{
		kernel: d.kernel("him", "fold", constants(shaders.Constants{"Q_BIAS": m.QBias != nil, "BETA": m.Beta != nil})),
		params: params(0, 0, 0, 0),
		views: []wgpu.View{kv.whole(), m.Query.whole(), optional(m.QBias), optional(m.Gamma), optional(m.Beta), m.Proj.whole(),
			scores.whole(), outs.whole()},
		groups: [3]int{m.Heads, n, 1},
		work:   4 * float64(n*tokens) * float64(dim*dim),
	})
	y := newWhole(d, 1, x.shape...)
	apply := d.kernel("him", "apply", constants(shaders.Constants{"NORM": int(m.Norm)}))
	eachBand(x, bandCost{widths: []int{x.width(), x.width()}}, func(b band) {
		xb, yb := x.rowsOf(b, 0), y.target(b)
		xv, x0 := xb.view()
		yv, y0 := yb.view()
		pixels := (b.y1 - b.y0) * x.shape[2]
		groups := ceilDiv(pixels, 64)
		d.run(call{
			kernel: apply, params: params(pixels, b.image, x0, y0),
			views:  []wgpu.View{xv, scores.whole(), outs.whole(), m.ProjBias.whole(), yv},
			groups: [3]int{min(groups, 65535), ceilDiv(groups, 65535), b.images},
			work:   4 * float64(b.images*pixels) * float64(x.width()*m.Heads*perHead),
		})
		xb.Release()
		y.commit(b, yb)
	})
	scores.Release()
	outs.Release()
	return y
}
