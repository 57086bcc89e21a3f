package tensor

import (
	"fmt"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

func TestAdaptiveAvgPoolBackward(t *testing.T) {
	d := openDevice(t)
	for _, size := range [][2]int{{1, 1}, {5, 3}, {9, 70}} {
		for _, out := range []int{1, 3, 4} {
			for _, c := range []int{1, 5, 12} {
				t.Run(fmt.Sprint(size, " to ", out, " of ", c), func(t *testing.T) {
					x, g := ref.New(2, c, size[0], size[1]), randomArray("g", 2, c, out, out)
					want := ref.AdaptiveAvgPoolBackward(x, g, out)
					dy := imageOf(d, g)
					poisoned(d, New(d, 2, size[0], size[1], c))
					dx := AdaptiveAvgPoolBackward(dy, size[0], size[1])
					require.Equal(t, []int{2, size[0], size[1], c}, dx.Shape())
					requireGradient(t, "x", dx, want, 1e-6)
					requireNoPadding(t, dx)
					d := d.With(Execution{Offload: true, Scratch: 1})
					require.Equal(t, stored(t, dx), stored(t, AdaptiveAvgPoolBackward(dy.on(d), size[0], size[1])), "in bands")
					require.Greater(t, d.MostBands(), 1)
				})
			}
		}
	}
}
