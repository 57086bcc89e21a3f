package ref

// Mean returns the mean of all elements, shape [1]. PyTorch: torch.mean.
func Mean(x *Array) *Array {
	expectSome("mean", "x", x, 0)
	sum := 0.0
	for _, v := range x.Data {
		sum += v
	}
	return From([]float64{sum / float64(len(x.Data))}, 1)
}

// MeanBackward spreads gradOut [1] evenly over x.
func MeanBackward(x, gradOut *Array) *Array {
	expectSome("mean", "x", x, 0)
	expect("mean", "gradOut", gradOut, 1)
	dx := New(x.Shape...)
	for i := range dx.Data {
		dx.Data[i] = gradOut.Data[0] / float64(len(x.Data))
	}
	return dx
}
