package ref

// GELUGate halves the channels of x [B,2C,H,W] into x1, x2 and returns
// gelu(x1)·x2 [B,C,H,W]: the gate of the GDFN feed-forward (Restormer, section 3.2).
func GELUGate(x *Array) *Array {
	x1, x2 := halves("gelu_gate", x)
	return Mul(GELU(x1), x2)
}

// GELUGateBackward is the vector–Jacobian product of [GELUGate].
func GELUGateBackward(x, gradOut *Array) *Array {
	x1, x2 := halves("gelu_gate", x)
	expect("gelu_gate", "gradOut", gradOut, x1.Shape...)
	dgate, dx2 := MulBackward(GELU(x1), x2, gradOut)
	return ConcatChannel(GELUBackward(x1, dgate), dx2)
}

func halves(op string, x *Array) (x1, x2 *Array) {
	b, c, h, w := image(op, "x", x)
	if c%2 != 0 {
		panic(&Error{op, "x", describe(x), "an even number of channels"})
	}
	half := New(b, c/2, h, w)
	return ConcatChannelBackward(half, half, x)
}
