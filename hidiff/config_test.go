package hidiff_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/reference"
)

func TestConfigReadsReferenceFiles(t *testing.T) {
	configs := configurations()
	for file, name := range map[string]string{
		"gopro_1x64x64": "gopro", "realblur_1x48x64": "realblur", "gopro_tiny_1x32x32": "gopro_tiny", "realblur_tiny_1x32x32": "realblur_tiny",
	} {
		opened, err := checkpoint.Open(t.Context(), reference.Testdata("networks", file+".safetensors"))
		require.NoError(t, err)
		var got hidiff.Config
		require.NoError(t, json.Unmarshal([]byte(opened.Metadata["config"]), &got))
		require.Equal(t, configs[name], got)
		require.NoError(t, got.Validate())

		text, err := json.Marshal(got)
		require.NoError(t, err)
		var again hidiff.Config
		require.NoError(t, json.Unmarshal(text, &again))
		require.Equal(t, got, again)
	}
}

func TestConfigLayout(t *testing.T) {
	text, err := json.Marshal(hidiff.RealBlur())
	require.NoError(t, err)
	require.JSONEq(t, `{
		"g": {"inp_channels": 3, "out_channels": 3, "dim": 48, "num_blocks": [3, 5, 6, 6], "num_refinement_blocks": 4, "heads": [1, 2, 4, 8],
			"ffn_expansion_factor": 2, "bias": false, "LayerNorm_type": "WithBias", "dual_pixel_task": false, "embed_dim": 64, "group": 4},
		"le": ["latent_encoder_lrelu", {"embed_dim": 64, "block_num": 5, "group": 4, "patch_expansion": 0.5, "channel_expansion": 4}],
		"d": ["simple_denoise", {"n_feats": 64, "n_denoise_res": 4, "timesteps": 5}],
		"diff": {"apply_ldm": true, "schedule": "linear", "timesteps": 16, "linear_start": 0.1, "linear_end": 0.99}
	}`, string(text))
}

func TestConfigDefaults(t *testing.T) {
	var c hidiff.Config
	require.NoError(t, json.Unmarshal([]byte(`{"g": {"num_blocks": [3,5,6,6], "embed_dim": 64}, "le": ["latent_encoder_gelu", {}], "d": ["denoising", {}], "diff": {}}`), &c))
	require.Equal(t, hidiff.GoPro(), c)
	require.NoError(t, json.Unmarshal([]byte(`{"g": {"num_blocks": [3,5,6,6], "embed_dim": 64, "ffn_expansion_factor": 2},
		"le": ["latent_encoder_lrelu", {}], "d": ["simple_denoise", {}], "diff": {"apply_ldm": true}}`), &c))
	require.Equal(t, hidiff.RealBlur(), c)

	var g hidiff.TransformerConfig
	require.NoError(t, json.Unmarshal([]byte(`{}`), &g))
	require.Equal(t, [4]int{4, 6, 6, 8}, g.NumBlocks)
	require.Equal(t, 48, g.EmbedDim)
	require.Equal(t, 2.66, g.FFNExpansionFactor)
}

// The sections of option files, which name their type among the options.
func TestConfigReadsOptionSections(t *testing.T) {
	want := hidiff.GoPro()
	var g hidiff.TransformerConfig
	require.NoError(t, json.Unmarshal([]byte(`{"type": "Transformer", "num_blocks": [3,5,6,6], "embed_dim": 64}`), &g))
	require.Equal(t, want.G, g)
	var le hidiff.EncoderConfig
	require.NoError(t, json.Unmarshal([]byte(`{"type": "latent_encoder_gelu", "in_chans": 6, "stage": 1}`), &le))
	require.Equal(t, want.StageOne(), le)
	require.NoError(t, le.Validate())
	var d hidiff.DenoiserConfig
	require.NoError(t, json.Unmarshal([]byte(`{"type": "denoising", "in_channel": 256}`), &d))
	require.Equal(t, want.D, d)
}

