package tensor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"hidiff/internal/testenv"
	"hidiff/wgpu"

	"github.com/stretchr/testify/require"
)

func openDevice(t testing.TB) *Device {
	t.Helper()
	return openWith(t, wgpu.Options{})
}

// openWith opens the adapter that HIDIFF_GPU names; a test without one ends.
func openWith(t testing.TB, o wgpu.Options) *Device {
	t.Helper()
	o.GPU = testenv.GPU()
	d, err := Open(o)
	if none := (*wgpu.NoAdapterError)(nil); errors.As(err, &none) {
		testenv.Missing(t, "GPU", err)
	}
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// on is t for operators to run on d, which is its own device but for the
// [Execution]. It need not be released.
func (t *Tensor) on(d *Device) *Tensor {
	v := *t
	v.d = d
	return &v
}

func random(n int) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([]float32, n)
	for i := range out {
		out[i] = r.Float32()*2 - 1
	}
	return out
}

// stored returns a tensor's memory, padding included.
func stored(t *testing.T, x *Tensor) []float32 {
	t.Helper()
	out := make([]float32, x.rows()*x.width())
	if x.mem.host != nil {
		copy(out, x.mem.host[x.offset/4:])
		return out
	}
	require.NoError(t, x.d.Read(context.Background(), x.mem.buffer, x.offset, asBytes(out)))
	return out
}

// imageOperators are the operators that images of any size go through.
var imageOperators = map[string]func(x *Tensor) *Tensor{
	"add":              func(x *Tensor) *Tensor { return Add(x, x) },
	"mul":              func(x *Tensor) *Tensor { return Mul(x, x) },
	"clamp":            func(x *Tensor) *Tensor { return Clamp(x, 0.25, 0.5) },
	"gelu":             func(x *Tensor) *Tensor { return Activate(x, GELU) },
	"leaky_relu":       func(x *Tensor) *Tensor { return Activate(x, LeakyReLU(0.1)) },
	"softmax":          Softmax,
	"l2_normalize":     func(x *Tensor) *Tensor { return L2Normalize(x, 1e-12) },
	"layernorm":        func(x *Tensor) *Tensor { p := vector(x); return LayerNorm(x, WithBias, p, p) },
	"layernorm_free":   func(x *Tensor) *Tensor { return LayerNorm(x, BiasFree, vector(x), nil) },
	"concat":           func(x *Tensor) *Tensor { return Concat(x, x, x) },
	"pool":             func(x *Tensor) *Tensor { return AdaptiveAvgPool(x, 3) },
	"pixel_unshuffle":  func(x *Tensor) *Tensor { return PixelUnshuffle(2, x, x) },
	"pixel_unshuffle3": func(x *Tensor) *Tensor { return PixelUnshuffle(3, x) },
	"pixel_shuffle":    func(x *Tensor) *Tensor { return PixelShuffle(x, 1) },
	"scale_shift": func(x *Tensor) *Tensor {
		k := From(x.d, random(x.shape[0]*x.Channels()), x.shape[0], x.Channels())
		return ScaleShift(x, k, k)
	},
}

// tokenOperators are the others.
var tokenOperators = map[string]func(x *Tensor) *Tensor{
	"reflect_pad": func(x *Tensor) *Tensor { return ReflectPad(x.Reshape(1, 2, 6, x.Channels()), 3, 1) },
	"transpose":   Transpose,
	"matmul_nt":   func(x *Tensor) *Tensor { return MatMul(x, x, false, true) },
	"matmul_tn":   func(x *Tensor) *Tensor { return MatMul(x, x, true, false) },
	"token_mix": func(x *Tensor) *Tensor {
		return TokenMix(x, NewParameter(x.d, random(5*6)), NewParameter(x.d, random(5)), GELU, nil)
	},
	"patch_mixer": func(x *Tensor) *Tensor {
		w, b := NewParameter(x.d, random(3*6)), NewParameter(x.d, random(3))
		return PatchMixer(x, vector(x), vector(x), w, b, w, NewParameter(x.d, random(6)))
	},
	"gelu_gate": func(x *Tensor) *Tensor {
		return GELUGate(FromParts(x.d, random(4*2*x.Channels()), 2, 4, 2*x.Channels()))
	},
	"mean":    Mean,
	"l1_loss": func(x *Tensor) *Tensor { return Loss{Type: L1Loss, Reduction: SumOf, Weight: 1}.Apply(x, x) },
}

func vector(x *Tensor) *Parameter { return NewParameter(x.d, random(x.Channels())) }

