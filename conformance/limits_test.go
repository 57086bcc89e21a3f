package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testgpu"
	"hidiff/tensor"
)

// Phones and browsers have no more than WebGPU's default limits.
func TestEverythingRunsUnderDefaultLimits(t *testing.T) {
	t.Setenv("HIDIFF_LIMITS", "default")
	d := testgpu.Open(t)
	l := d.Limits()
	require.Equal(t, []any{int64(128 << 20), int64(64 << 10), int64(256 << 20)}, []any{l.Binding, l.UniformBinding, l.Buffer})
	require.Equal(t, []int{8, 16 << 10, 256, 65535}, []int{l.StorageBuffers, l.WorkgroupStorage, l.Invocations, l.WorkgroupsPerAxis})
	for _, variant := range []string{"", "tiled"} { // what is chosen here, and on hardware
		forced := d.With(tensor.Execution{Variant: variant})
		require.NoError(t, SelfTest(t.Context(), forced, func(r Result) { require.NoError(t, r.Err, variant, r.Name) }))
	}
}
