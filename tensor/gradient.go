package tensor

import "fmt"

var gradientShader = newShader[gradientParams, gradientConstants]("gradient")

type gradientParams struct {
	Rows, Width, Lines, Splits, Chunks, N4, K4, A0, B0, Height, First, Above int
	Count, Size, Sections, In0, Row, OutPart, OutPad, InPart, InPad, InAll   int
}

type gradientConstants struct{ Taps int }

// lanesShader has the kernel of [rowSums.products] for eight lanes.
var lanesShader = newShader[lanesParams, lanesConstants]("gradient_lanes")

type lanesParams struct {
	Rows, Width, Lines, Splits, Chunks, N, K, A0, B0, Height, First, Above int
	Taps                                                                   int
	Add                                                                    bool
	In0, Row, OutPart, OutPad, InPart, InPad, Right                        int
}

type lanesConstants struct{ Left, Right int }

// accumulate adds to the gradients of s.Weight and s.Bias those of the rows of
// a band: x is what the weight multiplies, LayerNorm and modulation applied,
// and for a convolution the band with its halo, as convolve takes it; dy is
// the gradient of the band's outputs, in s.OutParts (a convolution's before
// any pixel shuffle, in one part). Frozen parameters cost nothing.
func (s LinearSpec) accumulate(x, dy *Tensor, b band) {
	expect(x.Channels() == s.In && x.parts == max(s.InParts, 1), "linear", "x", fmt.Sprintf("[..., %d] in %d parts", s.In, max(s.InParts, 1)), x)
	expect(dy.Channels() == s.Out && dy.parts == max(s.OutParts, 1), "linear", "dy", fmt.Sprintf("[..., %d] in %d parts", s.Out, max(s.OutParts, 1)), dy)
	r := rowSums{runs: 1, rows: dy.rows(), width: shortestChunk}
	if s.Conv {
		top, bottom := b.halo(1)
		r.width, r.height, r.first, r.above = x.shape[2], b.height, b.image*b.height+b.y0, top
		expect(x.rows() == dy.rows()+(top+bottom)*r.width, "linear", "x", fmt.Sprintf("the rows of dy %v and %d more", dy.shape, top+bottom), x)
	} else {
		expect(x.rows() == dy.rows(), "linear", "x", fmt.Sprintf("as many rows as dy %v", dy.shape), x)
	}
	taps, row := s.taps(), max(s.Row, s.In)*s.taps()
	if g := s.Weight.Grad; g != nil {
		s.Weight.expect("linear", "weight", s.Out*row)
		if l := r.lanes(dy, x, taps); dy.d.eightLanes() && l.params.Splits == 1 {
			l.add(g, dy, x, s.From, row)
		} else {
			p := r.products(dy, x, taps)
			p.add(g, taps, s.Out, s.In, s.From, row, dy, x)
			p.Release()
		}
	}
	if s.Bias != nil && s.Bias.Grad != nil {
		s.Bias.expect("linear", "bias", s.Out)
		p := r.columns(dy)
		p.add(s.Bias.Grad, 1, s.Out, 1, 0, 1, dy, nil)
		p.Release()
	}
}

// outer sums a[r, i]*b[r, j] over the rows r of each of images equal runs of
// rows: [images, a.width, b.width], as stored, the padding's products zero.
func outer(a, b *Tensor, images int) *Tensor {
	expect(a.rows() == b.rows() && a.rows()%images == 0, "outer", "b", fmt.Sprintf("as many rows as a %v, %d equal runs", a.shape, images), b)
	p := rowSums{runs: images, rows: a.rows() / images, width: shortestChunk}.products(a, b, 1)
	return p.total(1, images, a.width(), b.width())
}

// columnSums sums the rows of each of images equal runs of rows:
// [images, a.width] in a's parts.
func columnSums(a *Tensor, images int) *Tensor {
	expect(a.rows()%images == 0, "column_sums", "a", fmt.Sprintf("%d equal runs of rows", images), a)
	p := rowSums{runs: images, rows: a.rows() / images, width: shortestChunk}.columns(a)
	return p.total(a.parts, images, a.Channels())
}

