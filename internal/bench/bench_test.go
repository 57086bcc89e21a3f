package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
	"hidiff/tensor"
	"hidiff/wgpu"
)

// Every dispatch of one run is in the table, and none of the warm-up's.
func TestKernelsCountsOneRun(t *testing.T) {
	d, err := tensor.Open(wgpu.Options{GPU: testenv.GPU(), Profile: true})
	testgpu.Opened(t, err)
	defer d.Close()
	if !d.Features().Timestamps {
		t.Skip("this adapter cannot take timestamps")
	}
	c := hidiff.GoPro()
	c.G.Dim, c.G.NumBlocks, c.G.NumRefinementBlocks, c.G.Heads = 16, [4]int{1, 1, 1, 1}, 1, [4]int{1, 4, 4, 4}
	c.G.EmbedDim, c.LE.EmbedDim, c.LE.BlockNum = 8, 8, 1
	c.D.InChannel, c.D.OutChannel, c.D.InnerChannel = 32, 32, 48
	for stage, kernel := range []string{"linear/direct NORM=1", "gradient/direct TAPS=9"} {
		before := d.Stats().Dispatches
		kernels, err := Kernels(t.Context(), d.With(tensor.Execution{Variant: "direct"}), c, stage, 1, 24, 16)
		require.NoError(t, err)
		var calls int64
		labels := map[string]bool{}
		for _, k := range kernels {
			require.Positive(t, k.Calls)
			calls += int64(k.Calls)
			labels[k.Label] = true
		}
		require.Contains(t, labels, kernel)
		require.NotContains(t, labels, "linear/windowed")
		all := d.Stats().Dispatches - before
		require.Greater(t, calls, all/3, "one run of two, and what packs the weights")
		require.LessOrEqual(t, calls, all/2)
	}
}
