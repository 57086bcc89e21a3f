package hidiff

import (
	"fmt"

	"hidiff/autograd"
	"hidiff/tensor"
)

// transformer is net_g: a U-shaped stack of transformer blocks that restores
// an image under the guidance of a prior. Source: HI-Diff §3.1.
type transformer struct {
	cfg TransformerConfig

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
	t := &transformer{cfg: c}
	defer l.done()
	tokens, wide := c.Group*c.Group, 4*c.EmbedDim
	t.down1 = newPyramidStep(l.at("down_1"), tokens, tokens/4, wide)
	t.down2 = newPyramidStep(l.at("down_2"), tokens/4, 1, wide)
	dim := [4]int{c.Dim, 2 * c.Dim, 4 * c.Dim, 8 * c.Dim}
	group := [4]int{c.Group, c.Group / 2, c.Group / 2, 1}
	layer := func(name string, level, width, blocks int) *basicLayer {
		layer := newBasicLayer(l.at("%s", name), c, width, c.Heads[level], blocks, group[level])
		t.kv[min(level, 1)].add(layer)
		return layer
	}
	t.embed = l.pack(l.conv3x3("patch_embed.proj", c.Dim, c.InpChannels, false))
	for i := range t.encoder {
		t.encoder[i] = layer(fmt.Sprintf("encoder_level%d", i+1), i, dim[i], c.NumBlocks[i])
		t.down[i] = l.pack(l.conv3x3(fmt.Sprintf("down%d_%d.body.0", i+1, i+2), dim[i]/2, dim[i], false))
	}
	t.latent = layer("latent", 3, dim[3], c.NumBlocks[3])
	for i := range t.decoder {
		to, n := 2-i, dim[2-i] // the level decoded, and its channels
		up := l.conv3x3(fmt.Sprintf("up%d_%d.body.0", to+2, to+1), 4*n, 2*n, false)
		up.Shuffle = 2
		t.up[i] = l.pack(up)
		if to > 0 {
			s := l.conv1x1(fmt.Sprintf("reduce_chan_level%d", to+1), n, 2*n, c.Bias)
			s.In, s.Row = n, 2*n
			t.reduceUp[i] = l.pack(s)
			s.From, s.Bias = n, nil
			t.reduceSkip[i] = l.pack(s)
		} else {
			n *= 2 // nothing reduces them
		}
		t.decoder[i] = layer(fmt.Sprintf("decoder_level%d", to+1), to, n, c.NumBlocks[to])
	}
	t.refinement = layer("refinement", 0, dim[1], c.NumRefinementBlocks)
	for i := range t.kv {
		t.kv[i].pack(l)
	}
	if c.DualPixelTask {
		t.skip = l.pack(l.conv1x1("skip_conv", dim[1], dim[0], c.Bias))
	}
	t.output = l.pack(l.conv3x3("output", c.OutChannels, dim[1], c.Bias))
	return t
}

func newPyramidStep(l loader, from, to, wide int) pyramidStep {
	kept := l.keeping()
	return pyramidStep{
		tokens: kept.get("1.weight", to, from), bias: kept.get("1.bias", to),
		channels: l.pack(l.linear("3", wide, wide, true)),
	}
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
	attention  *tensor.Attention
	ffn        *tensor.FeedForward
	modulation []tensor.LinearSpec // from the prior: k1, k2 of the attention, k1, k2 of the feed-forward
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

func (s *kvStack) pack(l loader) {
	specs := make([]tensor.LinearSpec, len(s.layers))
	for i, layer := range s.layers {
		specs[i] = layer.kv
	}
	linear, at := l.stack(specs)
	s.linear = linear
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

func newBasicLayer(l loader, c TransformerConfig, dim, heads, blocks, group int) *basicLayer {
	wide := 4 * c.EmbedDim
	layer := &basicLayer{}
	var modulation []tensor.LinearSpec
	for i := range blocks {
		block := newBlock(l.at("blocks.%d", i), c, dim, heads, group == 1)
		layer.blocks = append(layer.blocks, block)
		modulation = append(modulation, block.modulation...)
	}
	if group > 1 {
		layer.him, layer.kv = newHIM(l.at("him"), c, dim, heads, wide)
		return layer
	}
	var at []int
	layer.modulation, at = l.stack(modulation)
	if layer.modulation != nil {
		for i, block := range layer.blocks {
			block.attention.QKV.ModulateAt(at[4*i], at[4*i+1])
			block.ffn.In.ModulateAt(at[4*i+2], at[4*i+3])
		}
	}
	return layer
}

// newHIM makes a HIM; kv are the keys and values that it takes of the prior.
func newHIM(l loader, c TransformerConfig, dim, heads, wide int) (m *tensor.HIM, kv tensor.LinearSpec) {
	norm, kept := normKinds[c.LayerNormType], l.keeping()
	m = &tensor.HIM{Heads: heads, Norm: norm}
	m.Gamma, m.Beta = kept.norm("norm1.body", dim, c.LayerNormType == WithBias)
	gamma, beta := l.norm("norm2.body", wide, c.LayerNormType == WithBias)
	q := kept.linear("q", dim, dim, c.Bias)
	kv = l.linear("kv", 2*dim, wide, c.Bias)
	kv.OutParts, kv.Norm, kv.Gamma, kv.Beta = 2*heads, norm, gamma, beta
	proj := kept.linear("proj", dim, dim, true)
	m.Query, m.QBias, m.Proj, m.ProjBias = q.Weight, q.Bias, proj.Weight, proj.Bias
	return m, kv
}

// newBlock makes a transformer block, which a prior modulates or not.
func newBlock(l loader, c TransformerConfig, dim, heads int, modulated bool) *transformerBlock {
	b := &transformerBlock{}
	hidden, withBias := c.Hidden(dim), c.LayerNormType == WithBias
	part := l.part()
	defer part.done()
	from, pack := part, part.pack // for what follows a LayerNorm
	if modulated {
		from, pack = l.keeping(), l.modulated
	}
	modulation := func(l loader) {
		if modulated {
			b.modulation = append(b.modulation, l.linear("ln1", dim, 4*c.EmbedDim, true), l.linear("ln2", dim, 4*c.EmbedDim, true))
		}
	}

	gamma, beta := from.norm("norm1.body", dim, withBias)
	temperature := l.keeping().get("attn.temperature", heads, 1, 1)
	qkv := from.conv1x1("attn.qkv", 3*dim, dim, c.Bias)
	qkv.OutParts, qkv.Norm, qkv.Gamma, qkv.Beta = 3*heads, normKinds[c.LayerNormType], gamma, beta
	depth := part.depthwise("attn.qkv_dwconv", 3*dim, 3*heads, c.Bias)
	out := l.keeping().conv1x1("attn.project_out", dim, dim, c.Bias)
	b.attention = &tensor.Attention{
		Heads: heads, QKV: pack(qkv), Depth: depth, Temperature: temperature, Out: out.Weight, OutBias: out.Bias,
	}
	modulation(l.at("attn"))

	gamma, beta = from.norm("norm2.body", dim, withBias)
	in := from.conv1x1("ffn.project_in", 2*hidden, dim, c.Bias)
	in.OutParts, in.Norm, in.Gamma, in.Beta = 2, normKinds[c.LayerNormType], gamma, beta
	b.ffn = &tensor.FeedForward{
		In: pack(in), Depth: part.depthwise("ffn.dwconv", 2*hidden, 2, c.Bias),
		Out: part.pack(part.conv1x1("ffn.project_out", dim, hidden, c.Bias)),
	}
	modulation(l.at("ffn"))
	return b
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