// rowSums are sums over rows, one set of them for each run of rows. Lines are
// those of gradient.wgsl.
type rowSums struct {
	runs, rows           int
	width                int // rows of a line
	height, first, above int // of a convolution
}

// shortestChunk is the number of rows from which on a chunk of its own pays. More
// than longestChunk would cost precision, where there are more chunks than the device needs.
const (
	shortestChunk = 64
	longestChunk  = 1024
)

// partialSums are one set of sums for each chunk of each run, and how many
// there are of either.
type partialSums struct {
	*Tensor
	runs, splits int
}

// chunks cuts every run so that work, of which a run's sums need some, comes
// to enough: lines in a chunk, and chunks in a run.
func (r rowSums) chunks(work, enough int) (lines, splits int) {
	all := ceilDiv(r.rows, r.width)
	lines = max(ceilDiv(all, ceilDiv(enough, r.runs*work)), ceilDiv(shortestChunk, r.width))
	return lines, ceilDiv(all, lines)
}

// products sums the products of a's channels with b's: sets of
// [a.width, taps, b.width]. The partial sums take some MiB at most, or one set
// for each run.
func (r rowSums) products(a, b *Tensor, taps int) partialSums {
	d, n4, k4 := a.d, a.width()/4, b.width()/4
	if d.eightLanes() {
		l := r.lanes(a, b, taps)
		p := partialSums{New(d, l.params.Chunks*a.width()*taps, b.width()), r.runs, l.params.Splits}
		l.run(a, b, p.Tensor)
		return p
	}
	entry, tiles, each, enough := "tiled", ceilDiv(n4, 16)*ceilDiv(taps*k4, 16), 1, 512
	if forced := d.execute.Variant; forced != "tiled" && (forced != "" || d.Adapter().Software) {
		entry, tiles, each, enough = "direct", ceilDiv(n4, 4)*taps*ceilDiv(k4, 4), 64, 2048
	}
	lines, splits := r.chunks(tiles, enough)
	p := partialSums{New(d, r.runs*splits*a.width()*taps, b.width()), r.runs, splits}
	av, a0 := a.view()
	bv, b0 := b.view()
	gradientShader.run(d, entry, gradientConstants{taps}, gradientParams{
		Rows: r.rows, Width: r.width, Lines: lines, Splits: splits, Chunks: r.runs * splits, N4: n4, K4: k4, A0: a0, B0: b0,
		Height: r.height, First: r.first, Above: r.above,
	}, call{
		views:  views(av, bv, p.whole()),
		groups: spread(ceilDiv(r.runs*splits*tiles, each)),
		work:   2 * float64(a.rows()) * float64(a.width()) * float64(taps*b.width()),
	})
	return p
}

// laneSums is how gradient_lanes.wgsl sums.
type laneSums struct {
	constants lanesConstants
	params    lanesParams
	blocks    int // of a chunk
}

// lanes cuts the products of a's channels with b's into blocks.
func (r rowSums) lanes(a, b *Tensor, taps int) laneSums {
	n, k := a.width(), b.width()
	c := lanesConstants{Left: blockOf(n, 64), Right: blockOf(k, 48)}
	blocks := ceilDiv(n, c.Left) * ceilDiv(k, c.Right) * taps
	lines, splits := r.chunks(blocks, max(fewTiles, blocks*ceilDiv(r.rows, longestChunk)))
	return laneSums{c, lanesParams{
		Rows: r.rows, Width: r.width, Lines: lines, Splits: splits, Chunks: r.runs * splits, N: n, K: k, Right: c.Right / 8, OutPad: n, InPad: k,
		Height: r.height, First: r.first, Above: r.above, Taps: taps,
	}, blocks}
}

