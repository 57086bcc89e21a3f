package hidiff_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/reference"
)

// empty returns a state_dict of the right names and shapes; recognition needs no values.
func empty(specs []hidiff.ParameterSpec) *checkpoint.StateDict {
	sd := checkpoint.NewStateDict()
	for _, spec := range specs {
		sd.Set(spec.Name, &checkpoint.Array{Shape: spec.Shape, DType: checkpoint.F32})
	}
	return sd
}

func TestRecognizeConfigurations(t *testing.T) {
	for name, c := range configurations() {
		for net, want := range map[hidiff.Network]any{hidiff.NetG: c.G, hidiff.NetLE: c.StageOne(), hidiff.NetLEDM: c.LE, hidiff.NetD: c.D} {
			got, config, err := hidiff.Recognize(empty(c.Parameters(net)))
			require.NoError(t, err, "%s %s", name, net)
			require.Equal(t, net, got, name)
			require.Equal(t, want, config, name)
		}
	}
}

func TestRecognizeVariants(t *testing.T) {
	for name, change := range map[string]func(c *hidiff.TransformerConfig){
		"bias":                func(c *hidiff.TransformerConfig) { c.Bias = true },
		"BiasFree":            func(c *hidiff.TransformerConfig) { c.LayerNormType = hidiff.BiasFree },
		"bias and BiasFree":   func(c *hidiff.TransformerConfig) { c.Bias, c.LayerNormType = true, hidiff.BiasFree },
		"dual_pixel_task":     func(c *hidiff.TransformerConfig) { c.DualPixelTask, c.InpChannels = true, 6 },
		"group 2":             func(c *hidiff.TransformerConfig) { c.Group = 2 },
		"group 6":             func(c *hidiff.TransformerConfig) { c.Group = 6 },
		"heads":               func(c *hidiff.TransformerConfig) { c.Heads = [4]int{8, 4, 2, 1} },
		"blocks":              func(c *hidiff.TransformerConfig) { c.NumBlocks, c.NumRefinementBlocks = [4]int{2, 12, 1, 3}, 7 },
		"no refinement":       func(c *hidiff.TransformerConfig) { c.NumRefinementBlocks = 0 },
		"factor 3":            func(c *hidiff.TransformerConfig) { c.FFNExpansionFactor = 3 },
		"factor 1.5":          func(c *hidiff.TransformerConfig) { c.FFNExpansionFactor = 1.5 },
		"factor 2.7, dim 128": func(c *hidiff.TransformerConfig) { c.FFNExpansionFactor, c.Dim = 2.7, 128 },
	} {
		want := configurations()["gopro_tiny"].G
		change(&want)
		net, got, err := hidiff.Recognize(empty(want.Parameters()))
		require.NoError(t, err, name)
		require.Equal(t, hidiff.NetG, net)
		require.Equal(t, want, got, name)
	}

	// A factor is only known as far as it shows; what is found must give the same sizes.
	for i := range 200 {
		c := configurations()["gopro_tiny"].G
		c.FFNExpansionFactor = 0.5 + 4*float64(reference.Uniform(fmt.Sprint("factor", i), 1)[0]+1)/2
		c.Dim = 8 * (1 + i%12)
		_, got, err := hidiff.Recognize(empty(c.Parameters()))
		require.NoError(t, err)
		require.Equal(t, c.Parameters(), got.(hidiff.TransformerConfig).Parameters())
	}

	le := hidiff.RealBlur().LE
	le.Group, le.PatchExpansion, le.ChannelExpansion, le.BlockNum = 5, 2, 1.5, 11
	_, got, err := hidiff.Recognize(empty(le.Parameters()))
	require.NoError(t, err)
	require.Equal(t, le, got)

	d := hidiff.GoPro().D
	d.Group, d.PatchExpansion, d.ChannelExpansion, d.BlockNum, d.InnerChannel = 5, 2, 1.5, 14, 100
	_, got, err = hidiff.Recognize(empty(d.Parameters()))
	require.NoError(t, err)
	require.Equal(t, d, got)
}

func TestRecognizeRefuses(t *testing.T) {
	c := configurations()["gopro_tiny"]
	without := func(net hidiff.Network, prefixes ...string) *checkpoint.StateDict {
		return empty(slices.DeleteFunc(c.Parameters(net), func(spec hidiff.ParameterSpec) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(spec.Name, p) })
		}))
	}
	with := func(net hidiff.Network, key string, shape ...int) *checkpoint.StateDict {
		sd := empty(c.Parameters(net))
		sd.Set(key, &checkpoint.Array{Shape: shape, DType: checkpoint.F32})
		return sd
	}
	for want, sd := range map[string]*checkpoint.StateDict{
		"the state_dict is empty":                                      checkpoint.NewStateDict(),
		"none of HI-Diff's networks: its 2 parameters begin with a, b": empty([]hidiff.ParameterSpec{{Name: "a"}, {Name: "b"}}),
		"this is a Restormer":                                          without(hidiff.NetG, "down_1.", "down_2."),
		"looks like net_g, but it lacks patch_embed.proj.weight":       without(hidiff.NetG, "patch_embed."),
		"looks like net_g, but it lacks latent.blocks.0.attn.temper":   without(hidiff.NetG, "latent."),
		"looks like net_g, but down_1.1.weight takes 15 tokens":        with(hidiff.NetG, "down_1.1.weight", 4, 15),
		"no ffn_expansion_factor widens [8 16 32 64] to [21 42 85 7]":  with(hidiff.NetG, "latent.blocks.0.ffn.project_out.weight", 64, 7, 1, 1),
		"looks like net_g, but patch_embed.proj.weight has the shape":  with(hidiff.NetG, "patch_embed.proj.weight"),
		"looks like net_le_dm, but in_chans is 4":                      with(hidiff.NetLEDM, "conv1.0.weight", 8, 64, 3, 3),
		"looks like net_le_dm, but embed_dim is 0":                     with(hidiff.NetLEDM, "conv1.0.weight", 0, 48, 3, 3),
		"looks like net_d, but it lacks blocks.0.0.patch_mixer":        without(hidiff.NetD, "blocks."),
		"looks like net_d, but in_channel is":                          with(hidiff.NetD, "first_layer.0.weight", 0, 1<<60),
	} {
		_, _, err := hidiff.Recognize(sd)
		require.ErrorContains(t, err, want)
	}
}

func TestCheck(t *testing.T) {
	specs := hidiff.GoPro().Parameters(hidiff.NetG)
	require.NoError(t, hidiff.Check(specs, empty(specs)))

	sd := empty(specs[12:])
	sd.Set("output.weight", &checkpoint.Array{Shape: []int{1, 96, 3, 3}})
	sd.Set("ema.step", &checkpoint.Array{})
	require.EqualError(t, hidiff.Check(specs, sd), "parameters do not fit: "+
		"12 missing: down_1.1.weight [4 16], down_1.1.bias [4], down_1.3.weight [256 256], down_1.3.bias [256], "+
		"down_2.1.weight [1 4], down_2.1.bias [1], down_2.3.weight [256 256], down_2.3.bias [256], "+
		"patch_embed.proj.weight [48 3 3 3], encoder_level1.blocks.0.norm1.body.weight [48], …; "+
		"1 unknown: ema.step []; "+
		"1 of wrong shape: output.weight is [1 96 3 3] instead of [3 96 3 3]")
}
