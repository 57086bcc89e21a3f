package hidiff

import (
	"encoding/json"
	"fmt"

	"hidiff/hidiff/checkpoint"
	"hidiff/tensor"
)

// Module runs one building block by the class name and constructor options
// (JSON) of the released code: Attention, FeedForward, TransformerBlock, HIM,
// BasicLayer, Downsample, Upsample, latent_encoder_gelu, latent_encoder_lrelu,
// denoising or simple_denoise, with their own state dict. Inputs and the
// output carry the released code's argument names; images are [N, H, W, C].
// It is for conformance and experiments.
func Module(d *tensor.Device, class string, options []byte, state *checkpoint.StateDict, in map[string]*tensor.Tensor) (out *tensor.Tensor, err error) {
	defer tensor.Catch(&err)
	var o struct {
		Dim      int     `json:"dim"`
		Heads    int     `json:"num_heads"`
		Factor   float64 `json:"ffn_expansion_factor"`
		Bias     bool    `json:"bias"`
		Norm     string  `json:"LayerNorm_type"`
		EmbedDim int     `json:"embed_dim"`
		Group    int     `json:"group"`
		Blocks   int     `json:"num_blocks"`
		Features int     `json:"n_feat"`
		Time     int     `json:"time"`
	}
	if err := json.Unmarshal(options, &o); err != nil {
		return nil, fmt.Errorf("module %s: %w", class, err)
	}
	var mine owned
	defer mine.release()
	l := newLoader(d, state)
	defer l.done()
	c := TransformerConfig{Dim: o.Dim, FFNExpansionFactor: o.Factor, Bias: o.Bias, LayerNormType: o.Norm, EmbedDim: o.EmbedDim}
	switch class {
	case "Attention", "FeedForward":
		return branch(l, class, c, o.Heads, o.Group == 1, in["x"], in["prior"], &mine), nil
	case "BasicLayer":
		return guided(newBasicLayer(l, c, o.Dim, o.Heads, o.Blocks, o.Group, &mine), in["x"], in["prior"], &mine), nil
	case "TransformerBlock":
		l.state = prefixed(state, "blocks.0.")
		if o.Group == 1 {
			return guided(newBasicLayer(l, c, o.Dim, o.Heads, 1, 1, &mine), in["x"], in["prior"], &mine), nil
		}
		return newBlock(l.at("blocks.0"), c, o.Dim, o.Heads, 0, false, &mine).forward(in["x"].Clone(), nil), nil
	case "HIM":
		l.state = prefixed(state, "him.")
		return guided(newBasicLayer(l, c, o.Dim, o.Heads, 0, 2, &mine), in["x"], in["prior"], &mine), nil
	case "Downsample":
		conv := own(&mine, tensor.NewLinear(d, l.conv("body.0", o.Features/2, o.Features)))
		return conv.Conv3x3(in["x"], tensor.Conv{Store: tensor.Unshuffled}), nil
	case "Upsample":
		s := l.conv("body.0", 2*o.Features, o.Features)
		s.Shuffle = 2
		return own(&mine, tensor.NewLinear(d, s)).Conv3x3(in["x"], tensor.Conv{Store: tensor.Shuffled}), nil
	case LatentEncoderGELU, LatentEncoderLReLU:
		var c EncoderConfig
		if err := c.decode(class, options); err != nil {
			return nil, err
		}
		e := newEncoder(d, c, state)
		defer e.release()
		if gt := in["gt"]; gt != nil {
			return e.forward(gt, in["inp_img"]), nil
		}
		return e.forward(in["inp_img"]), nil
	case Denoising, SimpleDenoise:
		return denoise(d, class, options, o.Time, state, in)
	}
	return nil, fmt.Errorf("unknown module %q", class)
}

// guided runs a layer by itself.
func guided(layer *basicLayer, x, prior *tensor.Tensor, mine *owned) *tensor.Tensor {
	var kv kvStack
	kv.add(layer)
	kv.pack(x.Device(), mine)
	g := kv.guide(prior)
	defer g.release()
	return layer.forward(x.Clone(), g)
}

