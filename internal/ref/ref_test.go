package ref

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

type shapes map[string][]int

type gradientCase struct {
	op     string
	attrs  Attrs
	inputs shapes
}

// gradientCases covers every operator on odd sizes, and both sides of each branch.
var gradientCases = withOthers([]gradientCase{
	{"adaptive_avg_pool", Attrs{"out": 3}, shapes{"x": {1, 3, 7, 5}}},
	{"adaptive_avg_pool", Attrs{"out": 4}, shapes{"x": {2, 1, 3, 1}}},
	{"add", nil, shapes{"a": {3, 5}, "b": {3, 5}}},
	{"charbonnier_loss", Attrs{"eps": 1e-2}, shapes{"a": {3, 5}, "b": {3, 5}}},
	{"clamp", Attrs{"lo": -0.5, "hi": 0.25}, shapes{"x": {5, 7}}},
	{"concat_channel", nil, shapes{"a": {3, 1, 5, 3}, "b": {3, 3, 5, 3}}},
	{"conv1x1", nil, shapes{"x": {3, 5, 3, 1}, "w": {7, 5, 1, 1}}},
	{"conv1x1", nil, shapes{"x": {1, 3, 5, 7}, "w": {1, 3, 1, 1}, "b": {1}}},
	{"conv3x3", nil, shapes{"x": {3, 3, 5, 7}, "w": {5, 3, 3, 3}, "b": {5}}},
	{"conv3x3", nil, shapes{"x": {1, 5, 1, 1}, "w": {3, 5, 3, 3}}},
	{"conv3x3", nil, shapes{"x": {1, 1, 1, 3}, "w": {1, 1, 3, 3}, "b": {1}}},
	{"dwconv3x3", nil, shapes{"x": {3, 5, 3, 7}, "w": {5, 1, 3, 3}, "b": {5}}},
	{"dwconv3x3", nil, shapes{"x": {1, 1, 5, 1}, "w": {1, 1, 3, 3}}},
	{"gelu_gate", nil, shapes{"x": {3, 6, 1, 5}}},
	{"him", Attrs{"heads": 3}, shapes{"q": {3, 7, 15}, "k": {3, 5, 15}, "v": {3, 5, 15}}},
	{"him", Attrs{"heads": 1}, shapes{"q": {1, 1, 3}, "k": {1, 16, 3}, "v": {1, 16, 3}}},
	{"l1_loss", nil, shapes{"a": {3, 5}, "b": {3, 5}}},
	{"l2_normalize", Attrs{"eps": 1e-12}, shapes{"x": {3, 7}}},
	{"l2_normalize", Attrs{"eps": 0.5}, shapes{"x": {3, 7}}}, // above the clamp
	{"l2_normalize", Attrs{"eps": 10}, shapes{"x": {3, 7}}},  // below
	{"layernorm_channel", Attrs{"eps": 1e-5}, shapes{"x": {3, 5, 3, 1}, "w": {5}, "b": {5}}},
	{"layernorm_channel_biasfree", Attrs{"eps": 1e-5}, shapes{"x": {3, 5, 3, 1}, "w": {5}}},
	{"layernorm_last", Attrs{"eps": 1e-5}, shapes{"x": {3, 5, 7}, "w": {7}, "b": {7}}},
	{"leaky_relu", Attrs{"slope": 0.1}, shapes{"x": {5, 7}}},
	{"linear", nil, shapes{"x": {3, 5, 7}, "w": {5, 7}, "b": {5}}},
	{"linear", nil, shapes{"x": {3}, "w": {1, 3}}},
	{"matmul_nn", nil, shapes{"a": {3, 5, 7}, "b": {3, 7, 1}}},
	{"matmul_nt", nil, shapes{"a": {3, 1, 5, 7}, "b": {3, 1, 3, 7}}},
	{"matmul_tn", nil, shapes{"a": {7, 5}, "b": {7, 3}}},
	{"mdta", Attrs{"heads": 3}, shapes{"q": {3, 15, 3, 5}, "k": {3, 15, 3, 5}, "v": {3, 15, 3, 5}, "temperature": {3, 1, 1}}},
	{"mdta", Attrs{"heads": 1}, shapes{"q": {1, 3, 7, 1}, "k": {1, 3, 7, 1}, "v": {1, 3, 7, 1}, "temperature": {1, 1, 1}}},
	{"mean", nil, shapes{"x": {3, 5}}},
	{"mse_loss", nil, shapes{"a": {3, 5}, "b": {3, 5}}},
	{"mul", nil, shapes{"a": {3, 5}, "b": {3, 5}}},
	{"pixel_shuffle", Attrs{"r": 3}, shapes{"x": {3, 9, 1, 5}}},
	{"pixel_unshuffle", Attrs{"r": 3}, shapes{"x": {3, 1, 3, 9}}},
	{"reflect_pad_right_bottom", Attrs{"right": 4, "bottom": 1}, shapes{"x": {3, 1, 3, 5}}},
	{"scale_shift_channel", nil, shapes{"x": {3, 5, 1, 7}, "k": {3, 5}, "s": {3, 5}}},
	{"softmax", nil, shapes{"x": {3, 1, 7}}},
})

