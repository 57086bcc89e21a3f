// Package synth makes pairs of blurry and sharp photos, to train on, from sharp photos alone: what a
// camera held in the hand would have taken of the same scene.
//
// Per pair, as [Options] say, all drawn from the seed, the photo's name and the pair's number:
//
//   - Sharp: the photo is made smaller by a little, in linear light, so that its own softness goes; a crop
//     with enough detail is cut from it, with a margin, so that no border has to be invented.
//   - Motion: the camera turns (pitch, yaw, roll) and moves while the shutter is open, along a random
//     trajectory after Boracchi and Foi, "Modeling the Performance of Image Restoration from Motion
//     Blur", IEEE TIP 2012, here in six dimensions instead of two: inertia, jitter, a pull back, shakes.
//   - Blur: every pose is a homography, as in Whyte, Sivic, Zisserman and Ponce, "Non-uniform Deblurring for Shaken
//     Images", IJCV 2012, and in the cameras that Köhler et al. recorded and replayed ("Recording and
//     Playback of Camera Shake", ECCV 2012). The blurry photo is the mean, in linear light, of
//     the photo under all of them, so the blur differs across the photo.
//   - Camera: lights brighter than white streak (Hu et al., "Deblurring Low-light Images with Light
//     Streaks", CVPR 2014), then come defocus, clipping, shot and read noise of a Bayer sensor, gamma, 8 bits and
//     JPEG. Rim et al., "Realistic Blur Synthesis for Learning Image Deblurring", ECCV 2022, show how much
//     saturation and a sensor's noise matter to networks that are to work on real photos.
//
// Asked for it, scenes have depth and life, and cameras those that data sets are made with:
//
//   - Objects: pieces of the photo, of random outlines or cut out along its edges, stand before the scene. They are nearer
//     to the camera, so that its movement shifts them by more, and move by themselves.
//   - Videos: the exposure is the mean of some frames with gaps between them, of light or of what frames show, as in GoPro (Nah,
//     Kim and Lee, "Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring", CVPR 2017) and REDS.
//   - Shrinking: both photos are made smaller after the exposure, as videos are for data sets.
//
// The sharp partner is the photo at the mean of the poses: nothing is shifted between the two.
package synth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
)

// Options say what to draw. JSON's names are those of the command line.
type Options struct {
	Seed       uint64  `json:"seed"`
	Crop       int     `json:"crop"`       // width and height of pairs; 0: whole photos without a margin
	Detail     float64 `json:"detail"`     // mean difference of neighbours, in levels of 255, that crops have at least
	Strength   Range   `json:"strength"`   // pixels that the corner of the pair which moves farthest travels
	Sharp      float64 `json:"sharp"`      // share of pairs of strength 0 to 1 and without defocus
	Focal      Range   `json:"focal"`      // focal length, in longer sides of the photo: 1 is a 36 mm lens on a film camera
	Downscale  Range   `json:"downscale"`  // by which the photo is made smaller; less where it would get too small
	Highlights Range   `json:"highlights"` // how bright white is in truth
	Defocus    Range   `json:"defocus"`    // radius of the disc, in pixels
	Noise      Range   `json:"noise"`      // standard deviation at mid-grey, in levels of 255
	JPEG       Range   `json:"jpeg"`       // quality; 0: none

	Objects        Range   `json:"objects"`         // how many stand before the scene
	ObjectStrength Range   `json:"object_strength"` // pixels that the corner of an object which moves farthest travels by itself
	Nearness       Range   `json:"nearness"`        // the scene's distance, in distances to an object
	Tripod         float64 `json:"tripod"`          // share of pairs in which the camera moves by 0 to 1 pixels, and objects as ever
	Average        Range   `json:"average"`         // frames of a video that are averaged; 1: a single exposure
	Duty           Range   `json:"duty"`            // share of the time between frames for which the shutter is open
	Curve          float64 `json:"curve"`           // share of averages that are of what frames show, not of light
	Shrink         Range   `json:"shrink"`          // by which both photos are made smaller in the end
}

// Defaults returns options for training on 256 to 384 pixels.
func Defaults() Options {
	return Options{
		Crop: 512, Detail: 2, Strength: Range{4, 40}, Sharp: 0.05, Focal: Range{0.8, 2}, Downscale: Range{1, 2},
		Highlights: Range{1, 3}, Noise: Range{0, 3}, Nearness: one, Average: one, Duty: one, Shrink: one,
	}
}

