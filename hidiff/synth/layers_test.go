package synth

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// lively are pairs of strength 6 with two objects.
func lively(crop int) Options {
	o := plain(crop, 6)
	o.Objects, o.ObjectStrength, o.Nearness = Range{2, 2}, Range{10, 20}, Range{2, 3}
	return o
}

// differing returns the share of samples in which two photos differ by more than two levels.
func differing(a, b []uint16) float64 {
	n := 0
	for i := range a {
		if abs(int(a[i])-int(b[i])) > 2 {
			n++
		}
	}
	return float64(n) / float64(len(a))
}

func TestObjectsCoverTheSceneAndMove(t *testing.T) {
	p := town(400, 300, 3)
	still := lively(96)
	still.Tripod, still.Strength, still.ObjectStrength = 1, Range{}, Range{}
	empty := still
	empty.Objects = Range{}
	moved := 0.0
	for i := range 20 {
		bare := makePair(t, empty, p, i)
		calm := makePair(t, still, p, i)
		require.Equal(t, bare.Crop, calm.Crop, "objects change nothing else that is drawn")
		require.NotEmpty(t, calm.Objects)
		covered := differing(bare.Target.Pix, calm.Target.Pix)
		require.Greater(t, covered, 0.005, "objects are seen")
		require.Less(t, covered, 0.9, "and so is the scene")
		require.Less(t, calm.Strength, 1.0)

		lone := still
		lone.ObjectStrength = Range{12, 12}
		pair := makePair(t, lone, p, i)
		require.Equal(t, calm.Target.Pix, pair.Target.Pix, "sharp is where nothing has moved")
		for _, object := range pair.Objects {
			require.Equal(t, 12.0, object.Strength)
		}
		moved += differing(calm.Input.Pix, pair.Input.Pix)
	}
	require.Greater(t, moved/20, 0.05, "objects blur although the camera stands")
}

func TestNearObjectsMoveMoreThanTheScene(t *testing.T) {
	c := camera{focal: 500, x: 50, y: 50}
	rightwards := &trajectory{}
	for i := range rightwards.poses {
		rightwards.poses[i][3] = (float64(i)/steps - 0.5) * 0.02 // 10 pixels
	}
	times := evenly(11)
	poses := rightwards.during(times)
	l := layer{own: &trajectory{}, Object: Object{Box: Box{40, 40, 20, 20}, Nearness: 3}}
	views := l.views(c, poses, times)
	for i, view := range c.views(poses) {
		far, _ := view.apply(50, 50)
		near, y := views[i].apply(50, 50)
		require.InDelta(t, 3*(far-50), near-50, 1e-9)
		require.InDelta(t, 50, y, 1e-9)
	}
}

// What a layer covers is its picture where its mask is 1, the scene where it is 0, and between them in the share of the mask.
func TestCover(t *testing.T) {
	const w, h = 20, 12
	l := layer{scene: scene{light: noisy(w, h)}, mask: make([]float32, w*h)}
	for i := range l.mask {
		l.mask[i] = float32(i%w) / (w - 1)
	}
	dst := make([]float32, 3*w)
	l.cover(dst, shift(0, 0), 5)
	for x := range w {
		for c := range 3 {
			want := l.mask[x] * l.light.row(5)[3*x+c]
			if x < 1 || x >= w-2 { // the interpolation would look beyond
				want = 0
			}
			require.InDelta(t, want, dst[3*x+c], 1e-6, "%d", x)
		}
	}
}

func TestOutlines(t *testing.T) {
	segments := 0
	for i := range uint64(30) {
		p := town(400, 300, i)
		o := lively(96)
		pair := &Pair{Crop: Box{60, 60, 96, 96}, Downscale: 1, Highlights: 1}
		for _, l := range o.place(p, pair, o.random("a", int(i), "scene")) {
			if l.Segment {
				segments++
			}
			most, between := float32(0), 0
			for j, share := range l.mask {
				x, y := j%l.light.width, j/l.light.width
				if x < 2 || y < 2 || x >= l.light.width-2 || y >= l.light.height-2 {
					require.Zero(t, share, "nothing sticks out")
				}
				require.True(t, share >= 0 && share <= 1)
				most = max(most, share)
				if share > 0.01 && share < 0.99 {
					between++
				}
			}
			require.Greater(t, most, float32(0.5))
			require.Positive(t, between, "edges are soft")
		}
	}
	require.InDelta(t, 30, segments, 15)
}

// A video's frame has its exposure and a gap; its moments lie in the exposure.
func TestTimes(t *testing.T) {
	p := &Pair{Strength: 40, Average: 8, Duty: 0.25}
	times := p.times(nil)
	require.Equal(t, len(times), p.Frames)
	require.Zero(t, p.Frames%8)
	for i, time := range times {
		frame := i / (p.Frames / 8)
		within := time*8 - float64(frame)
		require.True(t, within > 0 && within < 0.25, "moment %d", i)
	}
	single := &Pair{Strength: 40, Average: 1, Duty: 1}
	require.Equal(t, evenly(40), single.times(nil))
}

// The mean of what frames show is darker than that of their light, but for clipped lights.
func TestCurve(t *testing.T) {
	m := newImage(20, 8)
	for i := range m.pix {
		if i/3%20 < 8 {
			m.pix[i] = 0.8
		}
	}
	e := exposure{curve: true}
	for dx := range 4 {
		e.frames = append(e.frames, []moment{{scene: homography{1, 0, float64(dx), 0, 1, 0, 0, 0, 1}}})
	}
	shown, err := average(t.Context(), scene{light: m}, nil, Box{0, 0, 20, 8}, Box{2, 2, 10, 4}, e)
	require.NoError(t, err)
	e.curve = false
	light, err := average(t.Context(), scene{light: m}, nil, Box{0, 0, 20, 8}, Box{2, 2, 10, 4}, e)
	require.NoError(t, err)
	// Two of the four frames see 0.8 at the fifth pixel of the canvas.
	near(t, 0.4, float64(light.row(1)[12]), 1e-6, "light")
	near(t, toLinear(float64(fromLinear(0.8))/2), float64(shown.row(1)[12]), 1e-6, "curve")
}

func TestShrink(t *testing.T) {
	p := town(600, 500, 3)
	o := plain(64, 8)
	o.Shrink = Range{2, 2}
	pair := makePair(t, o, p, 0)
	require.Equal(t, 64, pair.Input.Width)
	require.Equal(t, 64, pair.Target.Height)
	require.Equal(t, 128, pair.Crop.Width)
	require.Equal(t, 16.0, pair.Strength, "before it is made smaller")

	m := noisy(30, 20)
	small := m.smaller(15, 10)
	for y := range 10 {
		for x := range 45 {
			at := 6*(x/3) + x%3
			a, b := m.row(2*y), m.row(2*y+1)
			near(t, float64(a[at]+a[at+3]+b[at]+b[at+3])/4, float64(small.row(y)[x]), 1e-6, y, x)
		}
	}
	odd := m.smaller(13, 7)
	sum := func(m image) (s float64) {
		for _, v := range m.pix {
			s += float64(v)
		}
		return s / float64(len(m.pix))
	}
	require.InDelta(t, sum(m), sum(odd), 1e-5)
	require.False(t, math.IsNaN(sum(odd)))
}
