package tensor

import "hidiff/wgpu"

var linearRowsShader = newShader[linearRowsParams, linearRowsConstants]("linear_rows")

type linearRowsParams struct {
	Rows, K, K4, X0, Xs, R0, Rs, Y0, Ys, W0, Ws, E0, Es, Sums0 int
	Panel, Panels, Share, Shares, Part, FromK4, ToK4           int
	Carry, Finish                                              bool
	Act, Post                                                  actKind
	Add                                                        residualKind
	Slope, Eps, Recip, Recipm1, Coef1, Coef2                   float32
	Height, Width, OutRow, InRow                               int
	Parts, AllParts, PartW, Channels                           int
}

type linearRowsConstants struct {
	Norm        Norm
	Depth, Rows int
	Store       ConvStore
}

// eightLanes says whether kernels made for software Vulkan with subgroups of
// eight serve.
func (d *Device) eightLanes() bool {
	return d.Features().Lanes == 8 && d.Limits().UniformBinding >= window && (d.execute.Variant == "" || d.execute.Variant == "rows")
}

// mostDepth is the largest part of k: more code, more compile time, and no faster.
// Four rows serve up to fourRows, which a convolution needs.
const (
	mostDepth = 96
	fourRows  = 72
)

// partDepth is the number of inputs that linear_rows.wgsl takes at a time of k,
// or 0 where it does not serve. Inputs are loaded once for every window, sums
// once for every part: it takes the fewest loads, padding included.
func (d *Device) partDepth(k, n, most int) (depth int) {
	if !d.eightLanes() {
		return 0
	}
	least := 0
	for each := most; each > 0; each -= 8 {
		parts := ceilDiv(k, each)
		loads := parts * (each*ceilDiv(n/4, d.windowPanels(each)) + 2*n)
		if depth == 0 || loads < least {
			depth, least = each, loads
		}
	}
	return depth
}

// windowPanels is how many panels of four outputs a window surely holds.
func (d *Device) windowPanels(depth int) int {
	return (window - int(d.Limits().Alignment)) / (16 * depth)
}

// multiplyRows is multiply for linear_rows.wgsl.
func (l *Linear) multiplyRows(x, y *Tensor, f Fused, add residualKind, step Reverse, image, images, rows int) {
	d := x.d
	parts, panels := ceilDiv(l.k, l.depth), l.panelCount()*4 // of four outputs
	partBytes := int64(panels*l.depth) * 16
	c := linearRowsConstants{Norm: l.norm, Depth: l.depth, Rows: 4}
	if l.depth > fourRows {
		c.Rows = 3
	}
	p := linearRowsParams{
		Rows: rows, K: l.in, K4: l.k / 4, Xs: x.width() / 4, Ys: y.width() / 4, Sums0: l.n,
		Act: f.Act.kind, Post: f.Post.kind, Add: add, Slope: f.Act.slope + f.Post.slope, Eps: LayerNormEps,
		Recip: step.Recip, Recipm1: step.Recipm1, Coef1: step.Coef1, Coef2: step.Coef2,
	}
	xv, x0 := x.view()
	yv, y0 := y.view()
	rv, r0 := wgpu.Whole(l.epilogue.buffer), 0
	p.X0, p.Y0 = x0, y0
	carry := false
	if f.Residual != nil {
		residual := f.Residual
		if add == residualInPlace {
			if carry = f.Act.kind == actNone && l.norm == NoNorm; carry {
				p.Add = residualNone // sums go on from it
			} else {
				residual = residual.Clone()
				defer residual.Release()
				p.Add = residualAdded
			}
		}
		if !carry {
			rv, r0 = residual.view()
			p.R0, p.Rs = r0, residual.width()/4
		}
	}
	// A dispatch takes as many outputs as a window holds, or as many images where it holds all of theirs.
	each := min(panels, d.windowPanels(l.depth))
	together := 1
	if images > 1 && parts == 1 {
		if t := int((window - d.Limits().Alignment) / l.weightBytes()); t > 0 {
			together = min(t, images)
		}
	}
	stored := l.n / 4
	bytes := float64(x.bytes()+y.bytes()) + float64(images)*float64(l.weightBytes())
	if f.Residual != nil {
		bytes += float64(y.bytes())
	}
	for i := 0; i < images; i += together {
		p.Ws, p.Es = int(l.weightBytes()/16), 2*l.n
		for first := 0; first < stored; first += each {
			for part := range parts {
				at := int64(image+i)*l.weightBytes() + int64(part)*partBytes + int64(first*l.depth)*16
				start := at / d.Limits().Alignment * d.Limits().Alignment
				q := p
				q.X0 += i * rows * q.Xs
				q.Y0 += i * rows * q.Ys
				q.R0 += i * rows * q.Rs
				q.W0 = int(at-start) / 16
				q.E0 = (image + i) * 2 * l.n
				q.Panel, q.Panels = first, min(each, stored-first)
				q.Part = part * l.depth / 4
				q.FromK4, q.ToK4 = q.Part, q.Part+l.depth/4
				q.Carry = carry || part > 0
				q.Finish = part == parts-1
				if q.Finish && l.norm != NoNorm {
					q.FromK4 = 0
				}
				z := min(together, images-i)
				tiles := ceilDiv(rows, 8*c.Rows)
				q.Share = ceilDiv(q.Panels, min(q.Panels, ceilDiv(fewTiles, tiles*z)))
				q.Shares = ceilDiv(q.Panels, q.Share)
				groups := spread(tiles * q.Shares)
				groups[2] = z
				work := 2 * float64(z*rows) * float64(min(l.depth, l.k-part*l.depth)*4*q.Panels)
				linearRowsShader.run(d, "rows", c, q, call{
					views:  views(xv, wgpu.Whole(l.epilogue.buffer), rv, wgpu.View{Buffer: l.panels.buffer, Offset: start, Size: window}, yv),
					groups: groups,
					work:   work,
					bytes:  bytes * work / (float64(images*rows) * float64(l.work())), // its share
				})
			}
		}
	}
}

