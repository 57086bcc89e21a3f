package tensor

import (
	"fmt"
	"slices"
)

var pointwiseShader = newShader[pointwiseParams, pointwiseConstants]("pointwise")

type pointwiseParams struct {
	Total, Width, Part, Part4, Rows, Stride, A0, B0, Y0, S0 int
	Lo, Hi, Slope                                           float32
}

type pointwiseConstants struct {
	Op  pointwiseOp
	Act actKind
}

type pointwiseOp uint32

const (
	opAdd pointwiseOp = iota
	opMul
	opClamp
	opActivate
	opGate
	opClampGradient
	opActivateGradient
	opBlend
)

// Add returns a + b, of equal shapes. PyTorch: torch.add.
func Add(a, b *Tensor) *Tensor {
	return pointwise("add", a, b, pointwiseCall{op: opAdd})
}

// Mul returns the elementwise product of a and b, of equal shapes.
// PyTorch: torch.mul.
func Mul(a, b *Tensor) *Tensor {
	return pointwise("mul", a, b, pointwiseCall{op: opMul})
}

// Blend returns ka*a + kb*b, of equal shapes.
func Blend(a, b *Tensor, ka, kb float32) *Tensor {
	return pointwise("blend", a, b, pointwiseCall{op: opBlend, lo: ka, hi: kb})
}

// Clamp returns x with values below lo raised to it and values above hi lowered
// to it; a NaN stays one. PyTorch: torch.clamp.
func Clamp(x *Tensor, lo, hi float32) *Tensor {
	return pointwise("clamp", x, x, pointwiseCall{op: opClamp, lo: lo, hi: hi})
}

// ClampBackward returns the gradient of x for y = Clamp(x, lo, hi) under dy.
func ClampBackward(x, dy *Tensor, lo, hi float32) *Tensor {
	return pointwise("clamp", x, dy, pointwiseCall{op: opClampGradient, lo: lo, hi: hi})
}

// Accumulate returns a + b, of equal shapes, and consumes both: where a shares
// its memory with none, it is the result.
func Accumulate(a, b *Tensor) *Tensor {
	if a.mem.users > 1 {
		y := Add(a, b)
		a.Release()
		b.Release()
		return y
	}
	expect(slices.Equal(a.shape, b.shape) && a.parts == b.parts, "accumulate", "b", fmt.Sprintf("%v in %d parts", a.shape, a.parts), b)
	eachBand(a, bandCost{widths: []int{a.width()}}, func(band band) {
		ab, bb := a.rowsOf(band, 0), b.rowsOf(band, 0)
		av, a0 := ab.view()
		bv, b0 := bb.view()
		total := ab.rows() * ab.width() / 4
		pointwiseShader.run(a.d, "accumulate", pointwiseConstants{}, pointwiseParams{Total: total, A0: b0, Y0: a0}, call{
			views:  views(bv, av),
			groups: spread(ceilDiv(total, 64)),
			work:   float64(4 * total),
		})
		ab.Release()
		bb.Release()
	})
	b.Release()
	return a
}

// GELUGate returns gelu(x1)*x2 [..., C] for x [..., 2C] in two parts, x1 and x2:
// the gate of GDFN. Source: Restormer §3.2.
func GELUGate(x *Tensor) *Tensor {
	expect(x.parts == 2, "gelu_gate", "x", "a last axis in two parts", x)
	y := newLike(x, 1, withChannels(x, x.Channels()/2))
	return eachRows(y, func(_ band, y *Tensor, in []*Tensor) {
		in[0].launchPointwise(in[0], y, pointwiseCall{op: opGate, second: y.width() / 4})
	}, x)
}

