package ref

// Add returns a + b, elementwise. PyTorch: torch.add.
func Add(a, b *Array) *Array {
	expectPair("add", a, b)
	return zip(a, b, func(a, b float64) float64 { return a + b })
}

// AddBackward returns ∂a = ∂b = gradOut.
func AddBackward(a, b, gradOut *Array) (da, db *Array) {
	expectPair("add", a, b)
	expect("add", "gradOut", gradOut, a.Shape...)
	return From(gradOut.Data, a.Shape...), From(gradOut.Data, a.Shape...)
}

// expectPair panics unless a and b have one shape.
func expectPair(op string, a, b *Array) {
	expectSome(op, "a", a, 0)
	expect(op, "b", b, a.Shape...)
}