func TestConfigRefusesJSON(t *testing.T) {
	const le, d, diff = `"le": ["latent_encoder_gelu", {}]`, `"d": ["denoising", {}]`, `"diff": {}`
	for text, want := range map[string]string{
		`{"g": {"heads": [1,2,4,8], "depth": 3}, ` + le + `,` + d + `,` + diff + `}`:    `g: json: unknown field "depth"`,
		`{"g": {"num_blocks": [1,1,1,1,1]}, ` + le + `,` + d + `,` + diff + `}`:         "g: num_blocks has 5 numbers: it must have 4",
		`{"g": {"heads": [1]}, ` + le + `,` + d + `,` + diff + `}`:                      "g: heads has 1 numbers",
		`{"g": {"type": "Restormer"}, ` + le + `,` + d + `,` + diff + `}`:               `g: type is "Restormer"`,
		`{"g": {}, "le": ["latent_encoder_gelu", {"width": 3}],` + d + `,` + diff + `}`: `le: json: unknown field "width"`,
		`{"g": {}, "le": ["latent_encoder_gelu"],` + d + `,` + diff + `}`:               "le: must be a list of a type and its options",
		`{"g": {}, ` + d + `,` + diff + `}`:                                             "le: must be a list of a type and its options",
		`{"g": {}, ` + le + `, "d": ["denoising", {"x": 3}],` + diff + `}`:              `d: json: unknown field "x"`,
		`{"g": {}, ` + le + `, "d": ["denoising", {"type": "y"}],` + diff + `}`:         `d: type is both "denoising" and "y"`,
		`{"g": {}, ` + le + `,` + d + `, "diff": {"steps": 8}}`:                         `diff: json: unknown field "steps"`,
		`{"g": {}, ` + le + `,` + d + `}`:                                               "lacks g or diff",
		`{"g": {}, ` + le + `,` + d + `,` + diff + `, "vae": {}}`:                       `unknown field "vae"`,
		`[]`: "cannot unmarshal array",
	} {
		c := hidiff.GoPro()
		require.ErrorContains(t, json.Unmarshal([]byte(text), &c), want, text)
		require.Equal(t, hidiff.GoPro(), c, "unchanged after an error")
	}
}

