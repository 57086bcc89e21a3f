package hidiff

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testgpu"
	"hidiff/tensor"
)

// The released networks restore a photo of 256 x 256 pixels in few dispatches,
// as docs/PERFORMANCE.md says, with the kernels of hardware GPUs. Those for
// software Vulkan with eight lanes take a dispatch for each window of weights.
func TestDispatches(t *testing.T) {
	d := testgpu.Open(t)
	for _, c := range []struct {
		name, variant string
		config        Config
		dispatches    int64
		bytes         float64 // that they need to move
	}{
		{"GoPro", "tiled", GoPro(), 400, 9.5 * (1 << 30)}, {"GoPro", "rows", GoPro(), 1874, 9.8 * (1 << 30)},
		{"RealBlur", "tiled", RealBlur(), 416, 8.3 * (1 << 30)}, {"RealBlur", "rows", RealBlur(), 1738, 8.5 * (1 << 30)},
	} {
		t.Run(c.name+" "+c.variant, func(t *testing.T) {
			dry := d.DryRun(0).With(tensor.Execution{Variant: c.variant})
			w := InitialWeights(c.config, 1)
			nets, err := NewNetworks(t.Context(), dry, c.config, w.Nets)
			require.NoError(t, err)
			before := dry.Stats()
			require.NoError(t, (&Model{Weights: w, dryNets: nets}).dryRun(t.Context(), dry, 256, 256, RestoreOptions{}))
			s := dry.Stats()
			t.Logf("%d dispatches, %.2f GiB", s.Dispatches-before.Dispatches, (s.Bytes-before.Bytes)/(1<<30))
			require.LessOrEqual(t, s.Dispatches-before.Dispatches, c.dispatches)
			require.LessOrEqual(t, s.Bytes-before.Bytes, c.bytes)
		})
	}
}
