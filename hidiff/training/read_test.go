package training

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
)

// Networks to begin with are found in whatever they are wrapped, and what was not as the options say is noted.
func TestPretrainedWrapped(t *testing.T) {
	tiny := filepath.Join("..", "..", "conformance", "testdata", "checkpoints")
	w, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, tiny)
	require.NoError(t, err)
	sd := checkpoint.NewStateDict()
	for net, state := range w.Nets {
		for key, array := range state.All() {
			sd.Set("model."+string(net)+"._orig_mod."+key, array)
			if net == hidiff.NetG {
				sd.Set("model.net_g_ema."+key, array)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "one.ckpt")
	require.NoError(t, checkpoint.WritePTH(path, checkpoint.NewDict("epoch", int64(3), "state_dict", sd)))

	read := func(net hidiff.Network, path, key string, strict bool) (*Training, error) {
		s := &Training{config: w.Config, stage: 2, nets: map[hidiff.Network]*checkpoint.StateDict{net: checkpoint.NewStateDict()}}
		return s, s.read(t.Context(), net, Pretrained{Pretrained: options.Pretrained{File: path, ParamKey: key, Strict: strict}})
	}
	s, err := read(hidiff.NetD, path, "params", true)
	require.NoError(t, err)
	require.Equal(t, w.Nets[hidiff.NetD].Keys(), s.nets[hidiff.NetD].Keys())
	require.Equal(t, []string{path + " has no params: what it has is used"}, s.notes)
	s, err = read(hidiff.NetG, path, "net_g", true)
	require.NoError(t, err)
	require.Empty(t, s.notes)
	_, err = read(hidiff.NetG, path, "params", true)
	require.ErrorContains(t, err, "say which of its weights to use")
	other := filepath.Join(tiny, "gopro_tiny_net_g.pth")
	_, err = read(hidiff.NetD, other, "params", false)
	require.EqualError(t, err, other+": holds net_g, not net_d")
}
