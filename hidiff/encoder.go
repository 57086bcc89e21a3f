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
	act    tensor.Activation
	first  *tensor.Linear
	blocks [][2]*tensor.Linear
	last   []*tensor.Linear
	mixer  *mixer
	end    *tensor.Linear
}

func newEncoder(l loader, c EncoderConfig) *encoder {
	e := &encoder{cfg: c, act: tensor.GELU}
	defer l.done()
	dim, width := c.EmbedDim, c.width()
	conv := func(l loader, name string, out, in int) *tensor.Linear { return l.pack(l.conv3x3(name, out, in, true)) }
	e.first = conv(l, "conv1.0", dim, 16*c.InChans) // after a pixel unshuffle by 4
	for i := range c.BlockNum {
		at := l.at("blocks.%d", i)
		e.blocks = append(e.blocks, [2]*tensor.Linear{conv(at, "0", dim, dim), conv(at, "2", dim, dim)})
	}
	if c.Type == LatentEncoderLReLU {
		e.act = tensor.LeakyReLU(0.1)
		e.last = []*tensor.Linear{conv(l, "conv2.0", 2*dim, dim), conv(l, "conv2.2", 2*dim, 2*dim), conv(l, "conv2.4", 4*dim, 2*dim)}
	} else {
		e.last = []*tensor.Linear{conv(l, "conv2", dim, dim)}
	}
	e.mixer = newMixer(l.at("mlp"), c.Group*c.Group, width, c.PatchExpansion, c.ChannelExpansion)
	e.end = l.pack(l.linear("end.0", 4*dim, width, true))
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

func newMixer(l loader, tokens, width int, patchExpansion, channelExpansion float64) *mixer {
	kept := l.keeping()
	patch, hidden := expand(tokens, patchExpansion), expand(width, channelExpansion)
	m := &mixer{}
	first, second := kept.linear("patch_mixer.0", patch, tokens, true), kept.linear("patch_mixer.2", tokens, patch, true)
	m.patch = [4]*tensor.Parameter{first.Weight, first.Bias, second.Weight, second.Bias}
	wide := l.linear("channel_mixer.0", hidden, width, true)
	m.narrow = l.pack(l.linear("channel_mixer.2", width, hidden, true))
	m.gamma, m.beta = kept.norm("norm1", width, true)
	wide.Norm = tensor.WithBias
	wide.Gamma, wide.Beta = l.norm("norm2", width, true)
	m.wide = l.pack(wide)
	return m
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
