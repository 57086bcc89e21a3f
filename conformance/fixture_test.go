package conformance

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
	"hidiff/internal/reference"
)

// fixtures opens every fixture of one folder of testdata.
func fixtures(t *testing.T, folder string) []*fixture {
	t.Helper()
	paths, err := filepath.Glob(reference.Testdata(folder, "*.safetensors"))
	require.NoError(t, err)
	require.NotEmpty(t, paths, "no fixtures in %s", folder)
	var out []*fixture
	for _, path := range paths {
		f, err := openFixture(path)
		require.NoError(t, err)
		out = append(out, f)
	}
	return out
}

func TestOpenFixtureKinds(t *testing.T) {
	count := map[string]map[kind]int{}
	for _, folder := range []string{"ops", "modules", "networks", "end_to_end"} {
		count[folder] = map[kind]int{}
		for _, f := range fixtures(t, folder) {
			count[folder][f.Kind]++
			require.NotEmpty(t, f.Tensors)
		}
	}
	require.Equal(t, map[string]map[kind]int{
		"ops":        {kindOp: 41, kindOptim: 2, kindClipGradNorm: 1},
		"modules":    {kindModule: 20},
		"networks":   {kindNetwork: 6},
		"end_to_end": {kindEndToEnd: 2},
	}, count)
}

