package training

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/options"
)

// TestFindPretrainedSaysWhatToTrain names the stage that makes the missing network, whoever asks for it.
func TestFindPretrainedSaysWhatToTrain(t *testing.T) {
	t.Chdir(t.TempDir())
	find := func(net, path string) error {
		o, err := options.Load("GoPro_S2", []options.Setting{{Option: "name=test_mine"}, {Option: "path:pretrain_network_" + net[len("net_"):] + "=" + path}})
		require.NoError(t, err)
		_, err = FindPretrained(o, hidiff.Network(net))
		return err
	}
	for net, want := range map[string]string{"net_le": "train stage one first", "net_le_dm": "train stage two first", "net_d": "train stage two first", "net_g": "train it first"} {
		path := filepath.Join("experiments", "mine_S2", "models", net+"_9.pth")
		err := find(net, path)
		require.EqualError(t, err, "path.pretrain_network_"+net[len("net_"):]+": "+path+" is not there, and no "+net+" is in experiments: "+want+", or say where its files are")
	}
	other := filepath.Join("experiments", "other", "models", "net_d_7.pth")
	require.NoError(t, os.MkdirAll(filepath.Dir(other), 0o777))
	require.NoError(t, os.WriteFile(other, nil, 0o666))
	err := find("net_d", "experiments/mine_S2/models/net_d_9.pth")
	require.EqualError(t, err, "path.pretrain_network_d: experiments/mine_S2/models/net_d_9.pth is not there; there are "+other)
}
