package conformance

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/reference"
)

// wanted returns 2·3·4 values of size one, with one small and one zero among them.
func wanted() []float32 {
	want := reference.Uniform("compare", 24)
	want[0], want[5], want[9] = 1, 1e-7, 0
	return want
}

func TestCompareAcceptsWhatIsEqual(t *testing.T) {
	want := wanted()
	d, err := compare(want, want, []int{2, 3, 4}, []int{2, 3, 4})
	require.NoError(t, err)
	require.Zero(t, d.MaxAbs)
	require.Zero(t, d.MaxRel)
	require.NoError(t, d.within(0))
}

// Wrong answers: each must be refused at the tolerance of a single operator.
func TestCompareFindsWrongAnswers(t *testing.T) {
	const tolerance = 1e-5
	const poison = -7.75e33 // what a test writes to an output before the operator does
	for name, spoil := range map[string]func(got []float32){
		"all zeros":            func(got []float32) { clear(got) },
		"one flipped sign":     func(got []float32) { got[17] *= -1 },
		"unwritten last value": func(got []float32) { got[23] = poison },
		"unwritten first row":  func(got []float32) { got[0], got[1], got[2], got[3] = poison, poison, poison, poison },
		"all scaled by 1+2e-5": func(got []float32) {
			for i := range got {
				got[i] *= 1 + 2e-5
			}
		},
		"shifted by one":           func(got []float32) { copy(got, slices.Clone(got)[1:]) },
		"noise where want is zero": func(got []float32) { got[9] = 2e-5 },
	} {
		t.Run(name, func(t *testing.T) {
			got := wanted()
			spoil(got)
			d, err := compare(got, wanted(), []int{2, 3, 4}, []int{2, 3, 4})
			require.NoError(t, err)
			require.Error(t, d.within(tolerance))
		})
	}
}

func TestCompareMeasures(t *testing.T) {
	want := []float64{0, -4, 1, 2, 0.5, 3}
	got := []float32{0, -4, 1, 2.5, 0.5, 3.25}
	d, err := compare(got, want, []int{2, 3}, []int{2, 3})
	require.NoError(t, err)
	require.Equal(t, Diff{MaxAbs: 0.5, MaxRel: 0.125, Scale: 4, Index: 3, At: []int{1, 0}, Got: 2.5, Want: 2}, d)
	require.NoError(t, d.within(0.125))
	require.EqualError(t, d.within(0.124),
		"relative error 0.125 exceeds 0.124: got 2.5, want 2 at [1 0]; error 0.5, 0.125 of the largest value 4")
	require.Error(t, d.within(math.NaN()))
}

// References that are zero or nearly so have no scale of their own.
func TestCompareSmallReferences(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want float32
		ok        bool
	}{
		{"zero and zero", 0, 0, true},
		{"rounding beside zero", 1e-12, 0, true},
		{"small beside zero", 1e-9, 0, false},
		{"zero beside small", 0, 1e-6, false},
		{"zero beside very small", 0, 1e-9, false},
		{"negligible beside zero", 0, 1e-12, true},
		{"double of small", 2e-6, 1e-6, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := compare([]float32{c.got, 0}, []float32{c.want, 0}, []int{2}, []int{2})
			require.NoError(t, err)
			require.Equal(t, c.ok, d.within(1e-5) == nil, d.String())
		})
	}
}

func TestCompareRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	two := []int{2}
	for _, c := range []struct {
		name                string
		got, want           []float32
		gotShape, wantShape []int
		is                  error
	}{
		{"NaN got", []float32{nan, 1}, []float32{1, 1}, two, two, errNonFinite},
		{"NaN wanted", []float32{1, 1}, []float32{1, nan}, two, two, errNonFinite},
		{"NaN and NaN", []float32{nan, 1}, []float32{nan, 1}, two, two, errNonFinite},
		{"Inf got", []float32{inf, 1}, []float32{1, 1}, two, two, errNonFinite},
		{"Inf and Inf", []float32{1, inf}, []float32{1, inf}, two, two, errNonFinite},
		{"-Inf and -Inf", []float32{1, -inf}, []float32{1, -inf}, two, two, errNonFinite},
		{"transposed", make([]float32, 6), make([]float32, 6), []int{2, 3}, []int{3, 2}, errShape},
		{"extra axis", make([]float32, 6), make([]float32, 6), []int{1, 6}, []int{6}, errShape},
		{"too few values", make([]float32, 1), make([]float32, 2), two, two, errShape},
		{"too many values", make([]float32, 3), make([]float32, 3), two, two, errShape},
		{"negative size", make([]float32, 6), make([]float32, 6), []int{-2, -3}, []int{-2, -3}, errShape},
		// 7 · 7905747460161236407 is 1 in 64 bits.
		{"overflowing size", make([]float32, 1), make([]float32, 1), []int{7, 7905747460161236407}, []int{7, 7905747460161236407}, errShape},
		{"both empty", nil, nil, []int{0}, []int{0}, errEmpty},
		{"got empty", nil, []float32{1, 1}, two, two, errEmpty},
		{"no shape", nil, nil, nil, nil, errEmpty},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := compare(c.got, c.want, c.gotShape, c.wantShape)
			require.ErrorIs(t, err, c.is)
		})
	}
}

func TestCompareScalar(t *testing.T) {
	d, err := compare([]float32{2}, []float64{2}, []int{}, nil)
	require.NoError(t, err)
	require.NoError(t, d.within(0))
}
