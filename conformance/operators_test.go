package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"hidiff/conformance/ref"

	"github.com/stretchr/testify/require"
)

func TestOperatorsMatchFixtures(t *testing.T) {
	d := openDevice(t)
	for _, f := range fixtures(t, "ops") {
		if _, ok := LookupOperator(f.Op); !ok {
			continue
		}
		t.Run(filepath.Base(f.Path), func(t *testing.T) {
			var shapes [][]int
			for _, x := range f.Tensors {
				shapes = append(shapes, x.Shape)
			}
			poison(d, shapes...)
			diff, err := RunOp(context.Background(), d, f)
			require.NoError(t, err)
			require.NoError(t, diff.Within(OpTolerance))
		})
	}
}

// Fixtures and references without a row are the fused operators', tested by
// themselves.
func TestEveryOperatorHasARow(t *testing.T) {
	fused := map[string]bool{"him": true, "mdta": true}
	for i, o := range ref.Ops {
		_, ok := LookupOperator(o.Name)
		require.NotEqual(t, fused[o.Name], ok, o.Name)
		if i > 0 && i < len(Operators) {
			require.Less(t, Operators[i-1].Name, Operators[i].Name, "the table must be sorted")
		}
	}
}

// opCase is the shapes of an operator's inputs, by name, and its attributes.
type opCase struct {
	shapes map[string][]int
	attrs  ref.Attrs
}

// widths are channel counts about the multiples of 4 and 64 that kernels treat
// apart.
var widths = []int{1, 3, 4, 63, 64, 65, 127, 257}

// opCases lists odd shapes for every operator, so that none is tested at
// comfortable sizes only.
func opCases(op string) (cases []opCase) {
	add := func(attrs ref.Attrs, shapes map[string][]int) { cases = append(cases, opCase{shapes, attrs}) }
	one := func(s ...int) map[string][]int { return map[string][]int{"x": s} }
	two := func(s ...int) map[string][]int { return map[string][]int{"a": s, "b": s} }
	for _, c := range widths {
		switch op {
		case "adaptive_avg_pool":
			for _, out := range []float64{1, 3, 4} {
				for _, hw := range [][2]int{{1, 1}, {5, 3}, {9, 70}} {
					add(ref.Attrs{"out": out}, one(2, c, hw[0], hw[1]))
				}
			}
		case "add", "mul", "l1_loss", "mse_loss":
			add(nil, two(c))
			add(nil, two(3, 5, c))
		case "charbonnier_loss":
			add(ref.Attrs{"eps": 1e-12}, two(3, 5, c))
			add(ref.Attrs{"eps": 0.5}, two(c))
		case "clamp":
			add(ref.Attrs{"lo": -0.5, "hi": 0.25}, one(3, c))
			add(ref.Attrs{"lo": 0.25, "hi": 0.5}, one(3, c))
		case "concat_channel":
			for _, other := range []int{1, 4, 66} {
				add(nil, map[string][]int{"a": {2, c, 3, 2}, "b": {2, other, 3, 2}})
			}
		case "conv1x1":
			for _, out := range widths {
				add(nil, map[string][]int{"x": {2, c, 3, 5}, "w": {out, c, 1, 1}, "b": {out}})
				add(nil, map[string][]int{"x": {1, c, 1, 1}, "w": {out, c, 1, 1}})
			}
		case "conv3x3":
			for _, out := range []int{1, 3, 48, 65} {
				add(nil, map[string][]int{"x": {2, c, 3, 5}, "w": {out, c, 3, 3}, "b": {out}})
				add(nil, map[string][]int{"x": {1, c, 1, 1}, "w": {out, c, 3, 3}})
				add(nil, map[string][]int{"x": {1, c, 1, 17}, "w": {out, c, 3, 3}})
			}
		case "dwconv3x3":
			for _, hw := range [][2]int{{1, 1}, {1, 9}, {5, 1}, {7, 19}} {
				add(nil, map[string][]int{"x": {2, c, hw[0], hw[1]}, "w": {c, 1, 3, 3}, "b": {c}})
			}
		case "gelu", "softmax", "mean":
			add(nil, one(c))
			add(nil, one(5, 7, c))
		case "gelu_gate":
			add(nil, one(2, 2*c, 3, 1))
		case "l2_normalize":
			add(ref.Attrs{"eps": 1e-12}, one(5, c))
			add(ref.Attrs{"eps": 100}, one(2, 3, c))
		case "layernorm_channel", "layernorm_channel_biasfree":
			in := map[string][]int{"x": {2, c, 3, 5}, "w": {c}}
			if op == "layernorm_channel" {
				in["b"] = []int{c}
			}
			add(ref.Attrs{"eps": 1e-5}, in)
		case "layernorm_last":
			add(ref.Attrs{"eps": 1e-5}, map[string][]int{"x": {2, 3, c}, "w": {c}, "b": {c}})
		case "leaky_relu":
			add(ref.Attrs{"slope": 0.1}, one(3, c))
		case "linear":
			for _, out := range widths {
				add(nil, map[string][]int{"x": {2, 3, c}, "w": {out, c}, "b": {out}})
				add(nil, map[string][]int{"x": {1, c}, "w": {out, c}})
			}
		case "matmul_nn":
			add(nil, map[string][]int{"a": {2, c, 67}, "b": {2, 67, 5}})
			add(nil, map[string][]int{"a": {5, c}, "b": {c, 70}})
			add(nil, map[string][]int{"a": {3, 1, 1}, "b": {3, 1, c}})
		case "matmul_nt":
			add(nil, map[string][]int{"a": {2, c, 67}, "b": {2, 5, 67}})
			add(nil, map[string][]int{"a": {5, c}, "b": {70, c}})
			add(nil, map[string][]int{"a": {3, 1, 1}, "b": {3, c, 1}})
		case "matmul_tn":
			add(nil, map[string][]int{"a": {2, 67, c}, "b": {2, 67, 5}})
			add(nil, map[string][]int{"a": {c, 5}, "b": {c, 70}})
			add(nil, map[string][]int{"a": {3, 1, 1}, "b": {3, 1, c}})
		case "pixel_shuffle":
			for _, r := range []int{1, 2, 3} {
				add(ref.Attrs{"r": float64(r)}, one(2, c*r*r, 2, 3))
				add(ref.Attrs{"r": float64(r)}, one(1, c*r*r, 1, 1))
			}
		case "pixel_unshuffle":
			for _, r := range []int{1, 2, 3, 4} {
				add(ref.Attrs{"r": float64(r)}, one(2, c, 2*r, 3*r))
				add(ref.Attrs{"r": float64(r)}, one(1, c, r, r))
			}
		case "reflect_pad_right_bottom":
			add(ref.Attrs{"right": 0, "bottom": 0}, one(2, c, 1, 1))
			add(ref.Attrs{"right": 6, "bottom": 2}, one(2, c, 3, 7))
		case "scale_shift_channel":
			add(nil, map[string][]int{"x": {3, c, 2, 5}, "k": {3, c}, "s": {3, c}})
			add(nil, map[string][]int{"x": {1, c, 1, 1}, "k": {1, c}, "s": {1, c}})
		}
	}
	return cases
}

