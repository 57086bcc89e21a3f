package synth

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

func TestNothingMovesNothingChanges(t *testing.T) {
	p := town(120, 90, 3)
	for _, crop := range []int{0, 64} {
		o := plain(crop, 0)
		pair := makePair(t, o, p, 0)
		require.Equal(t, pair.Target.Pix, pair.Input.Pix)
		b := pair.Crop
		require.Equal(t, [2]int{pair.Target.Width, pair.Target.Height}, [2]int{b.Width, b.Height})
		for y := range b.Height {
			at := 3 * ((b.Y+y)*p.Width + b.X)
			require.Equal(t, p.Pix[at:at+3*b.Width], pair.Target.Pix[3*y*b.Width:3*(y+1)*b.Width], "the photo's own pixels")
		}
		o.Highlights, o.Downscale = Range{4, 4}, Range{1, 1.3}
		pair = makePair(t, o, p, 1)
		require.Equal(t, pair.Target.Pix, pair.Input.Pix)
	}
}

func TestBlurIsGraded(t *testing.T) {
	p := town(300, 300, 4)
	before := math.Inf(1)
	for _, strength := range []float64{0.5, 4, 16, 48} {
		mean := 0.0
		for i := range 8 {
			pair := makePair(t, plain(96, strength), p, i)
			require.Equal(t, strength, pair.Strength)
			mean += psnr(pair) / 8
		}
		require.Less(t, mean, before-0.8, strength)
		before = mean
	}
}

func TestInteriorKeepsItsLight(t *testing.T) {
	p := town(400, 400, 5)
	pair := makePair(t, plain(256, 20), p, 0)
	light := func(p *photo.Photo) (sum float64) {
		for _, v := range p.Pix {
			sum += toLinear(float64(v) / 255)
		}
		return sum / float64(len(p.Pix))
	}
	near(t, 1, light(pair.Input)/light(pair.Target), 0.01)
}

// The best match of a blurry photo among shifts of the sharp one is no shift.
func TestPairsAreAligned(t *testing.T) {
	p := town(300, 300, 6)
	for i := range 6 {
		pair := makePair(t, plain(128, 12), p, i)
		var sumX, sumY, total float64
		for dy := -9; dy <= 9; dy++ {
			for dx := -9; dx <= 9; dx++ { // correlation, whose centre of mass is the blur's
				sum := 0.0
				for y := 10; y < 118; y += 2 {
					for x := 10; x < 118; x += 2 {
						a, b := 3*(y*128+x), 3*((y+dy)*128+x+dx)
						sum += (toLinear(float64(pair.Target.Pix[a])/255) - 0.36) * (toLinear(float64(pair.Input.Pix[b])/255) - 0.36)
					}
				}
				sum = max(sum, 0)
				sumX, sumY, total = sumX+sum*float64(dx), sumY+sum*float64(dy), total+sum
			}
		}
		require.Less(t, math.Hypot(sumX, sumY)/total, 1.0, i)
	}
}

func TestOptionsAreDrawnWithinTheirRanges(t *testing.T) {
	p := town(400, 300, 7)
	o := Options{
		Crop: 32, Strength: Range{2, 9}, Sharp: 0.3, Focal: Range{0.7, 3}, Downscale: Range{1.5, 2}, Highlights: Range{2, 4},
		Defocus: Range{1, 2}, Noise: Range{1, 5}, JPEG: Range{60, 62}, Nearness: one, Average: one, Duty: one, Shrink: one,
	}
	inside := func(r Range, v float64) { t.Helper(); require.True(t, r.Min <= v && v <= r.Max, "%v in %v", v, r) }
	sharp, low, high := 0, 0, 0
	qualities := map[int]int{}
	for i := range 120 {
		pair := makePair(t, o, p, i)
		require.Equal(t, fmt.Sprintf("town_%03d", i), pair.Name)
		inside(o.Focal, pair.Focal)
		inside(o.Downscale, pair.Downscale)
		inside(o.Highlights, pair.Highlights)
		inside(o.JPEG, float64(pair.JPEG))
		require.Equal(t, 16, pair.Frames)
		least, _ := noiseOf(1)
		most, _ := noiseOf(5)
		inside(Range{least, most}, pair.Shot)
		b, m := pair.Crop, o.margin()
		require.True(t, b.X >= m && b.Y >= m && float64(b.X+32+m) <= 400/pair.Downscale && float64(b.Y+32+m) <= 300/pair.Downscale)
		qualities[pair.JPEG]++
		if pair.Strength < 1 {
			require.Zero(t, pair.Defocus)
			sharp++
			continue
		}
		inside(o.Defocus, pair.Defocus)
		inside(o.Strength, pair.Strength)
		if pair.Strength < 5.5 {
			low++
		} else {
			high++
		}
	}
	require.InDelta(t, 36, sharp, 20)
	require.InDelta(t, low, high, 36)
	require.Len(t, qualities, 3)
}

