package tensor

import (
	"fmt"

	"hidiff/wgpu"
)

var linearShader = newShader[linearParams, linearConstants]("linear")

type linearParams struct {
	Rows, K4, N4, K, X0, Xs, R0, Rs, Y0, Ys, W0, Ws, E0, Es, PerWindow int
	Act, Post                                                          actKind
	Add                                                                residualKind
	Slope, Eps, Recip, Recipm1, Coef1, Coef2                           float32
}

type linearConstants struct {
	Norm  Norm
	Depth int
}

type residualKind uint32

const (
	residualNone residualKind = iota
	residualAdded
	residualInPlace
	reverseNoise
	reverseStart
)

// Fused says what a linear map or convolution does after the product:
// Post(Act(product + bias) + Residual).
type Fused struct {
	Act, Post Activation
	Residual  *Tensor  // same shape as the output; nil for none
	Into      *Tensor  // write here (a view, the residual itself) instead of a new tensor
	Reverse   *Reverse // instead of adding Residual, take a reverse diffusion step from it
}

// Apply multiplies x [..., In] and returns [..., Out].
// PyTorch: F.linear, and F.conv2d with a 1x1 kernel.
func (l *Linear) Apply(x *Tensor, f Fused) *Tensor {
	y := l.output(x, f)
	eachBand(y, bandCost{widths: []int{x.width(), y.width()}, work: l.work()}, func(b band) {
		xb, yb := x.rowsOf(b, 0), y.target(b)
		fb := f
		if f.Residual != nil {
			fb.Residual = f.residualOf(b, y, yb)
			defer fb.Residual.Release()
		}
		l.multiply(xb, yb, fb, b.image)
		xb.Release()
		y.commit(b, yb)
	})
	return y
}

// residualOf returns the band's rows of the residual: the output itself where
// the two share memory on the device.
func (f Fused) residualOf(b band, y, yb *Tensor) *Tensor {
	if f.Residual.mem == y.mem && y.mem.buffer != nil {
		return yb.Share()
	}
	return f.Residual.rowsOf(b, 0)
}

// Backward returns the gradients of x, if it is wanted, and of f.Residual, if
// there is one, for y = l.Apply(x, f) under dy, and adds those of the
// parameters, and of the modulation if dmodulation is not nil, laid out like
// it. What the activation needs is computed anew from x.
func (l *Linear) Backward(x *Tensor, f Fused, dy, dmodulation *Tensor, wanted bool) (dx, dresidual *Tensor) {
	f.Into = nil
	ds, dresidual := l.beforeActivation(x, f, dy)
	defer ds.Release()
	for i, s := range l.specs {
		di := ds
		if parts := max(s.OutParts, 1); len(l.specs) > 1 || parts != ds.parts {
			di = ds.columns(l.at[i], parts, s.Out)
			defer di.Release()
		}
		next := l.backward(i, x, di, dx, dmodulation, wanted)
		dx.Release()
		dx = next
	}
	return dx, dresidual
}

// beforeActivation returns the gradients of the product with its bias, and of
// the residual.
func (l *Linear) beforeActivation(x *Tensor, f Fused, dy *Tensor) (ds, dresidual *Tensor) {
	if f.Reverse != nil {
		h := l.Apply(x, Fused{})
		defer h.Release()
		return f.Reverse.backward(h, f.Residual, dy, f.Act)
	}
	act, before := f.Act, Fused{}
	if f.Post.kind != actNone {
		act, before.Residual = f.Post, f.Residual
	}
	ds = dy.Share()
	if act.kind != actNone {
		expect(f.Act.kind == actNone || f.Post.kind == actNone, "linear", "dy", "one activation at most", dy)
		h := l.Apply(x, before)
		ds.Release()
		ds = ActivateBackward(h, dy, act)
		h.Release()
	}
	switch {
	case f.Residual == nil:
	case f.Post.kind != actNone:
		dresidual = ds.Share()
	default:
		dresidual = dy.Share()
	}
	return ds, dresidual
}

// backward is Backward for the product with spec i alone, and adds add.
func (l *Linear) backward(i int, x, dy, add, dmodulation *Tensor, wanted bool) (dx *Tensor) {
	if wanted {
		dx = newLike(x, x.parts, x.shape)
	}
	eachBand(x, bandCost{widths: []int{x.width(), dy.width()}, scratch: 3 * x.width(), work: l.work()}, func(b band) {
		xb, dyb := x.rowsOf(b, 0), dy.rowsOf(b, 0)
		var addb, into *Tensor
		if wanted {
			into = dx.target(b)
			if add != nil {
				addb = add.rowsOf(b, 0)
			}
		}
		l.backwardBand(i, xb, dyb, addb, dmodulation, b, into)
		if wanted {
			dx.commit(b, into)
		}
		xb.Release()
		dyb.Release()
		addb.Release()
	})
	return dx
}

// backwardBand adds to the gradients of spec i's parameters, and to dmodulation
// if it is not nil, for the product of a band x under dy, and writes add plus
// the gradient of x to into. add may be nil for zero, into if it is not wanted.
func (l *Linear) backwardBand(i int, x, dy, add, dmodulation *Tensor, b band, into *Tensor) {
	s := l.specs[i]
	n := s.prologue(x, b.image)
	s.accumulate(n, dy, b)
	n.Release()
	switch {
	case s.folds():
		dn := newParts(x.d, x.parts, x.shape...)
		l.transpose(i).multiply(dy, dn, Fused{}, 0)
		if into == nil {
			into = newParts(x.d, x.parts, x.shape...)
			defer into.Release()
		}
		s.differentiate(x, dn, add, dmodulation, into, b.image)
		dn.Release()
	case into != nil:
		l.transpose(i).multiply(dy, into, Fused{Residual: add}, 0)
	}
}

