package conformance

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/ref"
	"hidiff/internal/reference"
	"hidiff/internal/testgpu"
	"hidiff/tensor"
)

// uniform uploads random values, and returns them for the reference too.
func uniform(d *tensor.Device, name string, shape ...int) (*tensor.Tensor, *ref.Array) {
	n, err := elements(shape)
	if err != nil {
		panic(err)
	}
	values := reference.Uniform(name, n)
	return tensor.From(d, values, shape...), ref.From(values, shape...)
}

func learned(d *tensor.Device, name string, shape ...int) (*tensor.Parameter, *ref.Array) {
	x, a := uniform(d, name, shape...)
	defer x.Release()
	return tensor.NewParameter(d, a.Float32()), a
}

func requireMatches(t *testing.T, got *tensor.Tensor, want *ref.Array, tolerance float64) {
	t.Helper()
	values, err := got.Floats(context.Background())
	require.NoError(t, err)
	diff, err := compare(values, want.Data, got.Shape(), want.Shape)
	require.NoError(t, err)
	require.NoError(t, diff.within(tolerance))
}

// swap exchanges the last two axes of [B, N, C].
func swap(x *ref.Array) *ref.Array { return ref.MatMulTN(x, identity(x.Shape[0], x.Shape[1])) }

var tokenSizes = []struct{ images, tokens, hidden, channels int }{
	{1, 1, 1, 1}, {2, 16, 8, 64}, {3, 16, 8, 257}, {1, 4, 9, 63}, {2, 64, 32, 20}, {1, 5, 64, 1030}, {2, 16, 8, 512},
}

func TestTokenMix(t *testing.T) {
	d := testgpu.Open(t)
	for _, s := range tokenSizes {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			x, ax := uniform(d, "mix x", s.images, s.tokens, s.channels)
			w, aw := learned(d, "mix w", s.hidden, s.tokens)
			b, ab := learned(d, "mix b", s.hidden)
			r, ar := uniform(d, "mix r", s.images, s.hidden, s.channels)
			poison(d, r.Shape())
			requireMatches(t, tensor.TokenMix(x, w, b, tensor.GELU, r), ref.Add(swap(ref.GELU(ref.Linear(swap(ax), aw, ab))), ar), opTolerance)
			poison(d, r.Shape())
			requireMatches(t, tensor.TokenMix(x, w, nil, tensor.LeakyReLU(0.2), nil), swap(ref.LeakyReLU(ref.Linear(swap(ax), aw, nil), 0.2)), opTolerance)
			requireMatches(t, tensor.Transpose(x), swap(ax), 0)
		})
	}
}

func TestPatchMixer(t *testing.T) {
	d := testgpu.Open(t)
	for _, s := range tokenSizes {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			x, ax := uniform(d, "mixer x", s.images, s.tokens, s.channels)
			gamma, agamma := learned(d, "mixer gamma", s.channels)
			beta, abeta := learned(d, "mixer beta", s.channels)
			w1, aw1 := learned(d, "mixer w1", s.hidden, s.tokens)
			b1, ab1 := learned(d, "mixer b1", s.hidden)
			w2, aw2 := learned(d, "mixer w2", s.tokens, s.hidden)
			b2, ab2 := learned(d, "mixer b2", s.tokens)
			normal := swap(ref.LayerNormLast(ax, agamma, abeta, tensor.LayerNormEps))
			want := ref.Add(ax, swap(ref.Linear(ref.GELU(ref.Linear(normal, aw1, ab1)), aw2, ab2)))
			poison(d, x.Shape())
			requireMatches(t, tensor.PatchMixer(x, gamma, beta, w1, b1, w2, b2), want, opTolerance)
		})
	}
}

// The latent encoder's input: two pictures of three channels, one after the
// other, unshuffled together.
func TestUnshuffleOfConcatenation(t *testing.T) {
	d := testgpu.Open(t)
	for _, c := range []struct{ a, b, r int }{{3, 3, 4}, {3, 1, 3}, {5, 2, 1}} {
		a, b := reference.Uniform("gt", 2*c.a*8*12*c.r), reference.Uniform("lq", 2*c.b*8*12*c.r)
		h, w := 8*c.r, 12
		w -= w % c.r
		a, b = a[:2*c.a*h*w], b[:2*c.b*h*w]
		want := ref.PixelUnshuffle(ref.ConcatChannel(ref.From(a, 2, c.a, h, w), ref.From(b, 2, c.b, h, w)), c.r)
		poison(d, want.Shape)
		y := tensor.PixelUnshuffle(c.r, tensor.FromNCHW(d, a, 2, c.a, h, w), tensor.FromNCHW(d, b, 2, c.b, h, w))
		got, err := y.NCHW(context.Background())
		require.NoError(t, err)
		require.Equal(t, want.Float32(), got)
	}
}

// Pooling sums many pixels: it must not lose accuracy in a large image.
func TestPoolOfALargeImage(t *testing.T) {
	d := testgpu.Open(t)
	const h, w, c = 331, 4003, 4
	values := make([]float32, h*w*c)
	for i := range values {
		values[i] = 0.1 // rounding errors of equal terms add up
	}
	got, err := tensor.AdaptiveAvgPool(tensor.From(d, values, 1, h, w, c), 4).NCHW(context.Background())
	require.NoError(t, err)
	nchw, err := tensor.From(d, values, 1, h, w, c).NCHW(context.Background())
	require.NoError(t, err)
	want := ref.AdaptiveAvgPool(ref.From(nchw, 1, c, h, w), 4)
	diff, err := compare(got, want.Data, want.Shape, want.Shape)
	require.NoError(t, err)
	require.NoError(t, diff.within(1e-6))
}