var one = Range{1, 1}

// Validate says which option is out of its bounds.
func (o Options) Validate() error {
	if o.Crop != 0 && o.Crop < leastCrop {
		return fmt.Errorf("crop %d must be at least %d, or 0 for whole photos", o.Crop, leastCrop)
	}
	if !(o.Detail >= 0 && o.Detail <= 100) {
		return fmt.Errorf("detail %v is not from 0 to 100", o.Detail)
	}
	for _, share := range []struct {
		name  string
		value float64
	}{{"sharp", o.Sharp}, {"tripod", o.Tripod}, {"curve", o.Curve}} {
		if !(share.value >= 0 && share.value <= 1) {
			return fmt.Errorf("%s %v is a share, from 0 to 1", share.name, share.value)
		}
	}
	for _, r := range []struct {
		name     string
		value    Range
		min, max float64
	}{
		{"strength", o.Strength, 0, 256},
		{"focal", o.Focal, 0.3, 30},
		{"downscale", o.Downscale, 1, 16},
		{"highlights", o.Highlights, 1, 16},
		{"defocus", o.Defocus, 0, 8},
		{"noise", o.Noise, 0, 30},
		{"jpeg", o.JPEG, 1, 100},
		{"objects", o.Objects, 0, 16},
		{"object-strength", o.ObjectStrength, 0, 256},
		{"nearness", o.Nearness, 1, 10},
		{"average", o.Average, 1, 64},
		{"duty", o.Duty, 0.01, 1},
		{"shrink", o.Shrink, 1, 8},
	} {
		off := r.name == "jpeg" && r.value == Range{}
		if !off && !(r.min <= r.value.Min && r.value.Min <= r.value.Max && r.value.Max <= r.max) {
			return fmt.Errorf("%s %v: write MIN:MAX or one number, from %v to %v", r.name, r.value, r.min, r.max)
		}
	}
	return nil
}

const leastCrop = 32

// reach is how far, in pixels, the scene may be from where it is in the sharp photo. A path of uniform speed never
// is farther from its mean than half its length; trajectories that are, for their speed varies, are drawn again.
func (o Options) reach() float64 {
	longest := o.Strength.Max
	if o.Sharp > 0 || o.Tripod > 0 {
		longest = max(longest, 1)
	}
	return 0.6 * longest
}

// margin is what is cut away around a pair: the reach, defocus, and the taps of the interpolation.
func (o Options) margin() int { return int(math.Ceil(o.reach())) + o.disc() + 2 }

// enlarged returns the options for pairs that are made smaller by a factor in the end.
func (o Options) enlarged(factor float64) Options {
	o.Crop = int(math.Round(float64(o.Crop) * factor))
	for _, r := range []*Range{&o.Strength, &o.ObjectStrength, &o.Defocus} {
		*r = Range{r.Min * factor, r.Max * factor}
	}
	return o
}

func (o Options) disc() int { return int(math.Ceil(o.Defocus.Max)) }

// downscale returns the range of factors by which a photo can be made smaller, and an error where it is too small
// for any.
func (o Options) downscale(width, height int) (Range, error) {
	o = o.enlarged(o.Shrink.Max)
	side := o.Crop
	if side == 0 {
		side = leastCrop
	}
	side += 2 * o.margin()
	most := float64(min(width, height)) / float64(side)
	if most < o.Downscale.Min {
		needed := int(math.Ceil(float64(side) * o.Downscale.Min))
		return Range{}, fmt.Errorf("%d×%d pixels are too few: crop, strength and downscale ask for %d×%d; lower one of them", width, height, needed, needed)
	}
	return Range{o.Downscale.Min, min(o.Downscale.Max, most)}, nil
}