// withOthers adds the operators that cases do not name: those need only some x.
func withOthers(cases []gradientCase) []gradientCase {
	for _, op := range Ops {
		if !slices.ContainsFunc(cases, func(c gradientCase) bool { return c.op == op.Name }) {
			cases = append(cases, gradientCase{op.Name, nil, shapes{"x": {5, 7}}})
		}
	}
	return cases
}

// random draws inputs that stay clear of the operators' kinks.
func (c gradientCase) random(rng *rand.Rand) Tensors {
	in := Tensors{}
	for _, name := range slices.Sorted(maps.Keys(c.inputs)) {
		in[name] = randomArray(rng, c.inputs[name]...)
	}
	return in
}

func randomArray(rng *rand.Rand, shape ...int) *Array {
	a := New(shape...)
	for i := range a.Data {
		a.Data[i] = rng.NormFloat64()
	}
	return a
}

// checkGradient compares op.Backward with central differences of Σ out·gradOut for a
// random gradOut, and returns an error naming the worst element.
func checkGradient(op Op, in Tensors, attrs Attrs, gradOut *Array) error {
	// The differences' own error was measured over steps from 1e-6 to 1e-4: rounding grows
	// as 1/step, truncation as step², and at this step neither exceeds 1e-8.
	const step, tolerance = 2e-5, 5e-8
	grads := op.Backward(in, gradOut, attrs)
	if len(grads) != len(in) {
		return fmt.Errorf("%d gradients for %d inputs", len(grads), len(in))
	}
	for name, x := range in {
		g := grads[name]
		if g == nil || !slices.Equal(g.Shape, x.Shape) {
			return fmt.Errorf("gradient of %s is %s, want shape %v", name, describe(g), x.Shape)
		}
		scale := 1e-3
		for _, v := range g.Data {
			scale = max(scale, math.Abs(v))
		}
		for i, v := range x.Data {
			x.Data[i] = v + step
			above := op.Forward(in, attrs)
			x.Data[i] = v - step
			below := op.Forward(in, attrs)
			x.Data[i] = v
			// Subtracting before summing keeps the digits that the sum would drown.
			change := zip(above, below, func(a, b float64) float64 { return a - b })
			want := dot(change.Data, gradOut.Data) / (2 * step)
			if !(math.Abs(g.Data[i]-want) <= tolerance*scale) {
				return fmt.Errorf("gradient of %s[%d] is %g, finite differences say %g", name, i, g.Data[i], want)
			}
		}
	}
	return nil
}

