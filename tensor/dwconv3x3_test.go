package tensor

import (
	"fmt"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// inParts uploads images [N, C, H, W] with channels in parts.
func inParts(d *Device, a *ref.Array, parts int) *Tensor {
	x := imageOf(d, a)
	defer x.Release()
	values := make([]float32, 0, x.Len())
	n, c, hw := a.Shape[0], a.Shape[1], a.Shape[2]*a.Shape[3]
	for p := range n * hw {
		for ch := range c {
			values = append(values, float32(a.Data[(p/hw*c+ch)*hw+p%hw]))
		}
	}
	return FromParts(d, values, parts, x.shape...)
}

// requirePadding fails if a stored channel that pads is not zero.
func requirePadding(t *testing.T, x *Tensor) {
	t.Helper()
	each, padded := x.Channels()/x.parts, x.width()/x.parts
	for i, v := range stored(t, x) {
		if i%padded >= each && v != 0 {
			require.Failf(t, "padding", "%g at %d", v, i)
		}
	}
}

// Strips of rows, whole or cut by bands, come to the same bits.
func TestDepthwiseStrips(t *testing.T) {
	d := openDevice(t)
	x := randomArray("x", 2, 6, 2*stripRows+3, 9)
	weight, bias := randomArray("w", 6, 1, 3, 3), randomArray("b", 6)
	w := NewDepthwise(d, 6, 2, trainable(d, weight), trainable(d, bias))
	defer w.Release()
	var whole []float32
	for _, rows := range []int{0, 5, stripRows + 1} {
		d := d.With(Execution{Offload: rows > 0, Scratch: int64(4 * 2 * 8 * 9 * (rows + 2))})
		xt := newWhole(d, 2, 2, 2*stripRows+3, 9, 6)
		flat := inParts(d, x, 2)
		if xt.mem.host != nil {
			copy(xt.mem.host, stored(t, flat))
		} else {
			xt.CopyFrom(flat)
		}
		y := w.Apply(xt)
		if rows > 0 {
			require.Greater(t, d.MostBands(), 2)
		}
		requireGradient(t, "y", y, ref.DWConv3x3(x, weight, bias), 1e-6)
		bits := stored(t, y)
		if whole == nil {
			whole = bits
		}
		require.Equal(t, whole, bits, "bands of %d rows", rows)
	}
}

func TestDepthwiseBackward(t *testing.T) {
	d := openDevice(t)
	for _, size := range [][3]int{{1, 1, 1}, {1, 1, 9}, {1, 5, 1}, {2, 7, 19}, {2, 4, 70}} {
		for _, c := range []struct{ channels, parts int }{{1, 1}, {3, 1}, {5, 1}, {63, 1}, {65, 1}, {6, 2}, {254, 2}, {30, 6}} {
			t.Run(fmt.Sprint(size, c), func(t *testing.T) {
				x := randomArray("x", size[0], c.channels, size[1], size[2])
				g := randomArray("g", x.Shape...)
				weight, bias := randomArray("w", c.channels, 1, 3, 3), randomArray("b", c.channels)
				dx, dw, db := ref.DWConv3x3Backward(x, weight, bias, g)
				w := NewDepthwise(d, c.channels, c.parts, trainable(d, weight), trainable(d, bias))
				defer w.Release()
				xt, gt := inParts(d, x, c.parts), inParts(d, g, c.parts)
				for times := range 2 { // gradients add up
					poisoned(d, xt, New(d, 1, 10, xt.width()))
					got := w.Backward(xt, gt)
					requireGradient(t, "x", got, dx, 1e-5)
					requirePadding(t, got)
					requireGradient(t, "weight", w.weight.Grad, scaled(dw, times+1), 1e-5)
					requireGradient(t, "bias", w.bias.Grad, scaled(db, times+1), 1e-5)
					got.Release()
				}
			})
		}
	}
}

func scaled(a *ref.Array, factor int) *ref.Array {
	out := ref.New(a.Shape...)
	for i, v := range a.Data {
		out.Data[i] = v * float64(factor)
	}
	return out
}

// Parameters are frozen one by one.
func TestDepthwiseBackwardFrozen(t *testing.T) {
	d := openDevice(t)
	x, g := randomArray("x", 1, 5, 3, 6), randomArray("g", 1, 5, 3, 6)
	weight, bias := randomArray("w", 5, 1, 3, 3), randomArray("b", 5)
	dx, dw, db := ref.DWConv3x3Backward(x, weight, bias, g)
	for _, c := range []struct{ weight, bias bool }{{false, false}, {true, false}, {false, true}} {
		parameter := func(a *ref.Array, train bool) *Parameter {
			if train {
				return trainable(d, a)
			}
			return NewParameter(d, a.Float32())
		}
		w := NewDepthwise(d, 5, 1, parameter(weight, c.weight), parameter(bias, c.bias))
		requireGradient(t, "x", w.Backward(imageOf(d, x), imageOf(d, g)), dx, 1e-5)
		if c.weight {
			requireGradient(t, "weight", w.weight.Grad, dw, 1e-5)
		}
		if c.bias {
			requireGradient(t, "bias", w.bias.Grad, db, 1e-5)
		}
	}
	w := NewDepthwise(d, 5, 1, trainable(d, weight), nil)
	requireGradient(t, "x without bias", w.Backward(imageOf(d, x), imageOf(d, g)), dx, 1e-5)
	requireGradient(t, "weight without bias", w.weight.Grad, dw, 1e-5)
}

// Bands of an image contribute each pixel once.
func TestDepthwiseBackwardInBands(t *testing.T) {
	d := openDevice(t)
	x, g := randomArray("x", 2, 9, 11, 6), randomArray("g", 2, 9, 11, 6)
	weight, bias := randomArray("w", 9, 1, 3, 3), randomArray("b", 9)
	dx, dw, db := ref.DWConv3x3Backward(x, weight, bias, g)
	w := NewDepthwise(d, 9, 3, trainable(d, weight), trainable(d, bias))
	xt, gt := inParts(d, x, 3), inParts(d, g, 3)
	got := newParts(d, 3, xt.shape...)
	for image := range 2 {
		for _, rows := range [][2]int{{0, 1}, {1, 6}, {6, 11}} {
			b := band{image, 1, rows[0], rows[1], 11}
			w.backward(xt.rowsOf(b, 0), gt.rowsOf(b, 1), got.target(b), b)
		}
	}
	requireGradient(t, "x", got, dx, 1e-5)
	requireGradient(t, "weight", w.weight.Grad, dw, 1e-5)
	requireGradient(t, "bias", w.bias.Grad, db, 1e-5)
}

func TestDepthwiseBackwardRepeats(t *testing.T) {
	d := openDevice(t)
	x, g := inParts(d, randomArray("x", 2, 65, 33, 40), 1), inParts(d, randomArray("g", 2, 65, 33, 40), 1)
	run := func() (out [][]float32) {
		w := NewDepthwise(d, 65, 1, trainable(d, randomArray("w", 65, 1, 3, 3)), trainable(d, randomArray("b", 65)))
		dx := w.Backward(x, g)
		return [][]float32{stored(t, dx), stored(t, w.weight.Grad), stored(t, w.bias.Grad)}
	}
	require.Equal(t, run(), run())
}
