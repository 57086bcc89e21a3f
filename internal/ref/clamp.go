package ref

// Clamp limits every element to [lo, hi]. PyTorch: torch.clamp.
func Clamp(x *Array, lo, hi float64) *Array {
	expectSome("clamp", "x", x, 0)
	return apply(x, func(x float64) float64 { return min(max(x, lo), hi) })
}

// ClampBackward passes gradOut where lo ≤ x ≤ hi, both ends included.
func ClampBackward(x, gradOut *Array, lo, hi float64) *Array {
	expectSome("clamp", "x", x, 0)
	expect("clamp", "gradOut", gradOut, x.Shape...)
	return zip(x, gradOut, func(x, g float64) float64 {
		if x < lo || x > hi {
			return 0
		}
		return g
	})
}
