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
// The sharp partner is the photo at the mean of the poses: nothing is shifted between the two.
//
// Nothing in these scenes moves by itself, and everything is equally far away.
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
}

// Defaults returns options for training on 256 to 384 pixels.
func Defaults() Options {
	return Options{
		Crop: 512, Detail: 2, Strength: Range{4, 40}, Sharp: 0.05, Focal: Range{0.8, 2}, Downscale: Range{1, 2},
		Highlights: Range{1, 3}, Noise: Range{0, 3},
	}
}

// Validate says which option is out of its bounds.
func (o Options) Validate() error {
	if o.Crop != 0 && o.Crop < leastCrop {
		return fmt.Errorf("crop %d must be at least %d, or 0 for whole photos", o.Crop, leastCrop)
	}
	if !(o.Detail >= 0 && o.Detail <= 100) {
		return fmt.Errorf("detail %v is not from 0 to 100", o.Detail)
	}
	if !(o.Sharp >= 0 && o.Sharp <= 1) {
		return fmt.Errorf("sharp %v is a share, from 0 to 1", o.Sharp)
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
	if o.Sharp > 0 {
		longest = max(longest, 1)
	}
	return 0.6 * longest
}

// margin is what is cut away around a pair: the reach, defocus, and the taps of the interpolation.
func (o Options) margin() int { return int(math.Ceil(o.reach())) + o.disc() + 2 }

func (o Options) disc() int { return int(math.Ceil(o.Defocus.Max)) }

// downscale returns the range of factors by which a photo can be made smaller, and an error where it is too small
// for any.
func (o Options) downscale(width, height int) (Range, error) {
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

// Pair is a blurry photo, a sharp one, and how they were made. Sizes are in pixels of the photo as made smaller.
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
	rng := o.random(source, index)
	pair := &Pair{Name: pairName(source, index), Source: source, Index: index, Seed: o.Seed}
	pair.Downscale = factors.draw(rng)
	pair.Strength = o.Strength.draw(rng)
	pair.Focal = o.Focal.draw(rng)
	pair.Highlights = o.Highlights.draw(rng)
	pair.Defocus = o.Defocus.draw(rng)
	pair.Shot, pair.Read = noiseOf(o.Noise.draw(rng))
	if o.JPEG.Max > 0 {
		pair.JPEG = int(Range{math.Ceil(o.JPEG.Min), math.Floor(o.JPEG.Max) + 1}.draw(rng))
		pair.JPEG = min(pair.JPEG, int(o.JPEG.Max))
	}
	if rng.Float64() < o.Sharp {
		pair.Strength, pair.Defocus = rng.Float64(), 0
	}

	scene, err := o.cut(ctx, p, pair, rng)
	if err != nil {
		return nil, err
	}
	canvas := pair.Crop.grown(o.disc())
	views := o.expose(pair, canvas, p, rng)
	blurred, err := average(ctx, scene, pair.Crop.grown(o.margin()), canvas, views)
	if err != nil {
		return nil, err
	}
	blurred = defocus(blurred, pair.Defocus)
	blurred = blurred.crop(Box{o.disc(), o.disc(), pair.Crop.Width, pair.Crop.Height})
	addNoise(blurred, pair.Shot, pair.Read, rng)
	pair.Input = blurred.photo()
	if pair.JPEG > 0 {
		if pair.Input, err = compress(pair.Input, pair.JPEG); err != nil {
			return nil, err
		}
	}
	return pair, nil
}

// random returns the pair's own random numbers.
func (o Options) random(source string, index int) *rand.Rand {
	key := binary.LittleEndian.AppendUint64(nil, o.Seed)
	key = binary.LittleEndian.AppendUint64(key, uint64(index))
	return rand.New(rand.NewChaCha8(sha256.Sum256(append(key, source...))))
}

func pairName(source string, index int) string {
	return fmt.Sprintf("%s_%03d", strings.TrimSuffix(source, path.Ext(source)), index)
}

// cut draws the crop, and returns it with its margin, in linear light. It sets the pair's target.
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
		s := newScene(develop(p, pair.Crop.grown(m), pair.Downscale), pair.Highlights)
		pair.Target = s.sharp(Box{m, m, pair.Crop.Width, pair.Crop.Height}).photo()
		return s, nil
	}
	return scene{}, ErrFlat
}

// expose draws how the camera moves, until the scene stays within reach, and returns its views.
func (o Options) expose(pair *Pair, canvas Box, p *photo.Photo, rng *rand.Rand) []homography {
	width, height := float64(p.Width)/pair.Downscale, float64(p.Height)/pair.Downscale
	camera := camera{focal: pair.Focal * max(width, height), x: (math.Floor(width) - 1) / 2, y: (math.Floor(height) - 1) / 2}
	pair.Frames = max(leastFrames, int(math.Ceil(pair.Strength)))
	for {
		t := drawTrajectory(rng)
		pair.Motion = t.Motion
		t.center(pair.Frames)
		t.scale(camera, pair.Crop, pair.Strength)
		views := t.views(camera, pair.Frames)
		if farthest(views, canvas) <= o.reach()+1e-6 {
			return views
		}
	}
}
