package ref

import "math"

// GELU returns x·Φ(x), Φ the normal distribution function (the exact form with erf).
// PyTorch: F.gelu.
func GELU(x *Array) *Array {
	expectSome("gelu", "x", x, 0)
	return apply(x, func(x float64) float64 { return gelu(x) })
}

// GELUBackward uses the derivative Φ(x) + x·φ(x).
func GELUBackward(x, gradOut *Array) *Array {
	expectSome("gelu", "x", x, 0)
	expect("gelu", "gradOut", gradOut, x.Shape...)
	return zip(x, gradOut, func(x, g float64) float64 { return g * geluSlope(x) })
}

func gelu(x float64) float64 { return x * normalCDF(x) }

func geluSlope(x float64) float64 {
	return normalCDF(x) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
}

// normalCDF is ½(1 + erf(x/√2)), written so that the far left tail keeps its digits.
func normalCDF(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
