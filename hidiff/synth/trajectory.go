package synth

import (
	"math"
	"math/rand/v2"
)

// pose is where a camera looks: its rotation vector (pitch, yaw and roll in radians), and its position, in distances to the
// scene (right, down, forward). All zero is the pose of the sharp photo.
type pose [6]float64

// Motion is what distinguishes one trajectory from another, but for chance.
type Motion struct {
	Anxiety     float64 `json:"anxiety"`     // 0: straight on; 1: as nervous as can be
	Pull        float64 `json:"pull"`        // back to where the exposure began
	Shakes      int     `json:"shakes"`      // sudden reversals
	Roll        float64 `json:"roll"`        // as against pitch and yaw, all in radians
	Translation float64 `json:"translation"` // right and down, as against the angles
	Forward     float64 `json:"forward"`
}

const (
	steps       = 512 // of a trajectory; more than any strength, in pixels
	leastFrames = 16  // moments of an exposure
)

// Of a trajectory with anxiety 1: how far its direction strays in the exposure, in radians per dimension; its greatest pull;
// the shakes to expect. The whole path has length 1.
const (
	straying  = 1.6
	mostPull  = 30
	mostShake = 1.5
)

// trajectory is a camera's way while the shutter is open, in equal times.
type trajectory struct {
	Motion
	poses [steps + 1]pose
}

// drawTrajectory lets a particle move at constant speed in six dimensions. Its direction has inertia; it is disturbed by noise and
// drawn back, and with a small probability it is thrown back (Boracchi and Foi 2012).
func drawTrajectory(rng *rand.Rand) *trajectory {
	t := &trajectory{}
	t.Anxiety = rng.Float64()
	t.Pull = mostPull * t.Anxiety * rng.Float64()
	t.Roll = 2 * rng.Float64()
	t.Translation = 0.5 * rng.Float64()
	t.Forward = 0.5 * rng.Float64()
	extent := pose{1, 1, t.Roll, t.Translation, t.Translation, t.Forward}

	const dt = 1.0 / steps
	var at, direction pose
	for k := range direction {
		direction[k] = rng.NormFloat64()
	}
	direction.normalize()
	for i := range steps {
		if rng.Float64() < mostShake*t.Anxiety*dt {
			t.Shakes++
			for k := range direction {
				direction[k] = -direction[k] + 0.3*rng.NormFloat64()
			}
		}
		for k := range direction {
			direction[k] += straying*t.Anxiety*math.Sqrt(dt)*rng.NormFloat64() - t.Pull*at[k]*dt
		}
		direction.normalize()
		for k := range at {
			at[k] += direction[k] * dt
			t.poses[i+1][k] = at[k] * extent[k]
		}
	}
	return t
}

func (p *pose) normalize() {
	sum := 0.0
	for _, v := range p {
		sum += v * v
	}
	for k := range p {
		p[k] /= math.Sqrt(sum)
	}
}

// at returns the pose at a time, a share of the exposure below 1.
func (t *trajectory) at(time float64) pose {
	time *= steps
	i := int(time)
	var p pose
	for k := range p {
		p[k] = t.poses[i][k] + (time-float64(i))*(t.poses[i+1][k]-t.poses[i][k])
	}
	return p
}

// center makes the mean of the poses at these times zero. Angles are small, so the mean of the views is the sharp photo's.
func (t *trajectory) center(times []float64) {
	var mean pose
	for _, time := range times {
		for k, v := range t.at(time) {
			mean[k] += v / float64(len(times))
		}
	}
	for i := range t.poses {
		for k := range mean {
			t.poses[i][k] -= mean[k]
		}
	}
}

// drawn returns the poses of a trajectory at these times, scaled and centred for a box.
func drawn(t *trajectory, c camera, b Box, strength float64, times []float64) []pose {
	t.center(times)
	t.scale(c, b, strength)
	return t.during(times)
}

func (t *trajectory) during(times []float64) []pose {
	poses := make([]pose, len(times))
	for i, time := range times {
		poses[i] = t.at(time)
	}
	return poses
}

