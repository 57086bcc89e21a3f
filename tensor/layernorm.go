package tensor

import "hidiff/wgpu"

var layernormShader = newShader[layernormParams, layernormConstants]("layernorm")

type layernormParams struct {
	Rows, Channels, Width, X0, Y0    int
	Eps                              float32
	Each                             int
	Images, Splits, Chunk, Dy0, Add0 int
	Adds                             bool
	Row, Row0, Scale0, Shift0        int
}

type layernormConstants struct {
	Norm                          Norm
	Shift, Gamma, Beta, Modulated bool
	Gradient                      affineInput
	Lanes                         int
}

// affineInput is what [LinearSpec.affineGradient] takes the gradient of.
type affineInput uint32

const (
	affineGamma affineInput = iota
	affineBeta
	affineModulation
)

// LayerNorm normalises x [..., C] over its last axis; gamma and beta have C
// values, and beta is nil if kind is BiasFree. Where a linear map follows, fold
// the norm into it instead: see [LinearSpec].
// PyTorch: F.layer_norm(x, (C,), gamma, beta, eps); Restormer: BiasFree_LayerNorm.
func LayerNorm(x *Tensor, kind Norm, gamma, beta *Parameter) *Tensor {
	c := x.Channels()
	expect(x.parts == 1, "layernorm", "x", "a last axis in one part", x)
	gamma.expect("layernorm", "gamma", c)
	if kind == WithBias {
		beta.expect("layernorm", "beta", c)
	} else {
		beta = gamma
	}
	return eachRows(newLike(x, 1, x.shape), func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		normalizeRows(y, layernormConstants{Norm: kind}, layernormParams{X0: x0, Y0: y0}, views(xv, gamma.whole(), beta.whole(), yv))
	}, x)
}

// normalizeRows writes y. Short rows take an invocation each; sixteen share a
// long one. The number of rows must not decide: sums differ, and bands may change
// nothing.
func normalizeRows(y *Tensor, c layernormConstants, p layernormParams, views []wgpu.View) {
	lanes := 16 // share a row, which takes barriers: dear where subgroups have eight
	if y.width() <= 4*lanes || y.d.eightLanes() {
		lanes = 1
	}
	c.Lanes = lanes
	p.Rows, p.Channels, p.Width, p.Eps = y.rows(), y.Channels(), y.width()/4, LayerNormEps
	layernormShader.run(y.d, "normalize_rows", c, p, call{
		views:  views,
		groups: spread(ceilDiv(y.rows(), 64/lanes)),
		work:   8 * float64(y.Len()),
	})
}
