package synth

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

func TestLevelsAreRoundedExactly(t *testing.T) {
	r := rounded()
	for i, v := range linear8() {
		require.Equal(t, uint16(i), r.level(v))
	}
	toSRGB := func(v float64) float64 {
		if v <= 0.0031308 {
			return 12.92 * v
		}
		return 1.055*math.Pow(v, 1/2.4) - 0.055
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100000 {
		v := math.Pow(rng.Float64(), 3)
		want := 255 * toSRGB(v)
		if math.Abs(want-math.Floor(want)-0.5) > 1e-3 {
			require.Equal(t, uint16(math.Round(want)), r.level(float32(v)), v)
		}
	}
	require.Equal(t, uint16(0), r.level(-1))
	require.Equal(t, uint16(0), r.level(float32(math.NaN())))
	require.Equal(t, uint16(255), r.level(7))
}

func TestDevelop(t *testing.T) {
	p := town(31, 23, 1)
	b := Box{3, 2, 9, 7}
	at := func(x, y, c int) float64 { return toLinear(float64(p.Pix[3*(y*31+x)+c]) / 255) }
	same, half := develop(p, b, 1), develop(p, b, 2)
	for y := range b.Height {
		for x := range b.Width {
			for c := range 3 {
				near(t, at(x+3, y+2, c), float64(same.row(y)[3*x+c]), 1e-6)
				u, v := 2*(x+3), 2*(y+2)
				mean := (at(u, v, c) + at(u+1, v, c) + at(u, v+1, c) + at(u+1, v+1, c)) / 4
				near(t, mean, float64(half.row(y)[3*x+c]), 1e-6)
			}
		}
	}

	// Any factor: the whole of a photo has the mean of it, and grey and 16 bits are what they are.
	mean := func(m image) (sum float64) {
		for _, v := range m.pix {
			sum += float64(v)
		}
		return sum / float64(len(m.pix))
	}
	for _, n := range []int{31 * 2, 31 * 3} {
		wide := town(n, 40, 2)
		near(t, mean(develop(wide, Box{0, 0, n, 40}, 1)), mean(develop(wide, Box{0, 0, 31, 40 * 31 / n}, float64(n)/31)), 0.02)
	}
	grey := &photo.Photo{Width: 40, Height: 40, Channels: 1, Max: 65535, Pix: make([]uint16, 1600)}
	for i := range grey.Pix {
		grey.Pix[i] = 30000
	}
	for _, v := range develop(grey, Box{1, 1, 20, 20}, 1.7).pix {
		near(t, toLinear(30000.0/65535), float64(v), 1e-6)
	}
	for _, a := range areas(5, 20, 100, 1.37) {
		sum := float32(0)
		for _, w := range a.weights {
			require.Positive(t, w)
			sum += w
		}
		near(t, 1, float64(sum), 1e-6)
	}
}

func TestNoise(t *testing.T) {
	const size = 400
	rng := rand.New(rand.NewPCG(8, 8))
	shot, read := 0.004, 0.0003
	for _, light := range []float64{0, 0.18, 0.7} {
		m := newImage(size, size)
		for i := range m.pix {
			m.pix[i] = float32(light)
		}
		addNoise(m, shot, read, rng)
		want := shot*light + read
		var squares [3][2][2]float64
		var sums [3]float64
		for y := range size {
			for x := range size {
				for c := range 3 {
					d := float64(m.row(y)[3*x+c]) - light
					squares[c][y&1][x&1] += d * d / (size * size / 4)
					sums[c] += d / (size * size)
				}
			}
		}
		// What each pixel measures has all of the variance, means of two half, of four a quarter.
		for c, shares := range [3][2][2]float64{{{1, .5}, {.5, .25}}, {{.25, 1}, {1, .25}}, {{.25, .5}, {.5, 1}}} {
			near(t, 0, sums[c], 4*math.Sqrt(want)/size*2, "mean")
			for y := range 2 {
				for x := range 2 {
					near(t, shares[y][x]*want, squares[c][y][x], 0.04*shares[y][x]*want, light, c, y, x)
				}
			}
		}
	}
}

func TestNoiseLevel(t *testing.T) {
	for _, level := range []float64{0.5, 3, 10} {
		shot, read := noiseOf(level)
		require.Positive(t, read)
		require.Greater(t, shot*midGrey, read)
		rng := rand.New(rand.NewPCG(2, 9))
		m := newImage(301, 301)
		for i := range m.pix {
			m.pix[i] = midGrey
		}
		addNoise(m, shot, read, rng)
		p := m.photo()
		var n, sum, squares float64
		for y := range 301 {
			for x := range 301 {
				v := float64(p.Pix[3*(y*301+x)+bayer(x, y)])
				n, sum, squares = n+1, sum+v, squares+v*v
			}
		}
		deviation := math.Sqrt(squares/n - sum/n*sum/n)
		near(t, level, deviation, 0.04*level+0.1, "rounding adds a little") // 1/12 in variance
	}
	shot, read := noiseOf(0)
	require.Zero(t, shot+read)
	m := noisy(5, 5)
	addNoise(m, 0, 0, nil)
	require.Equal(t, noisy(5, 5), m)
	for _, size := range [][2]int{{1, 1}, {1, 7}, {2, 3}} { // borders are mirrored
		m := newImage(size[0], size[1])
		addNoise(m, 0.01, 0.01, rand.New(rand.NewPCG(1, 1)))
		for _, v := range m.pix {
			require.NotZero(t, v)
		}
	}
}