// The strongest blur of the shortest lens: what is read must lie within the margin.
func TestExtremes(t *testing.T) {
	p := town(480, 400, 8)
	for i := range 12 {
		o := plain(32, 256)
		o.Focal, o.Defocus, o.Highlights = Range{0.3, 0.3}, Range{8, 8}, Range{16, 16}
		makePair(t, o, p, i)
		o = plain(0, 30)
		o.Focal = Range{30, 30}
		makePair(t, o, town(90, 80, 1), i)
	}
}

func TestPairsDependOnSeedNameAndIndex(t *testing.T) {
	p := town(200, 200, 9)
	o := Defaults()
	o.Crop = 64
	first := makePair(t, o, p, 3)
	require.Equal(t, first, makePair(t, o, p, 3))
	require.NotEqual(t, first.Strength, makePair(t, o, p, 4).Strength)
	other, err := o.Make(t.Context(), p, "village.png", 3)
	require.NoError(t, err)
	require.NotEqual(t, first.Strength, other.Strength)
	o.Seed = 1
	require.NotEqual(t, first.Strength, makePair(t, o, p, 3).Strength)
}

func TestJPEG(t *testing.T) {
	p := town(150, 150, 10)
	o := plain(64, 6)
	clean := makePair(t, o, p, 0)
	o.JPEG = Range{10, 10}
	rough := makePair(t, o, p, 0)
	require.Equal(t, 10, rough.JPEG)
	require.NotEqual(t, clean.Input.Pix, rough.Input.Pix)
	require.Equal(t, 255, int(rough.Input.Max))
	require.Equal(t, len(clean.Input.Pix), len(rough.Input.Pix))
}

