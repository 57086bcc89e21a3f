package autograd

import "hidiff/tensor"

// Attention is x + attn(x), [tensor.Attention.Apply], and consumes x. If the
// prior modulates its LayerNorm, a.QKV is a [tensor.NewModulatedLinear] and
// modulation holds k1 and k2; else modulation is nil.
func Attention(a *tensor.Attention, x, modulation *Variable) *Variable {
	run := func(modulation *tensor.Tensor, f func(a *tensor.Attention)) {
		b := *a
		if modulation != nil {
			b.QKV = a.QKV.Modulated(modulation)
			defer b.QKV.Release()
		}
		f(&b)
	}
	return block("attention", a.Parameters(), x, modulation, func(x, modulation *tensor.Tensor, inPlace bool) (y *tensor.Tensor) {
		run(modulation, func(a *tensor.Attention) { y = a.Apply(x, inPlace) })
		return y
	}, func(x, modulation, dy, dmodulation *tensor.Tensor) (dx *tensor.Tensor) {
		run(modulation, func(a *tensor.Attention) { dx = a.Backward(x, dy, dmodulation) })
		return dx
	})
}