func TestOpenFixtureOp(t *testing.T) {
	f, err := openFixture(reference.Testdata("ops", "reflect_pad_right_bottom.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "reflect_pad_right_bottom", f.Op)
	require.Equal(t, map[string]float64{"right": 5, "bottom": 3}, f.Attrs)
	x, err := f.Tensor("in.x")
	require.NoError(t, err)
	require.Equal(t, []int{1, 3, 13, 11}, x.Shape)
	require.Len(t, x.Data, 3*13*11)
	require.Equal(t, map[string]array{"x": x}, f.Under("in."))
	_, err = f.Tensor("in.y")
	require.ErrorIs(t, err, errNoTensor)
}

func TestOpenFixtureModule(t *testing.T) {
	f, err := openFixture(reference.Testdata("modules", "layer_him.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "BasicLayer", f.Module)
	require.Contains(t, string(f.Options), `"num_blocks": 2`)
	require.Contains(t, f.Under("param."), "him.kv.weight")
}

func TestOpenFixtureNetwork(t *testing.T) {
	f, err := openFixture(reference.Testdata("networks", "gopro_1x64x64.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "gopro", f.FillPrefix)
	require.Equal(t, hidiff.GoPro(), f.Config)
	require.Len(t, f.Picks["net_g.down_1.1.weight"], 16)

	f, err = openFixture(reference.Testdata("networks", "realblur_tiny_1x32x32.safetensors"))
	require.NoError(t, err)
	require.Equal(t, 2, f.Config.D.NDenoiseRes)
	require.True(t, f.Config.Diffusion.ApplyLDM)
	require.Empty(t, f.Picks)
}

func TestOpenFixtureEndToEnd(t *testing.T) {
	for _, f := range fixtures(t, "end_to_end") {
		require.Equal(t, 0.02, f.OutputWeightScale)
		require.NotEmpty(t, f.FillPrefix)
		input, expected := f.Photos()
		require.FileExists(t, input)
		require.FileExists(t, expected)
	}
}

const tinyConfig = `{"g": {"dim": 8, "LayerNorm_type": "BiasFree"}, "le": ["latent_encoder_lrelu", {"embed_dim": 8}],
	"d": ["simple_denoise", {"n_feats": 8}], "diff": {"apply_ldm": true, "schedule": "linear", "timesteps": 16}}`

// write makes a safetensors file with tensors of one value each.
func write(t *testing.T, metadata map[string]string, names ...string) string {
	t.Helper()
	state := checkpoint.NewStateDict()
	for _, name := range names {
		state.Set(name, checkpoint.NewArray([]int{1}, []float32{1}))
	}
	path := filepath.Join(t.TempDir(), "fixture.safetensors")
	require.NoError(t, checkpoint.WriteSafetensors(path, map[string]*checkpoint.StateDict{"": state}, metadata))
	return path
}

func TestOpenFixtureTraining(t *testing.T) {
	f, err := openFixture(write(t, map[string]string{
		"config": tinyConfig, "fill_prefix": "train/x", "trained": `["net_g", "net_le"]`, "picks": "{}",
		"train": `{"use_grad_clip": true, "optim_total": {"type": "AdamW", "lr": 0.0002, "weight_decay": 0.0001, "betas": [0.9, 0.999]},
			"scheduler": {"type": "CosineAnnealingRestartCyclicLR", "periods": [3, 5], "restart_weights": [1, 1], "eta_mins": [0.0002, 1e-06]},
			"pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}}`,
	}, "iter1.lq", "iter1.param.net_g.output.weight"))
	require.NoError(t, err)
	require.Equal(t, kindTraining, f.Kind)
	require.Equal(t, []string{"net_g", "net_le"}, f.Trained)
	require.Equal(t, options.TrainOptions{
		WarmupIter: -1, UseGradClip: true, ClipGradNorm: 0.01,
		OptimTotal: options.OptimOptions{Type: "AdamW", LR: 2e-4, WeightDecay: 1e-4, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8},
		Scheduler: options.SchedulerOptions{
			Type: "CosineAnnealingRestartCyclicLR", Periods: []int{3, 5}, RestartWeights: []float64{1, 1}, EtaMins: []float64{2e-4, 1e-6},
		},
		PixelOpt: &options.LossOptions{Type: "L1Loss", LossWeight: 1, Reduction: "mean"},
	}, f.Train)
	require.Contains(t, f.Under("iter1.param."), "net_g.output.weight")
}

// Absent options of net_g take the released code's defaults, not zero.
func TestOpenFixtureRefuses(t *testing.T) {
	for _, c := range []struct {
		name     string
		metadata map[string]string
		tensors  []string
		want     string
	}{
		{"no attrs", map[string]string{"op": "add"}, []string{"out"}, "metadata has no attrs"},
		{"attrs that are no numbers", map[string]string{"op": "add", "attrs": `{"x": "y"}`}, []string{"out"}, "metadata attrs"},
		{"options that are no JSON", map[string]string{"module": "HIM", "options": `{"dim`}, []string{"out"}, "not JSON"},
		{"config that is none", map[string]string{"config": `{"d": ["x"]}`, "fill_prefix": "x"}, []string{"lq", "gt"}, "metadata config"},
		{"no prefix", map[string]string{"config": tinyConfig}, []string{"lq", "gt"}, "metadata has no fill_prefix"},
		{"no scale", map[string]string{"config": tinyConfig, "fill_prefix": "x"}, []string{"noise", "prior", "out"}, "output_weight_scale"},
		{"an option that is none", map[string]string{"config": tinyConfig, "fill_prefix": "x", "train": `{"iters": 3}`}, []string{"iter1.lq"}, "field iters not found"},
		{"no trained", map[string]string{"config": tinyConfig, "fill_prefix": "x", "train": "{}"}, []string{"iter1.lq"}, "metadata has no trained"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.metadata, c.tensors...)
			_, err := openFixture(path)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
			require.NotErrorIs(t, err, errUnknownKind)
		})
	}
}

func TestOpenFixtureUnknownKind(t *testing.T) {
	for name, path := range map[string]string{
		"no metadata":      write(t, nil, "lq", "gt"),
		"foreign metadata": write(t, map[string]string{"format": "pt"}, "weight"),
		"config only":      write(t, map[string]string{"config": tinyConfig}, "weight"),
		"weights":          reference.Testdata("checkpoints", "gopro_tiny_net_d.pth"),
	} {
		_, err := openFixture(path)
		require.ErrorIs(t, err, errUnknownKind, name)
		require.ErrorContains(t, err, path)
	}
	_, err := openFixture(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
