package conformance

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"hidiff/hidiff"
	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// moduleOptions are the constructor's arguments that package ref needs.
type moduleOptions struct {
	Heads     int `json:"num_heads"`
	Group     int `json:"group"`
	Blocks    int `json:"num_blocks"`
	BlockNum  int `json:"block_num"`
	DenoiseN  int `json:"n_denoise_res"`
	Timesteps int `json:"timesteps"`
	Time      int `json:"time"`
}

func refModule(t *testing.T, f *fixture) *ref.Array {
	var o moduleOptions
	require.NoError(t, json.Unmarshal(f.Options, &o))
	p, in := ref.Params(arrays(f.Under("param."))), arrays(f.Under("in."))
	x, prior := in["x"], in["prior"]
	encoder := func(leaky bool) *ref.Array {
		images := []*ref.Array{in["inp_img"]}
		if in["gt"] != nil {
			images = []*ref.Array{in["gt"], in["inp_img"]}
		}
		return p.LatentEncoder(ref.LatentEncoder{LeakyReLU: leaky, Blocks: o.BlockNum, Group: o.Group}, images...)
	}
	switch f.Module {
	case "Attention":
		return p.Attention(x, prior, o.Heads)
	case "FeedForward":
		return p.FeedForward(x, prior)
	case "TransformerBlock":
		return p.TransformerBlock(x, prior, o.Heads)
	case "HIM":
		return p.HIM(x, prior, o.Heads)
	case "BasicLayer":
		return p.BasicLayer(x, prior, o.Heads, o.Blocks, o.Group)
	case "Downsample":
		return p.Downsample(x)
	case "Upsample":
		return p.Upsample(x)
	case hidiff.LatentEncoderGELU:
		return encoder(false)
	case hidiff.LatentEncoderLReLU:
		return encoder(true)
	case hidiff.Denoising:
		return p.Denoising(o.BlockNum, x, in["c"], o.Time)
	case hidiff.SimpleDenoise:
		return p.SimpleDenoise(o.DenoiseN, float64(10*o.Timesteps), x, in["c"], o.Time)
	}
	require.Fail(t, "no reference of "+f.Module)
	return nil
}

func TestRefModules(t *testing.T) {
	for _, f := range fixtures(t, "modules") {
		t.Run(filepath.Base(f.Path), func(t *testing.T) {
			requireClose(t, f, "out", refModule(t, f))
		})
	}
}

func TestRefNetworks(t *testing.T) {
	for _, f := range fixtures(t, "networks") {
		if f.Config.G.Dim > 8 {
			continue // full size: minutes in float64
		}
		t.Run(filepath.Base(f.Path), func(t *testing.T) {
			t.Parallel()
			r := newFloat64Networks(f.Config, f.fill)
			in, err := f.needed("lq", "gt", "s2.noise")
			require.NoError(t, err)
			for name, got := range r.stages(in[0], in[1], in[2]) {
				requireClose(t, f, name, got)
			}
		})
	}
}