// Operators load four channels at a time, so what pads them must be zero.
func TestPaddingStaysZero(t *testing.T) {
	d := openDevice(t)
	check := func(name string, f func() *Tensor) {
		dirty := f()
		nan := make([]float32, dirty.bytes()/4)
		for i := range nan {
			nan[i] = float32(math.NaN())
		}
		d.Upload(dirty.mem.buffer, 0, asBytes(nan))
		dirty.Release()
		y := f() // in the same memory
		each, padded := y.Channels()/y.parts, y.width()/y.parts
		for i, v := range stored(t, y) {
			if i%padded >= each && v != 0 {
				t.Errorf("%s: padding at %d is %g", name, i, v)
				return
			}
		}
	}
	for _, c := range []int{1, 5, 63, 66} {
		for name, f := range imageOperators {
			x := From(d, random(2*6*6*c), 2, 6, 6, c)
			check(fmt.Sprint(name, " of ", c, " channels"), func() *Tensor { return f(x) })
		}
		for name, f := range tokenOperators {
			x := From(d, random(2*6*c), 2, 6, c)
			check(fmt.Sprint(name, " of ", c, " channels"), func() *Tensor { return f(x) })
		}
	}
	check("from_pixels", func() *Tensor { return FromPixels(d, make([]uint16, 9), 255, 3, 3, 1, 8, 8) })
	check("clip", func() *Tensor {
		return ClipCoefficient(From(d, []float32{1}, 1), 1, From(d, []float32{0, 0}, 2), 1, false)
	})
}

// Bands of an image in host memory must give the same bits as the image whole.
func TestBandsGiveTheSameBits(t *testing.T) {
	d := openDevice(t)
	for name, f := range imageOperators {
		t.Run(name, func(t *testing.T) {
			values := random(2 * 18 * 12 * 5)
			want := stored(t, f(From(d, values, 2, 18, 12, 5)))
			for _, scratch := range []int64{1, 5_000, 15_000} {
				d := d.With(Execution{Offload: true, Scratch: scratch})
				y := f(From(d, values, 2, 18, 12, 5))
				require.True(t, d.MostBands() > 1 || scratch > 1, "one band")
				require.Equal(t, want, stored(t, y), "scratch of %d bytes", scratch)
			}
		})
	}
}

// No operator may keep a weak GPU busy for so long that a watchdog steps in.
func TestDispatchesAreShort(t *testing.T) {
	d := openDevice(t).DryRun(0)
	const dim, hidden = 384, 1021
	linear := func(out, in int, conv bool) *Linear {
		taps := 1
		if conv {
			taps = 9
		}
		return NewLinear(d, LinearSpec{Out: out, In: in, Conv: conv, Weight: NewParameter(d, make([]float32, out*in*taps))})
	}
	f := &FeedForward{In: linear(2*hidden, dim, false), Depth: NewDepthwise(d, 2*hidden, 2, NewParameter(d, make([]float32, 9*2*hidden)), nil), Out: linear(dim, hidden, false)}
	for name, apply := range map[string]func(x *Tensor) *Tensor{
		"linear":      func(x *Tensor) *Tensor { return linear(2*hidden, dim, false).Apply(x, Fused{}) },
		"conv3x3":     func(x *Tensor) *Tensor { return linear(2*dim, dim, true).Conv3x3(x, Conv{}) },
		"feedforward": f.Apply,
	} {
		d := d.With(Execution{})
		y := apply(New(d, 1, 160, 210, dim))
		require.Greater(t, d.MostBands(), 1, name)
		require.LessOrEqual(t, d.Stats().MostWork, wgpu.MaxWork, name)
		y.Release()
	}
}

// A NaN must stay visible.
func TestNaNIsKept(t *testing.T) {
	d := openDevice(t)
	nan := float32(math.NaN())
	for name, f := range imageOperators {
		values := random(1 * 6 * 6 * 4)
		for i := range values {
			values[i] = nan
		}
		for i, v := range stored(t, f(From(d, values, 1, 6, 6, 4))) {
			require.True(t, math.IsNaN(float64(v)), "%s at %d: %g", name, i, v)
		}
	}
}

