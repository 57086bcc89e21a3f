package ref

// ConcatChannel joins a [B,Ca,H,W] and b [B,Cb,H,W] to [B,Ca+Cb,H,W], a first.
// PyTorch: torch.cat(…, 1).
func ConcatChannel(a, b *Array) *Array {
	n, ca, cb, h, w := concatSizes(a, b)
	out := New(n, ca+cb, h, w)
	ra, rb := ca*h*w, cb*h*w
	for i := range n {
		row := out.Data[i*(ra+rb):]
		copy(row, a.Data[i*ra:(i+1)*ra])
		copy(row[ra:], b.Data[i*rb:(i+1)*rb])
	}
	return out
}

// ConcatChannelBackward splits gradOut [B,Ca+Cb,H,W] at channel Ca.
func ConcatChannelBackward(a, b, gradOut *Array) (da, db *Array) {
	n, ca, cb, h, w := concatSizes(a, b)
	expect("concat_channel", "gradOut", gradOut, n, ca+cb, h, w)
	da, db = New(a.Shape...), New(b.Shape...)
	ra, rb := ca*h*w, cb*h*w
	for i := range n {
		row := gradOut.Data[i*(ra+rb):]
		copy(da.Data[i*ra:(i+1)*ra], row)
		copy(db.Data[i*rb:(i+1)*rb], row[ra:])
	}
	return da, db
}

func concatSizes(a, b *Array) (n, ca, cb, h, w int) {
	n, ca, h, w = image("concat_channel", "a", a)
	expect("concat_channel", "b", b, n, anySize, h, w)
	return n, ca, b.Shape[1], h, w
}
