package hidiff

import (
	"fmt"
	"math"

	"hidiff/autograd"
	"hidiff/internal/diffusion"
	"hidiff/tensor"
)

// denoiser is net_d and its sampler: it produces a prior from noise under a
// condition. Source: HI-Diff §3.1; the released denoising, simple_denoise.
type denoiser struct {
	schedule *diffusion.Schedule
	ldm      bool

	// The first layer sees noise, time and condition side by side. Its columns
	// for the condition act once, those for the time are a bias per step.
	condition *tensor.Linear
	time      *tensor.StepBias
	first     []*tensor.Linear // by step
	act       tensor.Activation
	mixers    []*mixer         // denoising
	layers    []*tensor.Linear // simple_denoise, after the first
	final     *tensor.Linear   // denoising
}

// newDenoiser makes net_d and its sampler, in the latent variant or not. A loader
// that records needs no schedule.
func newDenoiser(l loader, c DenoiserConfig, ldm bool, schedule *diffusion.Schedule) *denoiser {
	n := &denoiser{schedule: schedule, ldm: ldm}
	defer l.done()

	var first tensor.LinearSpec
	var in, xAt, cAt int
	kept := l.keeping()
	time := &tensor.StepBias{Factor: 1}
	if c.Type == Denoising {
		in, xAt, cAt, n.act = c.InChannel, 0, 2*c.InChannel, tensor.LeakyReLU(0.2)
		time.From, time.Columns, time.TimeMLP = in, in, kept.get("time_mlp", 1)
		first = kept.linear("first_layer.0", c.InnerChannel, 3*in, true)
	} else {
		in, xAt, cAt, n.act = 4*c.NFeats, 4*c.NFeats+1, 0, tensor.LeakyReLU(0.1)
		time.From, time.Columns, time.Factor = in, 1, 1/float32(10*c.Timesteps)
		first = kept.linear("resmlp.0", in, 2*in+1, true)
	}
	time.Weight, time.Out, time.Row = first.Weight, first.Out, first.In
	n.time = time
	first.In, first.Row, first.From = in, first.In, cAt
	n.condition = l.pack(first)
	if !ldm {
		time.First = 1 // the network is told t+1, or t itself in the latent variant
	}
	if !l.recording() {
		own(l.mine, time)
		first.From = xAt
		for _, first.Bias = range time.Steps(len(schedule.Betas)) {
			n.first = append(n.first, l.pack(first))
		}
	}

	if c.Type == Denoising {
		for i := range c.BlockNum - 2 {
			n.mixers = append(n.mixers, newMixer(l.at("blocks.%d.0", i), c.Group*c.Group, first.Out, c.PatchExpansion, c.ChannelExpansion))
		}
		n.final = l.pack(l.linear("final_layer.0", c.OutChannel, first.Out, true))
		return n
	}
	for i := range c.NDenoiseRes {
		n.layers = append(n.layers, l.pack(l.linear(fmt.Sprintf("resmlp.%d.resmlp.0", 2+i), in, in, true)))
	}
	return n
}

// base is the condition's share of the first layer, the same at every step.
func (n *denoiser) base(c *autograd.Variable) *autograd.Variable {
	return autograd.Linear(n.condition, c, autograd.After{})
}

// forward evaluates the network at step t for x [N, tokens, 4*embed_dim]. last
// is fused behind the last layer's activation.
func (n *denoiser) forward(x, base *autograd.Variable, t int, last autograd.After) *autograd.Variable {
	h := autograd.Linear(n.first[t], x, autograd.After{Residual: base, Post: n.act})
	next := func(y *autograd.Variable) {
		h.Release()
		h = y
	}
	for _, m := range n.mixers {
		next(m.forward(h, tensor.GELU))
	}
	for i, layer := range n.layers {
		after := autograd.After{}
		if i == len(n.layers)-1 {
			after = last
		}
		after.Act = n.act
		next(autograd.Linear(layer, h, after))
	}
	if n.final != nil {
		last.Act = tensor.GELU
		next(autograd.Linear(n.final, h, last))
	}
	return h
}

// sample runs all reverse steps from noise [N, tokens, 4*embed_dim] and returns
// the prior.
func (n *denoiser) sample(noise, condition *autograd.Variable) *autograd.Variable {
	autograd.StepBias(n.time, condition)
	base := n.base(condition)
	defer base.Release()
	s := n.schedule
	x := noise.Keep()
	for t := len(n.first) - 1; t >= 0; t-- {
		y := n.forward(x, base, t, autograd.After{Residual: x, Reverse: &tensor.Reverse{
			PredictsNoise: !n.ldm,
			Recip:         s.SqrtRecipAlphasCumprod[t], Recipm1: s.SqrtRecipm1AlphasCumprod[t],
			Coef1: s.PosteriorMeanCoef1[t], Coef2: s.PosteriorMeanCoef2[t],
		}})
		x.Release()
		x = y
	}
	return x
}

// start is the sample that training begins from: the oracle prior z under
// noise. The released code passes ᾱ where the noise-predicting variant's
// formula has its root.
func (n *denoiser) start(z, noise *autograd.Variable) *autograd.Variable {
	s := n.schedule
	last := len(n.first) - 1
	keep, add := s.SqrtAlphasCumprod[last], s.SqrtOneMinusAlphasCumprod[last]
	if !n.ldm {
		keep = s.AlphasCumprod[last]
		add = float32(math.Sqrt(1 - float64(keep)*float64(keep)))
	}
	return autograd.Blend(z, noise, keep, add)
}
