package suggest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	names := []string{"deblur", "train", "eval", "man", "--gpu", "GoPro"}
	for word, want := range map[string]string{
		"deblurr": "deblur", "evla": "eval", "TRAIN": "train", "de": "deblur", "trainer": "train", "--gup": "--gpu", "gopr": "GoPro", "men": "man",
	} {
		require.Equal(t, ": did you mean "+want+"?", Text(word, names), word)
	}
	for _, word := range []string{"", "bn", "restore", "x", strings.Repeat("a", 1<<20)} {
		require.Empty(t, Text(word, names), word[:min(len(word), 9)])
	}
}

func TestNearest(t *testing.T) {
	names := []string{"a/kernel.yml", "b/KERNEL.yml", "c/kernels.yml", "d/kernal.yml", "e/other.yml"}
	require.Equal(t, []string{"a/kernel.yml", "b/KERNEL.yml", "c/kernels.yml"}, Nearest("kernel.yml", names, filepath.Base), "the nearest three, by their keys")
}