// Pair is a blurry photo, a sharp one, and how they were made. Sizes are in pixels of the photo as made smaller by Downscale.
type Pair struct {
	Name        string  `json:"name"`         // Source without its extension, and Index
	Source      string  `json:"source"`       // a relative path with slashes
	SourceBytes int64   `json:"source_bytes"` // its file's size; known to [Run]
	Index       int     `json:"index"`
	Seed        uint64  `json:"seed"`
	Downscale   float64 `json:"downscale"`
	Crop        Box     `json:"crop"`
	Strength    float64 `json:"strength"` // the longest of the corners' paths
	Focal       float64 `json:"focal"`
	Motion      Motion  `json:"motion"`
	Frames      int     `json:"frames"` // of which the blurry photo is the mean
	Highlights  float64 `json:"highlights"`
	Defocus     float64 `json:"defocus"`
	Shot        float64 `json:"shot"` // variance of the noise is shot·light + read, white being 1
	Read        float64 `json:"read"`
	JPEG        int     `json:"jpeg"` // quality, or 0

	Objects []Object `json:"objects"`
	Average int      `json:"average"` // frames averaged, each of Frames/Average moments
	Duty    float64  `json:"duty"`
	Curve   bool     `json:"curve"`
	Shrink  float64  `json:"shrink"` // all sizes are of before

	Input  *photo.Photo `json:"-"` // blurry
	Target *photo.Photo `json:"-"` // sharp
}

