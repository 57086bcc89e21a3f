package conformance

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
func TestBenchKernelsCountsOneRun(t *testing.T) {
	d, err := tensor.Open(wgpu.Options{GPU: testenv.GPU(), Profile: true})
	testgpu.Opened(t, err)
	defer d.Close()
	if !d.Features().Timestamps {
		t.Skip("this adapter cannot take timestamps")
	}
	c := smallConfig(hidiff.GoPro())
	for stage, kernel := range []string{"linear/direct NORM=1", "gradient/direct TAPS=9"} {
		before := d.Stats().Dispatches
		kernels, err := BenchKernels(t.Context(), d.With(tensor.Execution{Variant: "direct"}), c, stage, 1, 24, 16)
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
