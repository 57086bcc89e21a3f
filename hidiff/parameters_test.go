package hidiff_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/reference"
)

// configurations are those that conformance's parameters.json and networks have.
func configurations() map[string]hidiff.Config {
	tiny := func(c hidiff.Config) hidiff.Config {
		c.G.Dim, c.G.EmbedDim, c.G.NumBlocks, c.G.NumRefinementBlocks = 8, 8, [4]int{1, 1, 1, 1}, 1
		c.LE.EmbedDim = 8
		return c
	}
	gopro, realblur := tiny(hidiff.GoPro()), tiny(hidiff.RealBlur())
	gopro.LE.BlockNum, realblur.LE.BlockNum = 2, 1
	gopro.D.InChannel, gopro.D.OutChannel, gopro.D.InnerChannel = 32, 32, 48
	realblur.D.NFeats, realblur.D.NDenoiseRes = 8, 2
	return map[string]hidiff.Config{
		"gopro": hidiff.GoPro(), "realblur": hidiff.RealBlur(), "gopro_tiny": gopro, "realblur_tiny": realblur,
	}
}

func TestParametersAreThoseOfTheReleasedCode(t *testing.T) {
	text, err := os.ReadFile(reference.Testdata("networks", "parameters.json"))
	require.NoError(t, err)
	var want map[string]map[hidiff.Network][][4]any // key, shape, and how it is filled
	require.NoError(t, json.Unmarshal(text, &want))
	configs := configurations()
	require.Len(t, want, len(configs))
	for name, nets := range want {
		require.Len(t, nets, 4)
		for net, rows := range nets {
			t.Run(name+"/"+string(net), func(t *testing.T) {
				specs := make([]hidiff.ParameterSpec, len(rows))
				for i, row := range rows {
					specs[i].Name = row[0].(string)
					for _, size := range row[1].([]any) {
						specs[i].Shape = append(specs[i].Shape, int(size.(float64)))
					}
				}
				require.Equal(t, specs, configs[name].Parameters(net))
			})
		}
	}
	require.Nil(t, hidiff.GoPro().Parameters("net_x"))
}