func TestPhotosThatCannotBeUsed(t *testing.T) {
	o := plain(64, 20)
	_, err := o.Make(t.Context(), town(90, 200, 1), "a.png", 0)
	require.ErrorContains(t, err, "90×200 pixels are too few")
	require.ErrorContains(t, err, "ask for 92×92")
	_, err = o.Make(t.Context(), town(92, 92, 1), "a.png", 0)
	require.NoError(t, err)

	flat := &photo.Photo{Width: 100, Height: 100, Channels: 1, Max: 255, Pix: make([]uint16, 10000)}
	_, err = o.Make(t.Context(), flat, "a.png", 0)
	require.ErrorIs(t, err, ErrFlat)
	for _, change := range []func(*Options){func(o *Options) { o.Crop = 0 }, func(o *Options) { o.Detail = 0 }} {
		may := o
		change(&may)
		_, err = may.Make(t.Context(), flat, "a.png", 0)
		require.NoError(t, err, "whole photos may be flat, and all crops where no detail is asked for")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = o.Make(ctx, flat, "a.png", 0)
	require.ErrorIs(t, err, context.Canceled)
}

// 440/1.1 is 399.99…, and 400 is what the pair needs: photos that are just large enough are.
func TestPhotosThatAreJustLargeEnough(t *testing.T) {
	o := plain(384, 10)
	o.Downscale = Range{1.1, 1.1}
	pair := makePair(t, o, town(460, 440, 12), 0)
	require.Equal(t, o.margin(), pair.Crop.Y)
	require.Equal(t, 384, pair.Target.Height)
	o = plain(32, 0)
	for side := 36; side < 200; side++ { // as far down as it may go, if that is less than what is asked for
		factor := float64(side) / 36
		o.Downscale = Range{factor, factor}
		require.Equal(t, Box{2, 2, 32, 32}, makePair(t, o, town(side, side, 13), 0).Crop)
	}
}

// Half of the photo is a wall: crops come from the other half.
func TestCropsHaveDetail(t *testing.T) {
	p := town(400, 160, 11)
	for y := range 160 {
		for i := y * 400 * 3; i < (y*400+300)*3; i++ {
			p.Pix[i] = 90
		}
	}
	for i := range 12 {
		o := plain(64, 4)
		o.Detail = 8
		pair := makePair(t, o, p, i)
		require.GreaterOrEqual(t, detail(p, pair.Crop, 1), 8.0)
		require.Greater(t, pair.Crop.X+64, 300)
	}
}

func TestRange(t *testing.T) {
	for text, want := range map[string]Range{"4:40": {4, 40}, "0.5": {0.5, 0.5}, "1:2.25": {1, 2.25}} {
		var r Range
		require.NoError(t, r.UnmarshalText([]byte(text)))
		require.Equal(t, want, r)
		require.Equal(t, text, r.String())
	}
	for _, text := range []string{"", "a", "1:", ":2", "1:2:3", "1-2"} {
		require.ErrorContains(t, new(Range).UnmarshalText([]byte(text)), "MIN:MAX", text)
	}
	before := Defaults()
	text, err := json.Marshal(before)
	require.NoError(t, err)
	require.Contains(t, string(text), `"strength":"4:40"`)
	var after Options
	require.NoError(t, json.Unmarshal(text, &after))
	require.Equal(t, before, after)
}

func TestValidate(t *testing.T) {
	require.NoError(t, Defaults().Validate())
	nan := math.NaN()
	for text, change := range map[string]func(*Options){
		"crop 31 must be at least 32": func(o *Options) { o.Crop = 31 },
		"sharp 1.5 is a share":        func(o *Options) { o.Sharp = 1.5 },
		"detail -1 is not from 0":     func(o *Options) { o.Detail = -1 },
		"sharp NaN is a share":        func(o *Options) { o.Sharp = nan },
		"strength 9:3":                func(o *Options) { o.Strength = Range{9, 3} },
		"strength 1:300":              func(o *Options) { o.Strength = Range{1, 300} },
		"strength NaN":                func(o *Options) { o.Strength = Range{nan, nan} },
		"focal 0:1":                   func(o *Options) { o.Focal = Range{0, 1} },
		"downscale 0.5:2":             func(o *Options) { o.Downscale = Range{0.5, 2} },
		"highlights 0":                func(o *Options) { o.Highlights = Range{} },
		"defocus 0:9":                 func(o *Options) { o.Defocus = Range{0, 9} },
		"noise -1:3":                  func(o *Options) { o.Noise = Range{-1, 3} },
		"tripod 2 is a share":         func(o *Options) { o.Tripod = 2 },
		"objects 0:99":                func(o *Options) { o.Objects = Range{0, 99} },
		"nearness 0":                  func(o *Options) { o.Nearness = Range{} },
		"duty 0":                      func(o *Options) { o.Duty = Range{} },
		"average 0":                   func(o *Options) { o.Average = Range{} },
		"shrink 0.5":                  func(o *Options) { o.Shrink = Range{0.5, 0.5} },
		"jpeg 0:90: write MIN:MAX or one number, from 1 to 100": func(o *Options) { o.JPEG = Range{0, 90} },
	} {
		o := Defaults()
		change(&o)
		require.ErrorContains(t, o.Validate(), text)
		_, err := o.Make(t.Context(), town(99, 99, 1), "a.png", 0)
		require.ErrorContains(t, err, text)
	}
}
