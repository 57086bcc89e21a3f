package ref

import "fmt"

// ReflectPadRightBottom extends x [B,C,H,W] to [B,C,H+bottom,W+right] by mirroring
// about the last column and row, which are not repeated; right < W and bottom < H.
// PyTorch: F.pad(x, (0, right, 0, bottom), "reflect").
func ReflectPadRightBottom(x *Array, right, bottom int) *Array {
	b, c, h, w := padSizes(x, right, bottom)
	out := New(b, c, h+bottom, w+right)
	padPairs(b*c, h, w, right, bottom, func(o, i int) { out.Data[o] = x.Data[i] })
	return out
}

// ReflectPadRightBottomBackward adds the gradient of each copy to its original.
func ReflectPadRightBottomBackward(x, gradOut *Array, right, bottom int) *Array {
	b, c, h, w := padSizes(x, right, bottom)
	expect("reflect_pad_right_bottom", "gradOut", gradOut, b, c, h+bottom, w+right)
	dx := New(x.Shape...)
	padPairs(b*c, h, w, right, bottom, func(o, i int) { dx.Data[i] += gradOut.Data[o] })
	return dx
}

func padSizes(x *Array, right, bottom int) (b, c, h, w int) {
	b, c, h, w = image("reflect_pad_right_bottom", "x", x)
	if right < 0 || right >= w || bottom < 0 || bottom >= h {
		panic(&Error{"reflect_pad_right_bottom", "right, bottom", fmt.Sprintf("%d, %d", right, bottom),
			fmt.Sprintf("at least 0 and less than the width and height of %v", x.Shape)})
	}
	return b, c, h, w
}

// padPairs visits every element o of the padded image with the element i it copies.
func padPairs(planes, h, w, right, bottom int, visit func(o, i int)) {
	o := 0
	for p := range planes {
		for y := range h + bottom {
			for x := range w + right {
				visit(o, (p*h+mirror(y, h))*w+mirror(x, w))
				o++
			}
		}
	}
}

// mirror folds i back at the last index, n−1.
func mirror(i, n int) int { return n - 1 - abs(n-1-i) }

func abs(i int) int { return max(i, -i) }
