package tensor

import (
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

func TestL2NormalizeBackward(t *testing.T) {
	d := openDevice(t)
	for _, c := range []int{3, 5, 16, 63, 65, 127} {
		for _, scale := range []float64{4, 0.05} { // norms on either side of eps
			const eps = 1
			testRowsBackward(t, d, c, scale,
				func(x, dy *Tensor) *Tensor { return L2NormalizeBackward(x, dy, eps) },
				func(x, g *ref.Array) *ref.Array { return ref.L2NormalizeBackward(x, g, eps) })
		}
	}
	zero := L2NormalizeBackward(From(d, make([]float32, 4), 1, 4), From(d, []float32{1, -2, 0, 4}, 1, 4), 0.5)
	require.Equal(t, []float32{2, -4, 0, 8}, stored(t, zero), "below eps the norm is constant")
}
