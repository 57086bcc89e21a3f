package tensor

import (
	"fmt"

	"hidiff/shaders"
	"hidiff/wgpu"
)

// Reverse holds the coefficients of one reverse diffusion step.
type Reverse struct {
	PredictsNoise  bool    // e is noise, and x0 is clamped to [-1, 1]; else e is x0
	Recip, Recipm1 float32 // sqrt(1/ᾱ), sqrt(1/ᾱ - 1)
	Coef1, Coef2   float32 // of x0 and x in the posterior mean
}

// Apply returns the posterior mean of the step before x, given the denoiser's
// output e of the same shape.
func (r Reverse) Apply(x, e *Tensor) *Tensor {
	if fmt.Sprint(x.shape) != fmt.Sprint(e.shape) || x.parts != e.parts {
		panic(&ShapeError{"diffusion", "e", fmt.Sprint(x.shape), e.shape})
	}
	y := NewParts(x.d, x.parts, x.shape...)
	n4 := x.rows() * x.width() / 4
	x.d.run(call{
		kernel: x.d.kernel("diffusion", "step", shaders.Constants{"PREDICTS_NOISE": r.PredictsNoise}),
		params: []any{n4, r.Recip, r.Recipm1, r.Coef1, r.Coef2},
		views:  []wgpu.View{x.whole(), e.whole(), y.whole()},
		groups: [3]int{ceilDiv(n4, 64), 1, 1},
		work:   7 * float64(4*n4),
	})
	return y
}
