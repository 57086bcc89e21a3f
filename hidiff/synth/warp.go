package synth

import (
	"context"
	"math"
)

// scene is what a camera sees: light as its photo shows it, and the excess over it where the photo is white, nil
// where there is none. Lights are interpolated apart, linearly: the overshoot of a cubic would leave dark rims around
// them.
type scene struct {
	light  image
	excess *image
	bright Box // where the excess is
}

// nearWhite is the light, level 245 of 255, from which on a photo may have been clipped.
var nearWhite = float32(toLinear(245.0 / 255))

// newScene supposes that white was highlights times as bright. What is clipped in one channel or two stays: a factor
// for all would change its colour, even where nothing moves, and one for each would give streaks another.
func newScene(light image, highlights float64) scene {
	s := scene{light: light}
	if highlights <= 1 {
		return s
	}
	left, top, right, bottom := light.width, light.height, -1, -1
	for y := range light.height {
		row := light.row(y)
		for x := range light.width {
			p := row[3*x : 3*x+3 : 3*x+3]
			least := min(p[0], p[1], p[2])
			if least <= nearWhite {
				continue
			}
			if s.excess == nil {
				m := newImage(light.width, light.height)
				s.excess = &m
			}
			share := (least - nearWhite) / (1 - nearWhite)
			for c, v := range p {
				s.excess.row(y)[3*x+c] = v * float32(highlights-1) * share * share
			}
			left, right = min(left, x), max(right, x)
			top, bottom = min(top, y), y
		}
	}
	s.bright = Box{left, top, right - left + 1, bottom - top + 1}
	return s
}

// sharp returns a part of the scene as it is.
func (s scene) sharp(b Box) image {
	out := s.light.crop(b)
	if s.excess != nil {
		for i, v := range s.excess.crop(b).pix {
			out.pix[i] += v
		}
	}
	return out
}

// kernel holds the weights of four neighbours, at fractions of a pixel between the two in the middle.
type kernel [fractions + 1][4]float32

const fractions = 512

// cubic is Keys' (1981) convolution with a = -1/2, the spline of Catmull and Rom.
var cubic = newKernel(func(f float64) [4]float64 {
	return [4]float64{
		f * (-0.5 + f*(1-0.5*f)),
		1 + f*f*(-2.5+1.5*f),
		f * (0.5 + f*(2-1.5*f)),
		f * f * (-0.5 + 0.5*f),
	}
})

var linear = newKernel(func(f float64) [4]float64 { return [4]float64{0, 1 - f, f, 0} })

func newKernel(weights func(fraction float64) [4]float64) *kernel {
	k := &kernel{}
	for i := range k {
		for j, w := range weights(float64(i) / fractions) {
			k[i][j] = float32(w)
		}
	}
	return k
}

// exposure is what a camera sees while it takes a photo. Of the frames of a video, which differ in time, the mean is
// taken, as data sets do that are made of videos: of light, or of what the frames show, each with its curve and clipped.
type exposure struct {
	frames [][]moment
	curve  bool
}

// moment is where the scene and its layers are seen at one time.
type moment struct {
	scene  homography
	layers []homography
}

// average returns an exposure of a scene on the part of the photo that canvas is. The scene is of the part that
// region is, which must hold all that is seen, and two pixels around it.
func average(ctx context.Context, s scene, layers []layer, region, canvas Box, e exposure) (image, error) {
	local := func(h homography, region Box) homography {
		return shift(-region.X, -region.Y).times(h).times(shift(canvas.X, canvas.Y))
	}
	frames := make([][]moment, len(e.frames))
	for f, frame := range e.frames {
		for _, m := range frame {
			at := moment{scene: local(m.scene, region)}
			for i, h := range m.layers {
				at.layers = append(at.layers, local(h, layers[i].region))
			}
			frames[f] = append(frames[f], at)
		}
	}
	out := newImage(canvas.Width, canvas.Height)
	light, view := make([]float32, 3*canvas.Width), make([]float32, 3*canvas.Width)
	for y := range canvas.Height {
		if err := ctx.Err(); err != nil {
			return image{}, err
		}
		row := out.row(y)
		for _, frame := range frames {
			clear(light)
			for _, m := range frame {
				if len(layers) == 0 {
					s.addRow(light, m.scene, y, canvas.X-region.X)
					continue
				}
				clear(view)
				s.addRow(view, m.scene, y, canvas.X-region.X)
				for i := range layers {
					layers[i].cover(view, m.layers[i], y)
				}
				for x, v := range view {
					light[x] += v
				}
			}
			scale := 1 / float32(len(frame))
			for x, v := range light {
				v *= scale
				if e.curve {
					v = fromLinear(min(max(v, 0), 1))
				}
				row[x] += v
			}
		}
		if len(frames) > 1 {
			scale := 1 / float32(len(frames))
			for x := range row {
				row[x] *= scale
			}
		}
		if e.curve {
			for x, v := range row {
				row[x] = float32(toLinear(float64(v)))
			}
		}
	}
	return out, nil
}

