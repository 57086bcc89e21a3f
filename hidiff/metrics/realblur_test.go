package metrics

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// pattern is a smooth picture, known between the pixels too.
func pattern(u, v float64, c int) float64 {
	k := float64(c)
	return 120 + 50*math.Sin(u/7+k)*math.Cos(v/9) + 35*math.Sin((u+2*v)/23+2*k) + 25*math.Cos((v-u)/5)
}

// picture is the pattern as seen through h, its brightness multiplied by gain.
func picture(width, height, channels int, h homography, gain float64) Image {
	m := Image{make([]uint8, width*height*channels), width, height, channels}
	for i := range m.Pix {
		p := i / channels
		u, v := h.at(float64(p%width), float64(p/width))
		m.Pix[i] = uint8(min(max(math.Round(gain*pattern(u, v, i%channels)), 0), 255))
	}
	return m
}

var identity = homography{0: 1, 4: 1, 8: 1}

func TestRealBlurFindsTheHomography(t *testing.T) {
	for _, channels := range []int{1, 3} {
		for _, h := range []homography{
			identity,
			{1, 0, 1.7, 0, 1, -2.3, 0, 0, 1},
			{1.01, 0.004, -0.8, -0.006, 0.99, 1.1, 2e-5, -1e-5, 1},
		} {
			result, target := picture(150, 110, channels, identity, 0.8), picture(150, 110, channels, h, 1)
			s, err := RealBlur(result, target)
			require.NoError(t, err)
			found := homography(s.Homography)
			near(t, 0, found.shift(&h, 150, 110), 0.2, "corners") // the border, zero outside, sways it
			require.Greater(t, s.PSNR, 45.0)
			require.Greater(t, s.SSIM, 0.995)
			if h != identity {
				require.Less(t, must(PSNR(result, target, Options{})), 25.0, "without alignment")
			}
		}
	}
}

func TestRealBlurReportsWhatItCannotAlign(t *testing.T) {
	flat := func(value uint8) Image {
		m := randomImage(30, 20, 3, 1)
		for i := range m.Pix {
			m.Pix[i] = value
		}
		return m
	}
	stripes := picture(30, 20, 3, homography{1, 0, 0, 0, 0, 0, 0, 0, 1}, 1)
	good := picture(30, 20, 3, identity, 1)
	negative := good
	negative.Pix = nil
	for _, v := range good.Pix {
		negative.Pix = append(negative.Pix, 255-v)
	}
	for name, pair := range map[string][2]Image{
		"black result": {flat(0), good},
		"black target": {good, flat(0)},
		"flat result":  {flat(77), good},
		"flat target":  {good, flat(77)},
		"both flat":    {flat(77), flat(77)},
		"stripes":      {stripes, stripes},
		"negative":     {negative, good},
	} {
		_, err := RealBlur(pair[0], pair[1])
		var problem *AlignmentError
		require.ErrorAs(t, err, &problem, name)
		require.ErrorContains(t, err, problem.Reason)
		if name == "black result" {
			require.Zero(t, problem.Iteration)
		} else {
			require.ErrorContains(t, err, "iteration 1")
		}
	}
}

// naiveStep is an iteration as OpenCV writes it, with the whole Jacobian, on blurred images. Outside of the image all is zero.
func naiveStep(template, image grid, h homography) (vector, bool) {
	width, height := image.width, image.height
	get := func(x, y int) (s sample) {
		if x < 0 || y < 0 || x >= width || y >= height {
			return s
		}
		value := func(x, y int) float64 { return image.pix[mirror(y, height)*width+mirror(x, width)] }
		return sample{value(x, y), value(x+1, y)/2 - value(x-1, y)/2, value(x, y+1)/2 - value(x, y-1)/2}
	}
	var jacobian []vector
	var warped, aligned, mask []float64
	for p, t := range template.pix {
		x, y := float64(p%width), float64(p/width)
		den := h[6]*x + h[7]*y + 1
		u, v := (h[0]*x+h[1]*y+h[2])/den, (h[3]*x+h[4]*y+h[5])/den
		var s sample
		for dy := range 2 {
			for dx := range 2 {
				i, j := int(math.Floor(u))+dx, int(math.Floor(v))+dy
				w := (1 - math.Abs(u-float64(i))) * (1 - math.Abs(v-float64(j)))
				n := get(i, j)
				s.value, s.dx, s.dy = s.value+w*n.value, s.dx+w*n.dx, s.dy+w*n.dy
			}
		}
		inside := 0.0
		if math.Round(u) >= 0 && math.Round(v) >= 0 && math.Round(u) < float64(width) && math.Round(v) < float64(height) {
			inside = 1
		}
		a, b := s.dx/den, s.dy/den
		c := -a*u - b*v
		jacobian = append(jacobian, vector{a * x, b * x, c * x, a * y, b * y, c * y, a, b})
		warped, aligned, mask = append(warped, s.value), append(aligned, t), append(mask, inside)
	}
	inner := func(a, b []float64) (s float64) {
		for i, v := range a {
			s += v * b[i]
		}
		return s
	}
	n, meanI, meanT := inner(mask, mask), inner(mask, warped), inner(mask, aligned)
	for i, inside := range mask {
		warped[i] -= inside * meanI / n
		aligned[i] = inside * (aligned[i] - meanT/n)
	}
	normSq := 0.0
	for i, inside := range mask {
		normSq += inside * warped[i] * warped[i]
	}
	project := func(image []float64) (p vector) {
		for i, j := range jacobian {
			for k, v := range j {
				p[k] += v * image[i]
			}
		}
		return p
	}
	var hessian matrix
	for _, j := range jacobian {
		for k := range j {
			for l := range j {
				hessian[k][l] += j[k] * j[l]
			}
		}
	}
	solve := func(b vector) vector { // Gauss, Jordan
		m := hessian
		for k := range m {
			for r := range m {
				if r != k {
					f := m[r][k] / m[k][k]
					for c := range m {
						m[r][c] -= f * m[k][c]
					}
					b[r] -= f * b[k]
				}
			}
		}
		for k := range b {
			b[k] /= m[k][k]
		}
		return b
	}
	byImage := solve(project(warped))
	gain := inner(aligned, warped) - dot(project(aligned), byImage)
	lambda := (normSq - dot(project(warped), byImage)) / gain
	residual := make([]float64, len(mask))
	for i := range residual {
		residual[i] = lambda*aligned[i] - warped[i]
	}
	return solve(project(residual)), gain > 0
}

