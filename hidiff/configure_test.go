package hidiff_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
)

// optionText is an option file of stage two of a configuration.
func optionText(t *testing.T, c hidiff.Config) []byte {
	text := "name: x\nmodel_type: HI_Diff_S2\ndatasets: {test: {type: PairedImageIRDataset, dataroot_gt: a, dataroot_lq: b}}\n"
	for _, s := range []struct {
		key   string
		value any
	}{{"network_g", c.G}, {"network_le", c.StageOne()}, {"network_le_dm", c.LE}, {"network_d", c.D}, {"diffusion_schedule", c.Diffusion}} {
		data, err := json.Marshal(s.value)
		require.NoError(t, err)
		text += fmt.Sprintf("%s: %s\n", s.key, data)
	}
	return []byte(text)
}

// Tensors do not tell the steps of the diffusion. The option file beside an experiment's models does, metadata before
// that, and before all an option file that is given; what describes other networks is refused.
func TestConfigurationOfWeights(t *testing.T) {
	const tiny = "../conformance/testdata/checkpoints"
	w, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, tiny)
	require.NoError(t, err)
	require.Equal(t, 8, w.Config.Diffusion.Timesteps)

	experiment := filepath.Join(t.TempDir(), "mine")
	models := filepath.Join(experiment, "models")
	require.NoError(t, os.MkdirAll(models, 0o777))
	for net, state := range w.Nets {
		require.NoError(t, checkpoint.WritePTH(filepath.Join(models, string(net)+"_9.pth"), checkpoint.NewDict("params", state)))
	}
	steps := func(n int) hidiff.Config {
		c := w.Config
		c.Diffusion.Timesteps = n
		return c
	}
	beside := filepath.Join(experiment, "mine.yml")
	require.NoError(t, os.WriteFile(beside, optionText(t, steps(3)), 0o666))
	for _, path := range []string{experiment, models} {
		trained, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
		require.NoError(t, err)
		require.Equal(t, steps(3), trained.Config, path)
	}

	stated := *w
	stated.Config = steps(5)
	file := filepath.Join(models, "whole.safetensors")
	require.NoError(t, stated.Save(file, checkpoint.F32))
	loaded, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, file)
	require.NoError(t, err)
	require.Equal(t, steps(5), loaded.Config)

	given, err := options.Parse("given.yml", optionText(t, steps(7)), nil)
	require.NoError(t, err)
	require.NoError(t, loaded.Configure(given))
	require.Equal(t, steps(7), loaded.Config)

	other := steps(7)
	other.G.Dim *= 2
	given, err = options.Parse("given.yml", optionText(t, other), nil)
	require.NoError(t, err)
	var others *hidiff.OtherNetworksError
	require.ErrorAs(t, loaded.Configure(given), &others)
	require.Equal(t, hidiff.NetG, others.Net)
	require.ErrorContains(t, others, "given.yml describes another net_g than "+file+" is: ")
	require.Equal(t, steps(7), loaded.Config, "a refused configuration changes nothing")

	require.NoError(t, os.WriteFile(beside, optionText(t, other), 0o666))
	require.NoError(t, os.Remove(file))
	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, experiment)
	require.ErrorAs(t, err, &others)
	require.ErrorContains(t, err, beside+" describes another net_g")
}
