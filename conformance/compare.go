package conformance

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// tiny is the smallest scale an error is measured against. Below it errors are
// absolute, in units of tiny: an all-zero reference at tolerance 1e-5 admits 1e-11.
const tiny = 1e-6

// Errors that compare wraps. None of them says how far two arrays are apart: such
// arrays cannot be compared at all, whatever the other side holds.
var (
	errEmpty     = errors.New("nothing to compare")
	errShape     = errors.New("shapes differ")
	errNonFinite = errors.New("value is not finite")
)

// Diff is how far an array is from its reference, at the worst element.
type Diff struct {
	MaxAbs    float64 // max |got − want|
	MaxRel    float64 // MaxAbs / Scale
	Scale     float64 // max |want| over the whole array, at least 1e-6
	Index     int     // row-major position of the worst element
	At        []int   // the same position as one index per axis
	Got, Want float64 // the values there
}

// compare measures got against the reference want. The error is relative to the
// largest value of the whole reference, not element by element: rounding in a sum of
// large terms is no smaller where the sum happens to be small.
//
// Arrays that are empty (errEmpty), have different shapes or not the number of values
// their shape says (errShape), or hold a NaN or an infinity on either side
// (errNonFinite) are errors; a NaN never equals a NaN.
func compare[G, W float32 | float64](got []G, want []W, gotShape, wantShape []int) (Diff, error) {
	if !slices.Equal(gotShape, wantShape) {
		return Diff{}, fmt.Errorf("%w: got %v, want %v", errShape, gotShape, wantShape)
	}
	if len(got) == 0 || len(want) == 0 {
		return Diff{}, fmt.Errorf("%w: got %d values, want %d, shape %v", errEmpty, len(got), len(want), wantShape)
	}
	n, err := elements(wantShape)
	if err != nil {
		return Diff{}, fmt.Errorf("%w: %w", errShape, err)
	}
	if len(got) != n || len(want) != n {
		return Diff{}, fmt.Errorf("%w: got %d values, want %d, shape %v holds %d", errShape, len(got), len(want), wantShape, n)
	}
	d := Diff{Scale: tiny, MaxAbs: -1}
	for i := range got {
		g, w := float64(got[i]), float64(want[i])
		if !finite(g) || !finite(w) {
			return Diff{}, fmt.Errorf("%w: got %g, want %g at %v", errNonFinite, g, w, position(i, wantShape))
		}
		d.Scale = max(d.Scale, math.Abs(w))
		if abs := math.Abs(g - w); abs > d.MaxAbs {
			d.MaxAbs, d.Index, d.Got, d.Want = abs, i, g, w
		}
	}
	d.MaxRel = d.MaxAbs / d.Scale
	d.At = position(d.Index, wantShape)
	return d, nil
}

// within returns nil if the relative error is at most tolerance, and otherwise an
// error that says where it is worst. A NaN tolerance admits nothing.
func (d Diff) within(tolerance float64) error {
	if d.MaxRel <= tolerance {
		return nil
	}
	return fmt.Errorf("relative error %.3g exceeds %.3g: %v", d.MaxRel, tolerance, d)
}

func (d Diff) String() string {
	return fmt.Sprintf("got %.9g, want %.9g at %v; error %.3g, %.3g of the largest value %.3g",
		d.Got, d.Want, d.At, d.MaxAbs, d.MaxRel, d.Scale)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// elements returns the product of a shape's sizes.
func elements(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 || (d > 0 && n > math.MaxInt/d) {
			return 0, fmt.Errorf("shape %v is not the shape of an array", shape)
		}
		n *= d
	}
	return n, nil
}

// position turns a row-major index into one index per axis.
func position(index int, shape []int) []int {
	at := make([]int, len(shape))
	for axis := len(shape) - 1; axis >= 0; axis-- {
		at[axis] = index % shape[axis]
		index /= shape[axis]
	}
	return at
}
