package ref

import "fmt"

// PixelShuffle moves channels into space: x [B,C·r²,H,W] → [B,C,H·r,W·r], with
// out[b,c,y·r+i,x·r+j] = x[b,c·r²+i·r+j,y,x]. PyTorch: F.pixel_shuffle.
func PixelShuffle(x *Array, r int) *Array {
	b, c, h, w := image("pixel_shuffle", "x", x)
	if r < 1 || c%r != 0 || c/r%r != 0 {
		panic(&Error{"pixel_shuffle", "x", describe(x), fmt.Sprintf("channels divisible by r² for r = %d", r)})
	}
	out := New(b, c/(r*r), h*r, w*r)
	shufflePairs(out, r, func(packed, spread int) { out.Data[spread] = x.Data[packed] })
	return out
}

// PixelShuffleBackward is the inverse permutation.
func PixelShuffleBackward(x, gradOut *Array, r int) *Array {
	expect("pixel_shuffle", "gradOut", gradOut, PixelShuffle(x, r).Shape...)
	return PixelUnshuffle(gradOut, r)
}

// PixelUnshuffle inverts [PixelShuffle]: x [B,C,H·r,W·r] → [B,C·r²,H,W].
// PyTorch: F.pixel_unshuffle.
func PixelUnshuffle(x *Array, r int) *Array {
	b, c, h, w := image("pixel_unshuffle", "x", x)
	if r < 1 || h%r != 0 || w%r != 0 {
		panic(&Error{"pixel_unshuffle", "x", describe(x), fmt.Sprintf("height and width divisible by r = %d", r)})
	}
	out := New(b, c*r*r, h/r, w/r)
	shufflePairs(x, r, func(packed, spread int) { out.Data[packed] = x.Data[spread] })
	return out
}

// PixelUnshuffleBackward is the inverse permutation.
func PixelUnshuffleBackward(x, gradOut *Array, r int) *Array {
	expect("pixel_unshuffle", "gradOut", gradOut, PixelUnshuffle(x, r).Shape...)
	return PixelShuffle(gradOut, r)
}

// shufflePairs visits every element of the spread layout [B,C,H·r,W·r] with the index
// of the same element in the packed layout [B,C·r²,H,W].
func shufflePairs(a *Array, r int, visit func(packed, spread int)) {
	bc, h, w := a.Shape[0]*a.Shape[1], a.Shape[2], a.Shape[3]
	for p := range bc {
		for y := range h {
			for x := range w {
				channel := (p*r+y%r)*r + x%r
				visit((channel*(h/r)+y/r)*(w/r)+x/r, (p*h+y)*w+x)
			}
		}
	}
}
