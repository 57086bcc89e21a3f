package hidiff

import "fmt"

// ParameterSpec is one entry of a network's state_dict: its key, and its shape as PyTorch
// has it.
type ParameterSpec struct {
	Name  string
	Shape []int
}

// Parameters returns the parameters of one of the four networks, in PyTorch's order of
// registration; nil if there is no such network. The configuration must be valid.
func (c Config) Parameters(net Network) []ParameterSpec {
	switch net {
	case NetG:
		return c.G.Parameters()
	case NetLE:
		return c.StageOne().Parameters()
	case NetLEDM:
		return c.LE.Parameters()
	case NetD:
		return c.D.Parameters()
	}
	return nil
}

// specs collects parameters. Names end in a dot where they are a prefix.
type specs []ParameterSpec

func (s *specs) add(name string, shape ...int) { *s = append(*s, ParameterSpec{name, shape}) }

// conv adds a k×k convolution; in is 1 for a depthwise one.
func (s *specs) conv(name string, out, in, k int, bias bool) {
	s.add(name+".weight", out, in, k, k)
	if bias {
		s.add(name+".bias", out)
	}
}

func (s *specs) linear(name string, out, in int, bias bool) {
	s.add(name+".weight", out, in)
	if bias {
		s.add(name+".bias", out)
	}
}

func (s *specs) norm(name string, channels int, bias bool) {
	s.add(name+".weight", channels)
	if bias {
		s.add(name+".bias", channels)
	}
}

// mixer adds the MLP that mixes tokens, then channels.
func (s *specs) mixer(prefix string, tokens, channels int, patchExpansion, channelExpansion float64) {
	patch, channel := expand(tokens, patchExpansion), expand(channels, channelExpansion)
	s.linear(prefix+"patch_mixer.0", patch, tokens, true)
	s.linear(prefix+"patch_mixer.2", tokens, patch, true)
	s.linear(prefix+"channel_mixer.0", channel, channels, true)
	s.linear(prefix+"channel_mixer.2", channels, channel, true)
	s.norm(prefix+"norm1", channels, true)
	s.norm(prefix+"norm2", channels, true)
}

// Parameters returns net_g's state_dict keys and shapes in PyTorch's order of registration.
// The configuration must be valid.
func (c TransformerConfig) Parameters() []ParameterSpec {
	var s specs
	tokens, prior, dim := c.Group*c.Group, 4*c.EmbedDim, c.Dim
	s.linear("down_1.1", tokens/4, tokens, true)
	s.linear("down_1.3", prior, prior, true)
	s.linear("down_2.1", 1, tokens/4, true)
	s.linear("down_2.3", prior, prior, true)
	s.conv("patch_embed.proj", dim, c.InpChannels, 3, false)

	for level, group := range []int{c.Group, c.Group / 2, c.Group / 2} {
		channels := dim << level
		c.layer(&s, fmt.Sprintf("encoder_level%d.", level+1), level, channels, c.NumBlocks[level], group)
		s.conv(fmt.Sprintf("down%d_%d.body.0", level+1, level+2), channels/2, channels, 3, false)
	}
	c.layer(&s, "latent.", 3, 8*dim, c.NumBlocks[3], 1)
	for level := 2; level >= 1; level-- {
		channels := dim << level
		s.conv(fmt.Sprintf("up%d_%d.body.0", level+2, level+1), 4*channels, 2*channels, 3, false)
		s.conv(fmt.Sprintf("reduce_chan_level%d", level+1), channels, 2*channels, 1, c.Bias)
		c.layer(&s, fmt.Sprintf("decoder_level%d.", level+1), level, channels, c.NumBlocks[level], c.Group/2)
	}
	s.conv("up2_1.body.0", 4*dim, 2*dim, 3, false)
	c.layer(&s, "decoder_level1.", 0, 2*dim, c.NumBlocks[0], c.Group) // twice the channels: nothing reduces them
	c.layer(&s, "refinement.", 0, 2*dim, c.NumRefinementBlocks, c.Group)
	if c.DualPixelTask {
		s.conv("skip_conv", 2*dim, dim, 1, c.Bias)
	}
	s.conv("output", c.OutChannels, 2*dim, 3, c.Bias)
	return s
}

