package tensor

import (
	"fmt"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

func TestSoftmaxBackward(t *testing.T) {
	d := openDevice(t)
	for _, c := range []int{3, 5, 16, 63, 65, 127} {
		testRowsBackward(t, d, c, 4, func(x, dy *Tensor) *Tensor { return SoftmaxBackward(Softmax(x), dy) }, ref.SoftmaxBackward)
	}
	// Small gradients beside a probability near one keep their digits.
	x, g := ref.From([]float64{20, 0, 5, 4, 1}, 1, 5), randomArray("g", 1, 5)
	dx := SoftmaxBackward(Softmax(From(d, x.Float32(), 1, 5)), From(d, g.Float32(), 1, 5))
	requireGradient(t, "saturated", dx, ref.SoftmaxBackward(x, g), 1e-6)
	y := Softmax(From(d, random(3), 3, 1))
	require.Zero(t, stored(t, SoftmaxBackward(y, From(d, random(3), 3, 1)))[0], "one probability is constant")
}

// testRowsBackward runs an operator on the rows of images and of tokens, whose
// values lie within scale.
func testRowsBackward(t *testing.T, d *Device, c int, scale float64, f func(x, dy *Tensor) *Tensor, want func(x, g *ref.Array) *ref.Array) {
	for _, shape := range [][]int{{1, 1, c}, {7, c}, {2, 5, 37, c}} {
		t.Run(fmt.Sprint(shape, scale), func(t *testing.T) {
			x, g := randomArray("x", shape...), randomArray("g", shape...)
			for i := range x.Data {
				x.Data[i] = float64(float32(x.Data[i] * scale))
			}
			expected := want(x, g)
			xt, dy := From(d, x.Float32(), shape...), From(d, g.Float32(), shape...)
			poisoned(d, xt)
			dx := f(xt, dy)
			requireGradient(t, "x", dx.Reshape(len(x.Data)/c, c), expected.Reshape(len(x.Data)/c, c), 1e-6)
			requireNoPadding(t, dx)
			if len(shape) < 4 {
				return
			}
			d := d.With(Execution{Offload: true, Scratch: 1})
			require.Equal(t, stored(t, dx), stored(t, f(xt.on(d), dy.on(d))), "in bands")
			require.Greater(t, d.MostBands(), 1)
		})
	}
}
