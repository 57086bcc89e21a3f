package tensor

// prologue returns what s.Weight multiplies: LayerNorm and modulation of x
// [images, ..., In], whose first image is image number image of the
// modulation. It is another owner of x itself where nothing is folded in.
func (s LinearSpec) prologue(x *Tensor, image int) *Tensor { panic("not written yet") }

// prologueBackward returns add + the gradient of x, for the gradient dn of
// prologue(x), and adds to the gradients of Gamma, Beta and, if it is not nil,
// to dmodulation, which is laid out like s.Modulation. add may be nil for zero.
// It consumes nothing.
func (s LinearSpec) prologueBackward(x, dn, add, dmodulation *Tensor, image int) *Tensor {
	panic("not written yet")
}
