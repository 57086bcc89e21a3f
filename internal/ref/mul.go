package ref

// Mul returns a · b, elementwise. PyTorch: torch.mul.
func Mul(a, b *Array) *Array {
	expectPair("mul", a, b)
	return zip(a, b, func(a, b float64) float64 { return a * b })
}

// MulBackward returns ∂a = gradOut · b and ∂b = gradOut · a.
func MulBackward(a, b, gradOut *Array) (da, db *Array) {
	return Mul(gradOut, b), Mul(gradOut, a)
}