// layer adds a BasicLayer: its blocks, and the HIM that a group of more than one token needs.
// Otherwise every block has the linear layers ln1 and ln2 to be modulated by the prior.
func (c TransformerConfig) layer(s *specs, prefix string, level, dim, blocks, group int) {
	prior, withBias := 4*c.EmbedDim, c.LayerNormType == WithBias
	modulation := func(prefix string) {
		if group == 1 {
			s.linear(prefix+"ln1", dim, prior, true)
			s.linear(prefix+"ln2", dim, prior, true)
		}
	}
	for i := range blocks {
		block := fmt.Sprintf("%sblocks.%d.", prefix, i)
		s.norm(block+"norm1.body", dim, withBias)
		s.add(block+"attn.temperature", c.Heads[level], 1, 1)
		s.conv(block+"attn.qkv", 3*dim, dim, 1, c.Bias)
		s.conv(block+"attn.qkv_dwconv", 3*dim, 1, 3, c.Bias)
		s.conv(block+"attn.project_out", dim, dim, 1, c.Bias)
		modulation(block + "attn.")
		hidden := c.Hidden(dim)
		s.norm(block+"norm2.body", dim, withBias)
		s.conv(block+"ffn.project_in", 2*hidden, dim, 1, c.Bias)
		s.conv(block+"ffn.dwconv", 2*hidden, 1, 3, c.Bias)
		s.conv(block+"ffn.project_out", dim, hidden, 1, c.Bias)
		modulation(block + "ffn.")
	}
	if group > 1 {
		s.norm(prefix+"him.norm1.body", dim, withBias)
		s.norm(prefix+"him.norm2.body", prior, withBias)
		s.linear(prefix+"him.q", dim, dim, c.Bias)
		s.linear(prefix+"him.kv", 2*dim, prior, c.Bias)
		s.linear(prefix+"him.proj", dim, dim, true)
	}
}

// Parameters returns the state_dict keys and shapes of net_le or net_le_dm in PyTorch's
// order of registration. The configuration must be valid.
func (c EncoderConfig) Parameters() []ParameterSpec {
	var s specs
	e := c.EmbedDim
	s.conv("conv1.0", e, 16*c.InChans, 3, true) // after a pixel unshuffle by 4
	for i := range c.BlockNum {
		s.conv(fmt.Sprintf("blocks.%d.0", i), e, e, 3, true)
		s.conv(fmt.Sprintf("blocks.%d.2", i), e, e, 3, true)
	}
	if c.Type == LatentEncoderLReLU {
		s.conv("conv2.0", 2*e, e, 3, true)
		s.conv("conv2.2", 2*e, 2*e, 3, true)
		s.conv("conv2.4", 4*e, 2*e, 3, true)
	} else {
		s.conv("conv2", e, e, 3, true)
	}
	s.mixer("mlp.", c.Group*c.Group, c.width(), c.PatchExpansion, c.ChannelExpansion)
	s.linear("end.0", 4*e, c.width(), true)
	return s
}

// Parameters returns net_d's state_dict keys and shapes in PyTorch's order of registration.
// The configuration must be valid.
func (c DenoiserConfig) Parameters() []ParameterSpec {
	var s specs
	if c.Type == SimpleDenoise {
		prior := 4 * c.NFeats
		s.linear("resmlp.0", prior, 2*prior+1, true)
		for i := range c.NDenoiseRes {
			s.linear(fmt.Sprintf("resmlp.%d.resmlp.0", i+2), prior, prior, true)
		}
		return s
	}
	s.add("time_mlp", 1)
	s.linear("first_layer.0", c.InnerChannel, 3*c.InChannel, true)
	for i := range c.BlockNum - 2 {
		s.mixer(fmt.Sprintf("blocks.%d.0.", i), c.Group*c.Group, c.InnerChannel, c.PatchExpansion, c.ChannelExpansion)
	}
	s.linear("final_layer.0", c.OutChannel, c.InnerChannel, true)
	return s
}
