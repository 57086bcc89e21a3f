package hidiff

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

// Parameters returns net_g's state_dict keys and shapes in PyTorch's order of registration.
// The configuration must be valid.
func (c TransformerConfig) Parameters() []ParameterSpec {
	return recorded(func(l loader) { newTransformer(l, c) })
}

// Parameters returns the state_dict keys and shapes of net_le or net_le_dm in PyTorch's
// order of registration. The configuration must be valid.
func (c EncoderConfig) Parameters() []ParameterSpec {
	return recorded(func(l loader) { newEncoder(l, c) })
}

// Parameters returns net_d's state_dict keys and shapes in PyTorch's order of registration.
// The configuration must be valid.
func (c DenoiserConfig) Parameters() []ParameterSpec {
	return recorded(func(l loader) { newDenoiser(l, c, false, nil) })
}
