package hidiff

import (
	"hidiff/hidiff/checkpoint"
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

func newTransformer(d *tensor.Device, c TransformerConfig, state *checkpoint.StateDict) *transformer {
	t := &transformer{cfg: c, d: d}
	l := newLoader(d, state)
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

func (t *transformer) release() { t.mine.release() }

// forward restores images x [N, H, W, 3], H and W multiples of 8, under the
// prior z1 [N, group², 4*embed_dim].
func (t *transformer) forward(x, z1 *tensor.Tensor) *tensor.Tensor {
	z2 := t.down1.forward(z1)
	z3 := t.down2.forward(z2)
	defer z2.Release()
	defer z3.Release()
	guide1, guide2 := t.kv[0].guide(z1), t.kv[1].guide(z2)
	defer guide1.release()
	defer guide2.release()
	guides := []guide{guide1, guide2, guide2}

	var skips [3]*tensor.Tensor
	h := t.embed.Conv3x3(x, tensor.Conv{})
	var embedded *tensor.Tensor
	if t.skip != nil {
		embedded = h.Clone()
	}
	for i, layer := range t.encoder {
		skips[i] = layer.forward(h, guides[i])
		h = t.down[i].Conv3x3(skips[i], tensor.Conv{Store: tensor.Unshuffled})
	}
	h = t.latent.forward(h, guide{prior: z3})
	for i := range t.decoder {
		skip := skips[2-i]
		up := t.up[i].Conv3x3(h, tensor.Conv{Store: tensor.Shuffled})
		h.Release()
		if i < 2 {
			h = t.reduceUp[i].Apply(up, tensor.Fused{})
			up.Release()
			t.reduceSkip[i].Apply(skip, tensor.Fused{Residual: h, Into: h})
		} else {
			h = tensor.Concat(up, skip)
			up.Release()
		}
		skip.Release()
		h = t.decoder[i].forward(h, guides[2-i])
	}
	h = t.refinement.forward(h, guide1)
	conv := tensor.Conv{Residual: x}
	if t.skip != nil {
		t.skip.Apply(embedded, tensor.Fused{Residual: h, Into: h})
		embedded.Release()
		conv.Residual = nil
	}
	y := t.output.Conv3x3(h, conv)
	h.Release()
	return y
}

func (p pyramidStep) forward(z *tensor.Tensor) *tensor.Tensor {
	short := tensor.TokenMix(z, p.tokens, p.bias, tensor.Activation{}, nil)
	defer short.Release()
	return p.channels.Apply(short, tensor.Fused{})
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
	// Where the prior modulates the LayerNorm, its effect is folded into the
	// weights anew for every image.
	qkv, in   tensor.LinearSpec
	stride    int // stored width of one modulation vector
	index     int
	modulated bool
}

// guide is a prior and what the HIMs of one or more layers make of it.
type guide struct{ prior, kv *tensor.Tensor }

func (g guide) release() { g.kv.Release() }

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

func (s *kvStack) guide(prior *tensor.Tensor) guide {
	if s.linear == nil {
		return guide{prior: prior}
	}
	return guide{prior, s.linear.Apply(prior, tensor.Fused{})}
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
	var weights, biases []float32
	for i := range blocks {
		at := l.at("blocks.%d", i)
		layer.blocks = append(layer.blocks, newBlock(at, c, dim, heads, i, group == 1, mine))
		if group == 1 {
			for _, name := range []string{"attn.ln1", "attn.ln2", "ffn.ln1", "ffn.ln2"} {
				weights = append(weights, at.values(name+".weight")...)
				biases = append(biases, at.values(name+".bias")...)
			}
		}
	}
	if len(weights) > 0 {
		w, b := tensor.NewParameter(l.d, weights), tensor.NewParameter(l.d, biases)
		layer.modulation = own(mine, tensor.NewLinear(l.d, tensor.LinearSpec{
			Out: 4 * blocks * dim, In: wide, OutParts: 4 * blocks, Weight: w, Bias: b,
		}))
		w.Release()
		b.Release()
	}
	return layer
}

func newBlock(l loader, c TransformerConfig, dim, heads, index int, modulated bool, mine *owned) *transformerBlock {
	norm := normKinds[c.LayerNormType]
	hidden := c.Hidden(dim)
	b := &transformerBlock{index: index, modulated: modulated, stride: (dim + 3) / 4 * 4}
	load := l
	if modulated {
		// Packed per image, so the parameters stay.
		load.uses = new([]*tensor.Parameter)
	}
	b.qkv = load.linear("attn.qkv", 3*dim, dim, tensor.LinearSpec{
		OutParts: 3 * heads, Norm: norm, Gamma: load.param("norm1.body.weight"), Beta: load.optional("norm1.body.bias"),
	})
	b.in = load.linear("ffn.project_in", 2*hidden, dim, tensor.LinearSpec{
		OutParts: 2, Norm: norm, Gamma: load.param("norm2.body.weight"), Beta: load.optional("norm2.body.bias"),
	})
	b.attention = &tensor.Attention{
		Heads:       heads,
		Depth:       own(mine, tensor.NewDepthwise(l.d, 3*dim, 3*heads, l.param("attn.qkv_dwconv.weight"), l.optional("attn.qkv_dwconv.bias"))),
		Temperature: l.keep("attn.temperature", mine),
		Out:         l.keep("attn.project_out.weight", mine), OutBias: l.keep("attn.project_out.bias", mine),
	}
	b.ffn = &tensor.FeedForward{
		Depth: own(mine, tensor.NewDepthwise(l.d, 2*hidden, 2, l.param("ffn.dwconv.weight"), l.optional("ffn.dwconv.bias"))),
		Out:   own(mine, tensor.NewLinear(l.d, l.linear("ffn.project_out", dim, hidden, tensor.LinearSpec{}))),
	}
	if modulated {
		for _, p := range *load.uses {
			own(mine, p)
		}
		return b
	}
	b.attention.QKV = own(mine, tensor.NewLinear(l.d, b.qkv))
	b.ffn.In = own(mine, tensor.NewLinear(l.d, b.in))
	return b
}

// forward consumes x.
func (layer *basicLayer) forward(x *tensor.Tensor, g guide) *tensor.Tensor {
	if layer.him != nil {
		y := layer.him.Apply(x, g.kv, layer.kvAt)
		x.Release()
		x = y
	}
	var modulation *tensor.Tensor
	if layer.modulation != nil {
		shape := g.prior.Shape()
		vector := g.prior.Reshape(shape[0], shape[len(shape)-1])
		modulation = layer.modulation.Apply(vector, tensor.Fused{})
		vector.Release()
		defer modulation.Release()
	}
	for _, b := range layer.blocks {
		x = b.forward(x, modulation)
	}
	return x
}

// forward consumes x.
func (b *transformerBlock) forward(x, modulation *tensor.Tensor) *tensor.Tensor {
	attention, ffn := *b.attention, *b.ffn
	if b.modulated {
		attention.QKV = modulate(b.qkv, modulation, 4*b.index*b.stride, b.stride)
		defer attention.QKV.Release()
		ffn.In = modulate(b.in, modulation, (4*b.index+2)*b.stride, b.stride)
		defer ffn.In.Release()
	}
	x = attention.Apply(x, true)
	y := ffn.Apply(x)
	x.Release()
	return y
}

func modulate(s tensor.LinearSpec, modulation *tensor.Tensor, at, stride int) *tensor.Linear {
	s.Modulation, s.ScaleAt, s.ShiftAt = modulation, at, at+stride
	return tensor.NewLinear(s.Weight.Device(), s)
}
