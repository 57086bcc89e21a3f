package eval

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Number is a score. In JSON, NaN, which stands for none, is null, and infinity, the PSNR of equal images, is "inf".
type Number float64

var none = Number(math.NaN())

// Known says whether there is a number.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) }

// text is the shortest that reads back as the same number; "" for none.
func (n Number) text() string {
	switch {
	case !n.Known():
		return ""
	case math.IsInf(float64(n), 0):
		return "inf" // errors are never infinite, so PSNR is never -inf
	}
	return strconv.FormatFloat(float64(n), 'g', -1, 64)
}

// Round prints n with some digits after the point; a dash for none.
func (n Number) Round(digits int) string {
	switch {
	case !n.Known():
		return "–"
	case math.IsInf(float64(n), 0):
		return "∞"
	}
	return strconv.FormatFloat(float64(n), 'f', digits, 64)
}

func (n Number) MarshalJSON() ([]byte, error) {
	switch text := n.text(); text {
	case "":
		return []byte("null"), nil
	case "inf":
		return []byte(`"inf"`), nil
	default:
		return []byte(text), nil
	}
}

func (n *Number) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "null":
		*n = none
		return nil
	case `"inf"`:
		*n = Number(math.Inf(1))
		return nil
	}
	var v float64
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("%s is no score", text)
	}
	*n = Number(v)
	return nil
}

// mean is none of no numbers.
func mean(values []Number) Number {
	sum := Number(0)
	for _, v := range values {
		sum += v
	}
	return sum / Number(len(values))
}

// spread is the standard deviation of a sample of several numbers, none of fewer.
func spread(values []Number) Number {
	if len(values) < 2 {
		return none
	}
	m, squares := mean(values), 0.0
	for _, v := range values {
		squares += float64((v - m) * (v - m))
	}
	return Number(math.Sqrt(squares / float64(len(values)-1)))
}