func TestOperatorsMatchReferenceAtOddSizes(t *testing.T) {
	d := openDevice(t)
	for _, o := range Operators {
		t.Run(o.Name, func(t *testing.T) {
			op, ok := ref.Lookup(o.Name)
			require.True(t, ok)
			cases := opCases(o.Name)
			require.NotEmpty(t, cases)
			for i, c := range cases {
				name := fmt.Sprint(c.shapes, c.attrs)
				in, shapes := map[string]Tensor{}, [][]int{}
				for arg, shape := range c.shapes {
					n, err := elements(shape)
					require.NoError(t, err)
					in[arg] = Tensor{shape, Uniform(fmt.Sprintf("%s %d %s", o.Name, i, arg), n)}
					shapes = append(shapes, shape)
				}
				want := op.Forward(arrays(in), c.attrs)
				poison(d, append(shapes, want.Shape)...)
				got, err := o.Run(context.Background(), d, in, c.attrs)
				require.NoError(t, err, name)
				diff, err := Compare(got.Data, want.Data, got.Shape, want.Shape)
				require.NoError(t, err, name)
				require.NoError(t, diff.Within(OpTolerance), name)
			}
		})
	}
}

// Misuse must come back as an error, whatever it is.
func TestOperatorsRefuseMisuse(t *testing.T) {
	d := openDevice(t)
	for _, o := range Operators {
		_, err := o.Run(context.Background(), d, map[string]Tensor{}, nil)
		require.Error(t, err, o.Name)
	}
	require.NoError(t, d.Err(), "misuse must leave the device usable")
}
