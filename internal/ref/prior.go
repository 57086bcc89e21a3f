package ref

import (
	"fmt"
	"math"
)

// LatentEncoder are the options of net_le and net_le_dm that parameters' shapes do not
// tell.
type LatentEncoder struct {
	LeakyReLU bool // latent_encoder_lrelu, else latent_encoder_gelu
	Blocks    int
	Group     int
}

// LatentEncoder squeezes images [B,3,H,W], the sharp ones before the blurry ones where
// both are given, into a prior [B,group²,4e].
func (p Params) LatentEncoder(o LatentEncoder, images ...*Array) *Array {
	act := GELU
	if o.LeakyReLU {
		act = func(x *Array) *Array { return LeakyReLU(x, 0.1) }
	}
	x := images[0]
	for _, more := range images[1:] {
		x = ConcatChannel(x, more)
	}
	x = act(p.conv3x3("conv1.0", PixelUnshuffle(x, 4)))
	for i := range o.Blocks {
		name := fmt.Sprintf("blocks.%d", i)
		x = Add(x, p.conv3x3(name+".2", act(p.conv3x3(name+".0", x))))
	}
	if o.LeakyReLU {
		x = act(p.conv3x3("conv2.4", act(p.conv3x3("conv2.2", act(p.conv3x3("conv2.0", x))))))
	} else {
		x = p.conv3x3("conv2", x)
	}
	z := tokens(AdaptiveAvgPool(x, o.Group))
	return act(p.linear("end.0", p.Under("mlp.").MLP(z)))
}

// MLP mixes the tokens of x [B,N,C] with each other, then each token's channels.
func (p Params) MLP(x *Array) *Array {
	norm := func(name string) *Array { return LayerNormLast(x, p.get(name+".weight"), p.get(name+".bias"), eps) }
	mix := func(name string, x *Array) *Array { return p.linear(name+".2", GELU(p.linear(name+".0", x))) }
	x = Add(x, transpose(mix("patch_mixer", transpose(norm("norm1")))))
	return Add(x, mix("channel_mixer", norm("norm2")))
}

// Denoising is net_d of GoPro: what it takes for the noise in x, under the condition c,
// both [B,N,4e]. layers counts first and last layer too, as block_num does.
func (p Params) Denoising(layers int, x, c *Array, time int) *Array {
	filled := apply(x, func(float64) float64 { return float64(time) * p.get("time_mlp").Data[0] })
	y := LeakyReLU(p.linear("first_layer.0", joinLast(x, filled, c)), 0.2)
	for i := range layers - 2 {
		y = GELU(p.Under(fmt.Sprintf("blocks.%d.0.", i)).MLP(y))
	}
	return GELU(p.linear("final_layer.0", y))
}

// SimpleDenoise is net_d of RealBlur: the prior that it takes x for, under the condition
// c, both [B,N,4e].
func (p Params) SimpleDenoise(layers int, maxPeriod float64, x, c *Array, time int) *Array {
	t := New(x.Shape[0], x.Shape[1], 1)
	for i := range t.Data {
		t.Data[i] = float64(time) / maxPeriod
	}
	y := LeakyReLU(p.linear("resmlp.0", joinLast(c, t, x)), 0.1)
	for i := range layers {
		y = LeakyReLU(p.linear(fmt.Sprintf("resmlp.%d.resmlp.0", i+2), y), 0.1)
	}
	return y
}

// Betas returns a diffusion's β_t by the name of its schedule: latent diffusion's where
// the denoiser predicts the prior (apply_ldm), SR3's where it predicts noise.
func Betas(latent bool, schedule string, steps int, start, end float64) []float64 {
	between := func(i, n int, from, to float64) float64 {
		if n == 1 {
			return from
		}
		return from + (to-from)*float64(i)/float64(n-1)
	}
	warmup := func(n int) func(i int) float64 {
		return func(i int) float64 {
			if i < n {
				return between(i, n, start, end)
			}
			return end
		}
	}
	evenly := func(i int) float64 { return between(i, steps, start, end) }
	squared := func(i int) float64 {
		root := between(i, steps, math.Sqrt(start), math.Sqrt(end))
		return root * root
	}
	cosine := func(i int) float64 {
		bar := func(i int) float64 {
			return math.Pow(math.Cos((float64(i)/float64(steps)+8e-3)/(1+8e-3)*math.Pi/2), 2)
		}
		return min(1-bar(i+1)/bar(i), 0.999)
	}
	family := map[string]func(i int) float64{
		"linear": evenly, "quad": squared, "warmup10": warmup(steps / 10), "warmup50": warmup(steps / 2),
		"const": warmup(0), "cosine": cosine,
	}
	if latent {
		family = map[string]func(i int) float64{
			"linear": squared, "sqrt_linear": evenly, "cosine": cosine,
			"sqrt": func(i int) float64 { return math.Sqrt(evenly(i)) },
		}
	}
	beta := family[schedule]
	if beta == nil {
		panic(&Error{"diffusion", "schedule", schedule, "a known name"})
	}
	out := make([]float64, steps)
	for i := range out {
		out[i] = beta(i)
	}
	return out
}

// Sample runs the reverse diffusion from noise x. A latent denoiser is given t and
// predicts the prior; the other is given t+1 and predicts noise. The released code keeps
// the step's constants in float32.
func Sample(latent bool, betas []float64, x *Array, denoise func(x *Array, time int) *Array) *Array {
	bars := []float64{1} // ᾱ_{t−1}, ᾱ_t
	for i, beta := range betas {
		bars = append(bars, bars[i]*(1-beta))
	}
	buffer := func(v float64) float64 { return float64(float32(v)) }
	for t := len(betas) - 1; t >= 0; t-- {
		beta, before, bar := betas[t], bars[t], bars[t+1]
		var x0 *Array
		if latent {
			x0 = denoise(x, t)
		} else {
			recip, recipm1 := buffer(math.Sqrt(1/bar)), buffer(math.Sqrt(1/bar-1))
			x0 = zip(x, denoise(x, t+1), func(x, noise float64) float64 { return x*recip - noise*recipm1 })
			x0 = Clamp(x0, -1, 1)
		}
		coef1 := buffer(beta * math.Sqrt(before) / (1 - bar))
		coef2 := buffer((1 - before) * math.Sqrt(1-beta) / (1 - bar))
		x = zip(x0, x, func(x0, x float64) float64 { return coef1*x0 + coef2*x })
	}
	return x
}
