package tensor

import (
	"context"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// What gradient tests share: float64 references by central differences of
// package ref's forward functions, and the way between its layout and ours.

// randomArray is uniform in [-1, 1), the same for a name every time.
func randomArray(name string, shape ...int) *ref.Array {
	h := fnv.New64a()
	h.Write([]byte(name))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	a := ref.New(shape...)
	for i := range a.Data {
		a.Data[i] = float64(float32(r.Float64()*2 - 1))
	}
	return a
}

// numericGradients returns the gradient of Σ g·f(in) for each input named.
func numericGradients(f func(in ref.Params) *ref.Array, in ref.Params, g *ref.Array, names ...string) ref.Params {
	const step = 1e-5
	value := func() (sum float64) {
		for i, v := range f(in).Data {
			sum += v * g.Data[i]
		}
		return sum
	}
	out := ref.Params{}
	for _, name := range names {
		a := in[name]
		out[name] = ref.New(a.Shape...)
		for i, v := range a.Data {
			a.Data[i] = v + step
			above := value()
			a.Data[i] = v - step
			out[name].Data[i] = (above - value()) / (2 * step)
			a.Data[i] = v
		}
	}
	return out
}

// imageOf uploads [N, C, H, W], or anything else as it is.
func imageOf(d *Device, a *ref.Array) *Tensor {
	if s := a.Shape; len(s) == 4 {
		return FromNCHW(d, a.Float32(), s[0], s[1], s[2], s[3])
	}
	return From(d, a.Float32(), a.Shape...)
}

// trainable uploads a parameter whose gradient is wanted, or nil.
func trainable(d *Device, a *ref.Array) *Parameter {
	if a == nil {
		return nil
	}
	return NewParameters(d, []ParameterSpec{{Shape: []int{len(a.Data)}, Values: a.Float32()}}).All()[0]
}

// requireGradient compares in the reference's layout, relative to its largest
// value; NaNs and shapes count.
func requireGradient(t *testing.T, what string, got *Tensor, want *ref.Array, tolerance float64) {
	t.Helper()
	read := got.Floats
	if len(want.Shape) == 4 && len(got.shape) == 4 {
		read = got.NCHW
	}
	values, err := read(context.Background())
	require.NoError(t, err)
	require.Len(t, values, len(want.Data), what)
	var largest, worst float64
	for i, w := range want.Data {
		largest = max(largest, math.Abs(w))
		difference := math.Abs(float64(values[i]) - w)
		if !(difference <= worst) { // a NaN is worst
			worst = difference
		}
	}
	require.Positive(t, largest, what+": a zero gradient proves nothing")
	require.LessOrEqual(t, worst/largest, tolerance, what)
}

// poisoned fills buffers of these sizes with NaN and gives them back, so that
// operators find them.
func poisoned(d *Device, tensors ...*Tensor) {
	for _, x := range tensors {
		for range 2 {
			nan := make([]float32, x.rows()*x.width())
			for i := range nan {
				nan[i] = float32(math.NaN())
			}
			defer From(d, nan, len(nan)).Release()
		}
	}
}
