// Package diffusion computes the constants of the latent diffusion.
package diffusion

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Schedule holds the constants of the diffusion for steps t = 0 … Timesteps−1, computed in
// float64 and rounded to float32 once. With α = 1 − β, ᾱ_t the product of α_0 … α_t, and
// ᾱ_{−1} = 1:
type Schedule struct {
	Betas                       []float32 // β
	AlphasCumprod               []float32 // ᾱ_t
	AlphasCumprodPrev           []float32 // ᾱ_{t−1}
	SqrtAlphasCumprod           []float32 // √ᾱ_t
	SqrtOneMinusAlphasCumprod   []float32 // √(1 − ᾱ_t)
	LogOneMinusAlphasCumprod    []float32 // log(1 − ᾱ_t)
	SqrtRecipAlphasCumprod      []float32 // √(1/ᾱ_t)
	SqrtRecipm1AlphasCumprod    []float32 // √(1/ᾱ_t − 1)
	PosteriorVariance           []float32 // β (1 − ᾱ_{t−1}) / (1 − ᾱ_t)
	PosteriorLogVarianceClipped []float32 // its logarithm, of at least 1e-20
	PosteriorMeanCoef1          []float32 // β √ᾱ_{t−1} / (1 − ᾱ_t), times x0
	PosteriorMeanCoef2          []float32 // (1 − ᾱ_{t−1}) √α / (1 − ᾱ_t), times x_t
}

// maxTimesteps bounds what a configuration file can make NewSchedule allocate.
const maxTimesteps = 10_000

// betaFunc returns the β of T steps that run from a to b.
type betaFunc func(a, b float64, T int) []float64

// noiseBetas are the schedules of SR3, on which the sampler that predicts noise is built.
var noiseBetas = map[string]betaFunc{
	"linear":   linspace,
	"quad":     sqrtLinear,
	"warmup10": func(a, b float64, T int) []float64 { return warmup(a, b, T, 0.1) },
	"warmup50": func(a, b float64, T int) []float64 { return warmup(a, b, T, 0.5) },
	"const":    func(_, b float64, T int) []float64 { return warmup(b, b, T, 0) },
	"jsd": func(_, _ float64, T int) []float64 {
		return each(linspace(float64(T), 1, T), func(v float64) float64 { return 1 / v })
	},
	"cosine": cosine,
}

// latentBetas are those of latent diffusion (apply_ldm). Its "linear" is not SR3's.
var latentBetas = map[string]betaFunc{
	"linear":      sqrtLinear,
	"cosine":      cosine,
	"sqrt_linear": linspace,
	"sqrt":        func(a, b float64, T int) []float64 { return each(linspace(a, b, T), math.Sqrt) },
}

// Options are those of hidiff.DiffusionConfig.
type Options struct {
	ApplyLDM               bool
	Schedule               string
	Timesteps              int
	LinearStart, LinearEnd float64
}

// NewSchedule computes the schedule: linear, quad, warmup10, warmup50, const, jsd or cosine
// of SR3 where apply_ldm is false; linear, cosine, sqrt_linear or sqrt of latent diffusion
// where it is true. It fails, naming the option, where one is wrong, and where a constant is
// infinite because nothing of the prior outlives the noise: so always for jsd, whose last β
// is 1.
func NewSchedule(o Options) (*Schedule, error) {
	family := noiseBetas
	if o.ApplyLDM {
		family = latentBetas
	}
	var wrong []error
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	betasOf := family[o.Schedule]
	if betasOf == nil {
		complain("schedule is %q: with apply_ldm %t it must be one of %s",
			o.Schedule, o.ApplyLDM, strings.Join(slices.Sorted(maps.Keys(family)), ", "))
	}
	if o.Timesteps < 1 || o.Timesteps > maxTimesteps {
		complain("timesteps is %d: it must be from 1 to %d", o.Timesteps, maxTimesteps)
	}
	if !(o.LinearStart > 0 && o.LinearStart < 1) {
		complain("linear_start is %g: it must lie between 0 and 1", o.LinearStart)
	}
	if !(o.LinearEnd > 0 && o.LinearEnd < 1) {
		complain("linear_end is %g: it must lie between 0 and 1", o.LinearEnd)
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	s, err := newSchedule(betasOf(o.LinearStart, o.LinearEnd, o.Timesteps))
	if err != nil {
		return nil, fmt.Errorf("schedule is %q: %w", o.Schedule, err)
	}
	return s, nil
}

func newSchedule(betas []float64) (*Schedule, error) {
	s := new(Schedule)
	product, previous := 1.0, 1.0
	for t, beta := range betas {
		alpha := 1 - beta
		product, previous = product*alpha, product
		variance := beta * (1 - previous) / (1 - product)
		for _, buffer := range []struct {
			to    *[]float32
			value float64
		}{
			{&s.Betas, beta},
			{&s.AlphasCumprod, product},
			{&s.AlphasCumprodPrev, previous},
			{&s.SqrtAlphasCumprod, math.Sqrt(product)},
			{&s.SqrtOneMinusAlphasCumprod, math.Sqrt(1 - product)},
			{&s.LogOneMinusAlphasCumprod, math.Log(1 - product)},
			{&s.SqrtRecipAlphasCumprod, math.Sqrt(1 / product)},
			{&s.SqrtRecipm1AlphasCumprod, math.Sqrt(1/product - 1)},
			{&s.PosteriorVariance, variance},
			{&s.PosteriorLogVarianceClipped, math.Log(max(variance, 1e-20))},
			{&s.PosteriorMeanCoef1, beta * math.Sqrt(previous) / (1 - product)},
			{&s.PosteriorMeanCoef2, (1 - previous) * math.Sqrt(alpha) / (1 - product)},
		} {
			v := float32(buffer.value)
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return nil, fmt.Errorf("step %d of %d, with β %g and ᾱ %g, cannot be undone: take fewer timesteps, or linear_start and linear_end farther from 0 and 1",
					t+1, len(betas), beta, product)
			}
			*buffer.to = append(*buffer.to, v)
		}
	}
	return s, nil
}

// linspace is NumPy's: n numbers from a to b, both included.
func linspace(a, b float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = a
		if i > 0 {
			step := (b - a) / float64(n-1)
			out[i] += float64(float64(i) * step) // the conversion forbids fusing, so that all machines agree
		}
	}
	if n > 1 {
		out[n-1] = b
	}
	return out
}

func sqrtLinear(a, b float64, T int) []float64 {
	return each(linspace(math.Sqrt(a), math.Sqrt(b), T), func(v float64) float64 { return v * v })
}

// warmup rises from a to b within the given part of all steps, and stays there.
func warmup(a, b float64, T int, part float64) []float64 {
	rise := linspace(a, b, int(float64(T)*part))
	return append(rise, slices.Repeat([]float64{b}, T-len(rise))...)
}

// cosine is the schedule of Nichol and Dhariwal (2021): ᾱ_t = cos²((t/T + s)/(1 + s) · π/2)
// up to a factor, s = 0.008.
func cosine(_, _ float64, T int) []float64 {
	const s = 8e-3
	alpha := func(t int) float64 {
		c := math.Cos((float64(t)/float64(T) + s) / (1 + s) * math.Pi / 2)
		return c * c
	}
	out := make([]float64, T)
	for t := range out {
		out[t] = min(1-alpha(t+1)/alpha(t), 0.999)
	}
	return out
}

func each(values []float64, f func(float64) float64) []float64 {
	for i, v := range values {
		values[i] = f(v)
	}
	return values
}
