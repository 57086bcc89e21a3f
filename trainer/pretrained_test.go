package trainer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFindPretrainedSaysWhatToTrain names the stage that makes the missing network, whoever asks for it.
func TestFindPretrainedSaysWhatToTrain(t *testing.T) {
	t.Chdir(t.TempDir())
	for net, want := range map[string]string{"net_le": "train stage one first", "net_le_dm": "train stage two first", "net_d": "train stage two first", "net_g": "train it first"} {
		path := filepath.Join("experiments", "mine_S2", "models", net+"_9.pth")
		_, _, err := FindPretrained(path, "test_mine", net)
		require.EqualError(t, err, path+" is not there, and no "+net+" is in experiments: "+want+", or say where its files are")
	}
	other := filepath.Join("experiments", "other", "models", "net_d_7.pth")
	require.NoError(t, os.MkdirAll(filepath.Dir(other), 0o777))
	require.NoError(t, os.WriteFile(other, nil, 0o666))
	_, _, err := FindPretrained("experiments/mine_S2/models/net_d_9.pth", "test_mine", "net_d")
	require.EqualError(t, err, "experiments/mine_S2/models/net_d_9.pth is not there; there are "+other)
}
