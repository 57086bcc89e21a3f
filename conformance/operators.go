package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hidiff/autograd"
	"hidiff/internal/ref"
	"hidiff/tensor"
)

// operator runs one operator on a device, forward and backward, with inputs and
// results in PyTorch's layout.
type operator struct {
	Name string // as in the fixtures' metadata and package ref
	run  func(b *bench) output

	// want says what it should return, where it is more than package ref's
	// operator of that name.
	want func(in ref.Params, attrs ref.Attrs) *ref.Array
}

// output is what an operator returned, as an image or as it is.
type output struct {
	*autograd.Variable
	image bool
}

// lookupOperator returns the row of that name from operators.
func lookupOperator(name string) (operator, bool) {
	i, ok := slices.BinarySearchFunc(operators, name, func(o operator, name string) int { return strings.Compare(o.Name, name) })
	if !ok {
		return operator{}, false
	}
	return operators[i], true
}

// Run uploads the inputs, runs the operator and reads the result back. Misuse
// and failures of the device are errors.
func (o operator) Run(ctx context.Context, d *tensor.Device, in map[string]array, attrs map[string]float64) (out array, err error) {
	defer tensor.Catch(&err)
	b := &bench{ctx: ctx, d: d, in: in, attrs: attrs}
	defer b.release()
	y := o.run(b)
	if b.err == nil {
		out = b.read(b.keep(y.Tensor), y.image)
	}
	return out, b.named(o.Name)
}

// Gradients runs the operator and its backward, for the gradient of its result,
// and returns the result and the gradients of all inputs.
func (o operator) Gradients(ctx context.Context, d *tensor.Device, in map[string]array, attrs map[string]float64, gradOut array) (out array, grads map[string]array, err error) {
	defer tensor.Catch(&err)
	b := &bench{ctx: ctx, d: d, in: in, attrs: attrs, tape: &autograd.Tape{}, leaves: map[string]output{}, params: map[string]*tensor.Parameter{}}
	defer b.release()
	y := o.run(b)
	if b.err != nil {
		return array{}, nil, b.named(o.Name)
	}
	out = b.read(b.keep(y.Tensor), y.image)
	if len(gradOut.Data) != len(out.Data) {
		return out, nil, fmt.Errorf("%s: the gradient has shape %v, the result %v", o.Name, gradOut.Shape, out.Shape)
	}
	dy := tensor.From(d, gradOut.Data, y.Shape()...)
	if y.image {
		s := gradOut.Shape
		dy.Release()
		dy = tensor.FromNCHW(d, gradOut.Data, s[0], s[1], s[2], s[3])
	}
	b.tape.BackwardFrom(y.Variable, dy)
	grads = map[string]array{}
	for name, leaf := range b.leaves {
		g := leaf.Grad()
		if g == nil {
			return out, nil, fmt.Errorf("%s: %s got no gradient", o.Name, name)
		}
		grads[name] = b.read(b.keep(g), leaf.image)
	}
	for name, p := range b.params {
		g := b.read(p.Grad, false)
		grads[name] = array{in[name].Shape, g.Data}
	}
	b.splitModulation(grads)
	return out, grads, b.named(o.Name)
}

// runOp runs a fixture of kindOp on a device and compares: "out", and each
// "grad.x" that it holds.
func runOp(ctx context.Context, d *tensor.Device, f *fixture) (map[string]Diff, error) {
	o, ok := lookupOperator(f.Op)
	if !ok {
		return nil, fmt.Errorf("fixture %s: the device has no operator %q", f.Path, f.Op)
	}
	want, err := f.needed("out", "grad_out")
	if err != nil {
		return nil, err
	}
	out, grads, err := o.Gradients(ctx, d, f.Under("in."), f.Attrs, want[1])
	if err != nil {
		return nil, fmt.Errorf("fixture %s: %w", f.Path, err)
	}
	diffs := map[string]Diff{}
	if diffs["out"], err = compare(out.Data, want[0].Data, out.Shape, want[0].Shape); err != nil {
		return nil, err
	}
	for name, w := range f.Under("grad.") {
		g := grads[name]
		if diffs["grad."+name], err = compare(g.Data, w.Data, g.Shape, w.Shape); err != nil {
			return nil, fmt.Errorf("fixture %s: grad.%s: %w", f.Path, name, err)
		}
	}
	return diffs, nil
}

