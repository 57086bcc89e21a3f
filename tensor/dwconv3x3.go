package tensor

import (
	"fmt"
	"slices"

	"hidiff/wgpu"
)

var dwconv3x3Shader = newShader[dwconv3x3Params, none]("dwconv3x3")

type dwconv3x3Params struct {
	Width, C4, Rows, InRows, Above, X0, Y0, Z0, Tiles, Step, Part, Padded, First, Count int
}

// stripsShader has the kernels of [Depthwise.launch] for eight lanes.
var stripsShader = newShader[stripsParams, none]("dwconv3x3_strips")

type stripsParams struct {
	Width, C4, Rows, InRows, Above, X0, Y0, Z0, Strips, Taps int
}

// stripRows is the shader's STRIP.
const stripRows = 16

// Apply convolves each channel of images x [N, H, W, C] by itself, with zero
// padding 1. PyTorch: F.conv2d(x, w, b, padding=1, groups=C).
func (w *Depthwise) Apply(x *Tensor) *Tensor {
	y := newWhole(x.d, x.parts, x.shape...)
	eachBand(x, bandCost{widths: []int{x.width(), x.width()}, halo: 1}, func(b band) {
		xb, yb := x.rowsOf(b, 1), y.target(b)
		w.convolve(xb, yb, b, "plain")
		xb.Release()
		y.commit(b, yb)
	})
	return y
}

// Backward returns the gradient of x for that of Apply(x), and adds to those
// of the weight and the bias.
func (w *Depthwise) Backward(x, dy *Tensor) *Tensor {
	expect(slices.Equal(dy.shape, x.shape) && dy.parts == x.parts, "dwconv3x3", "dy", fmt.Sprintf("%v in %d parts", x.shape, x.parts), dy)
	dx := newParts(x.d, x.parts, x.shape...)
	eachBand(x, bandCost{widths: []int{x.width(), x.width(), x.width()}, halo: 1}, func(b band) {
		xb, dyb, dxb := x.rowsOf(b, 0), dy.rowsOf(b, 1), dx.target(b)
		w.backward(xb, dyb, dxb, b)
		xb.Release()
		dyb.Release()
		dx.commit(b, dxb)
	})
	return dx
}

// convolve runs a forward entry point of dwconv3x3.wgsl on a band; x holds the
// rows around it too.
func (w *Depthwise) convolve(x, y *Tensor, b band, entry string) {
	yv, y0 := y.view()
	w.launch(entry, w.taps, x, b, y0, 0, yv)
}

// gateBackward returns gelu(u1)*u2 and the gradient of u for that of the gate's
// output, dy, where u is the convolution of x: the band and a row around it.
func (w *Depthwise) gateBackward(x, dy *Tensor, b band) (gated, du *Tensor) {
	gated = New(x.d, dy.shape...)
	du = newParts(x.d, 2, withChannels(dy, w.channels)...)
	dyv, dy0 := dy.view()
	w.launch("gate_back", w.taps, x, b, 0, dy0, dyv, gated.whole(), du.whole())
	return gated, du
}

// launch lets an invocation compute four pixels of the band. x holds the rows
// around it too; more are bound behind x and the taps.
func (w *Depthwise) launch(entry string, taps, x *Tensor, b band, y0, z0 int, more ...wgpu.View) {
	w.expect(x)
	columns := x.shape[2]
	xv, x0 := x.view()
	top, _ := b.halo(1)
	each := b.y1 - b.y0
	rows := b.images * each
	lanes := x.width() / 4
	if entry != "plain" {
		lanes /= 2 // two halves each
	}
	c := call{views: append(views(xv, taps.whole()), more...), work: 18 * float64(rows*columns) * float64(x.width())}
	if x.d.eightLanes() {
		strips := b.images * ceilDiv(each, stripRows) * ceilDiv(columns, 4)
		c.groups = spread(ceilDiv(strips*lanes, 64))
		stripsShader.run(x.d, entry, none{}, stripsParams{
			Width: columns, C4: x.width() / 4, Rows: each, InRows: x.shape[1], Above: top, X0: x0, Y0: y0, Z0: z0, Strips: strips, Taps: 9,
		}, c)
		return
	}
	// Rows fold into a second axis where one cannot hold all workgroups.
	perRow := ceilDiv(columns, 4) * lanes
	step := min(rows, max(1, 65535*64/perRow))
	c.groups = [3]int{ceilDiv(perRow*step, 64), ceilDiv(rows, step), 1}
	dwconv3x3Shader.run(x.d, entry, none{}, dwconv3x3Params{
		Width: columns, C4: x.width() / 4, Rows: each, InRows: x.shape[1], Above: top, X0: x0, Y0: y0, Z0: z0, Tiles: rows, Step: step,
	}, c)
}

