package synth

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// slide are the views of a camera that moves to the right evenly, by n-1 pixels in n frames.
func slide(n int) []homography {
	t := &trajectory{}
	c := camera{focal: 500, x: 50, y: 40}
	for i := range t.poses { // frames are in the middle of their times
		t.poses[i][3] = (float64(i)/steps*float64(n) - 0.5) / c.focal
	}
	return c.views(t.during(evenly(n)))
}

func TestTranslationIsTheMeanOfALine(t *testing.T) {
	src := noisy(64, 20)
	region, canvas := Box{10, 10, 64, 20}, Box{14, 14, 40, 12}
	for _, n := range []int{1, 2, 7, 16} {
		out, err := average(t.Context(), scene{light: src}, nil, region, canvas, once(slide(n)))
		require.NoError(t, err)
		for y := range canvas.Height {
			for i := range canvas.Width * 3 {
				want := 0.0
				for k := range n {
					want += float64(src.row(y + 4)[i+12+3*k]) / float64(n)
				}
				near(t, want, float64(out.row(y)[i]), 2e-6, n, y, i)
			}
		}
	}
}

func TestCubicBetweenPixels(t *testing.T) {
	src := noisy(40, 12)
	h := homography{1, 0, 0.5, 0, 1, 0, 0, 0, 1}
	out, err := average(t.Context(), scene{light: src}, nil, Box{0, 0, 40, 12}, Box{3, 3, 30, 6}, once([]homography{h}))
	require.NoError(t, err)
	for i := range 90 {
		r := src.row(5)[i+6:]
		want := (9*float64(r[3]+r[6]) - float64(r[0]+r[9])) / 16
		near(t, want, float64(out.row(2)[i]), 1e-6, i)
	}
}

func TestLightIsKept(t *testing.T) {
	// A window in the dark, all of which stays in view.
	src := newImage(120, 100)
	total := 0.0
	for y := 30; y < 70; y++ {
		for x := 40; x < 80; x++ {
			for c := range 3 {
				v := float32((x*7+y*13+c*29)%17) / 17
				src.row(y)[3*x+c] = v
				total += float64(v)
			}
		}
	}
	tr := &trajectory{}
	for i := range tr.poses {
		s := float64(i)/steps - 0.5
		tr.poses[i] = pose{0.02 * s, 0.02 * s * s, 0.2 * s, 0.01, 0.02 * s}
	}
	views := camera{focal: 400, x: 59.5, y: 49.5}.views(tr.during(evenly(32)))
	out, err := average(t.Context(), scene{light: src}, nil, Box{0, 0, 120, 100}, Box{20, 20, 80, 60}, once(views))
	require.NoError(t, err)
	sum := 0.0
	for _, v := range out.pix {
		sum += float64(v)
	}
	near(t, 1, sum/total, 2e-3, "light")
	require.NotEqual(t, src.crop(Box{20, 20, 80, 60}).pix, out.pix)

	for i := range src.pix {
		src.pix[i] = 0.3
	}
	out, err = average(t.Context(), scene{light: src}, nil, Box{0, 0, 120, 100}, Box{20, 20, 80, 60}, once(views))
	require.NoError(t, err)
	for i, v := range out.pix {
		near(t, 0.3, float64(v), 1e-6, i)
	}
}

func TestLightsStreakAndLeaveNoDarkRims(t *testing.T) {
	lamp := func() image { // white, with a red one beside it
		m := newImage(64, 40)
		for i := range m.pix {
			m.pix[i] = 0.02
		}
		for y := 19; y < 22; y++ {
			for x := 30; x < 33; x++ {
				m.row(y)[3*x], m.row(y)[3*x+1], m.row(y)[3*x+2] = 1, 1, 1
			}
			m.row(y)[3*35] = 1
		}
		return m
	}
	views := slide(16)
	for i := range views { // between pixels
		views[i] = views[i].times(homography{1, 0, -7.5 + 0.37, 0, 1, 0.41, 0, 0, 1})
	}
	blur := func(highlights float64) image {
		s := newScene(lamp(), highlights)
		require.Equal(t, highlights > 1, s.excess != nil)
		out, err := average(t.Context(), s, nil, Box{0, 0, 64, 40}, Box{11, 11, 42, 18}, once(views))
		require.NoError(t, err)
		return out
	}
	dim, bright := blur(1), blur(8)
	gained := 0.0
	for i, v := range bright.pix {
		require.GreaterOrEqual(t, v, dim.pix[i], "lights only add light")
		gained += float64(v - dim.pix[i])
	}
	near(t, 7*9*3, gained, 0.01, "nine pixels, three channels, seven more")

	sharp := newScene(lamp(), 8).sharp(Box{28, 18, 9, 5}).photo()
	require.Equal(t, lamp().crop(Box{28, 18, 9, 5}).photo().Pix, sharp.Pix, "a sharp photo shows the same white")
}

func TestDefocus(t *testing.T) {
	m := newImage(21, 21)
	m.row(10)[3*10+1] = 1
	for _, radius := range []float64{0, 0.01, 0.04, 0.05, 0.5} {
		require.Equal(t, m, defocus(m, radius), "a disc of %v is within its pixel", radius)
	}
	for _, radius := range []float64{0.3, 0.54, 1, 2.7, 6} {
		out := defocus(m, radius)
		sum, moment := 0.0, 0.0
		for y := range 21 {
			for x := range 21 {
				v := float64(out.row(y)[3*x+1])
				d := math.Hypot(float64(x-10), float64(y-10))
				sum += v
				moment += v * d * d
				require.True(t, v == 0 || d < radius+1)
				require.Zero(t, out.row(y)[3*x])
			}
		}
		near(t, 1, sum, 1e-5, radius)
		if radius >= 1 { // a disc's mean square is r²/2, that of pixels a little more
			near(t, radius*radius/2, moment, 0.3, radius)
		}
	}
}
