package checkpoint

import "math"

// smallFloat is an IEEE-style 16-bit format: a sign, exp exponent bits, man
// mantissa bits.
type smallFloat struct{ exp, man int }

var (
	float16  = smallFloat{exp: 5, man: 10}
	bfloat16 = smallFloat{exp: 8, man: 7}
)

// pack rounds x to nearest, ties to even, in one step: going through float32
// first would round twice.
func (f smallFloat) pack(x float64) uint16 {
	const man64 = 52
	bits := math.Float64bits(x)
	sign := uint16(bits>>63) << 15
	inf := uint16(1<<f.exp-1) << f.man
	switch {
	case math.IsNaN(x):
		return sign | inf | 1<<(f.man-1)
	case math.IsInf(x, 0):
		return sign | inf
	}
	bias := 1<<(f.exp-1) - 1
	exponent := int(bits>>man64&0x7ff) - 1023
	mantissa := bits&(1<<man64-1) | 1<<man64
	shift := man64 - f.man
	biased := exponent + bias
	if biased < 1 { // a subnormal: fewer mantissa bits
		shift += 1 - biased
		biased = 1
	}
	if shift > man64+1 { // less than half of the smallest subnormal
		return sign
	}
	kept, rest, half := mantissa>>shift, mantissa&(1<<shift-1), uint64(1)<<(shift-1)
	if rest > half || rest == half && kept&1 == 1 {
		kept++
	}
	// The implicit one of kept carries into the exponent, and so does rounding.
	packed := uint64(biased-1)<<f.man + kept
	if packed >= uint64(inf) {
		return sign | inf
	}
	return sign | uint16(packed)
}

func (f smallFloat) unpack(h uint16) float64 {
	bias := 1<<(f.exp-1) - 1
	exponent := int(h>>f.man) & (1<<f.exp - 1)
	mantissa := int(h) & (1<<f.man - 1)
	var v float64
	switch exponent {
	case 0:
		v = math.Ldexp(float64(mantissa), 1-bias-f.man)
	case 1<<f.exp - 1:
		v = math.Inf(1)
		if mantissa != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(float64(mantissa|1<<f.man), exponent-bias-f.man)
	}
	if h>>15 == 1 {
		return -v
	}
	return v
}
