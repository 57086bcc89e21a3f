package ref

// Convolutions here are PyTorch's F.conv2d: cross-correlation, stride 1, zero padding
// of half a kernel, so that the image keeps its size. b may be nil: no bias.

// Conv1x1 returns the 1×1 convolution of x [B,C,H,W] with w [O,C,1,1] and b [O].
func Conv1x1(x, w, b *Array) *Array { return conv("conv1x1", x, w, b, 1, false) }

// Conv1x1Backward is the vector–Jacobian product of [Conv1x1]; db is nil without b.
func Conv1x1Backward(x, w, b, gradOut *Array) (dx, dw, db *Array) {
	return convBackward("conv1x1", x, w, b, gradOut, 1, false)
}

// Conv3x3 returns the 3×3 convolution (padding 1) of x [B,C,H,W] with w [O,C,3,3] and b [O].
func Conv3x3(x, w, b *Array) *Array { return conv("conv3x3", x, w, b, 3, false) }

// Conv3x3Backward is the vector–Jacobian product of [Conv3x3]; db is nil without b.
func Conv3x3Backward(x, w, b, gradOut *Array) (dx, dw, db *Array) {
	return convBackward("conv3x3", x, w, b, gradOut, 3, false)
}

// DWConv3x3 convolves each channel of x [B,C,H,W] with its own 3×3 kernel (padding 1):
// w [C,1,3,3], b [C].
func DWConv3x3(x, w, b *Array) *Array { return conv("dwconv3x3", x, w, b, 3, true) }

// DWConv3x3Backward is the vector–Jacobian product of [DWConv3x3]; db is nil without b.
func DWConv3x3Backward(x, w, b, gradOut *Array) (dx, dw, db *Array) {
	return convBackward("dwconv3x3", x, w, b, gradOut, 3, true)
}

func conv(op string, x, w, b *Array, kernel int, depthwise bool) *Array {
	s := newConvSizes(op, x, w, b, kernel, depthwise)
	out := New(s.batch, s.out, s.h, s.w)
	if b != nil {
		for i := range out.Data {
			out.Data[i] = b.Data[i/(s.h*s.w)%s.out]
		}
	}
	s.runs(func(o, i, k, n int) {
		for p := range n {
			out.Data[o+p] += w.Data[k] * x.Data[i+p]
		}
	})
	return out
}

func convBackward(op string, x, w, b, gradOut *Array, kernel int, depthwise bool) (dx, dw, db *Array) {
	s := newConvSizes(op, x, w, b, kernel, depthwise)
	expect(op, "gradOut", gradOut, s.batch, s.out, s.h, s.w)
	dx, dw = New(x.Shape...), New(w.Shape...)
	if b != nil {
		db = New(b.Shape...)
		for i, g := range gradOut.Data {
			db.Data[i/(s.h*s.w)%s.out] += g
		}
	}
	s.runs(func(o, i, k, n int) {
		for p := range n {
			dx.Data[i+p] += w.Data[k] * gradOut.Data[o+p]
			dw.Data[k] += x.Data[i+p] * gradOut.Data[o+p]
		}
	})
	return dx, dw, db
}

type convSizes struct {
	batch, in, out, h, w int
	kernel               int
	perOut               int // input channels that one output channel reads: all, or 1 if depthwise
}

func newConvSizes(op string, x, w, b *Array, kernel int, depthwise bool) convSizes {
	n, c, height, width := image(op, "x", x)
	s := convSizes{batch: n, in: c, h: height, w: width, kernel: kernel, perOut: c}
	if depthwise {
		expect(op, "w", w, c, 1, kernel, kernel)
		s.perOut = 1
	} else {
		expect(op, "w", w, anySize, c, kernel, kernel)
	}
	s.out = w.Shape[0]
	if b != nil {
		expect(op, "b", b, s.out)
	}
	return s
}

// runs visits every product of the convolution, in runs along image rows:
// out[o+p] += w[k]·x[i+p] for p < n.
func (s convSizes) runs(visit func(o, i, k, n int)) {
	for row := range s.batch * s.out * s.h {
		y, oc, image := row%s.h, row/s.h%s.out, row/s.h/s.out
		for c := range s.perOut {
			ic := c
			if s.perOut != s.in { // depthwise
				ic = oc
			}
			for ky := range s.kernel {
				iy := y + ky - s.kernel/2
				if iy < 0 || iy >= s.h {
					continue
				}
				for kx := range s.kernel {
					dx := kx - s.kernel/2
					x0, x1 := max(0, -dx), min(s.w, s.w-dx) // where x+dx lies in the image
					if x0 >= x1 {
						continue
					}
					o := row*s.w + x0
					i := ((image*s.in+ic)*s.h+iy)*s.w + x0 + dx
					k := ((oc*s.perOut+c)*s.kernel+ky)*s.kernel + kx
					visit(o, i, k, x1-x0)
				}
			}
		}
	}
}