func TestConfigValidate(t *testing.T) {
	for name, c := range configurations() {
		require.NoError(t, c.Validate(), name)
	}
	for want, change := range map[string]func(c *hidiff.Config){
		"network_g: dim is 0":                                   func(c *hidiff.Config) { c.G.Dim = 0 },
		"network_g: dim is 7: it must be even":                  func(c *hidiff.Config) { c.G.Dim = 7 },
		"network_g: inp_channels is 6":                          func(c *hidiff.Config) { c.G.InpChannels = 6 },
		"network_g: out_channels is 4: it must equal":           func(c *hidiff.Config) { c.G.OutChannels = 4 },
		"network_g: num_blocks[2] is 0":                         func(c *hidiff.Config) { c.G.NumBlocks[2] = 0 },
		"network_g: num_refinement_blocks is 1000000":           func(c *hidiff.Config) { c.G.NumRefinementBlocks = 1e6 },
		"network_g: heads[1] is 5: it must divide the 96":       func(c *hidiff.Config) { c.G.Heads[1] = 5 },
		"network_g: heads[3] is 0":                              func(c *hidiff.Config) { c.G.Heads[3] = 0 },
		"network_g: ffn_expansion_factor is NaN":                func(c *hidiff.Config) { c.G.FFNExpansionFactor = math.NaN() },
		"network_g: ffn_expansion_factor is 0.01":               func(c *hidiff.Config) { c.G.FFNExpansionFactor = 0.01 },
		`network_g: LayerNorm_type is "None"`:                   func(c *hidiff.Config) { c.G.LayerNormType = "None" },
		"network_g: group is 1":                                 func(c *hidiff.Config) { c.G.Group = 1 },
		"network_g: group is 3":                                 func(c *hidiff.Config) { c.G.Group = 3 },
		"network_g: embed_dim is -1":                            func(c *hidiff.Config) { c.G.EmbedDim = -1 },
		`network_le_dm: type is ""`:                             func(c *hidiff.Config) { c.LE.Type = "" },
		"network_le_dm: stage is 3":                             func(c *hidiff.Config) { c.LE.Stage = 3 },
		"network_le_dm: stage is 1: it must be 2":               func(c *hidiff.Config) { c.LE = c.StageOne() },
		"network_le_dm: in_chans is 6: it must be 3":            func(c *hidiff.Config) { c.LE.InChans = 6 },
		"network_le_dm: block_num is 0":                         func(c *hidiff.Config) { c.LE.BlockNum = 0 },
		"network_le_dm: patch_expansion is 0.05: 16 times":      func(c *hidiff.Config) { c.LE.PatchExpansion = 0.05 },
		"network_le_dm: channel_expansion is +Inf":              func(c *hidiff.Config) { c.LE.ChannelExpansion = math.Inf(1) },
		"net_le_dm's embed_dim is 48, and embed_dim of net_g":   func(c *hidiff.Config) { c.LE.EmbedDim = 48 },
		"net_le_dm's group is 5, and group of net_g is 4":       func(c *hidiff.Config) { c.LE.Group = 5 },
		`network_d: type is "unet"`:                             func(c *hidiff.Config) { c.D.Type = "unet" },
		"network_d: block_num is 2":                             func(c *hidiff.Config) { c.D.BlockNum = 2 },
		"network_d: inner_channel is 0":                         func(c *hidiff.Config) { c.D.InnerChannel = 0 },
		`network_d: {"n_feats":64} are no options of denoising`: func(c *hidiff.Config) { c.D.NFeats = 64 },
		`are no options of simple_denoise`:                      func(c *hidiff.Config) { c.D = hidiff.RealBlur().D; c.D.BlockNum = 4 },
		"network_d: n_denoise_res is 0":                         func(c *hidiff.Config) { c.D = hidiff.RealBlur().D; c.D.NDenoiseRes = 0 },
		"net_d's in_channel is 192, and 4·embed_dim of net_g":   func(c *hidiff.Config) { c.D.InChannel = 192 },
		"net_d's out_channel is 192":                            func(c *hidiff.Config) { c.D.OutChannel = 192 },
		"net_d's group is 2":                                    func(c *hidiff.Config) { c.D.Group = 2 },
		"net_d's n_feats is 32, and embed_dim of net_g is 64":   func(c *hidiff.Config) { c.D = hidiff.RealBlur().D; c.D.NFeats = 32 },
		`diffusion_schedule: schedule is "sqrt"`:                func(c *hidiff.Config) { c.Diffusion.Schedule = "sqrt" },
		"diffusion_schedule: timesteps is 0":                    func(c *hidiff.Config) { c.Diffusion.Timesteps = 0 },
	} {
		c := hidiff.GoPro()
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}

	c := hidiff.GoPro()
	c.G.Dim, c.LE.BlockNum, c.Diffusion.Schedule, c.Diffusion.LinearEnd = -2, -1, "", 2
	for _, want := range []string{"network_g: dim is -2", "network_le_dm: block_num is -1", "diffusion_schedule: schedule is", "diffusion_schedule: linear_end is 2"} {
		require.ErrorContains(t, c.Validate(), want, "all at once")
	}
	require.Error(t, hidiff.Config{}.Validate())
}

func TestHidden(t *testing.T) {
	for dim, want := range map[int]int{48: 127, 96: 255, 192: 510, 384: 1021} {
		require.Equal(t, want, hidiff.GoPro().G.Hidden(dim))
		require.Equal(t, 2*dim, hidiff.RealBlur().G.Hidden(dim))
	}
}
