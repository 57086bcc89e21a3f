package tensor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// eachGradientVariant runs f with every way to sum products over rows.
func eachGradientVariant(t *testing.T, f func(t *testing.T, d *Device)) {
	d := openDevice(t)
	for _, variant := range []string{"", "direct", "tiled"} {
		t.Run("variant "+variant, func(t *testing.T) {
			f(t, d.With(Execution{Variant: variant}))
			require.NoError(t, d.Err())
		})
	}
}

// amidst uploads a between two of its size full of NaN, where no binding may
// begin.
func amidst(d *Device, a *ref.Array, parts int, shape ...int) *Tensor {
	nan := make([]float32, len(a.Data))
	for i := range nan {
		nan[i] = float32(math.NaN())
	}
	three := FromParts(d, slices.Concat(nan, a.Float32(), nan), parts, append([]int{3}, shape...)...)
	defer three.Release()
	v := three.Image(1)
	defer v.Release()
	return v.Reshape(shape...)
}

// set overwrites a gradient.
func set(g *Tensor, a *ref.Array) {
	x := From(g.d, a.Float32(), g.shape...)
	g.d.Copy(g.mem.buffer, g.offset, x.mem.buffer, 0, g.bytes())
	x.Release()
}

// placed is a gradient [out, row, taps] that held before, with dw [out, in,
// taps] added to columns from first on.
func placed(before, dw *ref.Array, out, in, taps, first, row int) *ref.Array {
	want := ref.From(append([]float64{}, before.Data...), before.Shape...)
	for i, v := range dw.Data {
		o, rest := i/(in*taps), i%(in*taps)
		want.Data[(o*row+first)*taps+rest] += v
	}
	return want
}

func TestAccumulateLinear(t *testing.T) {
	cases := []struct {
		rows, out, outParts, in, inParts int
		first, row                       int
	}{
		{rows: 1, out: 1, in: 1},
		{rows: 1, out: 5, in: 3, first: 2, row: 7},
		{rows: 3, out: 63, outParts: 3, in: 10, inParts: 2},
		{rows: 65, out: 3, in: 127},
		{rows: 65, out: 127, in: 63, first: 1, row: 64},
		{rows: 65, out: 30, outParts: 6, in: 66, inParts: 3, first: 66, row: 200},
		{rows: 1000, out: 257, in: 5},
		{rows: 1000, out: 10, outParts: 2, in: 257},
		{rows: 1000, out: 130, in: 130},
		{rows: 20000, out: 6, outParts: 2, in: 9, inParts: 3},
	}
	eachGradientVariant(t, func(t *testing.T, d *Device) {
		for _, c := range cases {
			name := fmt.Sprintf("%+v", c)
			outParts, inParts, row := max(c.outParts, 1), max(c.inParts, 1), max(c.row, c.in)
			x, dy := randomArray("x"+name, c.rows, c.in), randomArray("dy"+name, c.rows, c.out)
			w, before, bias := randomArray("w", c.out, row), randomArray("before", c.out, row), randomArray("bias", c.out)
			_, dw, db := ref.LinearBackward(x, ref.New(c.out, c.in), bias, dy)
			s := LinearSpec{
				Out: c.out, In: c.in, OutParts: c.outParts, InParts: c.inParts, From: c.first, Row: c.row,
				Weight: trainable(d, w), Bias: trainable(d, bias),
			}
			xt, dyt := amidst(d, x, inParts, c.rows, c.in), amidst(d, dy, outParts, c.rows, c.out)
			var first [2][]float32
			for again := range 2 {
				set(s.Weight.Grad, before)
				set(s.Bias.Grad, bias)
				poisoned(d, rowSums{runs: 1, rows: c.rows, width: shortestChunk}.sizes(dyt, xt)...)
				s.accumulate(xt, dyt, band{})
				requireGradient(t, "dw "+name, s.Weight.Grad, placed(before, dw, c.out, c.in, 1, c.first, row), 1e-6)
				requireGradient(t, "db "+name, s.Bias.Grad, ref.Add(bias, db), 1e-6)
				for i, g := range []*Tensor{s.Weight.Grad, s.Bias.Grad} {
					values, err := g.Floats(context.Background())
					require.NoError(t, err)
					if again == 1 {
						require.Equal(t, first[i], values, "other bits the second time: %s", name)
					}
					first[i] = values
				}
			}
		}
	})
}

