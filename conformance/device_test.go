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

// poison leaves NaNs in the buffers that an operator on these tensors is likely
// to be given: the pool hands buffers out by size, last released first. What an
// operator fails to write, or reads before writing, shows.
func poison(d *tensor.Device, shapes ...[]int) {
	var all []*tensor.Tensor
	fill := func(floats int) {
		nan := make([]float32, floats)
		for i := range nan {
			nan[i] = float32(math.NaN())
		}
		all = append(all, tensor.From(d, nan, floats))
	}
	for floats := 64; floats <= 4096; floats += 64 { // scratch memory
		fill(floats)
	}
	for _, s := range shapes {
		for axis := range s { // whichever axis becomes the channels
			stored := (s[axis] + 3) / 4 * 4
			for i, n := range s {
				if i != axis {
					stored *= n
				}
			}
			stored = (stored + 63) / 64 * 64
			for range 3 {
				fill(stored)
			}
		}
	}
	for _, t := range all {
		t.Release()
	}
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