func TestGradients(t *testing.T) {
	covered := map[string]bool{}
	for i, c := range gradientCases {
		covered[c.op] = true
		t.Run(fmt.Sprintf("%s/%d", c.op, i), func(t *testing.T) {
			op, ok := Lookup(c.op)
			require.True(t, ok)
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			in := c.random(rng)
			gradOut := randomArray(rng, op.Forward(in, c.attrs).Shape...)
			require.NoError(t, checkGradient(op, in, c.attrs, gradOut))
		})
	}
	for _, op := range Ops {
		require.True(t, covered[op.Name], "no gradient case for %s", op.Name)
	}
}

// A gradient that is a little wrong, in one element or everywhere, must not pass.
func TestCheckGradientFindsFaults(t *testing.T) {
	faults := map[string]func(Tensors){
		"scaled": func(g Tensors) {
			for i := range g["x"].Data {
				g["x"].Data[i] *= 1 + 1e-6
			}
		},
		"one sign": func(g Tensors) { g["x"].Data[3] *= -1 },
		"NaN":      func(g Tensors) { g["x"].Data[0] = math.NaN() },
		"missing":  func(g Tensors) { delete(g, "w") },
		"shape":    func(g Tensors) { g["x"] = g["x"].Reshape(35) },
	}
	for name, spoil := range faults {
		t.Run(name, func(t *testing.T) {
			op, _ := Lookup("layernorm_last")
			right := op.Backward
			op.Backward = func(in Tensors, g *Array, attrs Attrs) Tensors {
				grads := right(in, g, attrs)
				spoil(grads)
				return grads
			}
			rng := rand.New(rand.NewPCG(2, 3))
			in := Tensors{"x": randomArray(rng, 5, 7), "w": randomArray(rng, 7), "b": randomArray(rng, 7)}
			require.Error(t, checkGradient(op, in, Attrs{"eps": 1e-5}, randomArray(rng, 5, 7)))
		})
	}
}

// At kinks the derivative is PyTorch's choice.
func TestKinks(t *testing.T) {
	one := From([]float64{1}, 1)
	zero := New(1)
	require.Equal(t, 0.1, LeakyReLUBackward(zero, one, 0.1).Data[0])
	require.Equal(t, 1.0, ClampBackward(one, one, -1, 1).Data[0])
	da, db := L1LossBackward(one, one, one)
	require.Zero(t, da.Data[0])
	require.Zero(t, db.Data[0])
	require.Equal(t, []float64{1e12, -1e12}, L2NormalizeBackward(New(2), From([]float64{1, -1}, 2), 1e-12).Data)
}

func TestMisuse(t *testing.T) {
	image := New(1, 3, 4, 5)
	for _, c := range []struct {
		name  string
		op    string
		in    Tensors
		attrs Attrs
		want  string
	}{
		{"missing input", "add", Tensors{"a": image}, nil, "add: b is missing"},
		{"unknown input", "gelu", Tensors{"x": image, "y": image}, nil, "gelu: y is unknown"},
		{"missing attribute", "clamp", Tensors{"x": image}, Attrs{"lo": 0}, "clamp: hi is missing"},
		{"fractional attribute", "pixel_unshuffle", Tensors{"x": image}, Attrs{"r": 1.5}, "pixel_unshuffle: r is 1.5, want a whole number"},
		{"shape", "conv3x3", Tensors{"x": image, "w": New(2, 4, 3, 3)}, nil, "conv3x3: w is [2 4 3 3] with 72 values, want shape [-1 3 3 3]"},
		{"broken array", "gelu", Tensors{"x": {Shape: []int{3}, Data: make([]float64, 2)}}, nil, "gelu: x is [3] with 2 values"},
		{"empty array", "mean", Tensors{"x": New(0)}, nil, "mean: x is [0]"},
		{"heads", "mdta", Tensors{"q": image, "k": image, "v": image, "temperature": New(2, 1, 1)}, Attrs{"heads": 2}, "mdta: heads is 2"},
		{"odd gate", "gelu_gate", Tensors{"x": image}, nil, "gelu_gate: x is [1 3 4 5], want an even number of channels"},
		{"shuffle", "pixel_shuffle", Tensors{"x": image}, Attrs{"r": 2}, "divisible by r²"},
		{"unshuffle", "pixel_unshuffle", Tensors{"x": image}, Attrs{"r": 2}, "divisible by r = 2"},
		{"pad", "reflect_pad_right_bottom", Tensors{"x": image}, Attrs{"right": 5, "bottom": 0}, "less than the width and height"},
		{"huge output", "adaptive_avg_pool", Tensors{"x": image}, Attrs{"out": 1 << 20}, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			op, ok := Lookup(c.op)
			require.True(t, ok)
			err := Try(func() { op.Forward(c.in, c.attrs) })
			require.ErrorContains(t, err, c.want)
			var typed *Error
			require.ErrorAs(t, err, &typed)
		})
	}
}

