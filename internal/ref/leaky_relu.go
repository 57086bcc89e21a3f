package ref

// LeakyReLU returns x where x > 0, and slope·x elsewhere. PyTorch: F.leaky_relu.
func LeakyReLU(x *Array, slope float64) *Array {
	expectSome("leaky_relu", "x", x, 0)
	return LeakyReLUBackward(x, x, slope) // the function is x times its own derivative
}

// LeakyReLUBackward scales gradOut by 1 where x > 0, and by slope elsewhere.
func LeakyReLUBackward(x, gradOut *Array, slope float64) *Array {
	expectSome("leaky_relu", "x", x, 0)
	expect("leaky_relu", "gradOut", gradOut, x.Shape...)
	return zip(x, gradOut, func(x, g float64) float64 {
		if x > 0 {
			return g
		}
		return slope * g
	})
}
