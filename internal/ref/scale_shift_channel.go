package ref

// ScaleShiftChannel returns x·k + s with one k and one s per image and channel:
// x [B,C,H,W], k and s [B,C]. It is how a prior vector modulates the latent level.
func ScaleShiftChannel(x, k, s *Array) *Array {
	plane := scaleShiftSizes(x, k, s)
	out := New(x.Shape...)
	for i, v := range x.Data {
		out.Data[i] = v*k.Data[i/plane] + s.Data[i/plane]
	}
	return out
}

// ScaleShiftChannelBackward is the vector–Jacobian product of [ScaleShiftChannel].
func ScaleShiftChannelBackward(x, k, s, gradOut *Array) (dx, dk, ds *Array) {
	plane := scaleShiftSizes(x, k, s)
	expect("scale_shift_channel", "gradOut", gradOut, x.Shape...)
	dx, dk, ds = New(x.Shape...), New(k.Shape...), New(s.Shape...)
	for i, g := range gradOut.Data {
		dx.Data[i] = g * k.Data[i/plane]
		dk.Data[i/plane] += g * x.Data[i]
		ds.Data[i/plane] += g
	}
	return dx, dk, ds
}

// scaleShiftSizes checks the inputs and returns H·W.
func scaleShiftSizes(x, k, s *Array) (plane int) {
	b, c, h, w := image("scale_shift_channel", "x", x)
	expect("scale_shift_channel", "k", k, b, c)
	expect("scale_shift_channel", "s", s, b, c)
	return h * w
}
