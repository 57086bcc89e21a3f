// Package ref computes every primitive of HI-Diff on the CPU in float64, forward
// and backward, to say what the GPU should have said.
//
// It is written to be read beside the formulas: no threads, no fusion, no
// dependency outside the standard library. Layouts are PyTorch's, row-major:
// images [B,C,H,W], tokens [B,N,C], Linear weights [out,in], convolution weights
// [out,in,kh,kw].
//
// Each operator X has a vector–Jacobian product XBackward beside it, which takes
// X's inputs and gradOut = ∂loss/∂out and returns ∂loss/∂input for each input.
// Backward functions recompute whatever they need from the inputs. [Ops] lists all
// operators with named inputs and attributes, so that fixtures, finite differences
// and GPU tests can walk one table.
//
// Misuse (a shape, input or attribute that does not fit) panics with an [*Error];
// [Try] turns that into an ordinary error where inputs come from files.
package ref

import (
	"fmt"
	"slices"
)

// maxElements bounds an Array (8 GiB of float64), so that a mistaken shape or
// attribute is reported before memory is asked for.
const maxElements = 1 << 30

// Array is a row-major tensor of float64. Data holds as many values as the product
// of Shape.
type Array struct {
	Shape []int
	Data  []float64
}

// New returns an Array of zeros.
func New(shape ...int) *Array {
	n := 1
	for _, d := range shape {
		if d < 0 || (d > 0 && n > maxElements/d) {
			panic(&Error{"array", "shape", fmt.Sprint(shape), fmt.Sprintf("non-negative sizes and at most %d elements", maxElements)})
		}
		n *= d
	}
	return &Array{slices.Clone(shape), make([]float64, n)}
}

// From returns an Array of the given shape holding a copy of data.
func From[T float32 | float64](data []T, shape ...int) *Array {
	a := New(shape...)
	if len(data) != len(a.Data) {
		panic(&Error{"array", "data", fmt.Sprintf("%d values", len(data)), fmt.Sprintf("%d for shape %v", len(a.Data), shape)})
	}
	for i, v := range data {
		a.Data[i] = float64(v)
	}
	return a
}

// Float32 returns the values rounded to float32.
func (a *Array) Float32() []float32 {
	out := make([]float32, len(a.Data))
	for i, v := range a.Data {
		out[i] = float32(v)
	}
	return out
}

// Reshape returns a view of the same Data with another shape of the same size.
func (a *Array) Reshape(shape ...int) *Array {
	n := 1
	for _, d := range shape {
		n *= d
	}
	if n != len(a.Data) {
		panic(&Error{"reshape", "shape", fmt.Sprint(shape), fmt.Sprintf("%d elements, as %v has", len(a.Data), a.Shape)})
	}
	return &Array{slices.Clone(shape), a.Data}
}

// last splits a into rows along its last axis: rows × width values.
func (a *Array) last() (rows, width int) {
	if width = a.Shape[len(a.Shape)-1]; width == 0 {
		return 0, 0
	}
	return len(a.Data) / width, width
}

// apply returns f of every element.
func apply(a *Array, f func(v float64) float64) *Array {
	out := New(a.Shape...)
	for i, v := range a.Data {
		out.Data[i] = f(v)
	}
	return out
}

// zip applies f to the elements of two arrays of equal size.
func zip(a, b *Array, f func(a, b float64) float64) *Array {
	out := New(a.Shape...)
	for i := range out.Data {
		out.Data[i] = f(a.Data[i], b.Data[i])
	}
	return out
}

// Error says which argument of which operator does not fit.
type Error struct {
	Op, Arg   string
	Got, Want string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s is %s, want %s", e.Op, e.Arg, e.Got, e.Want)
}

// Try runs f and returns the [*Error] it panicked with, or nil.
func Try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Error:
			err = r
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// anySize stands in expect for a dimension of any size.
const anySize = -1

// expect panics unless a exists, has the given shape and is whole.
func expect(op, arg string, a *Array, shape ...int) {
	if a == nil {
		panic(&Error{op, arg, "missing", fmt.Sprintf("shape %v", shape)})
	}
	fits, n := len(a.Shape) == len(shape), 1
	for i := 0; fits && i < len(shape); i++ {
		fits = a.Shape[i] > 0 && (shape[i] == anySize || shape[i] == a.Shape[i])
		n *= a.Shape[i]
	}
	if !fits || n != len(a.Data) {
		panic(&Error{op, arg, fmt.Sprintf("%v with %d values", a.Shape, len(a.Data)), fmt.Sprintf("shape %v (-1: any)", shape)})
	}
}

// expectSome panics unless a exists, has at least axes axes and is whole.
func expectSome(op, arg string, a *Array, axes int) {
	if a == nil || len(a.Shape) < axes {
		panic(&Error{op, arg, describe(a), fmt.Sprintf("an array of at least %d axes", axes)})
	}
	expect(op, arg, a, a.Shape...)
}

// image returns the sizes of a [B,C,H,W] array, or panics.
func image(op, arg string, a *Array) (b, c, h, w int) {
	expect(op, arg, a, anySize, anySize, anySize, anySize)
	return a.Shape[0], a.Shape[1], a.Shape[2], a.Shape[3]
}

func describe(a *Array) string {
	if a == nil {
		return "missing"
	}
	return fmt.Sprint(a.Shape)
}
