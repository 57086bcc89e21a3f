package conformance

import (
	"context"
	"errors"
	"math"
	"os"
	"testing"

	"hidiff/tensor"
	"hidiff/wgpu"

	"github.com/stretchr/testify/require"
)

// openDevice opens the adapter that HIDIFF_GPU names, or skips: REQUIRE_GPU=1
// turns the skip into a failure.
func openDevice(t *testing.T) *tensor.Device {
	t.Helper()
	d, err := tensor.Open(wgpu.Options{GPU: os.Getenv("HIDIFF_GPU")})
	if none := (*wgpu.NoAdapterError)(nil); errors.As(err, &none) && os.Getenv("REQUIRE_GPU") == "" {
		t.Skipf("no adapter: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

func TestPoisonReachesTheNextTensor(t *testing.T) {
	d := openDevice(t)
	poison(d, []int{2, 3, 5, 7})
	for _, shape := range [][]int{{1}, {2, 5, 7, 3}, {1000}} {
		values, err := tensor.New(d, shape...).Floats(context.Background())
		require.NoError(t, err)
		for _, v := range values {
			require.True(t, math.IsNaN(float64(v)), "%v", shape)
		}
	}
}
