package conformance

import (
	"context"
	"math"
	"testing"

	"hidiff/internal/testgpu"
	"hidiff/tensor"

	"github.com/stretchr/testify/require"
)

func TestPoisonReachesTheNextTensor(t *testing.T) {
	d := testgpu.Open(t)
	poison(d, []int{2, 3, 5, 7})
	for _, shape := range [][]int{{1}, {2, 5, 7, 3}, {1000}} {
		values, err := tensor.New(d, shape...).Floats(context.Background())
		require.NoError(t, err)
		for _, v := range values {
			require.True(t, math.IsNaN(float64(v)), "%v", shape)
		}
	}
}
