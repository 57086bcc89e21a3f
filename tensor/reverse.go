package tensor

var reverseShader = newShader[reverseParams, reverseConstants]("reverse")

type reverseParams struct {
	Total, H0, X0, Dy0                  int
	Recip, Recipm1, Coef1, Coef2, Slope float32
}

type reverseConstants struct {
	Act   actKind
	Noise bool
}

// Reverse is a reverse diffusion step, without added noise, fused behind the
// denoiser's last layer: from the sample x and the layer's output e,
// x0 = clamp(Recip*x - Recipm1*e, -1, 1) if e is predicted noise, else e
// itself, and the next sample is Coef1*x0 + Coef2*x.
type Reverse struct {
	PredictsNoise  bool
	Recip, Recipm1 float32 // sqrt(1/ᾱ), sqrt(1/ᾱ - 1)
	Coef1, Coef2   float32 // of x0 and x in the posterior mean
}

// backward returns the gradients of h, the layer's output before its
// activation, and of the sample x, for the next sample's dy.
func (r Reverse) backward(h, x, dy *Tensor, act Activation) (dh, dx *Tensor) {
	d := h.d
	dh, dx = newParts(d, h.parts, h.shape...), newParts(d, x.parts, x.shape...)
	hv, h0 := h.view()
	xv, x0 := x.view()
	gv, g0 := dy.view()
	total := h.rows() * h.width() / 4
	reverseShader.run(d, "reverse_gradient", reverseConstants{act.kind, r.PredictsNoise}, reverseParams{
		Total: total, H0: h0, X0: x0, Dy0: g0, Recip: r.Recip, Recipm1: r.Recipm1, Coef1: r.Coef1, Coef2: r.Coef2, Slope: act.slope,
	}, call{
		views:  views(hv, xv, gv, dh.whole(), dx.whole()),
		groups: spread(ceilDiv(total, 64)),
		work:   40 * float64(total),
	})
	return dh, dx
}