// operators lists every operator of the device that the networks are made of, sorted
// by name. Three are fused with what surrounds them, as fused.go describes.
var operators = []operator{
	{Name: "adaptive_avg_pool", run: func(b *bench) output { return b.nchw(autograd.AdaptiveAvgPool(b.image("x"), b.integer("out"))) }},
	{Name: "add", run: func(b *bench) output { return b.plain(autograd.Add(b.rows("a"), b.rows("b"))) }},
	{Name: "charbonnier_loss", run: func(b *bench) output {
		return b.plain(autograd.Loss(tensor.Loss{Type: tensor.CharbonnierLoss, Weight: 1, Eps: b.attr("eps")}, b.rows("a"), b.rows("b")))
	}},
	{Name: "clamp", run: func(b *bench) output {
		return b.plain(autograd.Clamp(b.rows("x"), float32(b.attr("lo")), float32(b.attr("hi"))))
	}},
	{Name: "concat_channel", run: func(b *bench) output { return b.nchw(autograd.Concat(b.image("a"), b.image("b"))) }},
	{Name: "conv1x1", run: func(b *bench) output {
		return b.nchw(autograd.Linear(b.linear(tensor.LinearSpec{}), b.image("x"), autograd.After{}))
	}},
	{Name: "conv3x3", run: func(b *bench) output {
		return b.nchw(autograd.Conv3x3(b.linear(tensor.LinearSpec{Conv: true}), b.image("x"), tensor.Conv{}, nil))
	}},
	{Name: "dwconv3x3", run: func(b *bench) output {
		return b.nchw(autograd.Depthwise(b.depthwise("w", "b", 1), b.image("x")))
	}},
	{Name: "feedforward", run: runFeedForward, want: refFeedForward},
	{Name: "gelu", run: func(b *bench) output { return b.plain(autograd.Activate(b.rows("x"), tensor.GELU)) }},
	{Name: "gelu_gate", run: func(b *bench) output { return b.nchw(autograd.GELUGate(b.imageParts("x", 2))) }},
	{Name: "him", run: runHIM, want: refHIM},
	{Name: "l1_loss", run: func(b *bench) output {
		return b.plain(autograd.Loss(tensor.Loss{Type: tensor.L1Loss, Weight: 1}, b.rows("a"), b.rows("b")))
	}},
	{Name: "l2_normalize", run: func(b *bench) output { return b.plain(autograd.L2Normalize(b.rows("x"), float32(b.attr("eps")))) }},
	{Name: "layernorm_channel", run: func(b *bench) output {
		return b.nchw(autograd.LayerNorm(b.image("x"), tensor.WithBias, b.parameter("w"), b.parameter("b")))
	}},
	{Name: "layernorm_channel_biasfree", run: func(b *bench) output {
		return b.nchw(autograd.LayerNorm(b.image("x"), tensor.BiasFree, b.parameter("w"), nil))
	}},
	{Name: "layernorm_last", run: func(b *bench) output {
		return b.plain(autograd.LayerNorm(b.rows("x"), tensor.WithBias, b.parameter("w"), b.parameter("b")))
	}},
	{Name: "leaky_relu", run: func(b *bench) output {
		return b.plain(autograd.Activate(b.rows("x"), tensor.LeakyReLU(float32(b.attr("slope")))))
	}},
	{Name: "linear", run: func(b *bench) output {
		return b.plain(autograd.Linear(b.linear(tensor.LinearSpec{}), b.rows("x"), autograd.After{}))
	}},
	{Name: "matmul_nn", run: func(b *bench) output { return b.plain(autograd.MatMul(b.rows("a"), b.rows("b"), false, false)) }},
	{Name: "matmul_nt", run: func(b *bench) output { return b.plain(autograd.MatMul(b.rows("a"), b.rows("b"), false, true)) }},
	{Name: "matmul_tn", run: func(b *bench) output { return b.plain(autograd.MatMul(b.rows("a"), b.rows("b"), true, false)) }},
	{Name: "mdta", run: runMDTA, want: refMDTA},
	{Name: "mean", run: func(b *bench) output { return b.plain(autograd.Mean(b.rows("x"))) }},
	{Name: "mse_loss", run: func(b *bench) output {
		return b.plain(autograd.Loss(tensor.Loss{Type: tensor.MSELoss, Weight: 1}, b.rows("a"), b.rows("b")))
	}},
	{Name: "mul", run: func(b *bench) output { return b.plain(autograd.Mul(b.rows("a"), b.rows("b"))) }},
	{Name: "pixel_shuffle", run: func(b *bench) output { return b.nchw(autograd.PixelShuffle(b.image("x"), b.integer("r"))) }},
	{Name: "pixel_unshuffle", run: func(b *bench) output { return b.nchw(autograd.PixelUnshuffle(b.integer("r"), b.image("x"))) }},
	{Name: "reflect_pad_right_bottom", run: func(b *bench) output {
		return b.nchw(autograd.ReflectPad(b.image("x"), b.integer("right"), b.integer("bottom")))
	}},
	{Name: "scale_shift_channel", run: func(b *bench) output {
		return b.nchw(autograd.ScaleShift(b.image("x"), b.rows("k"), b.rows("s")))
	}},
	{Name: "softmax", run: func(b *bench) output { return b.plain(autograd.Softmax(b.rows("x"))) }},
}