// A step whose gradient is not finite changes nothing, and is remembered.
func TestStepsThatAreNotFiniteAreSkipped(t *testing.T) {
	d := openDevice(t)
	skipped := From(d, []float32{0, 0}, 2)
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	want := [][]float32{{0, 0}, {1, 2}, {1, 2}, {2, 2}}
	for i, bad := range []float32{1, nan, 2, inf} {
		p, g := From(d, []float32{3, 4, 5}, 3), From(d, []float32{1, bad, 0}, 3)
		m, v := From(d, make([]float32, 3), 3), From(d, make([]float32, 3), 3)
		clip := ClipCoefficient(GradNorm(g), 0.01, skipped, i+1, false)
		AdamStep(p, g, m, v, AdamOptions{LR: 1, Beta1: 0.9, Beta2: 0.9, Eps: 1e-8, WeightDecay: 0.1, Step: 1, Clip: clip})
		if i%2 == 1 {
			require.Equal(t, []float32{3, 4, 5, 0}, stored(t, p))
			require.Equal(t, make([]float32, 4), stored(t, v))
		} else {
			require.NotEqual(t, float32(3), stored(t, p)[0])
		}
		require.Equal(t, want[i], stored(t, skipped)[:2])
	}
	c, err := ClipCoefficient(From(d, []float32{1}, 1), 1, skipped, 5, true).Floats(context.Background())
	require.NoError(t, err)
	require.Equal(t, []float32{-1}, c, "after a step that stops")
}

func TestShapeErrors(t *testing.T) {
	d := openDevice(t)
	x := From(d, random(2*3*4*6), 2, 3, 4, 6)
	tokens := From(d, random(2*3*6), 2, 3, 6)
	parts := FromParts(d, random(3*6), 2, 3, 6)
	p := NewParameter(d, random(5))
	for name, f := range map[string]func(){
		"add":            func() { Add(x, tokens) },
		"add of parts":   func() { Add(parts, From(d, random(3*6), 3, 6)) },
		"gate":           func() { GELUGate(x) },
		"scale shift":    func() { ScaleShift(x, tokens, tokens) },
		"gamma":          func() { LayerNorm(x, WithBias, p, p) },
		"no beta":        func() { LayerNorm(x, WithBias, vector(x), nil) },
		"softmax":        func() { Softmax(parts) },
		"pool":           func() { AdaptiveAvgPool(tokens, 4) },
		"pool to none":   func() { AdaptiveAvgPool(x, 0) },
		"shuffle":        func() { PixelShuffle(x, 2) },
		"shuffle by 0":   func() { PixelShuffle(x, 0) },
		"unshuffle":      func() { PixelUnshuffle(2, x) },
		"unshuffle none": func() { PixelUnshuffle(2) },
		"concat":         func() { Concat(x, tokens) },
		"concat none":    func() { Concat() },
		"matmul":         func() { MatMul(x, x, false, false) },
		"transpose":      func() { Transpose(p.Reshape(5)) },
		"mix":            func() { TokenMix(tokens, p, nil, GELU, nil) },
		"mixer":          func() { PatchMixer(tokens, p, p, p, p, p, p) },
		"mixer tokens":   func() { PatchMixer(From(d, random(65*4), 1, 65, 4), p, p, p, p, p, p) },
		"loss":           func() { Loss{Type: L1Loss, Weight: 1}.Apply(x, tokens) },
		"adam":           func() { AdamStep(p.Tensor, tokens, p.Tensor, p.Tensor, AdamOptions{}) },
		"clip":           func() { ClipCoefficient(p.Tensor, 1, p.Tensor, 1, false) },
		"pixels":         func() { FromPixels(d, make([]uint16, 5), 255, 2, 1, 3, 8, 8) },
		"pixel channels": func() { FromPixels(d, make([]uint16, 4), 255, 2, 1, 2, 8, 8) },
		"pixel padding":  func() { FromPixels(d, make([]uint16, 6), 255, 2, 1, 3, 1, 8) },
		"reflect":        func() { ReflectPad(x, -1, 0) },
	} {
		var shape *ShapeError
		require.ErrorAs(t, catch(f), &shape, name)
	}
	_, err := x.Pixels(context.Background(), 255, 1, 1, 3)
	require.ErrorContains(t, err, "pixels")
	require.NoError(t, d.Err())
}

func catch(f func()) (err error) {
	defer Catch(&err)
	f()
	return nil
}