// sizes are the partial sums that a linear map's gradients take, as tensors
// without memory of their own.
func (r rowSums) sizes(dy, x *Tensor) []*Tensor {
	p, c := r.products(dy, x, 1), r.columns(dy)
	p.Release()
	c.Release()
	return []*Tensor{p.Tensor, c.Tensor}
}

func TestAccumulateConvolution(t *testing.T) {
	cases := []struct{ n, h, w, out, in, inParts int }{
		{1, 1, 1, 1, 1, 1},
		{1, 3, 1, 5, 3, 1},
		{2, 1, 5, 3, 5, 1},
		{3, 5, 3, 6, 10, 2},
		{1, 7, 65, 48, 3, 1},
		{2, 33, 9, 17, 66, 1},
		{1, 130, 2, 12, 12, 1},
	}
	eachGradientVariant(t, func(t *testing.T, d *Device) {
		for _, c := range cases {
			name := fmt.Sprintf("%+v", c)
			x, dy := randomArray("x"+name, c.n, c.in, c.h, c.w), randomArray("dy"+name, c.n, c.out, c.h, c.w)
			row, first := c.in+2, 1
			before, bias := randomArray("before", c.out, row, 3, 3), randomArray("bias", c.out)
			_, dw, db := ref.Conv3x3Backward(x, ref.New(c.out, c.in, 3, 3), bias, dy)
			s := LinearSpec{
				Out: c.out, In: c.in, InParts: c.inParts, From: first, Row: row, Conv: true,
				Weight: trainable(d, before), Bias: trainable(d, bias),
			}
			xt, dyt := amidst(d, nhwc(x), c.inParts, c.n, c.h, c.w, c.in), amidst(d, nhwc(dy), 1, c.n, c.h, c.w, c.out)
			wantW, wantB := placed(before, dw, c.out, c.in, 9, first, row), ref.Add(bias, db)
			whole := []band{{0, c.n, 0, c.h, c.h}}
			var cut []band
			for i := range c.n {
				for y := 0; y < c.h; y += 1 + c.h/3 {
					cut = append(cut, band{i, 1, y, min(y+1+c.h/3, c.h), c.h})
				}
			}
			for _, bands := range [][]band{whole, cut} {
				set(s.Weight.Grad, before)
				set(s.Bias.Grad, bias)
				for _, b := range bands {
					xb, dyb := xt.rowsOf(b, 1), dyt.rowsOf(b, 0)
					poisoned(d, rowSums{runs: 1, rows: dyb.rows(), width: c.w, height: c.h}.products(dyb, dyb, 9).Tensor)
					s.accumulate(xb, dyb, b)
					xb.Release()
					dyb.Release()
				}
				what := fmt.Sprint(name, " in ", len(bands), " bands")
				requireGradient(t, "dw "+what, s.Weight.Grad, wantW, 1e-6)
				requireGradient(t, "db "+what, s.Bias.Grad, wantB, 1e-6)
			}
		}
	})
}

// nhwc reorders [N, C, H, W].
func nhwc(a *ref.Array) *ref.Array {
	n, c, hw := a.Shape[0], a.Shape[1], a.Shape[2]*a.Shape[3]
	out := ref.New(n, a.Shape[2], a.Shape[3], c)
	for i, v := range a.Data {
		out.Data[(i/hw/c*hw+i%hw)*c+i/hw%c] = v
	}
	return out
}

func TestFrozenParametersCostNothing(t *testing.T) {
	d := openDevice(t)
	x := From(d, random(3*4), 3, 4)
	s := LinearSpec{Out: 4, In: 4, Weight: NewParameter(d, random(16)), Bias: NewParameter(d, random(4))}
	before := d.Stats().Dispatches
	s.accumulate(x, x, band{})
	require.Equal(t, before, d.Stats().Dispatches)
}

func TestAccumulateRefusesOtherShapes(t *testing.T) {
	d := openDevice(t)
	x, short := From(d, random(3*4), 3, 4), From(d, random(2*4), 2, 4)
	s := LinearSpec{Out: 4, In: 4, Weight: trainable(d, randomArray("w", 16))}
	wrong := LinearSpec{Out: 4, In: 4, Row: 5, Weight: s.Weight}
	parts := LinearSpec{Out: 4, In: 4, OutParts: 2, Weight: s.Weight}
	conv := LinearSpec{Out: 4, In: 4, Conv: true, Weight: trainable(d, randomArray("w", 144))}
	image := x.Reshape(1, 3, 1, 4)
	for name, f := range map[string]func(){
		"rows":   func() { s.accumulate(x, short, band{}) },
		"weight": func() { wrong.accumulate(x, x, band{}) },
		"parts":  func() { parts.accumulate(x, x, band{}) },
		"halo":   func() { conv.accumulate(image, image, band{0, 1, 1, 4, 5}) },
		"outer":  func() { outer(x, x, 2) },
	} {
		var shape *ShapeError
		require.ErrorAs(t, catch(f), &shape, name)
	}
}

