package metrics

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The metrics once more, from their definitions, slowly.

func randomImage(width, height, channels int, seed uint64) Image {
	m := Image{make([]uint8, width*height*channels), width, height, channels}
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range m.Pix {
		m.Pix[i] = uint8(r.UintN(256))
	}
	return m
}

// rgb is a picture as cv2.imread(path, cv2.IMREAD_COLOR) reads it.
func rgb(m Image) Image {
	if m.Channels == 3 {
		return m
	}
	out := Image{nil, m.Width, m.Height, 3}
	for _, v := range m.Pix {
		out.Pix = append(out.Pix, v, v, v)
	}
	return out
}

func clamp(i, n int) int { return min(max(i, 0), n-1) }

type values func(y, x, z int) float64

// stack is a pair of height×width×depth values, seen through a Gaussian of 11×11×taps. Edges are repeated.
type stack struct {
	a, b                       values
	height, width, depth, taps int
	peak                       float64
}

func (s stack) ssim(y, x, z int) float64 {
	type point struct{ weight, a, b float64 }
	var points []point
	norm, meanA, meanB := 0.0, 0.0, 0.0
	for dy := -5; dy <= 5; dy++ {
		for dx := -5; dx <= 5; dx++ {
			for dz := -(s.taps / 2); dz <= s.taps/2; dz++ {
				v, u, t := clamp(y+dy, s.height), clamp(x+dx, s.width), clamp(z+dz, s.depth)
				p := point{math.Exp(-float64(dy*dy+dx*dx+dz*dz) / 4.5), s.a(v, u, t), s.b(v, u, t)}
				points = append(points, p)
				norm += p.weight
				meanA += p.weight * p.a
				meanB += p.weight * p.b
			}
		}
	}
	meanA, meanB = meanA/norm, meanB/norm
	varA, varB, cov := 0.0, 0.0, 0.0
	for _, p := range points {
		varA += p.weight / norm * (p.a - meanA) * (p.a - meanA)
		varB += p.weight / norm * (p.b - meanB) * (p.b - meanB)
		cov += p.weight / norm * (p.a - meanA) * (p.b - meanB)
	}
	c1, c2 := math.Pow(0.01*s.peak, 2), math.Pow(0.03*s.peak, 2)
	return (2*meanA*meanB + c1) * (2*cov + c2) / ((meanA*meanA + meanB*meanB + c1) * (varA + varB + c2))
}

// mean is the mean SSIM of all places but a border.
func (s stack) mean(border int) float64 {
	total := 0.0
	for y := border; y < s.height-border; y++ {
		for x := border; x < s.width-border; x++ {
			for z := range s.depth {
				total += s.ssim(y, x, z)
			}
		}
	}
	return total / float64((s.height-2*border)*(s.width-2*border)*s.depth)
}

func naivePSNR(a, b values, height, width, depth int) float64 {
	squares := 0.0
	for y := range height {
		for x := range width {
			for z := range depth {
				squares += math.Pow(a(y, x, z)-b(y, x, z), 2)
			}
		}
	}
	return 20*math.Log10(255) - 10*math.Log10(squares/float64(height*width*depth))
}

func naiveLuma(m Image, y, x int) float64 {
	p := m.Pix[(y*m.Width+x)*3:]
	return 0.256788*float64(p[0]) + 0.504129*float64(p[1]) + 0.097906*float64(p[2]) + 16
}

