package hidiff

import (
	"hidiff/autograd"
	"hidiff/tensor"
)

// encoder is net_le or net_le_dm: a small convolution network that squeezes
// images into group² tokens of 4*embed_dim values. Source: HI-Diff §3.1 and
// the released latent_encoder_gelu, latent_encoder_lrelu.
type encoder struct {
	cfg    EncoderConfig
	mine   owned
	act    tensor.Activation
	first  *tensor.Linear
	blocks [][2]*tensor.Linear
	last   []*tensor.Linear
	mixer  *mixer
	end    *tensor.Linear
}

func newEncoder(l loader, c EncoderConfig) *encoder {
	d := l.d
	e := &encoder{cfg: c}
	defer l.done()
	pack := func(s tensor.LinearSpec) *tensor.Linear { return own(&e.mine, tensor.NewLinear(d, s)) }
	dim := c.EmbedDim
	e.first = pack(l.conv("conv1.0", dim, 16*c.InChans))
	for i := range c.BlockNum {
		at := l.at("blocks.%d", i)
		e.blocks = append(e.blocks, [2]*tensor.Linear{pack(at.conv("0", dim, dim)), pack(at.conv("2", dim, dim))})
	}
	width := dim
	if c.Type == "latent_encoder_gelu" {
		e.act = tensor.GELU
		e.last = []*tensor.Linear{pack(l.conv("conv2", dim, dim))}
	} else {
		e.act = tensor.LeakyReLU(0.1)
		width = 4 * dim
		e.last = []*tensor.Linear{pack(l.conv("conv2.0", 2*dim, dim)), pack(l.conv("conv2.2", 2*dim, 2*dim)), pack(l.conv("conv2.4", 4*dim, 2*dim))}
	}
	e.mixer = newMixer(l.at("mlp"), width, int(c.ChannelExpansion*float64(width)), &e.mine)
	e.end = pack(l.linear("end.0", 4*dim, width, tensor.LinearSpec{}))
	return e
}

// forward encodes images [N, H, W, 3], the sharp one first if there are two,
// into tokens [N, group², 4*embed_dim].
func (e *encoder) forward(images ...*autograd.Variable) *autograd.Variable {
	small := autograd.PixelUnshuffle(4, images...)
	x := autograd.Conv3x3(e.first, small, tensor.Conv{Act: e.act}, nil)
	small.Release()
	for _, b := range e.blocks {
		h := autograd.Conv3x3(b[0], x, tensor.Conv{Act: e.act}, nil)
		y := autograd.Conv3x3(b[1], h, tensor.Conv{}, x)
		h.Release()
		x.Release()
		x = y
	}
	for _, conv := range e.last {
		c := tensor.Conv{}
		if len(e.last) > 1 {
			c.Act = e.act
		}
		y := autograd.Conv3x3(conv, x, c, nil)
		x.Release()
		x = y
	}
	pooled := autograd.AdaptiveAvgPool(x, e.cfg.Group)
	x.Release()
	shape := pooled.Shape()
	tokens := autograd.Reshape(pooled, shape[0], shape[1]*shape[2], shape[3])
	pooled.Release()
	mixed := e.mixer.forward(tokens, tensor.Activation{})
	tokens.Release()
	z := autograd.Linear(e.end, mixed, autograd.After{Act: e.act})
	mixed.Release()
	return z
}

// mixer is an MLP-Mixer layer: x += patch_mixer(norm1(x)ᵀ)ᵀ, then
// x += channel_mixer(norm2(x)).
type mixer struct {
	gamma, beta *tensor.Parameter // norm1
	patch       [4]*tensor.Parameter
	wide        *tensor.Linear // norm2 folded in
	narrow      *tensor.Linear
}

func newMixer(l loader, width, hidden int, mine *owned) *mixer {
	pack := func(s tensor.LinearSpec) *tensor.Linear { return own(mine, tensor.NewLinear(l.d, s)) }
	return &mixer{
		gamma: l.keep("norm1.weight", mine), beta: l.keep("norm1.bias", mine),
		patch: [4]*tensor.Parameter{
			l.keep("patch_mixer.0.weight", mine), l.keep("patch_mixer.0.bias", mine),
			l.keep("patch_mixer.2.weight", mine), l.keep("patch_mixer.2.bias", mine),
		},
		wide: pack(l.linear("channel_mixer.0", hidden, width, tensor.LinearSpec{
			Norm: tensor.WithBias, Gamma: l.param("norm2.weight"), Beta: l.param("norm2.bias"),
		})),
		narrow: pack(l.linear("channel_mixer.2", width, hidden, tensor.LinearSpec{})),
	}
}

// forward returns post(mixer(x)), a new tensor.
func (m *mixer) forward(x *autograd.Variable, post tensor.Activation) *autograd.Variable {
	h := autograd.PatchMixer(x, m.gamma, m.beta, m.patch[0], m.patch[1], m.patch[2], m.patch[3])
	wide := autograd.Linear(m.wide, h, autograd.After{Act: tensor.GELU})
	y := autograd.Linear(m.narrow, wide, autograd.After{Residual: h, Post: post})
	wide.Release()
	h.Release()
	return y
}