func (l *Linear) output(x *Tensor, f Fused) *Tensor {
	if x.Channels() != l.in || x.parts != l.inParts {
		panic(&ShapeError{"linear", "x", fmt.Sprintf("[..., %d] in %d parts", l.in, l.inParts), x.shape})
	}
	if l.images > 1 && x.shape[0] != l.images {
		panic(&ShapeError{"linear", "x", fmt.Sprintf("%d images, one for each set of weights", l.images), x.shape})
	}
	shape := append(append([]int{}, x.shape[:len(x.shape)-1]...), l.out)
	if f.Into != nil {
		if f.Into.rows() != x.rows() || f.Into.Channels() != l.out || f.Into.parts != l.outParts {
			panic(&ShapeError{"linear", "into", fmt.Sprint(shape), f.Into.shape})
		}
		return f.Into
	}
	if f.Residual != nil && (f.Residual.rows() != x.rows() || f.Residual.Channels() != l.out) {
		panic(&ShapeError{"linear", "residual", fmt.Sprint(shape), f.Residual.shape})
	}
	if len(shape) == 4 {
		return newWhole(x.d, l.outParts, shape...)
	}
	return newParts(x.d, l.outParts, shape...)
}

// multiply computes y = f(x) for tensors on the device. image is the set of
// weights that the first image of x uses.
func (l *Linear) multiply(x, y *Tensor, f Fused, image int) {
	d := x.d
	images, rows, stride := 1, x.rows(), 0
	if l.images > 1 {
		images, rows, stride = x.shape[0], rows/x.shape[0], 1
	} else {
		image = 0
	}
	xv, x0 := x.view()
	yv, y0 := y.view()
	residual, rv, r0, rs := residualNone, wgpu.Whole(l.epilogue.buffer), 0, 0
	if f.Residual != nil {
		if f.Residual.mem == y.mem && f.Residual.offset == y.offset {
			residual = residualInPlace
		} else {
			residual = residualAdded
			rv, r0 = f.Residual.view()
			rs = f.Residual.width() / 4
		}
	}
	var step Reverse
	if f.Reverse != nil {
		step = *f.Reverse
		residual = reverseStart
		if step.PredictsNoise {
			residual = reverseNoise
		}
	}
	panels := l.panelCount()
	variant := d.linearVariant(l, x, images)
	if variant == "rows" {
		l.multiplyRows(x, y, f, residual, step, image, images, rows)
		return
	}
	perWindow := l.perWindow()
	weights := []wgpu.View{{Buffer: l.panels.buffer, Size: int64(l.images) * l.weightBytes()}}
	groups := [3]int{ceilDiv(rows, 256), panels, images}
	switch variant {
	case "windowed":
		weights = weights[:0]
		for w := range windows {
			at := min(w, (panels-1)/perWindow) * perWindow // spare windows repeat the last
			weights = append(weights, wgpu.View{Buffer: l.panels.buffer, Offset: int64(image*panels+at) * l.panelBytes(), Size: window})
		}
	case "few":
		groups = spread(ceilDiv(rows, 4) * ceilDiv(panels, 2))
		groups[2] = images
	case "tiled":
		groups = [3]int{ceilDiv(rows, 128), ceilDiv(panels, 4), images}
	}
	linearShader.run(d, variant, linearConstants{l.norm, l.depth}, linearParams{
		Rows: rows, K4: l.k / 4, N4: l.n / 4, K: l.in, X0: x0, Xs: x.width() / 4, R0: r0, Rs: rs, Y0: y0, Ys: y.width() / 4,
		W0: image * int(l.weightBytes()/16), Ws: stride * int(l.weightBytes()/16), E0: image * l.n / 2, Es: stride * l.n / 2, PerWindow: perWindow,
		Act: f.Act.kind, Post: f.Post.kind, Add: residual, Slope: f.Act.slope + f.Post.slope, Eps: LayerNormEps,
		Recip: step.Recip, Recipm1: step.Recipm1, Coef1: step.Coef1, Coef2: step.Coef2,
	}, call{
		views:  append(append([]wgpu.View{xv, wgpu.Whole(l.epilogue.buffer), rv}, weights...), yv),
		groups: groups,
		work:   float64(images*rows) * float64(l.work()),
	})
}

// work is that of a row, in floating-point operations.
func (l *Linear) work() int { return 2 * l.k * l.n }

// windows is the number of uniform windows in linear.wgsl.
const windows = 8

// fewRows is the number of rows up to which tokens go through few: about where
// the others catch up on software Vulkan, and one tile of tiled.
const fewRows = 128

// linearVariant chooses the entry point of linear.wgsl for x of so many images
// with weights of their own. On software Vulkan a uniform load is a broadcast
// and a storage load a gather, so weights go through uniform windows where they
// fit; hardware wants tiles in workgroup memory. Images never choose by rows: a
// band must come to the same bits as the whole.
func (d *Device) linearVariant(l *Linear, x *Tensor, images int) string {
	few := len(x.shape) != 4 && x.rows()/images <= fewRows
	if l.depth > 0 { // packed for these alone
		if few {
			return "few"
		}
		return "rows"
	}
	pw := l.perWindow()
	fits := pw > 0 && images == 1 && l.panelCount() <= windows*pw && d.Limits().UniformBinding >= window
	switch forced := d.execute.Variant; {
	case forced == "windowed" && !fits:
		return "direct"
	case forced == "rows":
		return "direct"
	case forced != "":
		return forced
	case few:
		return "few"
	case !d.Adapter().Software:
		return "tiled"
	case fits:
		return "windowed"
	}
	return "direct"
}
