package synth

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

var testCamera = camera{focal: 900, x: 319.5, y: 239.5}

func TestViews(t *testing.T) {
	at := func(p pose, x, y float64) [2]float64 {
		u, v := testCamera.view(p).apply(x, y)
		return [2]float64{u, v}
	}
	same := func(want, got [2]float64, what string) {
		t.Helper()
		near(t, want[0], got[0], 1e-9, what)
		near(t, want[1], got[1], 1e-9, what)
	}
	same([2]float64{17, 400}, at(pose{}, 17, 400), "nothing moves")
	same([2]float64{319.5, 239.5}, at(pose{2: 0.3}, 319.5, 239.5), "roll leaves the centre")
	same([2]float64{319.5, 339.5}, at(pose{2: math.Pi / 2}, 419.5, 239.5), "a quarter turn takes right to below")
	same([2]float64{319.5, 239.5}, at(pose{5: 0.25}, 319.5, 239.5), "forward leaves the centre")
	same([2]float64{319.5 + 80, 239.5 - 40}, at(pose{5: 0.25}, 419.5, 189.5), "1.25 times the distance is 1/1.25 the size")
	same([2]float64{319.5 + 900*math.Tan(0.1), 239.5}, at(pose{1: 0.1}, 319.5, 239.5), "yaw")
	same([2]float64{319.5, 239.5 - 900*math.Tan(0.1)}, at(pose{0: 0.1}, 319.5, 239.5), "pitch")
	for _, x := range []float64{0, 319.5, 639} {
		same([2]float64{x + 9, 100 - 18}, at(pose{3: 0.01, 4: -0.02}, x, 100), "translation is the same everywhere")
	}
	// A rotation and its inverse, off the axes.
	h := testCamera.view(pose{0.2, -0.1, 0.4}).times(testCamera.view(pose{-0.2, 0.1, -0.4}))
	for _, corner := range (Box{0, 0, 640, 480}).corners() {
		x, y := h.apply(corner[0], corner[1])
		same(corner, [2]float64{x, y}, "there and back")
	}
}

func TestYawMovesTheBorderMoreThanTheCentre(t *testing.T) {
	h := testCamera.view(pose{1: 0.02})
	centre, _ := h.apply(319.5, 239.5)
	border, _ := h.apply(639, 239.5)
	require.Greater(t, border-639, 1.1*(centre-319.5))
}

func TestTrajectoriesAreScaledAndCentred(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	box := Box{40, 30, 512, 400}
	for i := range 60 {
		strength := 0.2 + 60*rng.Float64()
		tr := drawTrajectory(rng)
		frames := max(leastFrames, int(math.Ceil(strength)))
		views := testCamera.views(drawn(tr, testCamera, box, strength, evenly(frames)))
		near(t, strength, tr.length(testCamera, box), 1e-6*strength, "path", i)

		longest := 0.0
		for _, corner := range box.corners() {
			var meanX, meanY, path float64
			lastX, lastY := math.NaN(), 0.0
			for _, h := range views {
				x, y := h.apply(corner[0], corner[1])
				meanX += (x - corner[0]) / float64(frames)
				meanY += (y - corner[1]) / float64(frames)
				if step := math.Hypot(x-lastX, y-lastY); step >= 0 {
					path += step
					require.LessOrEqual(t, step, 2*max(1, strength/float64(frames)), "views are a pixel apart, on the mean")
				}
				lastX, lastY = x, y
			}
			require.Less(t, math.Hypot(meanX, meanY), 0.02+strength*strength/testCamera.focal/6, "shift of pair %d, strength %v", i, strength)
			longest = max(longest, path)
		}
		require.LessOrEqual(t, longest, strength)
		require.Greater(t, longest, 0.75*strength, "the views cover the path, but for its two ends and its finest wiggles")
	}
}

func TestTrajectoriesDiffer(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	straight, curled, shaken := 0, 0, 0
	for range 300 {
		tr := drawTrajectory(rng)
		for i := 1; i <= steps; i++ {
			p := tr.poses[i]
			for k, v := range tr.poses[i-1] {
				p[k] -= v
			}
			extent := pose{1, 1, tr.Roll, tr.Translation, tr.Translation, tr.Forward}
			speed := 0.0
			for k := range p {
				speed += p[k] / extent[k] * p[k] / extent[k]
			}
			near(t, 1.0/steps, math.Sqrt(speed), 1e-9, "constant speed")
		}
		ends := 0.0
		for k, v := range tr.poses[steps] {
			extent := pose{1, 1, tr.Roll, tr.Translation, tr.Translation, tr.Forward}
			ends += v / extent[k] * v / extent[k]
		}
		switch ends = math.Sqrt(ends); {
		case ends > 0.9:
			straight++
		case ends < 0.4:
			curled++
		}
		if tr.Shakes > 0 {
			shaken++
		}
	}
	require.Greater(t, straight, 30)
	require.Greater(t, curled, 60)
	require.Greater(t, shaken, 60)
	require.Less(t, shaken, 240)
}