// addRow adds row y of the scene as seen through h, on a canvas that is inset into the scene.
func (s scene) addRow(dst []float32, h homography, y, inset int) {
	width := len(dst) / 3
	addRow(dst, s.light, h, y, 0, width, cubic)
	// Lights show up to the margin away from where they are.
	if at := y + inset; s.excess != nil && at >= s.bright.Y-inset-2 && at < s.bright.Y+s.bright.Height+inset+2 {
		from, to := max(0, s.bright.X-2*inset-2), min(width, s.bright.X+s.bright.Width+2)
		addRow(dst, *s.excess, h, y, from, to, linear)
	}
}

// addRow adds pixels from..to of row y of an image seen through h.
func addRow(dst []float32, src image, h homography, y, from, to int, k *kernel) {
	stride := 3 * src.width
	u0, v0, w0 := h[1]*float64(y)+h[2], h[4]*float64(y)+h[5], h[7]*float64(y)+h[8]
	for x := from; x < to; x++ {
		fx := float64(x)
		w := 1 / (h[6]*fx + w0)
		u, v := (h[0]*fx+u0)*w, (h[3]*fx+v0)*w
		left, top := int(u), int(v) // not negative
		a := &k[int((u-float64(left))*fractions+0.5)]
		b := &k[int((v-float64(top))*fractions+0.5)]
		at := (top-1)*stride + (left-1)*3
		a0, a1, a2, a3 := a[0], a[1], a[2], a[3]
		var red, green, blue float32
		for _, weight := range b {
			p := (*[12]float32)(src.pix[at:])
			red += weight * (a0*p[0] + a1*p[3] + a2*p[6] + a3*p[9])
			green += weight * (a0*p[1] + a1*p[4] + a2*p[7] + a3*p[10])
			blue += weight * (a0*p[2] + a1*p[5] + a2*p[8] + a3*p[11])
			at += stride
		}
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0] += red
		d[1] += green
		d[2] += blue
	}
}

// defocus convolves with a disc, whose rim is smooth, over what is beyond the border by repeating it.
func defocus(m image, radius float64) image {
	if radius <= 0.5 { // within a pixel; the least hold none of discShare's points
		return m
	}
	reach := int(math.Ceil(radius))
	out := newImage(m.width, m.height)
	type tap struct {
		dx, dy int
		weight float32
	}
	var taps []tap
	total := 0.0
	for dy := -reach; dy <= reach; dy++ {
		for dx := -reach; dx <= reach; dx++ {
			if w := discShare(dx, dy, radius); w > 0 {
				taps = append(taps, tap{dx, dy, float32(w)})
				total += w
			}
		}
	}
	for y := range m.height {
		row := out.row(y)
		for _, t := range taps {
			src := m.row(min(max(y+t.dy, 0), m.height-1))
			weight := t.weight / float32(total)
			for x := range m.width {
				at := 3 * min(max(x+t.dx, 0), m.width-1)
				row[3*x] += weight * src[at]
				row[3*x+1] += weight * src[at+1]
				row[3*x+2] += weight * src[at+2]
			}
		}
	}
	return out
}

// discShare is how much of a pixel a disc around 0, 0 covers, from 16×16 points.
func discShare(x, y int, radius float64) float64 {
	const points = 16
	inside := 0
	for i := range points {
		for j := range points {
			dx := float64(x) + (float64(i)+0.5)/points - 0.5
			dy := float64(y) + (float64(j)+0.5)/points - 0.5
			if dx*dx+dy*dy <= radius*radius {
				inside++
			}
		}
	}
	return float64(inside) / (points * points)
}
