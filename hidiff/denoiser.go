package hidiff

import (
	"hidiff/hidiff/checkpoint"
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
	first     []*tensor.Linear // by step
	act       tensor.Activation
	mixers    []*mixer         // denoising
	layers    []*tensor.Linear // simple_denoise, after the first
	final     *tensor.Linear   // denoising
}

func newDenoiser(d *tensor.Device, c DenoiserConfig, diffusion DiffusionConfig, state *checkpoint.StateDict) (*denoiser, error) {
	schedule, err := NewSchedule(diffusion)
	if err != nil {
		return nil, err
	}
	n := &denoiser{d: d, schedule: schedule, ldm: diffusion.ApplyLDM}
	l := newLoader(d, state)
	defer l.done()
	pack := func(s tensor.LinearSpec) *tensor.Linear { return own(&n.mine, tensor.NewLinear(d, s)) }

	var in, out, row, xAt, cAt, timeAt, timeColumns int
	var name string
	scale := float32(1)
	if c.Type == "denoising" {
		in, out, name, n.act = c.InChannel, c.InnerChannel, "first_layer.0", tensor.LeakyReLU(0.2)
		row, xAt, timeAt, cAt, timeColumns = 3*in, 0, in, 2*in, in
		scale = l.values("time_mlp")[0]
	} else {
		in, out, name, n.act = 4*c.NFeats, 4*c.NFeats, "resmlp.0", tensor.LeakyReLU(0.1)
		row, cAt, timeAt, xAt, timeColumns = 2*in+1, 0, in, in+1, 1
		scale = 1 / float32(10*c.Timesteps)
	}
	spec := l.linear(name, out, in, tensor.LinearSpec{Row: row})
	spec.From = cAt
	n.condition = pack(spec)
	weight := l.values(name + ".weight")
	for t := range diffusion.Timesteps {
		bias := make([]float32, out)
		for o := range bias {
			var sum float64
			for i := range timeColumns {
				sum += float64(weight[o*row+timeAt+i])
			}
			bias[o] = float32(sum * float64(scale) * n.time(t))
		}
		b := tensor.NewParameter(d, bias)
		spec.From, spec.Bias = xAt, b
		n.first = append(n.first, pack(spec))
		b.Release()
	}
	if c.Type == "denoising" {
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

func (n *denoiser) release() { n.mine.release() }

// time is what step t tells the network: t+1, or t itself in the latent
// variant.
func (n *denoiser) time(t int) float64 {
	if n.ldm {
		return float64(t)
	}
	return float64(t + 1)
}

// base is the condition's share of the first layer, the same at every step.
func (n *denoiser) base(c *tensor.Tensor) *tensor.Tensor {
	return n.condition.Apply(c, tensor.Fused{})
}

// forward evaluates the network at step t for x [N, tokens, 4*embed_dim]. last
// is fused behind the last layer's activation.
func (n *denoiser) forward(x, base *tensor.Tensor, t int, last tensor.Fused) *tensor.Tensor {
	h := n.first[t].Apply(x, tensor.Fused{Residual: base, Post: n.act})
	next := func(y *tensor.Tensor) {
		h.Release()
		h = y
	}
	for _, m := range n.mixers {
		next(m.forward(h, tensor.GELU))
	}
	for i, layer := range n.layers {
		f := tensor.Fused{}
		if i == len(n.layers)-1 {
			f = last
		}
		f.Act = n.act
		next(layer.Apply(h, f))
	}
	if n.final != nil {
		last.Act = tensor.GELU
		next(n.final.Apply(h, last))
	}
	return h
}

// sample runs all reverse steps from noise [N, tokens, 4*embed_dim] and returns
// the prior.
func (n *denoiser) sample(noise, condition *tensor.Tensor) *tensor.Tensor {
	base := n.base(condition)
	defer base.Release()
	s := n.schedule
	x := noise
	for t := len(n.first) - 1; t >= 0; t-- {
		y := n.forward(x, base, t, tensor.Fused{Residual: x, Reverse: &tensor.Reverse{
			PredictsNoise: !n.ldm,
			Recip:         s.SqrtRecipAlphasCumprod[t], Recipm1: s.SqrtRecipm1AlphasCumprod[t],
			Coef1: s.PosteriorMeanCoef1[t], Coef2: s.PosteriorMeanCoef2[t],
		}})
		if x != noise {
			x.Release()
		}
		x = y
	}
	return x
}
