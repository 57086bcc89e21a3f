package tensor

import (
	"fmt"
	"slices"

	"hidiff/shaders"
	"hidiff/wgpu"
)

// TokenMix is a Linear over the tokens of x [N, L, C]: it returns [N, M, C],
// act(Σ_l w[m,l]·x[n,l,c] + b[m]) + residual. w has M·L values, b M or is nil,
// residual has the result's shape or is nil.
// PyTorch: F.linear(x.transpose(1, 2), w, b).transpose(1, 2).
func TokenMix(x *Tensor, w, b *Parameter, act Activation, residual *Tensor) *Tensor {
	expect(len(x.shape) == 3 && x.parts == 1, "token_mix", "x", "[N, L, C] in one part", x)
	d, n, l, c := x.d, x.shape[0], x.shape[1], x.Channels()
	expect(w.Len()%l == 0, "token_mix", "w", fmt.Sprintf("M x %d values", l), w.Tensor)
	m := w.Len() / l
	y := New(d, n, m, c)
	xv, x0 := x.view()
	bias, rv, r0 := w, xv, 0
	if b != nil {
		b.expect("token_mix", "b", m)
		bias = b
	}
	if residual != nil {
		expect(slices.Equal(residual.shape, y.shape) && residual.parts == 1, "token_mix", "residual", fmt.Sprint(y.shape), residual)
		rv, r0 = residual.view()
	}
	total := y.rows() * y.width() / 4
	d.run(call{
		kernel: d.kernel("tokens", "mix_tokens", shaders.Constants{"ACT": act.Kind, "BIASED": b != nil, "RESIDUAL": residual != nil}),
		params: []any{total, l, m, c, x.width() / 4, x0, r0, 0, float32(0), act.Slope},
		views:  views(xv, w.whole(), bias.whole(), rv, y.whole()),
		groups: spread(ceilDiv(total, 64)),
		work:   2 * float64(l) * float64(y.Len()),
	})
	return y
}

// maxTokens keeps what an invocation of the mixer holds within its registers'
// reach.
const maxTokens = 64

// PatchMixer returns x + mlp(LayerNorm(x)) with an MLP over the tokens of x
// [N, L, C], L at most 64, in one dispatch: Linear L → M, GELU, Linear M → L.
// gamma and beta have C values, w1 M·L, b1 M, w2 L·M, b2 L.
// Source: HI-Diff's MLP, norm1 and patch_mixer.
func PatchMixer(x *Tensor, gamma, beta, w1, b1, w2, b2 *Parameter) *Tensor {
	expect(len(x.shape) == 3 && x.parts == 1 && x.shape[1] <= maxTokens, "patch_mixer", "x",
		fmt.Sprintf("[N, L, C] with at most %d tokens", maxTokens), x)
	d, n, l, c := x.d, x.shape[0], x.shape[1], x.Channels()
	m := b1.Len()
	all := []wgpu.View{}
	xv, x0 := x.view()
	all = append(all, xv)
	for _, p := range []struct {
		name  string
		value *Parameter
		n     int
	}{{"gamma", gamma, c}, {"beta", beta, c}, {"w1", w1, m * l}, {"b1", b1, m}, {"w2", w2, m * l}, {"b2", b2, l}} {
		p.value.expect("patch_mixer", p.name, p.n)
		all = append(all, p.value.whole())
	}
	y := New(d, x.shape...)
	d.run(call{
		kernel: d.kernel("tokens", "mixer", shaders.Constants{"TOKENS": l}),
		params: []any{0, l, m, c, x.width() / 4, x0, 0, 0, float32(LayerNormEps), float32(0)},
		views:  append(all, y.whole()),
		groups: [3]int{ceilDiv(x.width()/4, 64), n, 1},
		work:   4 * float64(m) * float64(x.Len()),
	})
	return y
}
