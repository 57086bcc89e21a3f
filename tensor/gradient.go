package tensor

// accumulate adds to the gradients of s.Weight and s.Bias those of the rows of
// a band: x is what the weight multiplies, LayerNorm and modulation applied,
// and for a convolution the band with its halo, as convolve takes it; dy is
// the gradient of the band's outputs, in s.OutParts (a convolution's before
// any pixel shuffle, in one part). Frozen parameters cost nothing.
func (s LinearSpec) accumulate(x, dy *Tensor, b band) { panic("not written yet") }

// outer sums a[r, i]*b[r, j] over the rows r of each of images equal runs of
// rows: [images, a.width, b.width], as stored, the padding's products zero.
func outer(a, b *Tensor, images int) *Tensor { panic("not written yet") }

// columnSums sums the rows of each of images equal runs of rows:
// [images, a.width] in a's parts.
func columnSums(a *Tensor, images int) *Tensor { panic("not written yet") }
