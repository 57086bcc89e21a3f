package hidiff

import (
	"encoding/json"
	"fmt"

	"hidiff/autograd"
	"hidiff/hidiff/checkpoint"
	"hidiff/tensor"
)

// Module is one building block of the released code by itself, with parameters
// that can be trained. It is for conformance and experiments.
type Module struct {
	Parameters *tensor.Parameters
	forward    func(in map[string]*autograd.Variable) *autograd.Variable
	mine       owned
}

// NewModule makes a building block by the class name and constructor options
// (JSON) of the released code: Attention, FeedForward, TransformerBlock, HIM,
// BasicLayer, Downsample, Upsample, latent_encoder_gelu, latent_encoder_lrelu,
// denoising or simple_denoise, with its own state dict.
func NewModule(d *tensor.Device, class string, options []byte, state *checkpoint.StateDict) (m *Module, err error) {
	defer tensor.Catch(&err)
	var o moduleOptions
	if err := json.Unmarshal(options, &o); err != nil {
		return nil, fmt.Errorf("module %s: %w", class, err)
	}
	var specs []tensor.ParameterSpec
	for name, a := range state.All() {
		specs = append(specs, tensor.ParameterSpec{Name: name, Shape: a.Shape, Values: a.Float32s()})
	}
	m = &Module{Parameters: tensor.NewParameters(d, specs)}
	l := newLoader(d, nil)
	l.trained = map[string]*tensor.Parameter{}
	for _, p := range m.Parameters.All() {
		l.trained[o.prefix(class)+p.Name] = p
	}
	m.forward, err = m.build(l, class, options, o)
	return m, err
}

// Forward runs the module. Inputs carry the released code's argument names;
// images are [N, H, W, C].
func (m *Module) Forward(in map[string]*autograd.Variable) (out *autograd.Variable, err error) {
	defer tensor.Catch(&err)
	return m.forward(in), nil
}

// Release frees the module and its parameters.
func (m *Module) Release() {
	m.mine.Release()
	m.Parameters.Release()
}