// branch runs an attention or feed-forward branch by itself: without the
// LayerNorm before and the residual after it.
func branch(l loader, class string, c TransformerConfig, heads int, modulated bool, x, prior *tensor.Tensor, mine *owned) *tensor.Tensor {
	var modulation *tensor.Tensor
	if modulated {
		w := append(l.values("ln1.weight"), l.values("ln2.weight")...)
		b := append(l.values("ln1.bias"), l.values("ln2.bias")...)
		lin := own(mine, tensor.NewLinear(l.d, tensor.LinearSpec{
			Out: 2 * c.Dim, In: 4 * c.EmbedDim, OutParts: 2,
			Weight: own(mine, tensor.NewParameter(l.d, w)), Bias: own(mine, tensor.NewParameter(l.d, b)),
		}))
		modulation = own(mine, lin.Apply(prior, tensor.Fused{}))
	}
	var y *tensor.Tensor
	if class == "Attention" {
		s := l.linear("qkv", 3*c.Dim, c.Dim, tensor.LinearSpec{OutParts: 3 * heads, Modulation: modulation, ShiftAt: (c.Dim + 3) / 4 * 4})
		y = (&tensor.Attention{
			Heads: heads, QKV: own(mine, tensor.NewLinear(l.d, s)),
			Depth:       own(mine, tensor.NewDepthwise(l.d, 3*c.Dim, 3*heads, l.param("qkv_dwconv.weight"), l.optional("qkv_dwconv.bias"))),
			Temperature: l.param("temperature"), Out: l.param("project_out.weight"), OutBias: l.optional("project_out.bias"),
		}).Apply(x, false)
	} else {
		hidden := c.Hidden(c.Dim)
		s := l.linear("project_in", 2*hidden, c.Dim, tensor.LinearSpec{OutParts: 2, Modulation: modulation, ShiftAt: (c.Dim + 3) / 4 * 4})
		y = (&tensor.FeedForward{
			In:    own(mine, tensor.NewLinear(l.d, s)),
			Depth: own(mine, tensor.NewDepthwise(l.d, 2*hidden, 2, l.param("dwconv.weight"), l.optional("dwconv.bias"))),
			Out:   own(mine, tensor.NewLinear(l.d, l.linear("project_out", c.Dim, hidden, tensor.LinearSpec{}))),
		}).Apply(x)
	}
	// The branch without its residual.
	negative := tensor.ScaleShift(x, constant(x, -1, mine), constant(x, 0, mine))
	defer negative.Release()
	defer y.Release()
	return tensor.Add(y, negative)
}

func constant(x *tensor.Tensor, value float32, mine *owned) *tensor.Tensor {
	n := x.Shape()[0] * x.Channels()
	values := make([]float32, n)
	for i := range values {
		values[i] = value
	}
	return own(mine, tensor.From(x.Device(), values, x.Shape()[0], x.Channels()))
}

func denoise(d *tensor.Device, class string, options []byte, time int, state *checkpoint.StateDict, in map[string]*tensor.Tensor) (*tensor.Tensor, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(options, &raw); err != nil {
		return nil, err
	}
	delete(raw, "time")
	delete(raw, "layerscale_value") // no parameter comes of it
	clean, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	var c DenoiserConfig
	if err := c.decode(class, clean); err != nil {
		return nil, err
	}
	diffusion := defaultDiffusion(class == SimpleDenoise)
	diffusion.Timesteps = max(diffusion.Timesteps, time+1)
	n, err := newDenoiser(d, c, diffusion, state)
	if err != nil {
		return nil, err
	}
	defer n.release()
	base := n.base(in["c"])
	defer base.Release()
	step := time
	if !n.ldm {
		step = time - 1
	}
	return n.forward(in["x"], base, step, tensor.Fused{}), nil
}

func prefixed(s *checkpoint.StateDict, prefix string) *checkpoint.StateDict {
	out := checkpoint.NewStateDict()
	for key, a := range s.All() {
		out.Set(prefix+key, a)
	}
	return out
}
