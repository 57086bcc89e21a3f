package checkpoint

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSmallFloatsRoundTrip packs every 16-bit value there is.
func TestSmallFloatsRoundTrip(t *testing.T) {
	for _, f := range []smallFloat{float16, bfloat16} {
		for h := range 1 << 16 {
			v := f.unpack(uint16(h))
			if math.IsNaN(v) {
				require.True(t, math.IsNaN(f.unpack(f.pack(v))))
				continue
			}
			if f.pack(v) != uint16(h) {
				t.Fatalf("%+v: %#04x unpacks to %g, which packs to %#04x", f, h, v, f.pack(v))
			}
		}
	}
}

// TestSmallFloatsRounding tries the points between neighbours: just below the
// middle, the middle (to even) and just above.
func TestSmallFloatsRounding(t *testing.T) {
	for _, f := range []smallFloat{float16, bfloat16} {
		inf := uint16(1<<f.exp-1) << f.man
		for h := range inf {
			low, high := f.unpack(h), f.unpack(h+1)
			if math.IsInf(high, 1) { // the middle as if there were a next value
				high = low + (low - f.unpack(h-1))
			}
			middle := low + (high-low)/2
			even := h + h&1
			for _, c := range []struct {
				x    float64
				want uint16
			}{
				{math.Nextafter(middle, 0), h}, {middle, even}, {math.Nextafter(middle, math.Inf(1)), h + 1},
			} {
				if got := f.pack(c.x); got != c.want {
					t.Fatalf("%+v: %g packs to %#04x, want %#04x", f, c.x, got, c.want)
				}
				if got := f.pack(-c.x); got != c.want|0x8000 {
					t.Fatalf("%+v: %g packs to %#04x, want %#04x", f, -c.x, got, c.want|0x8000)
				}
			}
		}
	}
}

func TestSmallFloatsKnown(t *testing.T) {
	for _, c := range []struct {
		f    smallFloat
		x    float64
		want uint16
	}{
		{float16, 1, 0x3c00}, {float16, -2, 0xc000}, {float16, 65504, 0x7bff}, {float16, 65520, 0x7c00},
		{float16, 0x1p-24, 1}, {float16, 0x1p-25, 0}, {float16, 1.0 / 3, 0x3555}, {float16, 5e-324, 0},
		{float16, math.Copysign(0, -1), 0x8000}, {float16, math.Inf(-1), 0xfc00}, {float16, math.NaN(), 0x7e00},
		{bfloat16, 1, 0x3f80}, {bfloat16, 1.0 / 3, 0x3eab}, {bfloat16, math.MaxFloat64, 0x7f80}, {bfloat16, 0x1p-133, 1},
	} {
		require.Equal(t, c.want, c.f.pack(c.x), "%g", c.x)
	}
}

func TestArray(t *testing.T) {
	values := []float32{0, -1.5, 3.25, 1e-8, 70000, 2}
	a := NewArray([]int{2, 3}, values)
	require.Equal(t, 6, a.Len())
	require.Equal(t, values, a.Float32s())
	require.Same(t, a, a.As(F32))
	require.Equal(t, []float64{0, -1.5, 3.25, float64(float32(1e-8)), 70000, 2}, a.As(F64).Float64s())
	require.Equal(t, values, a.As(F64).As(F32).Float32s())
	require.Equal(t, []float32{0, -1.5, 3.25, 0, float32(math.Inf(1)), 2}, a.As(F16).Float32s())
	require.Equal(t, []int{2, 3}, a.As(BF16).Shape)
	require.Equal(t, 1, NewArray(nil, []float32{7}).Len(), "a scalar")
	require.Equal(t, 0, NewArray([]int{0, 3}, nil).Len())
	require.Panics(t, func() { NewArray([]int{2}, values) })
	require.Panics(t, func() { a.As(I8) })
}

func TestElements(t *testing.T) {
	for _, shape := range [][]int{{-1}, {math.MaxInt, 2}, {1 << 31, 1 << 31}, {0, math.MaxInt}, {1 << 40, 1 << 40, 0}} {
		_, err := elements(shape)
		require.Error(t, err, "%v", shape)
	}
	n, err := elements([]int{4, 0, 3})
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestOrder(t *testing.T) {
	state := NewStateDict()
	for _, key := range []string{"b", "a", "c", "a"} {
		state.Set(key, NewArray([]int{1}, []float32{float32(state.Len())}))
	}
	require.Equal(t, []string{"b", "a", "c"}, state.Keys())
	a, ok := state.Get("a")
	require.True(t, ok)
	require.Equal(t, []float32{3}, a.Float32s(), "the last value in the first place")
	for key := range state.All() {
		require.Equal(t, "b", key)
		break
	}
}
