package hidiff

import (
	"hidiff/autograd"
	"hidiff/tensor"
)

// transformer is net_g: a U-shaped stack of transformer blocks that restores
// an image under the guidance of a prior. Source: HI-Diff §3.1.
type transformer struct {
	cfg  TransformerConfig
	d    *tensor.Device
	mine owned

	down1, down2 pyramidStep
	embed        *tensor.Linear
	encoder      [3]*basicLayer
	down         [3]*tensor.Linear
	latent       *basicLayer
	up           [3]*tensor.Linear // to level 3, 2, 1
	reduceUp     [2]*tensor.Linear // level 3, 2: columns of the upsampled half
	reduceSkip   [2]*tensor.Linear // and of the encoder's half
	decoder      [3]*basicLayer    // level 3, 2, 1
	refinement   *basicLayer
	kv           [2]kvStack     // for the priors z1 and z2
	skip         *tensor.Linear // dual_pixel_task only
	output       *tensor.Linear
}

// pyramidStep shortens the prior by four: Linear over tokens, then over
// channels.
type pyramidStep struct {
	tokens, bias *tensor.Parameter
	channels     *tensor.Linear
}

func newTransformer(l loader, c TransformerConfig) *transformer {
	d := l.d
	t := &transformer{cfg: c, d: d}
	defer l.done()
	pack := func(s tensor.LinearSpec) *tensor.Linear { return own(&t.mine, tensor.NewLinear(d, s)) }
	wide := 4 * c.EmbedDim
	for i, step := range []*pyramidStep{&t.down1, &t.down2} {
		at := l.at("%s", []string{"down_1", "down_2"}[i])
		step.tokens, step.bias = at.keep("1.weight", &t.mine), at.keep("1.bias", &t.mine)
		step.channels = pack(at.linear("3", wide, wide, tensor.LinearSpec{}))
	}
	dim := [4]int{c.Dim, 2 * c.Dim, 4 * c.Dim, 8 * c.Dim}
	group := [4]int{c.Group, c.Group / 2, c.Group / 2, 1}
	layer := func(name string, level, width, blocks int) *basicLayer {
		layer := newBasicLayer(l.at("%s", name), c, width, c.Heads[level], blocks, group[level], &t.mine)
		t.kv[min(level, 1)].add(layer)
		return layer
	}
	t.embed = pack(l.conv("patch_embed.proj", c.Dim, c.InpChannels))
	for i, name := range []string{"encoder_level1", "encoder_level2", "encoder_level3"} {
		t.encoder[i] = layer(name, i, dim[i], c.NumBlocks[i])
	}
	for i, name := range []string{"down1_2", "down2_3", "down3_4"} {
		t.down[i] = pack(l.conv(name+".body.0", dim[i]/2, dim[i]))
	}
	t.latent = layer("latent", 3, dim[3], c.NumBlocks[3])
	for i, name := range []string{"up4_3", "up3_2", "up2_1"} {
		s := l.conv(name+".body.0", 2*dim[3-i], dim[3-i])
		s.Shuffle = 2
		t.up[i] = pack(s)
	}
	for i, name := range []string{"reduce_chan_level3", "reduce_chan_level2"} {
		n := dim[2-i]
		s := l.linear(name, n, n, tensor.LinearSpec{Row: 2 * n})
		t.reduceUp[i] = pack(s)
		s.From, s.Bias = n, nil
		t.reduceSkip[i] = pack(s)
	}
	t.decoder[0] = layer("decoder_level3", 2, dim[2], c.NumBlocks[2])
	t.decoder[1] = layer("decoder_level2", 1, dim[1], c.NumBlocks[1])
	t.decoder[2] = layer("decoder_level1", 0, dim[1], c.NumBlocks[0])
	t.refinement = layer("refinement", 0, dim[1], c.NumRefinementBlocks)
	for i := range t.kv {
		t.kv[i].pack(d, &t.mine)
	}
	if c.DualPixelTask {
		t.skip = pack(l.linear("skip_conv", dim[1], dim[0], tensor.LinearSpec{}))
	}
	t.output = pack(l.conv("output", c.OutChannels, dim[1]))
	return t
}

