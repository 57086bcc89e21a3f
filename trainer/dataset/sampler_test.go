package dataset

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSamplerEpochs(t *testing.T) {
	const n, ratio = 7, 3
	s := &sampler{seed: 5, n: n, total: n * ratio}
	var epochs [][]int32
	for sample := range uint64(4 * n * ratio) {
		epoch, order, position := s.at(sample)
		require.Equal(t, int(sample/(n*ratio)), epoch)
		require.Equal(t, int(sample%(n*ratio)), position)
		if position == 0 {
			epochs = append(epochs, order)
		}
		require.Equal(t, epochs[epoch], order)
	}
	for i, order := range epochs {
		counts := make([]int, n)
		for _, pair := range order {
			counts[pair]++
		}
		require.Equal(t, slices.Repeat([]int{ratio}, n), counts, "an epoch shows each pair enlarge_ratio times")
		for _, other := range epochs[:i] {
			require.NotEqual(t, other, order)
		}
	}
	// From anywhere, and for any n, the same order.
	_, order, _ := (&sampler{seed: 5, n: n, total: n * ratio}).at(2*n*ratio + 4)
	require.Equal(t, epochs[2], order)
	_, order, _ = (&sampler{seed: 6, n: n, total: n * ratio}).at(2*n*ratio + 4)
	require.NotEqual(t, epochs[2], order)
}
