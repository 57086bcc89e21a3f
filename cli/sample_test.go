package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
)

// TestDeviceSample restores what `make demo` restores, with the model that is built in, as a newcomer does; a photo that is sharp
// already stays as it is.
func TestDeviceSample(t *testing.T) {
	testenv.Long(t)
	testgpu.Need(t)
	t.Setenv("HIDIFF_MODEL", "")
	sample, err := filepath.Abs(filepath.Join("..", "docs", "model", "sample"))
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	score := func(input string) (psnr, before float64) {
		name := filepath.Base(input)
		got := run(t.Context(), nil, "eval", "--input", input, "--target", filepath.Join(sample, "target"), "--name", name, "--protocol", "basicsr")
		require.Equal(t, exitOK, got.code, got.stderr)
		require.FileExists(t, filepath.Join("results", name, "visualization", "sample", "astronaut_"+name+".png"))
		require.FileExists(t, filepath.Join("results", name, "report", "images", "1", "1-side-by-side.jpg"))
		s := readScores(t, name).Datasets[0].Scores[0]
		return float64(s.PSNR), float64(s.InputPSNR)
	}
	restored, blurry := score(filepath.Join(sample, "input"))
	require.Greater(t, restored, blurry+3)
	require.NoError(t, os.CopyFS("sharp", os.DirFS(filepath.Join(sample, "target"))))
	again, _ := score("sharp")
	require.Greater(t, again, 38.0)
	t.Logf("%.2f dB blurry, %.2f dB restored; the sharp photo stays within %.2f dB of itself", blurry, restored, again)
}
