package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hidiff/conformance/ref"
	"hidiff/tensor"
)

// Operator runs one operator on a device, with inputs and output in PyTorch's
// layout.
type Operator struct {
	Name string // as in the fixtures' metadata and package ref
	run  func(b *bench) Tensor

	// want says what it should return, where it is more than package ref's
	// operator of that name.
	want func(in ref.Params, attrs ref.Attrs) *ref.Array
}

// LookupOperator returns the row of that name from [Operators].
func LookupOperator(name string) (Operator, bool) {
	i, ok := slices.BinarySearchFunc(Operators, name, func(o Operator, name string) int { return strings.Compare(o.Name, name) })
	if !ok {
		return Operator{}, false
	}
	return Operators[i], true
}

// Run uploads the inputs, runs the operator and reads the result back. Misuse
// and failures of the device are errors.
func (o Operator) Run(ctx context.Context, d *tensor.Device, in map[string]Tensor, attrs map[string]float64) (out Tensor, err error) {
	defer tensor.Catch(&err)
	b := &bench{ctx: ctx, d: d, in: in, attrs: attrs}
	defer b.release()
	out = o.run(b)
	if b.err != nil {
		return Tensor{}, fmt.Errorf("%s: %w", o.Name, b.err)
	}
	return out, nil
}

// RunOp runs a fixture of [KindOp] on a device and compares with its output.
func RunOp(ctx context.Context, d *tensor.Device, f *Fixture) (Diff, error) {
	o, ok := LookupOperator(f.Op)
	if !ok {
		return Diff{}, fmt.Errorf("fixture %s: the device has no operator %q", f.Path, f.Op)
	}
	want, err := f.Tensor("out")
	if err != nil {
		return Diff{}, err
	}
	got, err := o.Run(ctx, d, f.Under("in."), f.Attrs)
	if err != nil {
		return Diff{}, fmt.Errorf("fixture %s: %w", f.Path, err)
	}
	return Compare(got.Data, want.Data, got.Shape, want.Shape)
}

// Operators lists every operator of the device that the networks are made of, sorted
// by name. Three are fused with what surrounds them, as fused.go describes.
var Operators = []Operator{
	{Name: "adaptive_avg_pool", run: func(b *bench) Tensor { return b.nchw(tensor.AdaptiveAvgPool(b.image("x"), b.integer("out"))) }},
	{Name: "add", run: func(b *bench) Tensor { return b.plain(tensor.Add(b.rows("a"), b.rows("b"))) }},
	{Name: "charbonnier_loss", run: func(b *bench) Tensor {
		return b.plain(tensor.Loss{Type: tensor.CharbonnierLoss, Weight: 1, Eps: b.attr("eps")}.Apply(b.rows("a"), b.rows("b")))
	}},
	{Name: "clamp", run: func(b *bench) Tensor {
		return b.plain(tensor.Clamp(b.rows("x"), float32(b.attr("lo")), float32(b.attr("hi"))))
	}},
	{Name: "concat_channel", run: func(b *bench) Tensor { return b.nchw(tensor.Concat(b.image("a"), b.image("b"))) }},
	{Name: "conv1x1", run: func(b *bench) Tensor {
		return b.nchw(b.linear(tensor.LinearSpec{}).Apply(b.image("x"), tensor.Fused{}))
	}},
	{Name: "conv3x3", run: func(b *bench) Tensor {
		return b.nchw(b.linear(tensor.LinearSpec{Conv: true}).Conv3x3(b.image("x"), tensor.Conv{}))
	}},
	{Name: "dwconv3x3", run: func(b *bench) Tensor {
		return b.nchw(b.depthwise("w", "b", 1).Apply(b.image("x")))
	}},
	{Name: "feedforward", run: runFeedForward, want: refFeedForward},
	{Name: "gelu", run: func(b *bench) Tensor { return b.plain(tensor.Activate(b.rows("x"), tensor.GELU)) }},
	{Name: "gelu_gate", run: func(b *bench) Tensor { return b.nchw(tensor.GELUGate(b.imageParts("x", 2))) }},
	{Name: "him", run: runHIM, want: refHIM},
	{Name: "l1_loss", run: func(b *bench) Tensor {
		return b.plain(tensor.Loss{Type: tensor.L1Loss, Weight: 1}.Apply(b.rows("a"), b.rows("b")))
	}},
	{Name: "l2_normalize", run: func(b *bench) Tensor { return b.plain(tensor.L2Normalize(b.rows("x"), float32(b.attr("eps")))) }},
	{Name: "layernorm_channel", run: func(b *bench) Tensor {
		return b.nchw(tensor.LayerNorm(b.image("x"), tensor.WithBias, b.parameter("w"), b.parameter("b")))
	}},
	{Name: "layernorm_channel_biasfree", run: func(b *bench) Tensor {
		return b.nchw(tensor.LayerNorm(b.image("x"), tensor.BiasFree, b.parameter("w"), nil))
	}},
	{Name: "layernorm_last", run: func(b *bench) Tensor {
		return b.plain(tensor.LayerNorm(b.rows("x"), tensor.WithBias, b.parameter("w"), b.parameter("b")))
	}},
	{Name: "leaky_relu", run: func(b *bench) Tensor {
		return b.plain(tensor.Activate(b.rows("x"), tensor.LeakyReLU(float32(b.attr("slope")))))
	}},
	{Name: "linear", run: func(b *bench) Tensor {
		return b.plain(b.linear(tensor.LinearSpec{}).Apply(b.rows("x"), tensor.Fused{}))
	}},
	{Name: "matmul_nn", run: func(b *bench) Tensor { return b.plain(tensor.MatMul(b.rows("a"), b.rows("b"), false, false)) }},
	{Name: "matmul_nt", run: func(b *bench) Tensor { return b.plain(tensor.MatMul(b.rows("a"), b.rows("b"), false, true)) }},
	{Name: "matmul_tn", run: func(b *bench) Tensor { return b.plain(tensor.MatMul(b.rows("a"), b.rows("b"), true, false)) }},
	{Name: "mdta", run: runMDTA, want: refMDTA},
	{Name: "mean", run: func(b *bench) Tensor { return b.plain(tensor.Mean(b.rows("x"))) }},
	{Name: "mse_loss", run: func(b *bench) Tensor {
		return b.plain(tensor.Loss{Type: tensor.MSELoss, Weight: 1}.Apply(b.rows("a"), b.rows("b")))
	}},
	{Name: "mul", run: func(b *bench) Tensor { return b.plain(tensor.Mul(b.rows("a"), b.rows("b"))) }},
	{Name: "pixel_shuffle", run: func(b *bench) Tensor { return b.nchw(tensor.PixelShuffle(b.image("x"), b.integer("r"))) }},
	{Name: "pixel_unshuffle", run: func(b *bench) Tensor { return b.nchw(tensor.PixelUnshuffle(b.integer("r"), b.image("x"))) }},
	{Name: "reflect_pad_right_bottom", run: func(b *bench) Tensor {
		return b.nchw(tensor.ReflectPad(b.image("x"), b.integer("right"), b.integer("bottom")))
	}},
	{Name: "scale_shift_channel", run: func(b *bench) Tensor {
		return b.nchw(tensor.ScaleShift(b.image("x"), b.rows("k"), b.rows("s")))
	}},
	{Name: "softmax", run: func(b *bench) Tensor { return b.plain(tensor.Softmax(b.rows("x"))) }},
}

