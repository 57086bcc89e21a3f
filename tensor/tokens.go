package tensor

import (
	"fmt"
	"slices"

	"hidiff/wgpu"
)

var tokensShader = newShader[tokensParams, tokensConstants]("tokens")

type tokensParams struct {
	Total, Images, Tokens, Outputs, Channels, Width, X0, R0, Dy0, Y0 int
	Eps, Slope                                                       float32
}

type tokensConstants struct {
	Act                          actKind
	Biased, Residual, Transposed bool
	Tokens                       int
}

// TokenMix is a Linear over the tokens of x [N, L, C]: it returns [N, M, C],
// act(Σ_l w[m,l]·x[n,l,c] + b[m]) + residual. w has M·L values, b M or is nil,
// residual has the result's shape or is nil.
// PyTorch: F.linear(x.transpose(1, 2), w, b).transpose(1, 2).
func TokenMix(x *Tensor, w, b *Parameter, act Activation, residual *Tensor) *Tensor {
	expect(len(x.shape) == 3 && x.parts == 1, "token_mix", "x", "[N, L, C] in one part", x)
	l := x.shape[1]
	expect(w.Len()%l == 0, "token_mix", "w", fmt.Sprintf("M x %d values", l), w.Tensor)
	return mixTokens(x, w, b, w.Len()/l, act, residual, false)
}

// TokenMixBackward returns the gradient of x, for dy that of
// y = TokenMix(x, w, b, act, nil), and adds to those of w and b.
func TokenMixBackward(x *Tensor, w, b *Parameter, act Activation, dy *Tensor) *Tensor {
	d, l := x.d, x.shape[1]
	expect(len(dy.shape) == 3 && dy.rows()*l == x.shape[0]*w.Len() && dy.Channels() == x.Channels(), "token_mix", "dy", "y's shape", dy)
	dz := dy.Share() // of what is activated
	if act.kind != actNone {
		z := TokenMix(x, w, b, Activation{}, nil)
		dz.Release()
		dz = ActivateBackward(z, dy, act)
		z.Release()
	}
	m := dz.shape[1]
	xv, x0 := x.view()
	zv, z0 := dz.view()
	dw, db := w.gradient(d, m*l), b.gradient(d, m)
	tokensShader.run(d, "mix_weights", tokensConstants{}, tokensParams{
		Images: x.shape[0], Tokens: l, Outputs: m, Channels: x.Channels(), Width: x.width() / 4, X0: x0, Dy0: z0,
	}, call{
		views:  views(xv, zv, dw.whole(), db.whole()),
		groups: spread(ceilDiv(m*(l+1), 4)),
		work:   2 * float64(m) * float64(x.Len()),
	})
	dx := mixTokens(dz, w, nil, l, Activation{}, nil, true)
	dw.Release()
	db.Release()
	dz.Release()
	return dx
}

// mixTokens is TokenMix to m tokens; transposed, w is [L, M].
func mixTokens(x *Tensor, w, b *Parameter, m int, act Activation, residual *Tensor, transposed bool) *Tensor {
	d, n, l, c := x.d, x.shape[0], x.shape[1], x.Channels()
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
	tokensShader.run(d, "mix_tokens", tokensConstants{
		Act: act.kind, Biased: b != nil, Residual: residual != nil, Transposed: transposed,
	}, tokensParams{
		Total: total, Tokens: l, Outputs: m, Channels: c, Width: x.width() / 4, X0: x0, R0: r0, Slope: act.slope,
	}, call{
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
	tokensShader.run(d, "mixer", tokensConstants{Tokens: l}, tokensParams{
		Tokens: l, Outputs: m, Channels: c, Width: x.width() / 4, X0: x0, Eps: LayerNormEps,
	}, call{
		views:  append(all, y.whole()),
		groups: [3]int{ceilDiv(x.width()/4, 64), n, 1},
		work:   4 * float64(m) * float64(x.Len()),
	})
	return y
}

// PatchMixerBackward returns the gradient of x, for dy that of y = PatchMixer of
// the same arguments, and adds to those of the parameters.
func PatchMixerBackward(x *Tensor, gamma, beta, w1, b1, w2, b2 *Parameter, dy *Tensor) *Tensor {
	norm := LinearSpec{In: x.Channels(), Norm: WithBias, Gamma: gamma, Beta: beta}
	normal := norm.prologue(x, 0)
	hidden := TokenMix(normal, w1, b1, GELU, nil)
	dhidden := TokenMixBackward(hidden, w2, b2, Activation{}, dy)
	hidden.Release()
	dnormal := TokenMixBackward(normal, w1, b1, GELU, dhidden)
	dhidden.Release()
	normal.Release()
	dx := norm.prologueBackward(x, dnormal, dy, nil, 0)
	dnormal.Release()
	return dx
}