// Every Backward must refuse a gradOut of another shape than its output.
func TestGradOutShape(t *testing.T) {
	for i, c := range gradientCases {
		op, _ := Lookup(c.op)
		in := c.random(rand.New(rand.NewPCG(4, uint64(i))))
		out := op.Forward(in, c.attrs)
		wrong := New(append(slices.Clone(out.Shape), 2)...)
		require.Error(t, Try(func() { op.Backward(in, wrong, c.attrs) }), c.op)
		require.Error(t, Try(func() { op.Backward(in, nil, c.attrs) }), c.op)
	}
}

func TestTryLetsOtherPanicsThrough(t *testing.T) {
	require.PanicsWithValue(t, "bug", func() { _ = Try(func() { panic("bug") }) })
}

func TestLookup(t *testing.T) {
	require.True(t, slices.IsSortedFunc(Ops, func(a, b Op) int { return slices.Compare([]string{a.Name}, []string{b.Name}) }))
	_, ok := Lookup("conv5x5")
	require.False(t, ok)
}

func TestClipGradNormLeavesSmallGradients(t *testing.T) {
	g := From([]float64{3e-3, 4e-3}, 2)
	norm, clipped := ClipGradNorm([]*Array{g}, 0.01)
	require.Equal(t, 5e-3, norm)
	require.Equal(t, g.Data, clipped[0].Data)
}

func TestSoftmaxDoesNotOverflow(t *testing.T) {
	require.Equal(t, []float64{0.5, 0.5, 0}, Softmax(From([]float64{1e4, 1e4, -1e4}, 3)).Data)
}

// MDTA normalises q and k: their size does not matter until it nears 1e-12, below which
// they fade and every channel attends to all alike.
func TestMDTANormClamp(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	q, k, v := randomArray(rng, 1, 3, 3, 5), randomArray(rng, 1, 3, 3, 5), randomArray(rng, 1, 3, 3, 5)
	temperature := From([]float64{2}, 1, 1, 1)
	want := MDTA(q, k, v, temperature, 1)
	small := MDTA(scaled(q, 1e-9), k, v, temperature, 1)
	for i := range want.Data {
		require.InEpsilon(t, want.Data[i], small.Data[i], 1e-9)
	}
	faded := MDTA(scaled(q, 1e-24), k, v, temperature, 1)
	for i := range 15 {
		mean := (v.Data[i] + v.Data[15+i] + v.Data[30+i]) / 3
		require.InEpsilon(t, mean, faded.Data[i], 1e-9)
	}
}

// In the first step of Adam m̂ = g and √v̂ = |g|, so eps shows where g is as small.
func TestAdamEps(t *testing.T) {
	p := New(2)
	Adam{LR: 0.5, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}.Step(1, p, From([]float64{1e-8, -3e-8}, 2), New(2), New(2))
	require.InEpsilon(t, -0.25, p.Data[0], 1e-12)
	require.InEpsilon(t, 0.375, p.Data[1], 1e-12)
}