// bench is one run of an operator: it converts between PyTorch's layout and the
// device's, keeps what is to be released, and the first error.
type bench struct {
	ctx      context.Context
	d        *tensor.Device
	in       map[string]Tensor
	attrs    map[string]float64
	releases []func()
	err      error
}

func (b *bench) release() {
	for _, f := range b.releases {
		f()
	}
}

func (b *bench) keep(t *tensor.Tensor) *tensor.Tensor {
	b.releases = append(b.releases, t.Release)
	return t
}

// input returns an input that must be there.
func (b *bench) input(name string, axes int) Tensor {
	t, ok := b.in[name]
	if !ok || len(t.Shape) < axes {
		panic(&tensor.ShapeError{Op: "input", Arg: name, Want: fmt.Sprintf("at least %d axes", axes), Got: t.Shape})
	}
	return t
}

// rows uploads an input as it is: its last axis are the channels.
func (b *bench) rows(name string) *tensor.Tensor {
	t := b.input(name, 1)
	return b.keep(tensor.From(b.d, t.Data, t.Shape...))
}

// image uploads an input [B, C, H, W].
func (b *bench) image(name string) *tensor.Tensor { return b.imageParts(name, 1) }

func (b *bench) imageParts(name string, parts int) *tensor.Tensor {
	t := b.input(name, 4)
	n, c, h, w := t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3]
	values := make([]float32, len(t.Data))
	for i, v := range t.Data {
		at := i / (h * w)
		values[((at/c)*h*w+i%(h*w))*c+at%c] = v
	}
	x := b.keep(tensor.FromParts(b.d, values, parts, n, h, w, c))
	if b.d.Offload { // into host memory, where operators find images inside a network
		x = b.keep(tensor.Activate(x, tensor.Activation{}))
	}
	return x
}

// parameter uploads an input as a parameter, or returns nil where it is absent.
func (b *bench) parameter(name string) *tensor.Parameter {
	t, ok := b.in[name]
	if !ok {
		return nil
	}
	p := tensor.NewParameter(b.d, t.Data)
	b.keep(p.Tensor)
	return p
}

// linear packs the inputs w and b.
func (b *bench) linear(s tensor.LinearSpec) *tensor.Linear {
	return b.linearOf("w", "b", s)
}

func (b *bench) linearOf(weight, bias string, s tensor.LinearSpec) *tensor.Linear {
	s.Out, s.In = b.size(weight, 0), b.size(weight, 1)
	s.Weight, s.Bias = b.parameter(weight), b.parameter(bias)
	l := tensor.NewLinear(b.d, s)
	b.releases = append(b.releases, l.Release)
	return l
}

func (b *bench) depthwise(weight, bias string, parts int) *tensor.Depthwise {
	w := tensor.NewDepthwise(b.d, b.size(weight, 0), parts, b.parameter(weight), b.parameter(bias))
	b.releases = append(b.releases, w.Release)
	return w
}

func (b *bench) size(name string, axis int) int { return b.input(name, axis+1).Shape[axis] }

func (b *bench) attr(name string) float64 {
	v, ok := b.attrs[name]
	if !ok && b.err == nil {
		b.err = fmt.Errorf("attribute %s is missing", name)
	}
	return v
}

func (b *bench) integer(name string) int { return int(b.attr(name)) }

// plain reads a result as it is.
func (b *bench) plain(t *tensor.Tensor) Tensor {
	values, err := b.keep(t).Floats(b.ctx)
	if b.err == nil {
		b.err = err
	}
	return Tensor{t.Shape(), values}
}

// nchw reads a result [N, H, W, C] as [N, C, H, W].
func (b *bench) nchw(t *tensor.Tensor) Tensor {
	values, err := b.keep(t).NCHW(b.ctx)
	if b.err == nil {
		b.err = err
	}
	s := t.Shape()
	return Tensor{[]int{s[0], s[3], s[1], s[2]}, values}
}