// fewTiles is the number of workgroups up to which they share rows: enough for
// the threads of a CPU.
const fewTiles = 16

// convolveRows is convolve for linear_rows.wgsl.
func (l *Linear) convolveRows(x, y *Tensor, b band, c Conv) {
	d := x.d
	xv, x0 := x.view()
	yv, y0 := y.view()
	w := x.shape[2]
	pixels := b.images * (b.y1 - b.y0) * w
	top, _ := b.halo(1)
	first := b.image*b.height + b.y0
	parts, panels, stored := ceilDiv(l.k, l.depth), l.panelCount()*4, l.n/4
	p := linearRowsParams{
		Rows: pixels, X0: x0, Xs: x.width() / 4, Y0: y0, Ys: y.width() / 4, Sums0: l.n, ToK4: l.depth / 4,
		Act: c.Act.kind, Slope: c.Act.slope, Height: b.height, Width: w, OutRow: first, InRow: first - top,
		AllParts: parts, PartW: panels * l.depth, Channels: l.out,
	}
	if c.Store == Shuffled {
		p.Channels = l.n / 4
	}
	rv := wgpu.Whole(l.epilogue.buffer)
	bytes := float64(x.bytes() + y.bytes() + l.weightBytes())
	if c.Residual != nil {
		rv, p.R0 = c.Residual.view()
		p.Add = residualAdded
		bytes += float64(y.bytes())
	}
	// A dispatch takes as many parts as a window holds, or as many outputs of one.
	room := d.windowPanels(l.depth)
	together, each := max(1, room/panels), min(stored, room)
	for part := 0; part < parts; part += together {
		p.Part, p.Parts = part, min(together, parts-part)
		for p.Panel = 0; p.Panel < stored; p.Panel += each {
			p.Panels = min(each, stored-p.Panel)
			at := int64(part*p.PartW+p.Panel*l.depth) * 16
			start := at / d.Limits().Alignment * d.Limits().Alignment
			p.W0 = int(at-start) / 16
			tiles := ceilDiv(pixels, 8*4)
			p.Share = ceilDiv(p.Panels, min(p.Panels, ceilDiv(fewTiles, tiles)))
			p.Shares = ceilDiv(p.Panels, p.Share)
			work := 2 * float64(pixels) * float64(min(p.Parts*l.depth, l.k-part*l.depth)*4*p.Panels)
			linearRowsShader.run(d, "conv", linearRowsConstants{Depth: l.depth, Rows: 4, Store: c.Store}, p, call{
				views:  views(xv, wgpu.Whole(l.epilogue.buffer), rv, wgpu.View{Buffer: l.panels.buffer, Offset: start, Size: window}, yv),
				groups: spread(tiles * p.Shares),
				work:   work,
				bytes:  bytes * work / (float64(pixels) * float64(l.work())), // its share
			})
		}
	}
}
