package tensor

import (
	"fmt"

	"hidiff/wgpu"
)

var conv3x3Shader = newShader[conv3x3Params, conv3x3Constants]("conv3x3")

type conv3x3Params struct {
	Height, Width, OutRow, Rows, InRow, C4, X0, N, Y0, Ys, R0, Channels int
	Act                                                                 actKind
	Add                                                                 bool
	Slope                                                               float32
}

type conv3x3Constants struct{ Store ConvStore }

// ConvStore says how a 3x3 convolution stores its result.
type ConvStore uint32

// The ways to store.
const (
	Plain      ConvStore = iota
	Shuffled             // through a pixel shuffle by 2 (the Linear has Shuffle 2)
	Unshuffled           // through a pixel unshuffle by 2
)

// Conv is what surrounds a 3x3 convolution.
type Conv struct {
	Act      Activation
	Residual *Tensor   // added at the end, Plain only
	Store    ConvStore // Plain, Shuffled or Unshuffled
}

// Conv3x3 convolves images x [N, H, W, In] with zero padding 1 and returns
// [N, H, W, Out], [N, 2H, 2W, Out/4] if Shuffled, or [N, H/2, W/2, 4 Out] if
// Unshuffled. The map must have been packed with LinearSpec.Conv.
// PyTorch: F.conv2d(x, w, b, padding=1), then F.pixel_shuffle or
// F.pixel_unshuffle.
func (l *Linear) Conv3x3(x *Tensor, c Conv) *Tensor {
	if x.Channels() != l.in || x.parts != l.inParts || len(x.shape) != 4 || l.k != 9*x.width() {
		panic(&ShapeError{"conv3x3", "x", fmt.Sprintf("[N, H, W, %d]", l.in), x.shape})
	}
	n, h, w := x.geometry()
	shape, cost := []int{n, h, w, l.out}, bandCost{widths: []int{x.width()}, halo: 1, work: l.work()}
	switch c.Store {
	case Shuffled:
		shape = []int{n, 2 * h, 2 * w, l.out / 4}
		cost.widths = append(cost.widths, l.n)
	case Unshuffled:
		if h%2+w%2 > 0 {
			panic(&ShapeError{"conv3x3", "x", "even height and width", x.shape})
		}
		shape = []int{n, h / 2, w / 2, 4 * l.out}
		cost.widths, cost.step = append(cost.widths, l.out), 2
	default:
		cost.widths = append(cost.widths, l.n)
	}
	if (c.Store == Shuffled) != (l.shuffle == 2) {
		panic(&ShapeError{"conv3x3", "shuffle", "the Linear packed for it", []int{l.shuffle}})
	}
	y := newWhole(x.d, 1, shape...)
	eachBand(x, cost, func(b band) {
		yb := b.scaled(shape[1], h)
		xs, ys := x.rowsOf(b, 1), y.target(yb)
		cb := c
		if c.Residual != nil {
			cb.Residual = c.Residual.rowsOf(yb, 0)
			defer cb.Residual.Release()
		}
		l.convolve(xs, ys, b, cb)
		xs.Release()
		y.commit(yb, ys)
	})
	return y
}

// Conv3x3Backward returns the gradients of x, if it is wanted, and of
// c.Residual, if there is one, for y = l.Conv3x3(x, c) under dy, and adds those
// of the parameters. What the activation needs is computed anew from x.
func (l *Linear) Conv3x3Backward(x *Tensor, c Conv, dy *Tensor, wanted bool) (dx, dresidual *Tensor) {
	if c.Residual != nil {
		dresidual = dy.Share()
	}
	ds := dy.Share()
	if c.Act.kind != actNone {
		h := l.Conv3x3(x, Conv{Store: c.Store})
		ds.Release()
		ds = ActivateBackward(h, dy, c.Act)
		h.Release()
	}
	switch packed := ds; c.Store {
	case Shuffled:
		ds = PixelUnshuffle(2, packed)
		packed.Release()
	case Unshuffled:
		ds = PixelShuffle(packed, 2)
		packed.Release()
	}
	defer ds.Release()
	eachBand(x, bandCost{widths: []int{x.width(), ds.width()}, halo: 1, work: l.work()}, func(b band) {
		xb, db := x.rowsOf(b, 1), ds.rowsOf(b, 0)
		l.specs[0].accumulate(xb, db, b)
		xb.Release()
		db.Release()
	})
	if wanted {
		dx = l.transpose(0).Conv3x3(ds, Conv{})
	}
	return dx, dresidual
}

// scaled is the band of an image that is higher or lower by to/from.
func (b band) scaled(to, from int) band {
	return band{b.image, b.images, b.y0 * to / from, b.y1 * to / from, to}
}

func (l *Linear) convolve(x, y *Tensor, b band, c Conv) {
	if l.depth > 0 {
		l.convolveRows(x, y, b, c)
		return
	}
	xv, x0 := x.view()
	yv, y0 := y.view()
	rv, r0 := wgpu.Whole(l.epilogue.buffer), 0
	if c.Residual != nil {
		rv, r0 = c.Residual.view()
	}
	w := x.shape[2]
	rows := b.images * (b.y1 - b.y0)
	top, _ := b.halo(1)
	first := b.image*b.height + b.y0
	conv3x3Shader.run(x.d, "conv", conv3x3Constants{c.Store}, conv3x3Params{
		Height: b.height, Width: w, OutRow: first, Rows: rows, InRow: first - top, C4: x.width() / 4, X0: x0,
		N: l.n, Y0: 4 * y0, Ys: y.width(), R0: 4 * r0, Channels: l.out, Act: c.Act.kind, Add: c.Residual != nil, Slope: c.Act.slope,
	}, call{
		views:  []wgpu.View{xv, {Buffer: l.panels.buffer, Size: l.weightBytes()}, wgpu.Whole(l.epilogue.buffer), rv, yv},
		groups: [3]int{ceilDiv(rows*ceilDiv(w, 4), 64), l.panelCount(), 1},
		work:   float64(rows*w) * float64(l.work()),
	})
}