// forward restores images x [N, H, W, 3], H and W multiples of 8, under the
// prior z1 [N, group², 4*embed_dim].
func (t *transformer) forward(x, z1 *autograd.Variable) *autograd.Variable {
	z2 := t.down1.forward(z1)
	z3 := t.down2.forward(z2)
	defer z2.Release()
	defer z3.Release()
	guide1, guide2 := t.kv[0].guide(z1), t.kv[1].guide(z2)
	defer guide1.release()
	defer guide2.release()
	guides := []guide{guide1, guide2, guide2}

	var skips [3]*autograd.Variable
	h := autograd.Conv3x3(t.embed, x, tensor.Conv{}, nil)
	var embedded *autograd.Variable
	if t.skip != nil {
		embedded = h.Keep()
	}
	for i, layer := range t.encoder {
		skips[i] = layer.forward(h, guides[i])
		h = autograd.Conv3x3(t.down[i], skips[i], tensor.Conv{Store: tensor.Unshuffled}, nil)
	}
	h = t.latent.forward(h, guide{prior: z3})
	for i := range t.decoder {
		skip := skips[2-i]
		up := autograd.Conv3x3(t.up[i], h, tensor.Conv{Store: tensor.Shuffled}, nil)
		h.Release()
		if i < 2 {
			half := autograd.Linear(t.reduceUp[i], up, autograd.After{})
			up.Release()
			h = autograd.Linear(t.reduceSkip[i], skip, autograd.After{Residual: half})
			half.Release()
		} else {
			h = autograd.Concat(up, skip)
			up.Release()
		}
		skip.Release()
		h = t.decoder[i].forward(h, guides[2-i])
	}
	h = t.refinement.forward(h, guide1)
	residual := x
	if t.skip != nil {
		sum := autograd.Linear(t.skip, embedded, autograd.After{Residual: h})
		embedded.Release()
		h.Release()
		h, residual = sum, nil
	}
	y := autograd.Conv3x3(t.output, h, tensor.Conv{}, residual)
	h.Release()
	return y
}

func (p pyramidStep) forward(z *autograd.Variable) *autograd.Variable {
	short := autograd.TokenMix(z, p.tokens, p.bias, tensor.Activation{})
	defer short.Release()
	return autograd.Linear(p.channels, short, autograd.After{})
}

// basicLayer is a run of transformer blocks at one resolution. With more than
// one prior token a HIM integrates the prior before them; with one, every
// attention and feed-forward is modulated by it instead.
type basicLayer struct {
	him        *tensor.HIM
	kv         tensor.LinearSpec // the HIM's keys and values of the prior, norm2 folded in
	kvAt       int               // where they are in the guide's kv
	modulation *tensor.Linear    // prior → per block: k1, k2 of attention, k1, k2 of the feed-forward
	blocks     []*transformerBlock
}

type transformerBlock struct {
	attention *tensor.Attention
	ffn       *tensor.FeedForward
}

// guide is a prior and what the HIMs of one or more layers make of it.
type guide struct{ prior, kv *autograd.Variable }

func (g guide) release() {
	if g.kv != nil {
		g.kv.Release()
	}
}

// kvStack computes the keys and values of all HIMs that share a prior at once.
type kvStack struct {
	layers []*basicLayer
	linear *tensor.Linear
}

func (s *kvStack) add(layer *basicLayer) {
	if layer.him != nil {
		s.layers = append(s.layers, layer)
	}
}

func (s *kvStack) pack(d *tensor.Device, mine *owned) {
	if len(s.layers) == 0 {
		return
	}
	specs := make([]tensor.LinearSpec, len(s.layers))
	for i, layer := range s.layers {
		specs[i] = layer.kv
	}
	linear, at := tensor.NewLinearStack(d, specs)
	s.linear = own(mine, linear)
	for i, layer := range s.layers {
		layer.kvAt = at[i]
	}
}

func (s *kvStack) guide(prior *autograd.Variable) guide {
	if s.linear == nil {
		return guide{prior: prior}
	}
	return guide{prior, autograd.Linear(s.linear, prior, autograd.After{})}
}

var normKinds = map[string]tensor.Norm{"WithBias": tensor.WithBias, "BiasFree": tensor.BiasFree}

func newBasicLayer(l loader, c TransformerConfig, dim, heads, blocks, group int, mine *owned) *basicLayer {
	norm := normKinds[c.LayerNormType]
	wide := 4 * c.EmbedDim
	layer := &basicLayer{}
	if group > 1 {
		at := l.at("him")
		layer.him = &tensor.HIM{
			Heads: heads, Norm: norm,
			Gamma: at.keep("norm1.body.weight", mine), Beta: at.keep("norm1.body.bias", mine),
			Query: at.keep("q.weight", mine), QBias: at.keep("q.bias", mine),
			Proj: at.keep("proj.weight", mine), ProjBias: at.keep("proj.bias", mine),
		}
		layer.kv = at.linear("kv", 2*dim, wide, tensor.LinearSpec{
			OutParts: 2 * heads, Norm: norm, Gamma: at.param("norm2.body.weight"), Beta: at.optional("norm2.body.bias"),
		})
	}
	var at []int
	if group == 1 {
		layer.modulation, at = newModulation(l, dim, wide, blocks, mine)
	}
	for i := range blocks {
		var shifts []int // where k1, k2 of the attention and the feed-forward are
		if at != nil {
			shifts = at[4*i:][:4]
		}
		layer.blocks = append(layer.blocks, newBlock(l.at("blocks.%d", i), c, dim, heads, shifts, mine))
	}
	return layer
}