func TestOuterAndColumnSums(t *testing.T) {
	eachGradientVariant(t, func(t *testing.T, d *Device) {
		for _, c := range []struct{ images, rows, n, nParts, k int }{
			{1, 1, 1, 1, 1}, {2, 3, 5, 1, 6}, {3, 65, 12, 3, 63}, {5, 1000, 6, 2, 130},
		} {
			name := fmt.Sprintf("%+v", c)
			a, b := randomArray("a"+name, c.images*c.rows, c.n), randomArray("b"+name, c.images*c.rows, c.k)
			at, bt := amidst(d, a, c.nParts, c.images*c.rows, c.n), amidst(d, b, 1, c.images*c.rows, c.k)
			each, padded := c.n/c.nParts, pad4(c.n/c.nParts)
			want, sums := ref.New(c.images, at.width(), bt.width()), ref.New(c.images, c.n)
			for r := range c.images * c.rows {
				image := r / c.rows
				for o := range c.n {
					sums.Data[image*c.n+o] += a.Data[r*c.n+o]
					for i := range c.k {
						to := (image*at.width()+o/each*padded+o%each)*bt.width() + i
						want.Data[to] += a.Data[r*c.n+o] * b.Data[r*c.k+i]
					}
				}
			}
			r := rowSums{runs: c.images, rows: c.rows, width: shortestChunk}
			poisoned(d, append(r.sizes(at, bt), New(d, want.Shape...))...)
			requireGradient(t, "outer "+name, outer(at, bt, c.images), want, 1e-6)
			got := columnSums(at, c.images)
			requireGradient(t, "columns "+name, got, sums, 1e-6)
			require.Equal(t, c.nParts, got.parts)
			for i, v := range stored(t, got) {
				require.False(t, i%padded >= each && v != 0, "%s: padding at %d is %g", name, i, v)
			}
		}
	})
}

// BenchmarkWeightGradient reports GFLOP/s for the weights of HI-Diff at
// 128x128 pixels, beside the forward product of the same size.
func BenchmarkWeightGradient(b *testing.B) {
	d := openDevice(b)
	for _, c := range []struct {
		name          string
		rows, out, in int
		conv          bool
	}{
		{"qkv", 16384, 288, 96, false},
		{"project_in", 16384, 512, 96, false},
		{"project_out", 16384, 96, 256, false},
		{"latent_qkv", 1024, 1152, 384, false},
		{"conv3x3", 4096, 48, 96, true},
	} {
		taps, shape := 1, []int{c.rows}
		if c.conv {
			taps, shape = 9, []int{1, 64, c.rows / 64}
		}
		w := NewParameters(d, []ParameterSpec{{Shape: []int{c.out, c.in, taps}, Values: random(c.out * c.in * taps)}})
		s := LinearSpec{Out: c.out, In: c.in, Weight: w.All()[0], Conv: c.conv}
		l := NewLinear(d, s)
		x, dy := From(d, random(c.rows*c.in), append(shape, c.in)...), From(d, random(c.rows*c.out), append(shape, c.out)...)
		whole := band{0, 1, 0, 64, 64}
		time := func(name string, f func()) {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				wait := func() { require.NoError(b, d.Read(context.Background(), w.Grads.mem.buffer, 0, make([]byte, 4))) }
				f() // compiles
				wait()
				for b.Loop() {
					f()
					wait()
				}
				work := 2 * float64(c.rows*c.out) * float64(c.in*taps)
				b.ReportMetric(work*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		time("gradient", func() { s.accumulate(x, dy, whole) })
		time("forward", func() {
			if c.conv {
				l.Conv3x3(x, Conv{}).Release()
			} else {
				l.Apply(x, Fused{}).Release()
			}
		})
		for _, x := range []*Tensor{x, dy} {
			x.Release()
		}
		l.Release()
		w.Release()
	}
}

func TestMoreParametersThanTheGPUBinds(t *testing.T) {
	d := openDevice(t)
	n := int(d.Limits().Binding/4) + 1
	err := func() (err error) {
		defer Catch(&err)
		NewParameters(d, []ParameterSpec{{Name: "w", Shape: []int{n}}})
		return nil
	}()
	require.ErrorContains(t, err, "make the network smaller")
}