// moduleOptions are what the constructors of transformer parts take, and the
// time that a denoiser is told.
type moduleOptions struct {
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
func (o moduleOptions) prefix(class string) string {
	switch class {
	case "TransformerBlock":
		return "blocks.0."
	case "HIM":
		return "him."
	}
	return ""
}

type inputs = map[string]*autograd.Variable

func (m *Module) build(l loader, class string, options []byte, o moduleOptions) (forward func(in inputs) *autograd.Variable, err error) {
	c := TransformerConfig{Dim: o.Dim, FFNExpansionFactor: o.Factor, Bias: o.Bias, LayerNormType: o.Norm, EmbedDim: o.EmbedDim}
	pack := func(s tensor.LinearSpec) *tensor.Linear { return own(&m.mine, tensor.NewLinear(l.d, s)) }
	switch class {
	case "Attention", "FeedForward":
		return m.branch(l, class, c, o), nil
	case "BasicLayer":
		return m.guided(newBasicLayer(l, c, o.Dim, o.Heads, o.Blocks, o.Group, &m.mine)), nil
	case "TransformerBlock":
		if o.Group == 1 {
			return m.guided(newBasicLayer(l, c, o.Dim, o.Heads, 1, 1, &m.mine)), nil
		}
		block := newBlock(l.at("blocks.0"), c, o.Dim, o.Heads, nil, &m.mine)
		return func(in inputs) *autograd.Variable { return block.forward(in["x"].Keep(), nil) }, nil
	case "HIM":
		return m.guided(newBasicLayer(l, c, o.Dim, o.Heads, 0, 2, &m.mine)), nil
	case "Downsample":
		conv := pack(l.conv("body.0", o.Features/2, o.Features))
		return func(in inputs) *autograd.Variable {
			return autograd.Conv3x3(conv, in["x"], tensor.Conv{Store: tensor.Unshuffled}, nil)
		}, nil
	case "Upsample":
		s := l.conv("body.0", 2*o.Features, o.Features)
		s.Shuffle = 2
		conv := pack(s)
		return func(in inputs) *autograd.Variable {
			return autograd.Conv3x3(conv, in["x"], tensor.Conv{Store: tensor.Shuffled}, nil)
		}, nil
	case LatentEncoderGELU, LatentEncoderLReLU:
		var c EncoderConfig
		if err := c.decode(class, options); err != nil {
			return nil, err
		}
		e := newEncoder(l, c)
		m.mine = append(m.mine, &e.mine)
		return func(in inputs) *autograd.Variable {
			if gt := in["gt"]; gt != nil {
				return e.forward(gt, in["inp_img"])
			}
			return e.forward(in["inp_img"])
		}, nil
	case Denoising, SimpleDenoise:
		return m.denoiser(l, class, options, o.Time)
	}
	return nil, fmt.Errorf("unknown module %q", class)
}

// guided runs a layer by itself.
func (m *Module) guided(layer *basicLayer) func(inputs) *autograd.Variable {
	var kv kvStack
	kv.add(layer)
	kv.pack(m.Parameters.Values.Device(), &m.mine)
	return func(in inputs) *autograd.Variable {
		g := kv.guide(in["prior"])
		defer g.release()
		return layer.forward(in["x"].Keep(), g)
	}
}

// branch runs an attention or feed-forward branch by itself: without the
// LayerNorm before and the residual after it.
func (m *Module) branch(l loader, class string, c TransformerConfig, o moduleOptions) func(inputs) *autograd.Variable {
	var stack *tensor.Linear
	at := []int{0, 0}
	if o.Group == 1 {
		var specs []tensor.LinearSpec
		for _, name := range []string{"ln1", "ln2"} {
			specs = append(specs, l.linear(name, c.Dim, 4*c.EmbedDim, tensor.LinearSpec{}))
		}
		stack, at = tensor.NewLinearStack(l.d, specs)
		own(&m.mine, stack)
	}
	linear := func(name string, out, parts int) *tensor.Linear {
		s := l.linear(name, out, c.Dim, tensor.LinearSpec{OutParts: parts, ScaleAt: at[0], ShiftAt: at[1]})
		if stack == nil {
			return own(&m.mine, tensor.NewLinear(l.d, s))
		}
		return own(&m.mine, tensor.NewModulatedLinear(l.d, s))
	}
	depthwise := func(name string, channels, parts int) *tensor.Depthwise {
		return own(&m.mine, tensor.NewDepthwise(l.d, channels, parts, l.param(name+".weight"), l.optional(name+".bias")))
	}
	var run func(x, modulation *autograd.Variable) *autograd.Variable
	if class == "Attention" {
		a := &tensor.Attention{
			Heads: o.Heads, QKV: linear("qkv", 3*c.Dim, 3*o.Heads), Depth: depthwise("qkv_dwconv", 3*c.Dim, 3*o.Heads),
			Temperature: l.param("temperature"), Out: l.param("project_out.weight"), OutBias: l.optional("project_out.bias"),
		}
		run = func(x, modulation *autograd.Variable) *autograd.Variable { return autograd.Attention(a, x, modulation) }
	} else {
		hidden := c.Hidden(c.Dim)
		f := &tensor.FeedForward{
			In: linear("project_in", 2*hidden, 2), Depth: depthwise("dwconv", 2*hidden, 2),
			Out: own(&m.mine, tensor.NewLinear(l.d, l.linear("project_out", c.Dim, hidden, tensor.LinearSpec{}))),
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

func (m *Module) denoiser(l loader, class string, options []byte, time int) (func(inputs) *autograd.Variable, error) {
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
	n, err := newDenoiser(l, c, diffusion)
	if err != nil {
		return nil, err
	}
	m.mine = append(m.mine, &n.mine)
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
