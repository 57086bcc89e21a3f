package metrics

// iterations is how often the RealBlur benchmark has the alignment improved, with no tolerance to end it sooner.
const iterations = 100

// still is the movement of the corners, in pixels, at which further iterations are spared: the score's
// warp rounds to 1/32 of a pixel.
const still = 1e-6

// findHomography maximises the enhanced correlation coefficient of the template T and the warped image I
// (Evangelidis and Psarakis, PAMI 2008). cv2.findTransformECC(T, I, eye(3), MOTION_HOMOGRAPHY,
// 100 iterations, eps 0, no mask, gaussFiltSize 5).
//
// It departs from OpenCV in one thing: places are not rounded to 1/32 of a pixel, nor matrices to float32. That
// rounding makes OpenCV wander about the answer by hundredths of a pixel, and differently with every instruction set.
// The mask still changes by whole pixels, so that some pairs never settle, in OpenCV or here: then
// the hundredth iteration is the answer.
func findHomography(template, image grid) (homography, error) {
	template = blur(template)
	slopes := differentiate(blur(image))
	h := homography{0: 1, 4: 1, 8: 1}
	for i := range iterations {
		change, problem := eccStep(template, slopes, &h)
		if problem != "" {
			return h, &AlignmentError{i + 1, problem}
		}
		last := h
		h.add(change)
		if h.shift(&last, template.width, template.height) < still {
			break
		}
	}
	return h, nil
}

// eccStep is one iteration: how the parameters of h should change, or why there is no telling.
func eccStep(template grid, image field, h *homography) (change vector, problem string) {
	rows := make([]rowSums, template.height)
	inBands(template.height, func(from, to int) {
		warped := newWarpedRow(template.width)
		for y := from; y < to; y++ {
			warped.read(image, template.row(y), h, y)
			rows[y] = warped.sums()
		}
	})
	var e equations
	for y := range rows {
		e.add(&rows[y], float64(y))
	}
	return e.solve()
}

// blur averages with [1 4 6 4 1]/16 along both axes; the border mirrors at the outermost pixels.
// cv2.GaussianBlur(ksize 5, sigma 0, BORDER_REFLECT_101).
func blur(g grid) grid {
	across, down := newGrid(g.width, g.height), newGrid(g.width, g.height)
	weigh := func(a, b, c, d, e float64) float64 { return (a + e + 4*(b+d) + 6*c) / 16 }
	inBands(g.height, func(from, to int) {
		for y := from; y < to; y++ {
			src, dst := g.row(y), across.row(y)
			n := len(src)
			for x := 2; x < n-2; x++ {
				dst[x] = weigh(src[x-2], src[x-1], src[x], src[x+1], src[x+2])
			}
			for _, x := range []int{0, 1, n - 2, n - 1} {
				dst[x] = weigh(src[mirror(x-2, n)], src[mirror(x-1, n)], src[x], src[mirror(x+1, n)], src[mirror(x+2, n)])
			}
		}
	})
	inBands(g.height, func(from, to int) {
		for y := from; y < to; y++ {
			row := func(y int) []float64 { return across.row(mirror(y, g.height)) }
			a, b, c, d, e := row(y-2), row(y-1), row(y), row(y+1), row(y+2)
			for x := range c {
				down.row(y)[x] = weigh(a[x], b[x], c[x], d[x], e[x])
			}
		}
	})
	return down
}

// mirror reflects i, less than n outside of 0..n-1, at the outermost pixels' centres.
func mirror(i, n int) int {
	if i < 0 {
		return -i
	}
	if i >= n {
		return 2*n - 2 - i
	}
	return i
}

// field is an image with its derivatives, in a frame of one zero pixel: warping has a constant border of 0.
type field struct {
	width, height int // without the frame
	pix           []sample
}

type sample struct{ value, dx, dy float64 }

// differentiate takes central differences, which vanish along the border's normal. cv2.filter2D with [-0.5, 0, 0.5].
func differentiate(g grid) field {
	f := field{g.width, g.height, make([]sample, (g.width+2)*(g.height+2))}
	inBands(g.height, func(from, to int) {
		for y := from; y < to; y++ {
			row, above, below := g.row(y), g.row(mirror(y-1, g.height)), g.row(mirror(y+1, g.height))
			for x, v := range row {
				f.pix[(y+1)*(g.width+2)+x+1] = sample{
					v, (row[mirror(x+1, g.width)] - row[mirror(x-1, g.width)]) / 2, (below[x] - above[x]) / 2,
				}
			}
		}
	})
	return f
}

// at interpolates linearly, and is zero beyond the frame.
func (f *field) at(u, v float64) (s sample) {
	u, v = u+1, v+1
	if !(u >= 0 && v >= 0 && u < float64(f.width+1) && v < float64(f.height+1)) {
		return s
	}
	x, y := int(u), int(v)
	right, down := u-float64(x), v-float64(y)
	stride := f.width + 2
	top := f.pix[y*stride+x:][:2]
	bottom := f.pix[(y+1)*stride+x:][:2]
	a, b, c, d := (1-right)*(1-down), right*(1-down), (1-right)*down, right*down
	s.value = a*top[0].value + b*top[1].value + c*bottom[0].value + d*bottom[1].value
	s.dx = a*top[0].dx + b*top[1].dx + c*bottom[0].dx + d*bottom[1].dx
	s.dy = a*top[0].dy + b*top[1].dy + c*bottom[0].dy + d*bottom[1].dy
	return s
}
