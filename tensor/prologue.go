package tensor

import (
	"fmt"
	"slices"

	"hidiff/wgpu"
)

// prologue returns what s.Weight multiplies: LayerNorm and modulation of x
// [images, ..., In], whose first image is image number image of the
// modulation. It is another owner of x itself where nothing is folded in.
func (s LinearSpec) prologue(x *Tensor, image int) *Tensor {
	if !s.folds() {
		return x.Share()
	}
	s.expectPrologue(x, image)
	y := New(x.d, x.shape...)
	scale, shift, sets := s.affine(x, image)
	xv, x0 := x.view()
	normalizeRows(y, layernormConstants{Norm: s.Norm, Shift: s.Beta != nil || s.Modulation != nil},
		layernormParams{X0: x0, Each: x.rows() / sets}, views(xv, scale.whole(), shift.whole(), y.whole()))
	scale.Release()
	shift.Release()
	return y
}

// prologueBackward returns add + the gradient of x, for the gradient dn of
// prologue(x), and adds to the gradients of Gamma, Beta and, if it is not nil,
// to dmodulation, which is laid out like s.Modulation. add may be nil for zero.
// It consumes nothing.
func (s LinearSpec) prologueBackward(x, dn, add, dmodulation *Tensor, image int) *Tensor {
	if !s.folds() {
		if add == nil {
			return dn.Share()
		}
		return Add(dn, add)
	}
	dx := New(x.d, x.shape...)
	s.differentiate(x, dn, add, dmodulation, dx, image)
	return dx
}

// LayerNormBackward returns the gradient of x [..., C] for y = LayerNorm(x,
// kind, gamma, beta) under dy, and adds to the gradients of gamma and beta.
func LayerNormBackward(x, dy *Tensor, kind Norm, gamma, beta *Parameter) *Tensor {
	c := x.Channels()
	gamma.expect("layernorm", "gamma", c)
	if kind == WithBias {
		beta.expect("layernorm", "beta", c)
	} else {
		beta = nil
	}
	expect(slices.Equal(dy.shape, x.shape) && dy.parts == x.parts, "layernorm", "dy", fmt.Sprint(x.shape), dy)
	s := LinearSpec{In: c, Norm: kind, Gamma: gamma, Beta: beta}
	return eachRows(newLike(x, 1, x.shape), func(_ band, dx *Tensor, in []*Tensor) {
		s.differentiate(in[0], in[1], nil, nil, dx, 0)
	}, x, dy)
}

func (s LinearSpec) folds() bool { return s.Norm != NoNorm || s.Modulation != nil }

func (s LinearSpec) expectPrologue(x *Tensor, image int) {
	expect(x.Channels() == s.In && x.parts == 1, "layernorm", "x", fmt.Sprintf("[..., %d] in one part", s.In), x)
	if m := s.Modulation; m != nil {
		expect(image+x.shape[0] <= m.rows() && max(s.ScaleAt, s.ShiftAt)+s.In <= m.width(), "layernorm", "modulation",
			fmt.Sprintf("a row for every image up to %d and values up to %d", image+x.shape[0], max(s.ScaleAt, s.ShiftAt)+s.In), m)
	}
}

