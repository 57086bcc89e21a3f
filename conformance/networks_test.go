package conformance

import (
	"testing"

	"hidiff/hidiff"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"

	"github.com/stretchr/testify/require"
)

// configurations are valid ones that no released file has: every option is off its
// default somewhere, and sizes are no multiples of four where they need not be. Heads are
// chosen so that configurations share kernels: compiling them takes the time.
var configurations = []struct {
	name   string
	base   func() hidiff.Config
	change func(c *hidiff.Config)
	size   photoSize
}{
	{"bias, one head", hidiff.GoPro, func(c *hidiff.Config) {
		c.G.Bias, c.G.Heads, c.G.Dim = true, [4]int{1, 1, 1, 1}, 6
	}, photoSize{2, 8, 8}},
	{"BiasFree, dual pixel", hidiff.RealBlur, func(c *hidiff.Config) {
		c.G.LayerNormType, c.G.DualPixelTask, c.G.NumBlocks, c.G.Dim = hidiff.BiasFree, true, [4]int{1, 2, 1, 1}, 12
	}, photoSize{1, 16, 24}},
	{"bias, BiasFree, dual pixel", hidiff.GoPro, func(c *hidiff.Config) {
		c.G.Bias, c.G.LayerNormType, c.G.DualPixelTask, c.G.Heads = true, hidiff.BiasFree, true, [4]int{2, 2, 2, 2}
		c.G.FFNExpansionFactor, c.G.NumRefinementBlocks = 1.5, 2
	}, photoSize{1, 40, 8}},
	{"group 2", hidiff.GoPro, func(c *hidiff.Config) { setGroup(c, 2) }, photoSize{2, 16, 8}},
	{"group 2 with bias", hidiff.RealBlur, func(c *hidiff.Config) {
		setGroup(c, 2)
		c.G.Bias, c.G.NumBlocks, c.G.LayerNormType = true, [4]int{2, 1, 2, 2}, hidiff.BiasFree
	}, photoSize{2, 8, 16}},
	{"group 5", hidiff.RealBlur, func(c *hidiff.Config) {
		setGroup(c, 5)
		c.G.Heads = [4]int{1, 1, 1, 1}
	}, photoSize{1, 24, 40}},
	{"group 6", hidiff.GoPro, func(c *hidiff.Config) {
		setGroup(c, 6)
		c.G.Dim, c.G.Heads = 20, [4]int{1, 1, 1, 5}
	}, photoSize{1, 16, 24}},
	{"embed_dim 5", hidiff.GoPro, func(c *hidiff.Config) {
		setEmbedDim(c, 5)
		c.D.InnerChannel, c.D.BlockNum, c.D.PatchExpansion, c.D.ChannelExpansion = 37, 5, 0.3, 1.7
		c.LE.PatchExpansion, c.LE.ChannelExpansion, c.LE.BlockNum = 1.2, 2.3, 3
	}, photoSize{2, 8, 24}},
	{"embed_dim 12", hidiff.RealBlur, func(c *hidiff.Config) {
		setEmbedDim(c, 12)
		c.D.NDenoiseRes, c.D.Timesteps, c.G.FFNExpansionFactor, c.G.Heads = 1, 7, 3.1, [4]int{1, 4, 4, 8}
	}, photoSize{1, 16, 16}},
	{"embed_dim 1", hidiff.RealBlur, func(c *hidiff.Config) { setEmbedDim(c, 1) }, photoSize{2, 8, 8}},
	{"dim 2", hidiff.GoPro, func(c *hidiff.Config) {
		c.G.Dim, c.G.Heads, c.G.FFNExpansionFactor = 2, [4]int{1, 4, 4, 16}, 0.5
	}, photoSize{1, 24, 16}},
	{"dim 10, no refinement", hidiff.RealBlur, func(c *hidiff.Config) {
		c.G.Dim, c.G.Heads, c.G.NumRefinementBlocks = 10, [4]int{1, 4, 4, 5}, 0
	}, photoSize{3, 8, 40}},
	{"encoders and denoisers crossed", hidiff.GoPro, func(c *hidiff.Config) {
		c.LE.Type, c.LE.BlockNum = hidiff.LatentEncoderLReLU, 2
		c.Diffusion.Schedule, c.Diffusion.LinearStart, c.Diffusion.LinearEnd = "warmup50", 0.05, 0.6
	}, photoSize{2, 16, 8}},
	{"crossed the other way", hidiff.RealBlur, func(c *hidiff.Config) {
		c.LE.Type = hidiff.LatentEncoderGELU
		c.Diffusion.Schedule, c.Diffusion.Timesteps = "sqrt_linear", 1
	}, photoSize{1, 8, 8}},
}

func setGroup(c *hidiff.Config, group int) {
	c.G.Group, c.LE.Group = group, group
	if c.D.Type == hidiff.Denoising {
		c.D.Group = group
	}
}

func setEmbedDim(c *hidiff.Config, e int) {
	c.G.EmbedDim, c.LE.EmbedDim = e, e
	if c.D.Type == hidiff.Denoising {
		c.D.InChannel, c.D.OutChannel = 4*e, 4*e
	} else {
		c.D.NFeats = e
	}
}

func TestNetworksMatchReference(t *testing.T) {
	testenv.Long(t)
	d := testgpu.Open(t)
	for _, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			config := smallConfig(c.base())
			config.G.Dim, config.G.Heads = 8, [4]int{1, 4, 4, 4}
			c.change(&config)
			require.Len(t, networkResults(t, newRunner(t.Context(), d, nil, "network", c.name), config, c.size), 5)
		})
	}
}

// networkResults runs a configuration and requires that it passes.
func networkResults(t *testing.T, r *runner, c hidiff.Config, s photoSize) (results []Result) {
	t.Helper()
	r.results = &tally{report: func(x Result) {
		t.Logf("%s: %.1e", x.Name, x.Diff.MaxRel)
		results = append(results, x)
	}}
	r.guard(func() error { return r.networks(c, s) })
	require.NoError(t, r.d.Err())
	requirePass(t, results)
	return results
}

// Both samplers under every schedule: of the networks, only net_d and net_le_dm matter.
func TestSchedulesMatchReference(t *testing.T) {
	testenv.Long(t)
	d := testgpu.Open(t)
	for base, schedules := range map[string][]string{
		"gopro":    {"linear", "quad", "warmup10", "warmup50", "const", "cosine"},
		"realblur": {"linear", "cosine", "sqrt_linear", "sqrt"},
	} {
		for _, schedule := range schedules {
			t.Run(base+" "+schedule, func(t *testing.T) {
				c := smallConfig(hidiff.GoPro())
				if base == "realblur" {
					c = smallConfig(hidiff.RealBlur())
				}
				c.Diffusion = hidiff.DiffusionConfig{ApplyLDM: c.Diffusion.ApplyLDM, Schedule: schedule, Timesteps: 3, LinearStart: 0.2, LinearEnd: 0.7}
				networkResults(t, newRunner(t.Context(), d, nil, "network", schedule), c, photoSize{1, 8, 8})
			})
		}
	}
}
