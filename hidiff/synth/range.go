package synth

import (
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Range is what a number is drawn from, uniformly. As text it is MIN:MAX, or one number.
type Range struct{ Min, Max float64 }

func (r Range) draw(rng *rand.Rand) float64 { return r.Min + (r.Max-r.Min)*rng.Float64() }

// drawInt draws one of the whole numbers of the range.
func (r Range) drawInt(rng *rand.Rand) int {
	return min(int(Range{math.Ceil(r.Min), math.Floor(r.Max) + 1}.draw(rng)), int(r.Max))
}

func (r Range) String() string {
	low, high := strconv.FormatFloat(r.Min, 'g', -1, 64), strconv.FormatFloat(r.Max, 'g', -1, 64)
	if low == high {
		return low
	}
	return low + ":" + high
}

// MarshalText is String.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads MIN:MAX or one number. Which of them make sense, [Options.Validate] knows.
func (r *Range) UnmarshalText(text []byte) error {
	low, high, two := strings.Cut(string(text), ":")
	if !two {
		high = low
	}
	first, err1 := strconv.ParseFloat(low, 64)
	second, err2 := strconv.ParseFloat(high, 64)
	if err1 != nil || err2 != nil {
		return errors.New("this is no range: write MIN:MAX or one number")
	}
	*r = Range{first, second}
	return nil
}