// differentiate is prologueBackward where something is folded in; dx is written.
func (s LinearSpec) differentiate(x, dn, add, dmodulation, dx *Tensor, image int) {
	s.expectPrologue(x, image)
	for _, t := range []*Tensor{dn, add} {
		expect(t == nil || slices.Equal(t.shape, x.shape) && t.parts == 1, "layernorm", "dy", fmt.Sprint(x.shape), t)
	}
	d, c := x.d, x.width()/4
	scale, shift, sets := s.affine(x, image)
	p, chunk := normSums(x, sets)
	xv, x0 := x.view()
	gv, g0 := dn.view()
	av, a0 := gv, 0
	if add != nil {
		av, a0 = add.view()
	}
	yv, y0 := dx.view()
	layernormShader.run(d, "normalize_gradient", layernormConstants{Norm: s.Norm}, layernormParams{
		Rows: x.rows(), Channels: s.In, Width: c, X0: x0, Y0: y0, Eps: LayerNormEps, Each: x.rows() / sets,
		Images: sets, Splits: p.splits, Chunk: chunk, Dy0: g0, Add0: a0, Adds: add != nil,
	}, call{
		views:  views(xv, scale.whole(), gv, av, yv, p.whole()),
		groups: spread(sets * p.splits),
		work:   20 * float64(x.Len()),
	})
	scale.Release()
	shift.Release()
	sums := p.total(1, sets, 2, s.In)
	if s.Gamma != nil && s.Gamma.Grad != nil {
		s.affineGradient(sums, s.Gamma.Grad, affineGamma, image)
	}
	if s.Beta != nil && s.Beta.Grad != nil {
		s.affineGradient(sums, s.Beta.Grad, affineBeta, image)
	}
	if s.Modulation != nil && dmodulation != nil {
		expect(slices.Equal(dmodulation.shape, s.Modulation.shape) && dmodulation.parts == s.Modulation.parts, "layernorm", "dmodulation", fmt.Sprint(s.Modulation.shape), dmodulation)
		s.affineGradient(sums, dmodulation, affineModulation, image)
	}
	sums.Release()
}

// normSums makes room for the sums over x's rows in chunks: 512 of them, or
// more where those layernorm.wgsl has room for are smaller.
func normSums(x *Tensor, sets int) (p partialSums, chunk int) {
	chunk = min(max(ceilDiv(x.rows(), 512), 64), 128)
	splits := ceilDiv(x.rows()/sets, chunk)
	return partialSums{New(x.d, sets*splits*2, x.Channels()), sets, splits}, chunk
}

// affine returns what x's standardised values are multiplied by and what is
// added, modulation included: a set for each image, or one for all.
func (s LinearSpec) affine(x *Tensor, image int) (scale, shift *Tensor, sets int) {
	switch {
	case s.Modulation != nil || s.Gamma == nil:
	case s.Beta != nil:
		return s.Gamma.Share(), s.Beta.Share(), 1
	case s.Norm == BiasFree:
		return s.Gamma.Share(), s.Gamma.Share(), 1 // the second is not read
	}
	sets = 1
	if s.Modulation != nil {
		sets = x.shape[0]
	}
	d := x.d
	scale, shift = New(d, sets, s.In), New(d, sets, s.In)
	xv, _ := x.view()
	constants, sources, params := s.sources(xv, x.width()/4, image)
	layernormShader.run(d, "affine", constants, params, call{
		views:  append(sources, scale.whole(), shift.whole()),
		groups: [3]int{ceilDiv(x.width(), 64), sets, 1},
	})
	return scale, shift, sets
}

// affineGradient adds to the gradient of what affine took. sums is [sets, 2, In].
func (s LinearSpec) affineGradient(sums, gradient *Tensor, which affineInput, image int) {
	sets, y := sums.shape[0], 1
	if which == affineModulation {
		y = sets
	}
	constants, sources, params := s.sources(sums.whole(), sums.width()/4, image)
	constants.Gradient = which
	params.Images = sets
	layernormShader.run(sums.d, "affine_gradient", constants, params, call{
		views:  append(sources, sums.whole(), gradient.whole()),
		groups: [3]int{ceilDiv(s.In, 64), y, 1},
	})
}

// sources are modulation, gamma and beta for layernorm.wgsl, with what says
// which of them there are; spare is bound instead of those there are not.
func (s LinearSpec) sources(spare wgpu.View, width, image int) (layernormConstants, []wgpu.View, layernormParams) {
	modulation, gamma, beta, row := spare, spare, spare, 0
	if s.Modulation != nil {
		modulation, row = s.Modulation.whole(), s.Modulation.width()
	}
	if s.Gamma != nil {
		gamma = s.Gamma.whole()
	}
	if s.Beta != nil {
		beta = s.Beta.whole()
	}
	return layernormConstants{Gamma: s.Gamma != nil, Beta: s.Beta != nil, Modulated: s.Modulation != nil},
		views(modulation, gamma, beta),
		layernormParams{Channels: s.In, Width: width, Row: row, Row0: image * row, Scale0: s.ScaleAt, Shift0: s.ShiftAt}
}
