package training_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
	"hidiff/hidiff/training"
	"hidiff/internal/testgpu"
	"hidiff/trainer"
)

// The example leaves networks that have moved from where they began, and nothing else can have moved them.
func TestExampleTrains(t *testing.T) {
	testgpu.Need(t)
	folder := t.TempDir()
	var screen bytes.Buffer
	require.NoError(t, train(t.Context(), folder, &screen))
	require.Contains(t, screen.String(), "iter:       2")
	o, err := options.Load(filepath.Join(folder, "experiments", "example", "example.yml"), nil)
	require.NoError(t, err)
	_, c, err := hidiff.ConfigOf(o)
	require.NoError(t, err)
	began := hidiff.InitialWeights(c, 0).Nets
	for _, net := range []hidiff.Network{hidiff.NetG, hidiff.NetLE} {
		file, err := checkpoint.Open(t.Context(), filepath.Join(folder, "experiments", "example", "models", string(net)+"_2.pth"))
		require.NoError(t, err)
		state, err := hidiff.FindNetwork(file, net, "params")
		require.NoError(t, err)
		require.NoError(t, hidiff.Check(c.Parameters(net), state))
		moved := 0
		for key, a := range state.All() {
			before, _ := began[net].Get(key)
			if !slices.Equal(before.Float32s(), a.Float32s()) {
				moved++
			}
		}
		require.Greater(t, moved, len(state.Keys())/2, net)
	}
}

// What can be known without a device is an error of New.
func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		preset, setting, want string
		change                func(root string, o *options.Options)
	}{
		{"GoPro", "manual_seed=1", "GoPro has no section train: it is for testing", nil},
		{"GoPro_S2", "network_le:block_num=3", "network_le is {", nil},
		{"GoPro_S1", "manual_seed=1", "train.total_iter: is missing or 0", func(_ string, o *options.Options) { o.Train.TotalIter = 0 }},
		{"GoPro_S1", "manual_seed=1", "experiments", func(root string, _ *options.Options) {
			require.NoError(t, os.WriteFile(filepath.Join(root, "experiments"), nil, 0o666))
		}},
	} {
		o, err := options.Load(c.preset, []options.Setting{{Option: c.setting}})
		require.NoError(t, err)
		root := t.TempDir()
		if c.change != nil {
			c.change(root, o)
		}
		_, err = training.New(trainer.RunOptions{Options: o, Root: root})
		require.ErrorContains(t, err, c.want)
	}
}
