package synth

import (
	"math"
	"math/rand/v2"

	"hidiff/hidiff/photo"
)

// Object is something in front of the scene: a piece of the same photo, put elsewhere. The camera's own movement shifts it by
// more than what is behind it, and it may move by itself.
type Object struct {
	Box      Box     `json:"box"`      // where it is
	From     Box     `json:"from"`     // where it was taken from
	Segment  bool    `json:"segment"`  // cut out along edges of the photo; otherwise of a random shape
	Nearness float64 `json:"nearness"` // the distance to the scene, in distances to the object
	Strength float64 `json:"strength"` // the longest of its corners' own paths, in pixels
	Motion   Motion  `json:"motion"`   // its own
}

// layer is an object as it is seen.
type layer struct {
	scene
	region Box       // the part of the photo that it lies in, and its margin
	mask   []float32 // how much of each pixel it covers
	own    *trajectory
	Object
}

// cover puts row y of a layer, as seen through h, in front of what dst shows.
func (l *layer) cover(dst []float32, h homography, y int) {
	w, height := l.light.width, l.light.height
	for x := range len(dst) / 3 {
		u, v := h.apply(float64(x), float64(y))
		if !(u >= 1 && v >= 1 && u < float64(w-2) && v < float64(height-2)) {
			continue
		}
		left, top := int(u), int(v)
		fx, fy := float32(u)-float32(left), float32(v)-float32(top)
		at := top*w + left
		share := (1-fy)*((1-fx)*l.mask[at]+fx*l.mask[at+1]) + fy*((1-fx)*l.mask[at+w]+fx*l.mask[at+w+1])
		if share == 0 {
			continue
		}
		var p [3]float32
		shifted := h
		for i := range 3 { // so that x counts from 0
			shifted[3*i+2] += h[3*i] * float64(x)
		}
		addRow(p[:], l.light, shifted, y, 0, 1, cubic)
		if l.excess != nil {
			addRow(p[:], *l.excess, shifted, y, 0, 1, linear)
		}
		d := dst[3*x : 3*x+3]
		for c := range d {
			d[c] += share * (p[c] - d[c])
		}
	}
}

// Sizes of objects: in shorter sides of the pair, and in pixels.
const (
	smallest = 0.15
	largest  = 0.8
	least    = 16
)

// edge is what is developed around an object: its soft edge, of at most 8 pixels, and the taps of the interpolation.
const edge = 12

// place puts objects into the scene. There are fewer where the photo is too small to take them from.
func (o Options) place(p *photo.Photo, pair *Pair, rng *rand.Rand) []layer {
	width, height := int(float64(p.Width)/pair.Downscale), int(float64(p.Height)/pair.Downscale)
	var layers []layer
	for range int(math.Round(o.Objects.draw(rng))) {
		side := (smallest + (largest-smallest)*rng.Float64()) * float64(min(pair.Crop.Width, pair.Crop.Height))
		b := Box{Width: max(least, int(side)), Height: max(least, int(side*(0.6+0.8*rng.Float64())))}
		b.X = pair.Crop.X + rng.IntN(pair.Crop.Width) - b.Width/2
		b.Y = pair.Crop.Y + rng.IntN(pair.Crop.Height) - b.Height/2
		across, down := width-b.Width-2*edge, height-b.Height-2*edge
		if across < 1 || down < 1 {
			continue
		}
		from := Box{edge + rng.IntN(across), edge + rng.IntN(down), b.Width, b.Height}
		l := layer{region: b.grown(edge), Object: Object{Box: b, From: from, Nearness: 1}}
		l.scene = newScene(develop(p, from.grown(edge), pair.Downscale), pair.Highlights)
		l.Segment = rng.Float64() < 0.5
		l.mask = l.cutOut(rng)
		l.own = drawTrajectory(rng)
		l.Motion, l.Strength, l.Nearness = l.own.Motion, o.ObjectStrength.draw(rng), o.Nearness.draw(rng)
		layers = append(layers, l)
	}
	return layers
}

// cutOut draws the object's outline within its box: a random shape, or what is of one colour and connected within
// one. Its edge is soft, as edges in photos are.
func (l *layer) cutOut(rng *rand.Rand) []float32 {
	w, h := l.light.width, l.light.height
	inside := make([]bool, w*h)
	var waves [5][2]float64
	for k := range waves {
		waves[k] = [2]float64{0.25 * rng.Float64() / float64(k+1), 2 * math.Pi * rng.Float64()}
	}
	cx, cy := float64(w-1)/2, float64(h-1)/2
	for y := edge; y < h-edge; y++ {
		for x := edge; x < w-edge; x++ {
			dx, dy := (float64(x)-cx)/float64(l.Box.Width)*2, (float64(y)-cy)/float64(l.Box.Height)*2
			radius := 0.7
			for k, wave := range waves {
				radius += wave[0] * math.Cos(float64(k+1)*math.Atan2(dy, dx)+wave[1])
			}
			inside[y*w+x] = math.Hypot(dx, dy) < radius
		}
	}
	if l.Segment {
		inside = l.segment(inside)
	}
	return soften(inside, w, h, 0.5+1.5*rng.Float64())
}

// segment keeps what is connected with the middle over small differences of colour, and fills its holes; all of it, where that
// is less than a fifth.
func (l *layer) segment(inside []bool) []bool {
	w, h := l.light.width, l.light.height
	start := h/2*w + w/2
	kept := make([]bool, len(inside))
	kept[start] = true
	seed := l.light.pix[3*start : 3*start+3]
	stack, count, all := []int{start}, 1, 0
	for _, in := range inside {
		if in {
			all++
		}
	}
	const tolerance = 0.12 // in display values: about 30 levels of 255
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, next := range [4]int{at - 1, at + 1, at - w, at + w} {
			if kept[next] || !inside[next] {
				continue
			}
			difference := float32(0)
			for c, v := range l.light.pix[3*next : 3*next+3] {
				d := fromLinear(max(v, 0)) - fromLinear(max(seed[c], 0))
				difference = max(difference, d, -d)
			}
			if difference < tolerance {
				kept[next] = true
				count++
				stack = append(stack, next)
			}
		}
	}
	if count < all/5 {
		return inside
	}
	return kept
}

// soften returns how much of each pixel's surroundings is inside: a binomial filter, about radius wide.
func soften(inside []bool, w, h int, radius float64) []float32 {
	mask := make([]float32, len(inside))
	for i, in := range inside {
		if in {
			mask[i] = 1
		}
	}
	next := make([]float32, len(mask))
	for range max(1, int(math.Round(2*radius*radius))) { // every turn adds a variance of half a pixel
		for _, step := range []int{1, w} {
			for i := w; i < len(mask)-w; i++ {
				next[i] = (mask[i-step] + 2*mask[i] + mask[i+step]) / 4
			}
			mask, next = next, mask
		}
	}
	return mask
}

// views returns where the layer is seen at these times, when the camera is in these poses.
func (l *layer) views(c camera, poses []pose, times []float64) []homography {
	about := camera{c.focal, float64(l.Box.X) + float64(l.Box.Width-1)/2, float64(l.Box.Y) + float64(l.Box.Height-1)/2}
	own := drawn(l.own, about, l.Box, l.Strength, times)
	views := make([]homography, len(poses))
	for i, p := range poses {
		for k := 3; k < 6; k++ {
			p[k] *= l.Nearness
		}
		views[i] = about.view(own[i]).times(c.view(p))
	}
	return views
}