func TestAlignmentAgainstItsDefinition(t *testing.T) {
	for _, size := range [][2]int{{24, 17}, {33, 21}, {20, 47}} {
		width, height := size[0], size[1]
		target := picture(width, height, 3, homography{1.01, 0.01, 0.6, -0.02, 0.98, -0.7, 1e-4, -2e-4, 1}, 1).grey(1)
		result := picture(width, height, 3, identity, 0.9).grey(1)
		h := identity
		for range 4 {
			step, ok := naiveStep(blur(target), blur(result), h)
			require.True(t, ok)
			for k, d := range step {
				h[[]int{0, 3, 6, 1, 4, 7, 2, 5}[k]] += d
			}
		}
		found := identity
		slopes, template := differentiate(blur(result)), blur(target)
		for range 4 {
			step, problem := eccStep(template, slopes, &found)
			require.Empty(t, problem)
			found.add(step)
		}
		near(t, 0, found.shift(&h, width, height), 1e-6, "corners") // elimination without pivots is not exact
	}
}

func TestBlurMirrorsAtTheEdge(t *testing.T) {
	g := newGrid(11, 11)
	for i := range g.pix {
		g.pix[i] = pattern(float64(i%11)*3, float64(i/11)*2, 0)
	}
	weights := []float64{1, 4, 6, 4, 1}
	got := blur(g)
	for i := range g.pix {
		want := 0.0
		for dy, a := range weights {
			for dx, b := range weights {
				want += a * b / 256 * g.pix[mirror(i/11+dy-2, 11)*11+mirror(i%11+dx-2, 11)]
			}
		}
		near(t, want, got.pix[i], 1e-12, "blur")
	}
}

func TestFieldFadesToZeroOutside(t *testing.T) {
	g := newGrid(3, 2)
	copy(g.pix, []float64{1, 2, 3, 4, 5, 6})
	f := differentiate(g)
	for _, c := range [][3]float64{ // u, v, value
		{0, 0, 1}, {2, 1, 6}, {0.5, 0.5, 3}, {-0.25, 0, 0.75}, {2.5, 1, 3}, {1, -0.5, 1}, {2.5, 1.5, 1.5},
		{-1, 0, 0}, {3, 0, 0}, {0, 2, 0}, {-5, 0.5, 0}, {1, 1e300, 0}, {math.NaN(), 0, 0}, {math.Inf(1), 0, 0}, {0, math.Inf(-1), 0},
	} {
		near(t, c[2], f.at(c[0], c[1]).value, 1e-15, "value")
	}
}

func TestWarpCubicAgainstItsDefinition(t *testing.T) {
	m := randomImage(13, 12, 3, 5)
	h := homography{1.1, -0.15, -2.1, 0.2, 0.93, -1.3, 3e-3, -2e-3, 1.02}
	channels, mask := warpCubic(m, 0.7, h)
	kernel := func(d float64) float64 { // Keys 1981
		const a = -0.75
		switch d = math.Abs(d); {
		case d <= 1:
			return (a+2)*d*d*d - (a+3)*d*d + 1
		case d < 2:
			return a*d*d*d - 5*a*d*d + 8*a*d - 4*a
		}
		return 0
	}
	reflect := func(i, n int) int {
		for i < 0 || i >= n {
			i = max(-1-i, min(i, 2*n-1-i))
		}
		return i
	}
	outside := 0
	for p := range mask.pix {
		u, v := h.at(float64(p%13), float64(p/13))
		inside := u > -0.5 && v > -0.5 && u < 12.5 && v < 11.5
		require.Equal(t, inside, mask.pix[p] == 1)
		if !inside {
			require.Zero(t, mask.pix[p])
			outside++
		}
		u, v = math.Round(u*32)/32, math.Round(v*32)/32
		for c, g := range channels {
			want := 0.0
			for y := -4; y < 17; y++ {
				for x := -4; x < 18; x++ {
					want += kernel(u-float64(x)) * kernel(v-float64(y)) * float64(m.Pix[(reflect(y, 12)*13+reflect(x, 13))*3+c])
				}
			}
			near(t, mask.pix[p]*want*0.7/255, g.pix[p], 1e-12, "pixel")
		}
	}
	require.Greater(t, outside, 10)
	require.Less(t, outside, 100)
}

func TestGrey(t *testing.T) {
	rgb := Image{[]uint8{255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30}, 4, 1, 3}
	for i, want := range []float64{0.299, 0.587, 0.114, (2.99 + 11.74 + 3.42) / 255} {
		near(t, 2*want, rgb.grey(2).pix[i], 1e-15, "grey of RGB")
	}
	near(t, 3.0/255, Image{[]uint8{3}, 1, 1, 1}.grey(1).pix[0], 1e-15, "grey of grey")
}
