package ref

import "fmt"

// AdaptiveAvgPool averages x [B,C,H,W] over an n×n grid of windows; window i covers
// rows floor(i·H/n) … ceil((i+1)·H/n)−1, so windows overlap where n does not divide
// H, and repeat where n > H. PyTorch: F.adaptive_avg_pool2d.
func AdaptiveAvgPool(x *Array, n int) *Array {
	b, c, h, w := poolSizes(x, n)
	out := New(b, c, n, n)
	poolPairs(b*c, h, w, n, func(window, pixel int, weight float64) {
		out.Data[window] += weight * x.Data[pixel]
	})
	return out
}

// AdaptiveAvgPoolBackward gives each pixel its share of every window it is in.
func AdaptiveAvgPoolBackward(x, gradOut *Array, n int) *Array {
	b, c, h, w := poolSizes(x, n)
	expect("adaptive_avg_pool", "gradOut", gradOut, b, c, n, n)
	dx := New(x.Shape...)
	poolPairs(b*c, h, w, n, func(window, pixel int, weight float64) {
		dx.Data[pixel] += weight * gradOut.Data[window]
	})
	return dx
}

// poolPairs calls visit for every window and every pixel in it; weight is one over
// the window's number of pixels.
func poolPairs(planes, h, w, n int, visit func(window, pixel int, weight float64)) {
	for p := range planes {
		for i := range n {
			y0, y1 := i*h/n, ((i+1)*h+n-1)/n
			for j := range n {
				x0, x1 := j*w/n, ((j+1)*w+n-1)/n
				weight := 1 / float64((y1-y0)*(x1-x0))
				for y := y0; y < y1; y++ {
					for x := x0; x < x1; x++ {
						visit((p*n+i)*n+j, (p*h+y)*w+x, weight)
					}
				}
			}
		}
	}
}

func poolSizes(x *Array, n int) (b, c, h, w int) {
	if n < 1 {
		panic(&Error{"adaptive_avg_pool", "out", fmt.Sprint(n), "at least 1"})
	}
	return image("adaptive_avg_pool", "x", x)
}