func TestAgainstDefinitions(t *testing.T) {
	for _, size := range [][2]int{{11, 11}, {12, 17}, {23, 14}} {
		for _, channels := range []int{1, 3} {
			a, b := randomImage(size[0], size[1], channels, 1), randomImage(size[0], size[1], channels, 2)
			for i := range b.Pix { // somewhat alike
				b.Pix[i] = uint8((int(a.Pix[i])*2 + int(b.Pix[i])) / 3)
			}
			value := func(m Image, crop int) values {
				return func(y, x, z int) float64 { return float64(m.Pix[((y+crop)*m.Width+x+crop)*channels+z]) }
			}
			require := require.New(t)
			check := func(want float64) func(got float64, err error) {
				return func(got float64, err error) {
					t.Helper()
					require.NoError(err)
					near(t, want, got, 1e-12*max(1, math.Abs(want)), "")
				}
			}
			w, h := a.Width, a.Height
			check(naivePSNR(value(a, 0), value(b, 0), h, w, channels))(PSNR(a, b, Options{}))
			check(naivePSNR(value(a, 0), value(b, 0), h, w, channels))(MatlabPSNR(a, b))
			check(naivePSNR(value(a, 3), value(b, 3), h-6, w-6, channels))(PSNR(a, b, Options{CropBorder: 3}))
			check(stack{value(a, 0), value(b, 0), h, w, channels, 1, 255}.mean(5))(SSIM(a, b, Options{}))
			check(stack{value(a, 0), value(b, 0), h, w, channels, 11, 255}.mean(0))(MatlabSSIM(a, b))
			if min(w, h) >= 13 {
				check(stack{value(a, 1), value(b, 1), h - 2, w - 2, channels, 1, 255}.mean(5))(SSIM(a, b, Options{CropBorder: 1}))
			}
			luma := func(m Image) values {
				m = rgb(m)
				return func(y, x, _ int) float64 { return naiveLuma(m, y, x) }
			}
			got, err := PSNR(a, b, Options{YChannel: true})
			require.NoError(err)
			near(t, naivePSNR(luma(a), luma(b), h, w, 1), got, 2e-5, "PSNR of Y")
			got, err = SSIM(a, b, Options{YChannel: true})
			require.NoError(err)
			near(t, stack{luma(a), luma(b), h, w, 1, 1, 255}.mean(5), got, 1e-6, "SSIM of Y")
		}
	}
}

func TestMatlabSSIMOfTinyImages(t *testing.T) { // it repeats edges as often as it must
	a, b := randomImage(2, 3, 3, 1), randomImage(2, 3, 3, 2)
	value := func(m Image) values {
		return func(y, x, z int) float64 { return float64(m.Pix[(y*2+x)*3+z]) }
	}
	near(t, stack{value(a), value(b), 3, 2, 3, 11, 255}.mean(0), must(MatlabSSIM(a, b)), 1e-12, "SSIM")
}

func TestMaskedScoreAgainstItsDefinition(t *testing.T) {
	const width, height = 31, 26
	result, target := randomImage(width, height, 3, 1), randomImage(width, height, 3, 2)
	h := homography{1, 0.1, -9.3, 0.05, 1, 8.6, 0, 0, 1} // leaves a good part of the target uncovered
	got, err := scoreAligned(result, target, 0.9, h)
	require.NoError(t, err)

	warped, mask := warpCubic(result, 0.9, h)
	s := stack{height: height, width: width, depth: 3, taps: 1, peak: 1}
	s.a = func(y, x, z int) float64 { return warped[z].pix[y*width+x] * mask.pix[y*width+x] }
	s.b = func(y, x, z int) float64 {
		return float64(target.Pix[(y*width+x)*3+z]) / 255 * mask.pix[y*width+x]
	}
	squares, ssim, all, inner := 0.0, 0.0, 0.0, 0.0
	for y := range height {
		for x := range width {
			m := mask.pix[y*width+x]
			for z := range 3 {
				all += m
				squares += m * math.Pow(s.a(y, x, z)-s.b(y, x, z), 2)
				if y >= 5 && x >= 5 && y < height-5 && x < width-5 {
					inner += m
					ssim += m * s.ssim(y, x, z)
				}
			}
		}
	}
	require.Less(t, inner, 0.8*3*(height-10)*(width-10))
	near(t, -10*math.Log10(squares/all), got.PSNR, 1e-10, "PSNR")
	near(t, ssim/inner, got.SSIM, 1e-12, "SSIM")

	h[2] = 1000
	_, err = scoreAligned(result, target, 0.9, h)
	var problem *AlignmentError
	require.ErrorAs(t, err, &problem)
}