// newModulation stacks the maps from the prior to k1 and k2 of every block's
// attention and feed-forward; at says where each begins.
func newModulation(l loader, dim, wide, blocks int, mine *owned) (linear *tensor.Linear, at []int) {
	if blocks == 0 {
		return nil, nil
	}
	var specs []tensor.LinearSpec
	for i := range blocks {
		for _, name := range []string{"attn.ln1", "attn.ln2", "ffn.ln1", "ffn.ln2"} {
			specs = append(specs, l.at("blocks.%d", i).linear(name, dim, wide, tensor.LinearSpec{}))
		}
	}
	linear, at = tensor.NewLinearStack(l.d, specs)
	return own(mine, linear), at
}

// newBlock makes a transformer block. shifts says where the prior's modulations
// are, if the prior modulates it.
func newBlock(l loader, c TransformerConfig, dim, heads int, shifts []int, mine *owned) *transformerBlock {
	norm := normKinds[c.LayerNormType]
	hidden := c.Hidden(dim)
	linear := func(name, normName string, out, parts, shift int) *tensor.Linear {
		load := l
		load.uses = new([]*tensor.Parameter)
		s := load.linear(name, out, dim, tensor.LinearSpec{
			OutParts: parts, Norm: norm, Gamma: load.param(normName + ".body.weight"), Beta: load.optional(normName + ".body.bias"),
		})
		if shifts == nil {
			defer load.done()
			return own(mine, tensor.NewLinear(l.d, s))
		}
		for _, p := range *load.uses { // packed anew for every image
			own(mine, p)
		}
		s.ScaleAt, s.ShiftAt = shifts[shift], shifts[shift+1]
		return own(mine, tensor.NewModulatedLinear(l.d, s))
	}
	return &transformerBlock{
		attention: &tensor.Attention{
			Heads:       heads,
			QKV:         linear("attn.qkv", "norm1", 3*dim, 3*heads, 0),
			Depth:       own(mine, tensor.NewDepthwise(l.d, 3*dim, 3*heads, l.param("attn.qkv_dwconv.weight"), l.optional("attn.qkv_dwconv.bias"))),
			Temperature: l.keep("attn.temperature", mine),
			Out:         l.keep("attn.project_out.weight", mine), OutBias: l.keep("attn.project_out.bias", mine),
		},
		ffn: &tensor.FeedForward{
			In:    linear("ffn.project_in", "norm2", 2*hidden, 2, 2),
			Depth: own(mine, tensor.NewDepthwise(l.d, 2*hidden, 2, l.param("ffn.dwconv.weight"), l.optional("ffn.dwconv.bias"))),
			Out:   own(mine, tensor.NewLinear(l.d, l.linear("ffn.project_out", dim, hidden, tensor.LinearSpec{}))),
		},
	}
}

// forward consumes x.
func (layer *basicLayer) forward(x *autograd.Variable, g guide) *autograd.Variable {
	if layer.him != nil {
		y := autograd.HIM(layer.him, x, g.kv, layer.kvAt)
		x.Release()
		x = y
	}
	if layer.modulation == nil {
		for _, b := range layer.blocks {
			x = autograd.Checkpoint(func(in ...*autograd.Variable) *autograd.Variable { return b.forward(in[0], nil) }, x)
		}
		return x
	}
	shape := g.prior.Shape()
	vector := autograd.Reshape(g.prior, shape[0], shape[len(shape)-1])
	modulation := autograd.Linear(layer.modulation, vector, autograd.After{})
	vector.Release()
	for _, b := range layer.blocks {
		x = autograd.Checkpoint(func(in ...*autograd.Variable) *autograd.Variable {
			defer in[1].Release()
			return b.forward(in[0], in[1])
		}, x, modulation.Keep())
	}
	modulation.Release()
	return x
}

// forward consumes x. modulation is nil if the prior does not modulate the
// block.
func (b *transformerBlock) forward(x, modulation *autograd.Variable) *autograd.Variable {
	return autograd.FeedForward(b.ffn, autograd.Attention(b.attention, x, modulation), modulation)
}