// Odd photos, deep and shallow, grey and in colour, come back as they were, and
// the padding mirrors them however small they are.
func TestPixelsRoundTrip(t *testing.T) {
	d := openDevice(t)
	for _, size := range [][2]int{{1, 1}, {7, 5}, {2, 1}, {13, 21}, {8, 8}} {
		for _, white := range []uint16{255, 65535} {
			for _, channels := range []int{1, 3} {
				for _, offload := range []bool{false, true} {
					name := fmt.Sprint(size, white, channels, offload)
					d := d.With(Execution{Offload: offload, Scratch: 1})
					w, h := size[0], size[1]
					pw, ph := (w+7)/8*8, (h+7)/8*8
					pix := make([]uint16, w*h*channels)
					for i := range pix {
						pix[i] = uint16(i*40503) % white
					}
					pix[0] = white
					x := FromPixels(d, pix, white, w, h, channels, pw, ph)
					values, err := x.Floats(context.Background())
					require.NoError(t, err, name)
					require.Equal(t, []int{1, ph, pw, 3}, x.Shape())
					for i, v := range values {
						row, column := bounce(i/3/pw, h), bounce(i/3%pw, w)
						want := float64(pix[(row*w+column)*channels+i%3*(channels/3)]) / float64(white)
						require.LessOrEqual(t, math.Abs(float64(v)-want), 2e-7, "%s at %d", name, i)
					}
					back, err := x.Pixels(context.Background(), white, w, h, channels)
					require.NoError(t, err, name)
					require.Equal(t, pix, back, name)
					x.Release()
				}
			}
		}
	}
}

// bounce walks i steps back and forth in 0..n-1.
func bounce(i, n int) int {
	at, step := 0, 1
	for range i {
		if n > 1 && (at+step < 0 || at+step >= n) {
			step = -step
		}
		if n > 1 {
			at += step
		}
	}
	return at
}

func TestPixelsRoundsHalfToEvenAndClamps(t *testing.T) {
	d := openDevice(t)
	// k/4 is exact, so white 2 puts k/4 half-way for odd k.
	x := From(d, []float32{0.25, 0.75, -3, 7, 0.5, 1}, 1, 1, 2, 3)
	pix, err := x.Pixels(context.Background(), 2, 2, 1, 3)
	require.NoError(t, err)
	require.Equal(t, []uint16{0, 2, 0, 2, 1, 2}, pix)
	grey := From(d, []float32{1, 0, 0, 0, 1, 0, 0, 0, 1}, 1, 1, 3, 3)
	pix, err = grey.Pixels(context.Background(), 1000, 3, 1, 1)
	require.NoError(t, err)
	require.Equal(t, []uint16{299, 587, 114}, pix)
}

func TestPixelsRefusesNonFinite(t *testing.T) {
	d := openDevice(t)
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, channels := range []int{1, 3} {
			for at := range 3 {
				values := make([]float32, 2*5*3)
				values[(1*5+3)*3+at] = float32(bad)
				x := From(d, values, 1, 2, 5, 3)
				_, err := x.Pixels(context.Background(), 255, 5, 2, channels)
				require.ErrorIs(t, err, ErrNonFinite)
				_, err = x.Pixels(context.Background(), 255, 3, 2, channels)
				require.NoError(t, err, "outside of what is asked for")
			}
		}
	}
}

// Past 32,768 workgroups the second axis counts on; none may be left out.
func TestManyWorkgroups(t *testing.T) {
	d := openDevice(t)
	const n = 4 * 64 * 32768
	ones := make([]float32, n+2000)
	for i := range ones {
		ones[i] = 1
	}
	x := From(d, ones, len(ones))
	for i, v := range stored(t, Add(x, x)) {
		if v != 2 {
			t.Fatalf("add at %d: %g", i, v)
		}
	}
	const rows = 4*32768 + 5
	for i, v := range stored(t, Softmax(From(d, ones[:2*rows], rows, 2))) {
		if i%4 < 2 && v != 0.5 {
			t.Fatalf("softmax at %d: %g", i, v)
		}
	}
}

// Operators beside each other on one device run as the device of their input says.
func TestExecutionsBesideEachOther(t *testing.T) {
	d := openDevice(t)
	values := random(2 * 18 * 12 * 4)
	want := stored(t, Softmax(From(d, values, 2, 18, 12, 4)))
	var group sync.WaitGroup
	var wrong [4]error
	for i := range wrong {
		group.Go(func() {
			e, calls, bands := Execution{Offload: i%2 == 0, Scratch: int64(i / 2)}, 0, 1
			if e.Offload && e.Scratch > 0 {
				bands = 36 // single rows
			}
			e.Before = func() { calls++ }
			d := d.With(e)
			x := From(d, values, 2, 18, 12, 4)
			for n := 1; n <= 5; n++ {
				y := Softmax(x)
				got, err := y.Floats(context.Background())
				if y.Release(); err != nil || !slices.Equal(got, want) || d.MostBands() != bands || calls != n*bands {
					wrong[i] = fmt.Errorf("%d bands, %d calls, %w", d.MostBands(), calls, err)
				}
			}
		})
	}
	group.Wait()
	require.Equal(t, [4]error{}, wrong)
	require.Equal(t, 1, d.MostBands())
}
