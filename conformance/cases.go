package conformance

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"hidiff/internal/ref"
	"hidiff/internal/reference"
	"hidiff/tensor"
)

// opCase is the shapes of an operator's inputs, by name, and its attributes.
type opCase struct {
	shapes map[string][]int
	attrs  ref.Attrs
}

// inputs returns random inputs: parameters, whose names have a dot, of the size that
// networks have, and others in [-1, 1).
func (c opCase) inputs(op string) map[string]array {
	in := map[string]array{}
	for arg, shape := range c.shapes {
		if strings.Contains(arg, ".") {
			in[arg] = array{shape, reference.Fill("case", op, arg, shape)}
			continue
		}
		in[arg] = array{shape, reference.Uniform(fmt.Sprintln(op, arg, shape), elementsOf(shape))}
	}
	return in
}

// check runs the case, forward and backward, on a device whose memory is full of NaNs,
// and compares with package ref.
func (c opCase) check(ctx context.Context, d *tensor.Device, o operator) (Diff, error) {
	in := c.inputs(o.Name)
	want := o.reference(arrays(in), c.attrs)
	poison(d, append(slices.Collect(maps.Values(c.shapes)), want.Shape)...)
	if _, err := o.Run(ctx, d, in, c.attrs); err != nil {
		return Diff{}, err
	}
	return o.checkGradients(ctx, d, in, c.attrs)
}

func (o operator) reference(in ref.Tensors, attrs ref.Attrs) *ref.Array {
	if o.want != nil {
		return o.want(in, attrs)
	}
	op, ok := ref.Lookup(o.Name)
	if !ok {
		panic("conformance: no reference of " + o.Name)
	}
	return op.Forward(in, attrs)
}

// sweep checks all cases of an operator with these channel counts, and returns the
// worst error, or the first case's that fails.
func (o operator) sweep(ctx context.Context, d *tensor.Device, widths []int) (worst Diff, err error) {
	cases := opCases(o.Name, widths)
	if len(cases) == 0 {
		return Diff{}, fmt.Errorf("%s has no cases", o.Name)
	}
	for _, c := range cases {
		if err := ctx.Err(); err != nil {
			return worst, err
		}
		diff, err := c.check(ctx, d, o)
		if err != nil {
			return diff, fmt.Errorf("%v %v: %w", c.shapes, c.attrs, err)
		}
		if diff.MaxRel >= worst.MaxRel {
			worst = diff
		}
	}
	return worst, nil
}

// arrays turns tensors into what package ref computes with.
func arrays(tensors map[string]array) ref.Tensors {
	out := ref.Tensors{}
	for name, t := range tensors {
		out[name] = ref.From(t.Data, t.Shape...)
	}
	return out
}

// elementsOf is elements of a shape known to be one.
func elementsOf(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// poison leaves NaNs in the buffers that an operator on these tensors is likely to be
// given: the pool hands buffers out by size, last released first. What an operator
// fails to write, or reads before writing, shows.
func poison(d *tensor.Device, shapes ...[]int) {
	var all []*tensor.Tensor
	fill := func(floats int) {
		nan := make([]float32, floats)
		for i := range nan {
			nan[i] = float32(math.NaN())
		}
		all = append(all, tensor.From(d, nan, floats))
	}
	for floats := 64; floats <= 4096; floats += 64 { // scratch memory
		fill(floats)
	}
	for _, s := range shapes {
		for axis := range s { // whichever axis becomes the channels
			stored := (s[axis] + 3) / 4 * 4
			for i, n := range s {
				if i != axis {
					stored *= n
				}
			}
			stored = (stored + 63) / 64 * 64
			for range 3 {
				fill(stored)
			}
		}
	}
	for _, t := range all {
		t.Release()
	}
}

// allWidths are channel counts about the multiples of 4 and 64 that kernels treat
// apart, and fused operators' with several heads.
var allWidths = []int{1, 3, 4, 5, 6, 12, 20, 63, 64, 65, 69, 127, 257}

// opCases lists odd shapes for an operator of the table, so that none is tested at
// comfortable sizes only.
func opCases(op string, widths []int) (cases []opCase) {
	switch op {
	case "feedforward", "him", "mdta":
		return fusedCases(op, widths)
	}
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
		default:
			add(nil, one(c))
			add(nil, one(5, 7, c))
		}
	}
	return cases
}

// fusedCases are those of the operators in fused.go, of the channel counts given.
func fusedCases(op string, widths []int) (cases []opCase) {
	for _, s := range []struct {
		n, c, heads, h, w  int
		hidden, tokens     int
		bias, free, guided bool
	}{
		{n: 2, c: 12, heads: 1, h: 5, w: 37, hidden: 33, tokens: 16},
		{n: 1, c: 1, heads: 1, h: 1, w: 1, hidden: 1, tokens: 1},
		{n: 2, c: 5, heads: 1, h: 5, w: 37, hidden: 9, tokens: 3, bias: true, guided: true},
		{n: 1, c: 6, heads: 2, h: 33, w: 7, hidden: 15, tokens: 16, free: true},
		{n: 2, c: 20, heads: 2, h: 6, w: 65, hidden: 53, tokens: 4, bias: true, free: true},
		{n: 1, c: 69, heads: 3, h: 17, w: 16, hidden: 127, tokens: 5, guided: true},
		{n: 3, c: 64, heads: 8, h: 4, w: 5, hidden: 170, tokens: 4, bias: true},
		{n: 1, c: 257, heads: 1, h: 3, w: 4, hidden: 65, tokens: 16},
	} {
		if !slices.Contains(widths, s.c) {
			continue
		}
		shapes := map[string][]int{"x": {s.n, s.c, s.h, s.w}, "norm1.body.weight": {s.c}}
		linear := func(name string, out, in int, bias bool) {
			shapes[name+".weight"] = []int{out, in}
			if op != "him" {
				shapes[name+".weight"] = []int{out, in, 1, 1}
			}
			if bias {
				shapes[name+".bias"] = []int{out}
			}
		}
		depthwise := func(name string, c int) {
			shapes[name+".weight"] = []int{c, 1, 3, 3}
			if s.bias {
				shapes[name+".bias"] = []int{c}
			}
		}
		if !s.free {
			shapes["norm1.body.bias"] = []int{s.c}
		}
		if s.guided && op != "him" {
			shapes["k"], shapes["s"] = []int{s.n, s.c}, []int{s.n, s.c}
		}
		attrs := ref.Attrs{"heads": float64(s.heads)}
		switch op {
		case "feedforward":
			linear("project_in", 2*s.hidden, s.c, s.bias)
			depthwise("dwconv", 2*s.hidden)
			linear("project_out", s.c, s.hidden, s.bias)
		case "him":
			const prior = 12
			shapes["prior"] = []int{s.n, s.tokens, prior}
			shapes["norm2.body.weight"] = []int{prior}
			if !s.free {
				shapes["norm2.body.bias"] = []int{prior}
			}
			linear("q", s.c, s.c, s.bias)
			linear("kv", 2*s.c, prior, s.bias)
			linear("proj", s.c, s.c, true)
		case "mdta":
			linear("qkv", 3*s.c, s.c, s.bias)
			depthwise("qkv_dwconv", 3*s.c)
			shapes["temperature"] = []int{s.heads, 1, 1}
			linear("project_out", s.c, s.c, s.bias)
			cases = append(cases, opCase{shapes, ref.Attrs{"heads": attrs["heads"], "in_place": 1}})
		}
		cases = append(cases, opCase{shapes, attrs})
	}
	return cases
}
