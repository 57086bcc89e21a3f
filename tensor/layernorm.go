package tensor

import (
	"hidiff/shaders"
	"hidiff/wgpu"
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
		kernel, groups := x.d.normalizeRows(y, shaders.Constants{"NORM": int(kind)})
		x.d.run(call{
			kernel: kernel,
			params: []any{y.rows(), c, y.width() / 4, x0, y0, float32(LayerNormEps)},
			views:  views(xv, gamma.whole(), beta.whole(), yv),
			groups: groups,
			work:   8 * float64(y.Len()),
		})
	}, x)
}

// normalizeRows is the kernel that writes y, and its workgroups. Short rows
// take an invocation each; sixteen share a long one. The number of rows must not
// decide: sums differ, and bands may change nothing.
func (d *Device) normalizeRows(y *Tensor, constants shaders.Constants) (*wgpu.Kernel, [3]int) {
	lanes := 16
	if y.width() <= 4*lanes {
		lanes = 1
	}
	constants["LANES"] = lanes
	return d.kernel("layernorm", "normalize_rows", constants), spread(ceilDiv(y.rows(), 64/lanes))
}
