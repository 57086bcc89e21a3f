package conformance

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"hidiff/internal/ref"
	"hidiff/internal/reference"
	"hidiff/tensor"
)

// gradientOf is what the upstream gradient of a check is: random, since the gradient of a
// plain sum through a softmax or LayerNorm is zero, and would prove nothing.
func gradientOf(op string, shape []int) array {
	return array{shape, reference.Uniform(fmt.Sprintln(op, "gradient", shape), elementsOf(shape))}
}

// checkGradients compares the result of an operator and all gradients with package ref,
// and returns the worst.
func (o operator) checkGradients(ctx context.Context, d *tensor.Device, in map[string]array, attrs ref.Attrs) (worst Diff, err error) {
	reference := arrays(in)
	want := o.reference(reference, attrs)
	g := gradientOf(o.Name, want.Shape)
	out, grads, err := o.Gradients(ctx, d, in, attrs, g)
	if err != nil {
		return Diff{}, err
	}
	if worst, err = compare(out.Data, want.Data, out.Shape, want.Shape); err != nil {
		return worst, err
	}
	if err := worst.within(opTolerance); err != nil {
		return worst, err
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		diff, err := o.checkGradient(reference, attrs, name, grads[name], arrays(map[string]array{"g": g})["g"])
		if err == nil {
			err = diff.within(oddGradientTolerance)
		}
		if err != nil {
			return diff, fmt.Errorf("gradient of %s: %w", name, err)
		}
		if diff.MaxRel > worst.MaxRel {
			worst = diff
		}
	}
	return worst, nil
}

// checkGradient compares one gradient with package ref's, element by element where it has
// the operator's backward. Else it compares the derivative along a random direction with
// central differences, relative to the size of the gradient.
func (o operator) checkGradient(in ref.Tensors, attrs ref.Attrs, name string, got array, g *ref.Array) (Diff, error) {
	if o.want == nil {
		op, _ := ref.Lookup(o.Name)
		want := op.Backward(in, g, attrs)[name]
		return compare(got.Data, want.Data, got.Shape, want.Shape)
	}
	direction := reference.Uniform(fmt.Sprintln(o.Name, "direction", name), len(got.Data))
	moved := maps.Clone(in)
	value := func(step float64) (sum float64) {
		x := ref.From(got.Data, got.Shape...)
		for i, v := range direction {
			x.Data[i] = in[name].Data[i] + step*float64(v)
		}
		moved[name] = x
		for i, v := range o.reference(moved, attrs).Data {
			sum += v * g.Data[i]
		}
		return sum
	}
	const step = 1e-4
	// Richardson's extrapolation: the error is of the fourth order.
	want := (8*(value(step)-value(-step)) - (value(2*step) - value(-2*step))) / (12 * step)
	var along, size float64
	for i, v := range direction {
		along += float64(got.Data[i]) * float64(v)
		size += float64(got.Data[i]) * float64(got.Data[i])
	}
	size = math.Sqrt(size / 3) // what along is on average: a direction's values have variance 1/3
	diff, err := compare([]float64{along}, []float64{want}, []int{1}, []int{1})
	if err == nil {
		diff.Scale = max(diff.Scale, size)
		diff.MaxRel = diff.MaxAbs / diff.Scale
	}
	return diff, err
}