func (w *Depthwise) expect(x *Tensor) {
	expect(x.Channels() == w.channels && x.parts == w.parts, "dwconv3x3", "x", fmt.Sprintf("[N, H, W, %d] in %d parts", w.channels, w.parts), x)
}

// The gradient's kernel takes tiles of two rows by tileRun pixels. Chunks of
// tiles are summed by themselves: enough workgroups to keep a GPU busy, few
// enough partial sums to add up fast.
const (
	tileRun        = 32
	backWorkgroups = 2048
)

// backward computes dx and adds to the gradients of taps and bias what a band
// contributes. dy holds the band and a row around it, x and dx the band's rows.
func (w *Depthwise) backward(x, dy, dx *Tensor, b band) {
	w.expect(dy)
	dxv, dx0 := dx.view()
	if frozen(w.weight, w.bias) {
		w.launch("plain", w.transpose(), dy, b, dx0, 0, dxv)
		return
	}
	d, c4, columns := x.d, x.width()/4, x.shape[2]
	xv, x0 := x.view()
	dyv, dy0 := dy.view()
	top, _ := b.halo(1)
	each := b.y1 - b.y0
	tiles := b.images * ceilDiv(each, 2) * ceilDiv(columns, tileRun)
	across := ceilDiv(c4, 16)
	step := max(4, ceilDiv(tiles, ceilDiv(backWorkgroups, across)))
	chunks := ceilDiv(tiles, step)
	partials := New(d, chunks, 10, 4*c4)
	dwconv3x3Shader.run(d, "back", none{}, dwconv3x3Params{
		Width: columns, C4: c4, Rows: each, InRows: dy.shape[1], Above: top, X0: dy0, Y0: dx0, Z0: x0, Tiles: tiles, Step: step,
	}, call{
		views:  views(dyv, w.transpose().whole(), xv, dxv, partials.whole()),
		groups: [3]int{across, chunks, 1},
		work:   36 * float64(x.rows()) * float64(x.width()),
	})
	collect := func(p *Parameter, first, count int) {
		if frozen(p) {
			return
		}
		part := w.channels / w.parts
		dwconv3x3Shader.run(d, "collect", none{}, dwconv3x3Params{
			C4: c4, Tiles: chunks, Part: part, Padded: pad4(part), First: first, Count: count,
		}, call{
			views:  views(partials.whole(), p.Grad.whole()),
			groups: [3]int{across, count, 1},
			work:   float64(chunks * count * 4 * c4),
		})
	}
	collect(w.weight, 0, 9)
	collect(w.bias, 9, 1)
	partials.Release()
}

// frozen says whether none of the parameters, which may be nil, is trained.
func frozen(ps ...*Parameter) bool {
	return !slices.ContainsFunc(ps, func(p *Parameter) bool { return p != nil && p.Grad != nil })
}

// grow returns the band with up to halo rows on either side.
func (b band) grow(halo int) band {
	top, bottom := b.halo(halo)
	b.y0, b.y1 = b.y0-top, b.y1+bottom
	return b
}

// within views the rows of a band in t, which holds those of a larger one.
func (t *Tensor) within(b, all band) *Tensor {
	return t.slice(band{images: b.images}, b.y0-all.y0, b.y1-all.y0)
}