// bench is one run of an operator: it converts between PyTorch's layout and the
// device's, keeps what is to be released, and the first error.
type bench struct {
	ctx      context.Context
	d        *tensor.Device
	in       map[string]array
	attrs    map[string]float64
	releases []func()
	err      error

	// With gradients only.
	tape   *autograd.Tape
	leaves map[string]output
	params map[string]*tensor.Parameter
}

func (b *bench) release() {
	if b.tape != nil {
		b.tape.Reset()
	}
	for _, f := range b.releases {
		f()
	}
}

func (b *bench) named(op string) error {
	if b.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, b.err)
}

func (b *bench) keep(t *tensor.Tensor) *tensor.Tensor {
	b.releases = append(b.releases, t.Release)
	return t
}

// input returns an input that must be there.
func (b *bench) input(name string, axes int) array {
	t, ok := b.in[name]
	if !ok || len(t.Shape) < axes {
		panic(&tensor.ShapeError{Op: "input", Arg: name, Want: fmt.Sprintf("at least %d axes", axes), Got: t.Shape})
	}
	return t
}

// variable is a leaf where gradients are wanted.
func (b *bench) variable(name string, t *tensor.Tensor, image bool) *autograd.Variable {
	if b.tape == nil {
		return autograd.Constant(b.keep(t))
	}
	v := b.tape.Leaf(b.keep(t))
	b.leaves[name] = output{v, image}
	return v
}

// rows uploads an input as it is: its last axis are the channels.
func (b *bench) rows(name string) *autograd.Variable {
	t := b.input(name, 1)
	return b.variable(name, tensor.From(b.d, t.Data, t.Shape...), false)
}

// image uploads an input [B, C, H, W].
func (b *bench) image(name string) *autograd.Variable { return b.imageParts(name, 1) }

func (b *bench) imageParts(name string, parts int) *autograd.Variable {
	t := b.input(name, 4)
	n, c, h, w := t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3]
	values := make([]float32, len(t.Data))
	for i, v := range t.Data {
		at := i / (h * w)
		values[((at/c)*h*w+i%(h*w))*c+at%c] = v
	}
	return b.variable(name, tensor.FromParts(b.d, values, parts, n, h, w, c), true)
}

// parameter uploads an input as a parameter, or returns nil where it is absent.
func (b *bench) parameter(name string) *tensor.Parameter {
	t, ok := b.in[name]
	if !ok {
		return nil
	}
	if b.tape == nil {
		p := tensor.NewParameter(b.d, t.Data)
		b.keep(p.Tensor)
		return p
	}
	all := tensor.NewParameters(b.d, []tensor.ParameterSpec{{Name: name, Shape: t.Shape, Values: t.Data}})
	b.releases = append(b.releases, all.Release)
	b.params[name] = all.All()[0]
	return b.params[name]
}

// linear packs the inputs w and b.
func (b *bench) linear(s tensor.LinearSpec) *tensor.Linear {
	return b.linearOf("w", "b", s, tensor.NewLinear)
}

func (b *bench) linearOf(weight, bias string, s tensor.LinearSpec, pack func(*tensor.Device, tensor.LinearSpec) *tensor.Linear) *tensor.Linear {
	s.Out, s.In = b.size(weight, 0), b.size(weight, 1)
	s.Weight, s.Bias = b.parameter(weight), b.parameter(bias)
	l := pack(b.d, s)
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

// plain says that a result is to be read as it is, nchw that it is an image.
func (b *bench) plain(v *autograd.Variable) output { return output{v, false} }
func (b *bench) nchw(v *autograd.Variable) output  { return output{v, true} }

// read reads a tensor as it is, or an image [N, H, W, C] as [N, C, H, W].
func (b *bench) read(t *tensor.Tensor, image bool) array {
	shape, read := t.Shape(), t.Floats
	if image {
		shape, read = []int{shape[0], shape[3], shape[1], shape[2]}, t.NCHW
	}
	values, err := read(b.ctx)
	if b.err == nil {
		b.err = err
	}
	return array{shape, values}
}