// scale makes the longest path of a box's corners as long as strength, in pixels.
func (t *trajectory) scale(c camera, box Box, strength float64) {
	t.times(strength / c.focal)
	if strength == 0 {
		return
	}
	for range 5 { // lengths are nearly proportional to angles
		t.times(strength / t.length(c, box))
	}
}

func (t *trajectory) times(factor float64) {
	for i := range t.poses {
		for k := range t.poses[i] {
			t.poses[i][k] *= factor
		}
	}
}

// length returns the longest path of a box's corners, in pixels.
func (t *trajectory) length(c camera, box Box) float64 {
	longest := 0.0
	for _, corner := range box.corners() {
		x, y := c.view(t.poses[0]).apply(corner[0], corner[1])
		length := 0.0
		for _, p := range t.poses[1:] {
			nextX, nextY := c.view(p).apply(corner[0], corner[1])
			length += math.Hypot(nextX-x, nextY-y)
			x, y = nextX, nextY
		}
		longest = max(longest, length)
	}
	return longest
}

// views are those of a camera in these poses.
func (c camera) views(poses []pose) []homography {
	views := make([]homography, len(poses))
	for i, p := range poses {
		views[i] = c.view(p)
	}
	return views
}

// corners returns the centres of the pixels in the corners.
func (b Box) corners() [4][2]float64 {
	left, top := float64(b.X), float64(b.Y)
	right, bottom := float64(b.X+b.Width-1), float64(b.Y+b.Height-1)
	return [4][2]float64{{left, top}, {right, top}, {left, bottom}, {right, bottom}}
}

// farthest returns how far, along an axis, views move a point of a box at most. Homographies take
// lines to lines, so that is one of its corners.
func farthest(views []homography, box Box) float64 {
	most := 0.0
	for _, h := range views {
		for _, corner := range box.corners() {
			x, y := h.apply(corner[0], corner[1])
			most = max(most, math.Abs(x-corner[0]), math.Abs(y-corner[1]))
		}
	}
	return most
}

// camera is a pinhole: focal length and principal point in pixels.
type camera struct{ focal, x, y float64 }

// homography maps pixels of one view to those of another: [x', y', w'] = h·[x, y, 1].
type homography [9]float64

// view returns where a camera in a pose sees what the sharp photo has at a pixel: K·(R + t·nᵀ)·K⁻¹ of a plane at
// distance 1 with normal n along the axis (Whyte et al. 2012 for rotations; translation as in Köhler et al. 2012).
func (c camera) view(p pose) homography {
	r := rotation(p[0], p[1], p[2])
	r[2] += p[3]
	r[5] += p[4]
	r[8] += p[5]
	return homography{c.focal, 0, c.x, 0, c.focal, c.y, 0, 0, 1}.
		times(r).
		times(homography{1 / c.focal, 0, -c.x / c.focal, 0, 1 / c.focal, -c.y / c.focal, 0, 0, 1})
}

// rotation is Rodrigues' formula.
func rotation(x, y, z float64) homography {
	angle := math.Sqrt(x*x + y*y + z*z)
	a, b := 1.0, 0.5 // sin(angle)/angle, (1-cos(angle))/angle²
	if angle > 1e-9 {
		a = math.Sin(angle) / angle
		half := math.Sin(angle / 2)
		b = 2 * half * half / (angle * angle)
	}
	return homography{
		1 - b*(y*y+z*z), b*x*y - a*z, b*x*z + a*y,
		b*x*y + a*z, 1 - b*(x*x+z*z), b*y*z - a*x,
		b*x*z - a*y, b*y*z + a*x, 1 - b*(x*x+y*y),
	}
}

func (h homography) times(g homography) (out homography) {
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				out[3*i+j] += h[3*i+k] * g[3*k+j]
			}
		}
	}
	return out
}

func (h homography) apply(x, y float64) (float64, float64) {
	w := h[6]*x + h[7]*y + h[8]
	return (h[0]*x + h[1]*y + h[2]) / w, (h[3]*x + h[4]*y + h[5]) / w
}

// shift is the homography that adds to x and y.
func shift(x, y int) homography { return homography{1, 0, float64(x), 0, 1, float64(y), 0, 0, 1} }
