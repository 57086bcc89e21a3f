package tensor

import (
	"fmt"

	"hidiff/shaders"
	"hidiff/wgpu"
)

// Activation is a pointwise non-linearity; the numbers are those of
// activation.wgsl.
type Activation struct {
	Kind  int // 0 none, 1 GELU, 2 LeakyReLU
	Slope float32
}

// GELU is the exact (erf) GELU.
var GELU = Activation{Kind: 1}

// LeakyReLU returns max(x, 0) + slope*min(x, 0).
func LeakyReLU(slope float32) Activation { return Activation{Kind: 2, Slope: slope} }

// Fused says what a linear map or convolution does after the product:
// Post(Act(product + bias) + Residual).
type Fused struct {
	Act, Post Activation
	Residual  *Tensor // same shape as the output; nil for none
	Into      *Tensor // write here (a view, the residual itself) instead of a new tensor
}

// Apply multiplies x [..., In] and returns [..., Out].
// PyTorch: F.linear, and F.conv2d with a 1x1 kernel.
func (l *Linear) Apply(x *Tensor, f Fused) *Tensor {
	y := l.output(x, f)
	eachBand(y, bandCost{widths: []int{x.width(), y.width()}}, func(b band) {
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
		return yb.share()
	}
	return f.Residual.rowsOf(b, 0)
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
		return newWhole(l.d, l.outParts, shape...)
	}
	return NewParts(l.d, l.outParts, shape...)
}

// multiply computes y = f(x) for tensors on the device. image is the set of
// weights that the first image of x uses.
func (l *Linear) multiply(x, y *Tensor, f Fused, image int) {
	d := l.d
	images, rows, stride := 1, x.rows(), 0
	if l.images > 1 {
		images, rows, stride = x.shape[0], rows/x.shape[0], 1
	} else {
		image = 0
	}
	xv, x0 := x.view()
	yv, y0 := y.view()
	residual, rv, r0, rs := 0, wgpu.Whole(l.epilogue.buffer), 0, 0
	if f.Residual != nil {
		if f.Residual.mem == y.mem && f.Residual.offset == y.offset {
			residual = 2
		} else {
			residual = 1
			rv, r0 = f.Residual.view()
			rs = f.Residual.width() / 4
		}
	}
	c := shaders.Constants{"NORM": int(l.norm)}
	panels := l.panelCount()
	params := func(firstPanel, perWindow int) []any {
		return []any{
			rows, l.k / 4, l.n / 4, l.in, x0, x.width() / 4, r0, rs, y0, y.width() / 4,
			image * panels * l.k * 4, stride * panels * l.k * 4, image * l.n / 2, stride * l.n / 2,
			firstPanel, perWindow, f.Act.Kind, f.Post.Kind, residual, f.Act.Slope + f.Post.Slope, float32(LayerNormEps),
		}
	}
	weights := wgpu.View{Buffer: l.panels.buffer, Size: int64(l.images) * l.weightBytes()}
	epilogue := wgpu.Whole(l.epilogue.buffer)
	work := 2 * float64(images*rows) * float64(l.k) * float64(l.n)
	pw := l.perWindow()
	switch {
	case d.linearVariant(l, rows, images) == "windowed":
		// Seven windows a call; further panels go into further calls.
		views := make([]wgpu.View, 0, 11)
		perCall := pw * windows
		for first := 0; first < panels; first += perCall {
			here := min(perCall, panels-first)
			views = append(views[:0], xv, epilogue, rv)
			for w := range windows {
				at := first + min(w*pw, (here-1)/pw*pw)
				views = append(views, wgpu.View{Buffer: l.panels.buffer, Offset: int64(image*panels+at) * l.panelBytes(), Size: window})
			}
			d.run(call{
				kernel: d.kernel("linear", "windowed", c), params: params(first, pw), views: append(views, yv),
				groups: [3]int{ceilDiv(rows, 256), here, 1}, work: work * float64(here) / float64(panels),
			})
		}
	case d.linearVariant(l, rows, images) == "tiled":
		d.run(call{
			kernel: d.kernel("linear", "tiled", c), params: params(0, 0), views: []wgpu.View{xv, epilogue, rv, weights, yv},
			groups: [3]int{ceilDiv(rows, 128), ceilDiv(panels, 4), images}, work: work,
		})
	default:
		d.run(call{
			kernel: d.kernel("linear", "direct", c), params: params(0, 0), views: []wgpu.View{xv, epilogue, rv, weights, yv},
			groups: [3]int{ceilDiv(rows, 256), panels, images}, work: work,
		})
	}
}

// windows is the number of uniform windows in linear.wgsl.
const windows = 7

// linearVariant chooses the entry point of linear.wgsl. On software Vulkan a
// uniform load is a broadcast and a storage load a gather, so weights go
// through uniform windows where few calls cover them; hardware wants tiles in
// workgroup memory.
func (d *Device) linearVariant(l *Linear, rows, images int) string {
	if !d.Adapter().Software {
		return "tiled"
	}
	if pw := l.perWindow(); pw > 0 && images == 1 && l.panelCount() <= 2*windows*pw && d.Limits().UniformBinding >= window {
		return "windowed"
	}
	return "direct"
}
