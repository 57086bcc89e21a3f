package metrics

import "math"

// All three protocols look through the same window: a Gaussian of standard deviation 1.5, cut off at
// 5 pixels and normalised, along every axis.
const (
	radius = 5
	window = 2*radius + 1
)

// gauss holds the window's weights by distance from its centre.
var gauss = func() (w [radius + 1]float64) {
	total := 0.0
	for i := range w {
		w[i] = math.Exp(-float64(i*i) / (2 * 1.5 * 1.5))
		total += w[i]
		if i > 0 {
			total += w[i]
		}
	}
	for i := range w {
		w[i] /= total
	}
	return w
}()

// moments is one row of what SSIM averages over its window. The two variances enter only as their sum.
type moments [4][]float64

const (
	meanA    = iota // a
	meanB           // b
	meanSq          // a² + b²
	meanProd        // a·b
)

func newMoments(width int) (m moments) {
	all := make([]float64, len(m)*width)
	for i := range m {
		m[i], all = all[:width:width], all[width:]
	}
	return m
}

// pairMoments reads the moments of two images of the same size.
func pairMoments(a, b plane) func(y int, m *moments) {
	return func(y int, m *moments) {
		a.read(y, m[meanA])
		b.read(y, m[meanB])
		for x, a := range m[meanA] {
			b := m[meanB][x]
			m[meanSq][x], m[meanProd][x] = a*a+b*b, a*b
		}
	}
}

// meanSSIM is the mean SSIM of values in 0..255.
func meanSSIM(width, height int, read func(y int, m *moments)) float64 {
	rows := make([]float64, height-2*radius)
	eachSSIM(width, height, 255, read, func(y int, ssim []float64) { rows[y] = sum(ssim) })
	return sum(rows) / float64(len(rows)*(width-2*radius))
}

// eachSSIM calls use with rows of the SSIM map, those places where the window lies inside width×height:
//
//	SSIM = (2·μa·μb + C1)·(2·σab + C2) / ((μa² + μb² + C1)·(σa² + σb² + C2)),  C1 = (0.01·peak)², C2 = (0.03·peak)²
//
// with population variances. read gives the rows of the moments. Both are called concurrently, use once
// for every y in 0..height-2·radius-1.
func eachSSIM(width, height int, peak float64, read func(y int, m *moments), use func(y int, ssim []float64)) {
	c1, c2 := 0.01*0.01*peak*peak, 0.03*0.03*peak*peak
	inBands(height-2*radius, func(from, to int) {
		raw, mean := newMoments(width), newMoments(width-2*radius)
		var ring [window]moments // the last rows, averaged along the row
		for i := range ring {
			ring[i] = newMoments(width - 2*radius)
		}
		ssim := make([]float64, width-2*radius)
		for y := from; y < to+2*radius; y++ {
			read(y, &raw)
			for k := range raw {
				averageRow(ring[y%window][k], raw[k])
			}
			if y < from+2*radius {
				continue
			}
			for k := range mean {
				var rows [window][]float64 // oldest first
				for i := range rows {
					rows[i] = ring[(y+1+i)%window][k]
				}
				averageRows(mean[k], &rows)
			}
			square, product := mean[meanSq], mean[meanProd]
			for x, a := range mean[meanA] {
				b := mean[meanB][x]
				ab, aabb := a*b, a*a+b*b
				ssim[x] = (2*ab + c1) * (2*(product[x]-ab) + c2) / ((aabb + c1) * (square[x] - aabb + c2))
			}
			use(y-2*radius, ssim)
		}
	})
}

// averageRow runs the window along src, which is 2·radius longer than dst.
func averageRow(dst, src []float64) {
	for x := range dst {
		s := (*[window]float64)(src[x:])
		dst[x] = gauss[0]*s[5] + gauss[1]*(s[4]+s[6]) + gauss[2]*(s[3]+s[7]) +
			gauss[3]*(s[2]+s[8]) + gauss[4]*(s[1]+s[9]) + gauss[5]*(s[0]+s[10])
	}
}

// averageRows runs the window across rows.
func averageRows(dst []float64, rows *[window][]float64) {
	for i := range rows {
		rows[i] = rows[i][:len(dst)]
	}
	r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 := rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], rows[8], rows[9], rows[10]
	for x := range dst {
		dst[x] = gauss[0]*r5[x] + gauss[1]*(r4[x]+r6[x]) + gauss[2]*(r3[x]+r7[x]) +
			gauss[3]*(r2[x]+r8[x]) + gauss[4]*(r1[x]+r9[x]) + gauss[5]*(r0[x]+r10[x])
	}
}