// Modules of the released code with options that the released configurations do not have,
// found again within a network. Both name and order must agree.
func TestParametersOfModules(t *testing.T) {
	transformer := func(change func(c *hidiff.TransformerConfig)) []hidiff.ParameterSpec {
		c := configurations()["gopro_tiny"].G
		change(&c)
		require.NoError(t, c.Validate())
		return c.Parameters()
	}
	encoder := func(kind string, blocks, inChans, stage int) []hidiff.ParameterSpec {
		c := hidiff.EncoderConfig{Type: kind, InChans: inChans, EmbedDim: 16, BlockNum: blocks, Group: 4, Stage: stage, PatchExpansion: 0.5, ChannelExpansion: 4}
		require.NoError(t, c.Validate())
		return c.Parameters()
	}
	dim := func(n int) []hidiff.ParameterSpec {
		return transformer(func(c *hidiff.TransformerConfig) { c.Dim = n })
	}
	biasFree := transformer(func(c *hidiff.TransformerConfig) {
		c.Dim, c.Bias, c.LayerNormType, c.Heads[0] = 16, true, hidiff.BiasFree, 2
	})
	for _, c := range []struct {
		module string
		specs  []hidiff.ParameterSpec
		prefix string
	}{
		{"attention", transformer(func(c *hidiff.TransformerConfig) { c.Dim, c.Heads[0] = 24, 4 }), "encoder_level1.blocks.0.attn."},
		{"attention_bias_1head", transformer(func(c *hidiff.TransformerConfig) { c.Dim, c.Bias = 16, true }), "encoder_level1.blocks.0.attn."},
		{"attention_prior", transformer(func(c *hidiff.TransformerConfig) { c.Dim = 4 }), "latent.blocks.0.attn."},
		{"block", transformer(func(c *hidiff.TransformerConfig) { c.Dim, c.Heads[0] = 24, 2 }), "encoder_level1.blocks.0."},
		{"block_biasfree", biasFree, "encoder_level1.blocks.0."},
		{"block_prior", transformer(func(c *hidiff.TransformerConfig) { c.Dim, c.Heads[3] = 4, 4 }), "latent.blocks.0."},
		{"feedforward", dim(24), "encoder_level1.blocks.0.ffn."},
		{"feedforward_prior", transformer(func(c *hidiff.TransformerConfig) { c.Dim, c.FFNExpansionFactor = 4, 2 }), "latent.blocks.0.ffn."},
		{"him_1head_16", dim(24), "encoder_level1.him."},
		{"him_4head_4", dim(8), "encoder_level3.him."},
		{"him_biasfree", biasFree, "encoder_level1.him."},
		{"layer_him", transformer(func(c *hidiff.TransformerConfig) { c.Dim, c.Group, c.Heads[0], c.NumBlocks[0] = 24, 2, 2, 2 }), "encoder_level1."},
		{"downsample", dim(12), "down1_2."},
		{"upsample", dim(6), "up2_1."},
		{"latent_encoder_gelu", encoder(hidiff.LatentEncoderGELU, 2, 6, 1), ""},
		{"latent_encoder_gelu_stage2", encoder(hidiff.LatentEncoderGELU, 2, 3, 2), ""},
		{"latent_encoder_lrelu", encoder(hidiff.LatentEncoderLReLU, 2, 6, 1), ""},
		{"latent_encoder_lrelu_stage2", encoder(hidiff.LatentEncoderLReLU, 1, 3, 2), ""},
		{"denoising", configurations()["gopro_tiny"].D.Parameters(), ""},
		{"simple_denoise", hidiff.DenoiserConfig{Type: hidiff.SimpleDenoise, NFeats: 8, NDenoiseRes: 4, Timesteps: 5}.Parameters(), ""},
	} {
		t.Run(c.module, func(t *testing.T) {
			file, err := checkpoint.Open(t.Context(), reference.Testdata("modules", c.module+".safetensors"))
			require.NoError(t, err)
			var want, got []hidiff.ParameterSpec
			for key, array := range file.Groups[""].All() {
				if name, ok := strings.CutPrefix(key, "param."); ok {
					want = append(want, hidiff.ParameterSpec{Name: name, Shape: array.Shape})
				}
			}
			for _, spec := range c.specs {
				if name, ok := strings.CutPrefix(spec.Name, c.prefix); ok {
					got = append(got, hidiff.ParameterSpec{Name: name, Shape: spec.Shape})
				}
			}
			require.NotEmpty(t, want)
			require.Equal(t, want, got)
		})
	}
}

// Options that no reference file has.
func TestParametersOfOptions(t *testing.T) {
	c := configurations()["gopro_tiny"].G
	keys := func(c hidiff.TransformerConfig) (out []string) {
		require.NoError(t, c.Validate())
		for _, spec := range c.Parameters() {
			out = append(out, spec.Name)
		}
		return out
	}
	usual := keys(c)

	c.DualPixelTask = true
	require.Equal(t, slices.Insert(slices.Clone(usual), len(usual)-1, "skip_conv.weight"), keys(c), "skip_conv comes just before output")

	c.Bias = true
	require.Equal(t, []string{"skip_conv.weight", "skip_conv.bias", "output.weight", "output.bias"}, keys(c)[len(keys(c))-4:])
	require.Contains(t, keys(c), "reduce_chan_level2.bias")
	for _, never := range []string{"patch_embed.proj.bias", "down1_2.body.0.bias", "up2_1.body.0.bias"} {
		require.NotContains(t, keys(c), never)
	}

	// Half of two tokens a side is one: levels 2 and 3 are modulated as the latent one is.
	c.Group = 2
	require.Contains(t, keys(c), "encoder_level1.him.q.weight")
	require.NotContains(t, keys(c), "encoder_level2.him.q.weight")
	require.NotContains(t, keys(c), "encoder_level1.blocks.0.attn.ln1.weight")
	for _, layer := range []string{"encoder_level2", "encoder_level3", "decoder_level2", "decoder_level3", "latent"} {
		require.Contains(t, keys(c), layer+".blocks.0.attn.ln1.weight")
		require.Contains(t, keys(c), layer+".blocks.0.ffn.ln2.bias")
	}
}