func TestLosses(t *testing.T) {
	d := testgpu.Open(t)
	for _, shape := range [][]int{{1}, {3, 5}, {2, 129, 65, 3}, {5, 100_001}} {
		a, aa := uniform(d, "reduce a", shape...)
		b, ab := uniform(d, "reduce b", shape...)
		dy, ady := uniform(d, "reduce dy", 1)
		n := float64(len(aa.Data))
		for name, l := range map[string]struct {
			loss     tensor.Loss
			forward  func() *ref.Array
			backward func() (da, db *ref.Array)
		}{
			"l1": {tensor.Loss{Type: tensor.L1Loss}, func() *ref.Array { return ref.L1Loss(aa, ab) },
				func() (_, _ *ref.Array) { return ref.L1LossBackward(aa, ab, ady) }},
			"mse": {tensor.Loss{Type: tensor.MSELoss}, func() *ref.Array { return ref.MSELoss(aa, ab) },
				func() (_, _ *ref.Array) { return ref.MSELossBackward(aa, ab, ady) }},
			"charbonnier": {tensor.Loss{Type: tensor.CharbonnierLoss, Eps: 1e-3}, func() *ref.Array { return ref.CharbonnierLoss(aa, ab, 1e-3) },
				func() (_, _ *ref.Array) { return ref.CharbonnierLossBackward(aa, ab, ady, 1e-3) }},
		} {
			t.Run(fmt.Sprint(name, shape), func(t *testing.T) {
				for _, c := range []struct {
					reduction tensor.Reduction
					weight    float64
					times     float64 // of ref's mean
				}{{tensor.MeanOf, 0.3, 0.3}, {tensor.SumOf, 2, 2 * n}} {
					l.loss.Reduction, l.loss.Weight = c.reduction, c.weight
					got, want := l.loss.Apply(a, b), l.forward()
					want.Data[0] *= c.times
					requireMatches(t, got, want, 2e-6)
					first, err := got.Floats(context.Background())
					require.NoError(t, err)
					second, err := l.loss.Apply(a, b).Floats(context.Background())
					require.NoError(t, err)
					require.Equal(t, first, second, "the order of summation must be fixed")
					poison(d, shape)
					da, db := l.backward()
					for i := range da.Data {
						da.Data[i] *= c.times
						db.Data[i] *= c.times
					}
					requireMatches(t, l.loss.Backward(a, b, dy), da, 2e-6)
					requireMatches(t, l.loss.Backward(b, a, dy), db, 2e-6)
				}
			})
		}
	}
}

// Norm, coefficient and step follow each other on the device: the clipped step
// is the step of the clipped gradient.
func TestClippedAdamStep(t *testing.T) {
	d := testgpu.Open(t)
	f, err := openFixture(reference.Testdata("ops", "clip_grad_norm.safetensors"))
	require.NoError(t, err)
	var flat, clipped []float32
	for i := range 3 {
		flat = append(flat, arrayOf(t, f, fmt.Sprintf("g%d", i)).Float32()...)
		clipped = append(clipped, arrayOf(t, f, fmt.Sprintf("clipped%d", i)).Float32()...)
	}
	g := tensor.From(d, flat, len(flat))
	norm := tensor.GradNorm(g)
	requireMatches(t, norm, arrayOf(t, f, "norm"), 1e-6)
	for _, limit := range []float64{0.01, 1e9} { // clipped, and left alone
		coefficient := tensor.ClipCoefficient(norm, float32(limit), tensor.New(d, 2), 1, false)
		_, want := ref.ClipGradNorm([]*ref.Array{ref.From(flat, len(flat))}, limit)
		if limit == 0.01 {
			diff, err := compare(clipped, want[0].Data, want[0].Shape, want[0].Shape)
			require.NoError(t, err)
			require.NoError(t, diff.within(1e-6))
		}
		p, m, v := ref.From(reference.Uniform("p", len(flat)), len(flat)), ref.New(len(flat)), ref.New(len(flat))
		dp, dm, dv := tensor.From(d, p.Float32(), len(flat)), tensor.From(d, m.Float32(), len(flat)), tensor.From(d, v.Float32(), len(flat))
		ref.Adam{LR: 1e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, WeightDecay: 1e-2}.Step(1, p, want[0], m, v)
		tensor.AdamStep(dp, g, dm, dv, tensor.AdamOptions{
			LR: 1e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, WeightDecay: 1e-2, Step: 1, Clip: coefficient,
		})
		requireMatches(t, dm, m, 1e-6)
		requireMatches(t, dv, v, 2e-6)
		requireMatches(t, dp, p, 1e-6)
	}
}

// The 1e-6 beside the norm matters where gradients vanish.
func TestClipOfATinyNorm(t *testing.T) {
	d := testgpu.Open(t)
	got := tensor.ClipCoefficient(tensor.From(d, []float32{1e-6}, 1), 1e-6, tensor.New(d, 2), 1, false)
	requireMatches(t, got, ref.From([]float64{0.5}, 1), 1e-6)
}

// Padding must not count as a zero among the largest values.
func TestSoftmaxOfVeryNegativeRows(t *testing.T) {
	d := testgpu.Open(t)
	values := reference.Uniform("softmax", 3*5)
	for i := range values {
		values[i] -= 500
	}
	want := ref.Softmax(ref.From(values, 3, 5))
	requireMatches(t, tensor.Softmax(tensor.From(d, values, 3, 5)), want, opTolerance)
}