// GELUGateBackward returns the gradient of x for y = GELUGate(x) under dy.
func GELUGateBackward(x, dy *Tensor) *Tensor {
	expect(x.parts == 2, "gelu_gate", "x", "a last axis in two parts", x)
	expect(slices.Equal(dy.shape, withChannels(x, x.Channels()/2)) && dy.parts == 1, "gelu_gate", "dy", "the gate's shape", dy)
	return eachRows(newLike(x, 2, x.shape), func(_ band, dx *Tensor, in []*Tensor) {
		d, width := dx.d, dx.width()/8
		xv, x0 := in[0].view()
		dyv, dy0 := in[1].view()
		dxv, dx0 := dx.view()
		total := dx.rows() * width
		pointwiseShader.run(d, "gate_gradient", pointwiseConstants{}, pointwiseParams{
			Total: total, Width: width, A0: x0, B0: dy0, Y0: dx0,
		}, call{
			views:  views(xv, dyv, dxv),
			groups: spread(ceilDiv(total, 64)),
			work:   40 * float64(total),
		})
	}, x, dy)
}

// ScaleShift returns x*k + s for x [N, ..., C] and one k and one s per image and
// channel, [N, C]: the prior's modulation. Source: HI-Diff §3.2.
func ScaleShift(x, k, s *Tensor) *Tensor {
	want := []int{x.shape[0], x.Channels()}
	for _, t := range []*Tensor{k, s} {
		expect(slices.Equal(t.shape, want) && t.parts == x.parts, "scale_shift", "k or s", fmt.Sprint(want), t)
	}
	kv, k0 := k.view()
	sv, s0 := s.view()
	return eachRows(newLike(x, x.parts, x.shape), func(b band, y *Tensor, in []*Tensor) {
		d, width := y.d, y.width()/4
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		total := y.rows() * width
		pointwiseShader.run(d, "scale_shift", pointwiseConstants{}, pointwiseParams{
			Total: total, Width: width, Rows: y.rows() / y.shape[0], A0: x0, B0: k0 + b.image*width, Y0: y0, S0: s0 + b.image*width,
		}, call{
			views:  views(xv, kv, sv, yv),
			groups: spread(ceilDiv(total, 64)),
			work:   8 * float64(total),
		})
	}, x)
}

// ScaleShiftBackward returns the gradients of x, k and s for
// y = ScaleShift(x, k, s) under dy.
func ScaleShiftBackward(x, k, dy *Tensor) (dx, dk, ds *Tensor) {
	zero := newParts(k.d, k.parts, k.shape...)
	zero.Zero()
	dx = ScaleShift(dy, k, zero)
	zero.Release()
	product := Mul(x, dy)
	dk, ds = columnSums(product, x.shape[0]), columnSums(dy, x.shape[0])
	product.Release()
	return dx, dk, ds
}

// pointwiseCall is an operator of pointwise.wgsl.
type pointwiseCall struct {
	op     pointwiseOp
	act    Activation
	lo, hi float32
	second int // where b starts in its row, in vec4
}

func pointwise(name string, a, b *Tensor, c pointwiseCall) *Tensor {
	expect(slices.Equal(a.shape, b.shape) && a.parts == b.parts, name, "b", fmt.Sprintf("%v in %d parts", a.shape, a.parts), b)
	return eachRows(newLike(a, a.parts, a.shape), func(_ band, y *Tensor, in []*Tensor) {
		in[0].launchPointwise(in[len(in)-1], y, c)
	}, distinct(a, b)...)
}

func (t *Tensor) launchPointwise(b, y *Tensor, c pointwiseCall) {
	d, width := t.d, y.width()/4
	av, a0 := t.view()
	bv, b0 := b.view()
	yv, y0 := y.view()
	total := y.rows() * width
	pointwiseShader.run(d, "pointwise", pointwiseConstants{c.op, c.act.kind}, pointwiseParams{
		Total: total, Width: width, Part: y.Channels() / y.parts, Part4: width / y.parts, Stride: t.width() / 4,
		A0: a0, B0: b0 + c.second, Y0: y0, Lo: c.lo, Hi: c.hi, Slope: c.act.slope,
	}, call{
		views:  views(av, bv, yv),
		groups: spread(ceilDiv(total, 64)),
		work:   8 * float64(total),
	})
}
