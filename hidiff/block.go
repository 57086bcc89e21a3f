package hidiff

import (
	"encoding/json"
	"fmt"

	"hidiff/autograd"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/block"
	"hidiff/internal/diffusion"
	"hidiff/tensor"
)

func init() { block.New = newNamedBlock }

// newNamedBlock is [block.New].
func newNamedBlock(d *tensor.Device, class string, options []byte, state *checkpoint.StateDict) (m *block.Block, err error) {
	defer tensor.Catch(&err)
	var o blockOptions
	if err := json.Unmarshal(options, &o); err != nil {
		return nil, fmt.Errorf("module %s: %w", class, err)
	}
	var specs []tensor.ParameterSpec
	for name, a := range state.All() {
		specs = append(specs, tensor.ParameterSpec{Name: name, Shape: a.Shape, Values: a.Float32s()})
	}
	parameters, mine := tensor.NewParameters(d, specs), &owned{}
	byName := map[string]*tensor.Parameter{}
	for _, p := range parameters.All() {
		byName[o.prefix(class)+p.Name] = p
	}
	m = &block.Block{Parameters: parameters, Release: func() {
		mine.Release()
		parameters.Release()
	}}
	m.Forward, err = build(newTrainedLoader(d, byName, mine), class, options, o)
	return m, err
}

// blockOptions are what the constructors of transformer parts take, and the
// time that a denoiser is told.
type blockOptions struct {
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

// prefix is where the module's parameters are in the smallest part of the
// Transformer that we build by itself.
func (o blockOptions) prefix(class string) string {
	switch class {
	case "TransformerBlock":
		return "blocks.0."
	case "HIM":
		return "him."
	}
	return ""
}

type inputs = map[string]*autograd.Variable

func build(l loader, class string, options []byte, o blockOptions) (forward func(in inputs) *autograd.Variable, err error) {
	c := TransformerConfig{Dim: o.Dim, FFNExpansionFactor: o.Factor, Bias: o.Bias, LayerNormType: o.Norm, EmbedDim: o.EmbedDim}
	switch class {
	case "Attention", "FeedForward":
		return branch(l, class, c, o), nil
	case "BasicLayer":
		return guided(l, newBasicLayer(l, c, o.Dim, o.Heads, o.Blocks, o.Group)), nil
	case "TransformerBlock":
		if o.Group == 1 {
			return guided(l, newBasicLayer(l, c, o.Dim, o.Heads, 1, 1)), nil
		}
		block := newBlock(l.at("blocks.0"), c, o.Dim, o.Heads, false)
		return func(in inputs) *autograd.Variable { return block.forward(in["x"].Keep(), nil) }, nil
	case "HIM":
		return guided(l, newBasicLayer(l, c, o.Dim, o.Heads, 0, 2)), nil
	case "Downsample":
		conv := l.pack(l.conv3x3("body.0", o.Features/2, o.Features, false))
		return func(in inputs) *autograd.Variable {
			return autograd.Conv3x3(conv, in["x"], tensor.Conv{Store: tensor.Unshuffled}, nil)
		}, nil
	case "Upsample":
		s := l.conv3x3("body.0", 2*o.Features, o.Features, false)
		s.Shuffle = 2
		conv := l.pack(s)
		return func(in inputs) *autograd.Variable {
			return autograd.Conv3x3(conv, in["x"], tensor.Conv{Store: tensor.Shuffled}, nil)
		}, nil
	case LatentEncoderGELU, LatentEncoderLReLU:
		var c EncoderConfig
		if err := c.decode(class, options); err != nil {
			return nil, err
		}
		e := newEncoder(l, c)
		return func(in inputs) *autograd.Variable {
			if gt := in["gt"]; gt != nil {
				return e.forward(gt, in["inp_img"])
			}
			return e.forward(in["inp_img"])
		}, nil
	case Denoising, SimpleDenoise:
		return buildDenoiser(l, class, options, o.Time)
	}
	return nil, fmt.Errorf("unknown module %q", class)
}

// guided runs a layer by itself.
func guided(l loader, layer *basicLayer) func(inputs) *autograd.Variable {
	var kv kvStack
	kv.add(layer)
	kv.pack(l)
	return func(in inputs) *autograd.Variable {
		g := kv.guide(in["prior"])
		defer g.release()
		return layer.forward(in["x"].Keep(), g)
	}
}

// branch runs an attention or feed-forward branch by itself: without the
// LayerNorm before and the residual after it.
func branch(l loader, class string, c TransformerConfig, o blockOptions) func(inputs) *autograd.Variable {
	var stack *tensor.Linear
	at, pack := []int{0, 0}, l.pack
	if o.Group == 1 {
		stack, at = l.stack([]tensor.LinearSpec{l.linear("ln1", c.Dim, 4*c.EmbedDim, true), l.linear("ln2", c.Dim, 4*c.EmbedDim, true)})
		pack = l.modulated
	}
	linear := func(name string, out, parts int) *tensor.Linear {
		s := l.conv1x1(name, out, c.Dim, c.Bias)
		s.OutParts, s.ScaleAt, s.ShiftAt = parts, at[0], at[1]
		return pack(s)
	}
	var run func(x, modulation *autograd.Variable) *autograd.Variable
	if class == "Attention" {
		out := l.conv1x1("project_out", c.Dim, c.Dim, c.Bias)
		a := &tensor.Attention{
			Heads: o.Heads, QKV: linear("qkv", 3*c.Dim, 3*o.Heads), Depth: l.depthwise("qkv_dwconv", 3*c.Dim, 3*o.Heads, c.Bias),
			Temperature: l.get("temperature", o.Heads, 1, 1), Out: out.Weight, OutBias: out.Bias,
		}
		run = func(x, modulation *autograd.Variable) *autograd.Variable { return autograd.Attention(a, x, modulation) }
	} else {
		hidden := c.Hidden(c.Dim)
		f := &tensor.FeedForward{
			In: linear("project_in", 2*hidden, 2), Depth: l.depthwise("dwconv", 2*hidden, 2, c.Bias),
			Out: l.pack(l.conv1x1("project_out", c.Dim, hidden, c.Bias)),
		}
		run = func(x, modulation *autograd.Variable) *autograd.Variable {
			return autograd.FeedForward(f, x, modulation)
		}
	}
	return func(in inputs) *autograd.Variable {
		var modulation *autograd.Variable
		if stack != nil {
			modulation = autograd.Linear(stack, in["prior"], autograd.After{})
			defer modulation.Release()
		}
		y := run(in["x"].Keep(), modulation)
		defer y.Release()
		return autograd.Blend(y, in["x"], 1, -1)
	}
}

func buildDenoiser(l loader, class string, options []byte, time int) (func(inputs) *autograd.Variable, error) {
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
	sampler := defaultDiffusion(class == SimpleDenoise)
	sampler.Timesteps = max(sampler.Timesteps, time+1)
	schedule, err := diffusion.NewSchedule(diffusion.Options(sampler))
	if err != nil {
		return nil, err
	}
	n := newDenoiser(l, c, sampler.ApplyLDM, schedule)
	step := time
	if !n.ldm {
		step = time - 1
	}
	return func(in inputs) *autograd.Variable {
		autograd.StepBias(n.time, in["c"])
		base := n.base(in["c"])
		defer base.Release()
		return n.forward(in["x"], base, step, autograd.After{})
	}, nil
}