// blockOf is how many of a tensor's channels a block takes, at most most: those
// that take least time, with the channels that fill the last block and loads.
func blockOf(channels, most int) int {
	best := most
	for block := most; block > 0; block -= 16 {
		if ceilDiv(channels, block)*(block+16) < ceilDiv(channels, best)*(best+16) {
			best = block
		}
	}
	return best
}

// add adds the sums to columns of a gradient from in0 on.
func (l laneSums) add(g, a, b *Tensor, in0, row int) {
	l.params.Add = true
	l.params.In0, l.params.Row = in0, row
	l.params.OutPart, l.params.OutPad = a.Channels()/a.parts, a.width()/a.parts
	l.params.InPart, l.params.InPad = b.Channels()/b.parts, b.width()/b.parts
	l.run(a, b, g)
}

func (l laneSums) run(a, b, y *Tensor) {
	av, a0 := a.view()
	bv, b0 := b.view()
	l.params.A0, l.params.B0 = a0, b0
	lanesShader.run(a.d, "products", l.constants, l.params, call{
		views:  views(av, bv, y.whole()),
		groups: spread(l.params.Chunks * l.blocks),
		work:   2 * float64(a.rows()) * float64(a.width()) * float64(l.params.Taps*b.width()),
	})
}

// columns sums a's channels.
func (r rowSums) columns(a *Tensor) partialSums {
	d, n4 := a.d, a.width()/4
	lines, splits := r.chunks(n4, 8192)
	p := partialSums{newParts(d, a.parts, r.runs*splits, a.Channels()), r.runs, splits}
	av, a0 := a.view()
	gradientShader.run(d, "columns", gradientConstants{}, gradientParams{
		Rows: r.rows, Width: r.width, Lines: lines, Splits: splits, Chunks: r.runs * splits, N4: n4, A0: a0,
	}, call{
		views:  views(av, p.whole()),
		groups: spread(ceilDiv(r.runs*splits*n4, 64)),
		work:   float64(a.rows()) * float64(a.width()),
	})
	return p
}

// size is the number of sums in a set, as stored.
func (p partialSums) size() int { return p.rows() * p.width() / (p.runs * p.splits) }

// total adds up the splits and consumes them.
func (p partialSums) total(parts int, shape ...int) *Tensor {
	defer p.Release()
	if p.splits == 1 {
		return p.Reshape(shape...)
	}
	y := newParts(p.d, parts, shape...)
	p.finish("total", 1, 1, y, gradientParams{Count: p.runs * p.size()})
	return y
}

// add adds the sums of one run to a gradient [out, ..., taps], inputs values of
// every row from in0 on. The channels of dy and x say how the sums are stored;
// for column sums x is nil, and the gradient is one row.
func (p partialSums) add(g *Tensor, taps, out, inputs, in0, row int, dy, x *Tensor) {
	each := dy.Channels() / dy.parts
	if x == nil {
		p.finish("add", 1, 1, g, gradientParams{Count: out, In0: in0, Row: row, OutPart: 1, OutPad: 1, InPart: each, InPad: pad4(each), InAll: 1})
		return
	}
	in := x.Channels() / x.parts
	p.finish("add", taps, out, g, gradientParams{
		Count: inputs * taps, In0: in0, Row: row, OutPart: each, OutPad: pad4(each), InPart: in, InPad: pad4(in), InAll: x.width(),
	})
}

// finish runs the second step: to.Count sums for each of rows.
func (p partialSums) finish(entry string, taps, rows int, y *Tensor, to gradientParams) {
	count := to.Count
	sections := 1 // more where there are too few sums to keep a GPU busy
	for sections < min(p.splits, 16) && rows*count*sections < 16384 {
		sections *= 2
	}
	groups := spread(ceilDiv(count*sections, 64))
	if entry == "add" {
		groups = [3]int{ceilDiv(count*sections, 64), rows, 1}
	}
	to.Splits, to.Size, to.Sections = p.splits, p.size(), sections
	gradientShader.run(p.d, entry, gradientConstants{taps}, to, call{
		views:  views(p.whole(), y.whole()),
		groups: groups,
		work:   float64(rows * count * p.splits),
	})
}
