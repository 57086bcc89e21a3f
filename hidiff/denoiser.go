package hidiff

import (
	"math"

	"hidiff/autograd"
	"hidiff/tensor"
)

// denoiser is net_d and its sampler: it produces a prior from noise under a
// condition. Source: HI-Diff §3.1; the released denoising, simple_denoise.
type denoiser struct {
	d        *tensor.Device
	mine     owned
	schedule *Schedule
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

func newDenoiser(l loader, c DenoiserConfig, diffusion DiffusionConfig) (*denoiser, error) {
	schedule, err := NewSchedule(diffusion)
	if err != nil {
		return nil, err
	}
	d := l.d
	n := &denoiser{d: d, schedule: schedule, ldm: diffusion.ApplyLDM}
	defer l.done()
	pack := func(s tensor.LinearSpec) *tensor.Linear { return own(&n.mine, tensor.NewLinear(d, s)) }

	var in, out, row, xAt, cAt int
	var name string
	time := &tensor.StepBias{Factor: 1}
	if c.Type == Denoising {
		in, out, name, n.act = c.InChannel, c.InnerChannel, "first_layer.0", tensor.LeakyReLU(0.2)
		row, xAt, cAt = 3*in, 0, 2*in
		time.From, time.Columns, time.TimeMLP = in, in, l.keep("time_mlp", &n.mine)
	} else {
		in, out, name, n.act = 4*c.NFeats, 4*c.NFeats, "resmlp.0", tensor.LeakyReLU(0.1)
		row, cAt, xAt = 2*in+1, 0, in+1
		time.From, time.Columns, time.Factor = in, 1, 1/float32(10*c.Timesteps)
	}
	if !n.ldm {
		time.First = 1 // the network is told t+1, or t itself in the latent variant
	}
	time.Weight, time.Out, time.Row = l.keep(name+".weight", &n.mine), out, row
	n.time = own(&n.mine, time)
	n.condition = pack(tensor.LinearSpec{Out: out, In: in, From: cAt, Row: row, Weight: time.Weight, Bias: l.optional(name + ".bias")})
	for _, bias := range time.Steps(diffusion.Timesteps) {
		n.first = append(n.first, pack(tensor.LinearSpec{Out: out, In: in, From: xAt, Row: row, Weight: time.Weight, Bias: bias}))
	}
	if c.Type == Denoising {
		for i := range c.BlockNum - 2 {
			n.mixers = append(n.mixers, newMixer(l.at("blocks.%d.0", i), out, int(c.ChannelExpansion*float64(out)), &n.mine))
		}
		n.final = pack(l.linear("final_layer.0", c.OutChannel, out, tensor.LinearSpec{}))
		return n, nil
	}
	for i := range c.NDenoiseRes {
		n.layers = append(n.layers, pack(l.at("resmlp.%d.resmlp", 2+i).linear("0", out, out, tensor.LinearSpec{})))
	}
	return n, nil
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
