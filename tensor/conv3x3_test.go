package tensor

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/ref"
)

// One part of K, several in a window, and several windows for a part, whichever way the
// result is stored. The residual and the activation come once.
func TestConv3x3(t *testing.T) {
	d := openDevice(t)
	for _, c := range []struct{ in, out, h, w int }{{5, 8, 7, 3}, {20, 44, 1, 9}, {5, 10, 6, 10}, {20, 44, 4, 34}, {80, 260, 4, 6}} {
		x, w, b := randomArray("x", 2, c.in, c.h, c.w), randomArray("w", c.out, c.in, 3, 3), randomArray("b", c.out)
		product := ref.Conv3x3(x, w, b)
		residual := randomArray("residual", product.Shape...)
		for _, variant := range []string{"", "tiled"} {
			for store, want := range map[ConvStore]func() *ref.Array{
				Plain: func() *ref.Array {
					sum := ref.New(product.Shape...)
					for i, v := range product.Data {
						sum.Data[i] = leaky(v, 0.25) + residual.Data[i]
					}
					return sum
				},
				Shuffled:   func() *ref.Array { return ref.PixelShuffle(product, 2) },
				Unshuffled: func() *ref.Array { return ref.PixelUnshuffle(product, 2) },
			} {
				if store == Shuffled && c.out%4 > 0 || store == Unshuffled && (c.h%2 > 0 || c.w%2 > 0) {
					continue
				}
				what := fmt.Sprintf("%q, %d: %+v", variant, store, c)
				d := d.With(Execution{Variant: variant})
				s := LinearSpec{Out: c.out, In: c.in, Weight: NewParameter(d, w.Float32()), Bias: NewParameter(d, b.Float32()), Conv: true}
				how := Conv{Store: store}
				switch store {
				case Plain:
					how.Act, how.Residual = LeakyReLU(0.25), imageOf(d, residual)
				case Shuffled:
					s.Shuffle = 2
				}
				l := NewLinear(d, s)
				xt, expected := imageOf(d, x), imageOf(d, want())
				poisoned(d, expected)
				y := l.Conv3x3(xt, how)
				require.Equal(t, expected.Shape(), y.Shape(), what)
				requireGradient(t, what, y, want(), 4e-6)
				requirePadding(t, y)
				l.Release()
				for _, used := range []*Tensor{xt, expected, y, how.Residual} {
					used.Release()
				}
			}
		}
	}
	require.NoError(t, d.Err())
}