// Box is a part of a photo.
type Box struct {
	X      int `json:"x"`
	Y      int `json:"y"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

// in returns where b is in a box that holds it.
func (b Box) in(outer Box) Box { return Box{b.X - outer.X, b.Y - outer.Y, b.Width, b.Height} }

func (b Box) grown(by int) Box { return Box{b.X - by, b.Y - by, b.Width + 2*by, b.Height + 2*by} }

// ErrFlat is returned for photos in which no crop with enough detail was found.
var ErrFlat = errors.New("no crop with enough detail was found")

const cropTries = 24

// Make makes pair number index of a photo, of which transparency, profile and other metadata are ignored. The source's
// name only names and seeds the pair: the same options, name and index give the same bits on the same
// kind of processor. Errors are ctx's, [ErrFlat], or about photos that are too small.
func (o Options) Make(ctx context.Context, p *photo.Photo, source string, index int) (*Pair, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	factors, err := o.downscale(p.Width, p.Height)
	if err != nil {
		return nil, err
	}
	rng, late := o.random(source, index, ""), o.random(source, index, "scene")
	pair := &Pair{Name: pairName(source, index), Source: source, Index: index, Seed: o.Seed}
	width, height := o.Crop, o.Crop // in the end
	pair.Shrink = o.Shrink.draw(late)
	o = o.enlarged(pair.Shrink)
	pair.Downscale = factors.draw(rng)
	pair.Strength = o.Strength.draw(rng)
	pair.Focal = o.Focal.draw(rng)
	pair.Highlights = o.Highlights.draw(rng)
	pair.Defocus = o.Defocus.draw(rng)
	pair.Shot, pair.Read = noiseOf(o.Noise.draw(rng))
	if o.JPEG.Max > 0 {
		pair.JPEG = o.JPEG.drawInt(rng)
	}
	pair.Average, pair.Duty = o.Average.drawInt(late), 1
	if pair.Average > 1 {
		pair.Duty, pair.Curve = o.Duty.draw(late), late.Float64() < o.Curve
	}
	if late.Float64() < o.Tripod {
		pair.Strength = late.Float64()
	}
	if rng.Float64() < o.Sharp {
		pair.Strength, pair.Defocus, o.ObjectStrength = rng.Float64(), 0, Range{}
	}

	scene, err := o.cut(ctx, p, pair, rng)
	if err != nil {
		return nil, err
	}
	layers := o.place(p, pair, late)
	target := scene.sharp(pair.Crop.in(pair.Crop.grown(o.margin())))
	for i := range layers {
		from := layers[i].region
		for y := range pair.Crop.Height {
			layers[i].cover(target.row(y), shift(pair.Crop.X-from.X, pair.Crop.Y-from.Y), y)
		}
	}
	canvas := pair.Crop.grown(o.disc())
	blurred, err := average(ctx, scene, layers, pair.Crop.grown(o.margin()), canvas, o.expose(pair, layers, canvas, p, rng))
	if err != nil {
		return nil, err
	}
	blurred = defocus(blurred, pair.Defocus)
	blurred = blurred.crop(pair.Crop.in(canvas))
	addNoise(blurred, pair.Shot, pair.Read, rng)
	if o.Crop == 0 {
		width, height = int(float64(pair.Crop.Width)/pair.Shrink), int(float64(pair.Crop.Height)/pair.Shrink)
	}
	blurred, target = blurred.smaller(width, height), target.smaller(width, height)
	pair.Input, pair.Target = blurred.photo(), target.photo()
	if pair.JPEG > 0 {
		if pair.Input, err = compress(pair.Input, pair.JPEG); err != nil {
			return nil, err
		}
	}
	return pair, nil
}

// random returns the pair's own random numbers. Those for one purpose do not depend on how many another takes.
// They are not internal/streams' numbers: manifests of data sets name their seeds, and any others would make another set of them.
func (o Options) random(source string, index int, purpose string) *rand.Rand {
	key := binary.LittleEndian.AppendUint64(nil, o.Seed)
	key = binary.LittleEndian.AppendUint64(key, uint64(index))
	key = append(key, source...)
	if purpose != "" {
		key = append(append(key, 0), purpose...)
	}
	return rand.New(rand.NewChaCha8(sha256.Sum256(key)))
}

func pairName(source string, index int) string {
	return fmt.Sprintf("%s_%03d", strings.TrimSuffix(source, path.Ext(source)), index)
}

// cut draws the crop, and returns it with its margin, in linear light.
func (o Options) cut(ctx context.Context, p *photo.Photo, pair *Pair, rng *rand.Rand) (scene, error) {
	width, height := int(float64(p.Width)/pair.Downscale), int(float64(p.Height)/pair.Downscale)
	m := o.margin()
	for range cropTries {
		if err := ctx.Err(); err != nil {
			return scene{}, err
		}
		if o.Crop == 0 {
			pair.Crop = Box{m, m, width - 2*m, height - 2*m}
		} else {
			// There is one place at least, even where the quotient is rounded to below the whole number that it is.
			across, down := max(1, width-2*m-o.Crop+1), max(1, height-2*m-o.Crop+1)
			pair.Crop = Box{m + rng.IntN(across), m + rng.IntN(down), o.Crop, o.Crop}
		}
		if o.Crop != 0 && detail(p, pair.Crop, pair.Downscale) < o.Detail {
			continue
		}
		return newScene(develop(p, pair.Crop.grown(m), pair.Downscale), pair.Highlights), nil
	}
	return scene{}, ErrFlat
}

// expose draws how the camera moves, until the scene stays within reach, and returns what it sees meanwhile.
func (o Options) expose(pair *Pair, layers []layer, canvas Box, p *photo.Photo, rng *rand.Rand) exposure {
	width, height := float64(p.Width)/pair.Downscale, float64(p.Height)/pair.Downscale
	camera := camera{focal: pair.Focal * max(width, height), x: (math.Floor(width) - 1) / 2, y: (math.Floor(height) - 1) / 2}
	times := pair.times(layers)
	var poses []pose
	for poses == nil || farthest(camera.views(poses), canvas) > o.reach()+1e-6 {
		t := drawTrajectory(rng)
		pair.Motion = t.Motion
		poses = drawn(t, camera, pair.Crop, pair.Strength, times)
	}
	moments := make([]moment, len(times))
	for i, view := range camera.views(poses) {
		moments[i].scene = view
	}
	for i := range layers {
		for j, view := range layers[i].views(camera, poses, times) {
			moments[j].layers = append(moments[j].layers, view)
		}
		pair.Objects = append(pair.Objects, layers[i].Object)
	}
	return exposure{slices.Collect(slices.Chunk(moments, len(times)/pair.Average)), pair.Curve}
}

// times are those when the shutter is open, in shares of the exposure: so many that nothing moves by more than about a pixel
// between two.
func (p *Pair) times(layers []layer) []float64 {
	farthest := p.Strength
	for i := range layers {
		farthest = max(farthest, layers[i].Strength+layers[i].Nearness*p.Strength)
	}
	each := max(leastFrames, int(math.Ceil(farthest)))
	if p.Average > 1 {
		each = max(2, int(math.Ceil(farthest*p.Duty/float64(p.Average))))
	}
	var times []float64
	for f := range p.Average {
		for i := range each {
			times = append(times, (float64(f)+p.Duty*(float64(i)+0.5)/float64(each))/float64(p.Average))
		}
	}
	p.Frames = len(times)
	return times
}
