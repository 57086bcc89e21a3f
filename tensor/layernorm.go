package tensor

import "hidiff/shaders"

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
	kernel := x.d.kernel("layernorm", "normalize_rows", shaders.Constants{"NORM": int(kind)})
	return eachRows(newLike(x, 1, x.shape), func(_ band, y *Tensor, in []*Tensor) {
		xv, x0 := in[0].view()
		yv, y0 := y.view()
		x.d.run(call{
			kernel: kernel,
			params: []any{y.rows(), c, y.width() / 4, x0, y0, float32(LayerNormEps)},
			views:  views(xv, gamma.whole(), beta.whole(), yv),
			groups: spread(ceilDiv(y.rows(), 4)),
			work:   8 * float64(y.Len()),
		})
	}, x)
}
