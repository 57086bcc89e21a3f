package synth

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// town is a photo with detail everywhere: rectangles of all sizes and colours, from black to white.
func town(width, height int, seed uint64) *photo.Photo {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := &photo.Photo{Width: width, Height: height, Channels: 3, Max: 255, Pix: make([]uint16, width*height*3)}
	for range width * height / 20 {
		colour := [3]uint16{uint16(rng.IntN(256)), uint16(rng.IntN(256)), uint16(rng.IntN(256))}
		w, h := 1+rng.IntN(12), 1+rng.IntN(12)
		left, top := rng.IntN(width), rng.IntN(height)
		for y := top; y < min(top+h, height); y++ {
			for x := left; x < min(left+w, width); x++ {
				copy(p.Pix[3*(y*width+x):], colour[:])
			}
		}
	}
	return p
}

// plain are options that do nothing but blur.
func plain(crop int, strength float64) Options {
	return Options{
		Crop: crop, Detail: 1, Strength: Range{strength, strength}, Focal: one, Downscale: one, Highlights: one,
		Nearness: one, Average: one, Duty: one, Shrink: one,
	}
}

func makePair(t *testing.T, o Options, p *photo.Photo, index int) *Pair {
	t.Helper()
	pair, err := o.Make(t.Context(), p, "town.png", index)
	require.NoError(t, err)
	return pair
}

// near fails unless two numbers are as near as that. NaN is near nothing.
func near(t *testing.T, want, got, tolerance float64, what ...any) {
	t.Helper()
	if !(math.Abs(want-got) <= tolerance) {
		t.Fatalf("%v: want %v, got %v, off by %v of %v", what, want, got, math.Abs(want-got), tolerance)
	}
}

// psnr is that of a pair, in dB.
func psnr(p *Pair) float64 {
	sum := 0.0
	for i, v := range p.Input.Pix {
		d := float64(v) - float64(p.Target.Pix[i])
		sum += d * d
	}
	return 10 * math.Log10(255*255*float64(len(p.Input.Pix))/sum)
}

// noisy is an image of random light.
func noisy(width, height int) image {
	rng := rand.New(rand.NewPCG(5, 6))
	m := newImage(width, height)
	for i := range m.pix {
		m.pix[i] = rng.Float32()
	}
	return m
}

func save(t *testing.T, path string, p *photo.Photo) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, photo.Save(path, p, photo.EncodeOptions{}))
}

// contents are all files below a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[filepath.ToSlash(name)] = string(data)
		return err
	}))
	return found
}

// evenly returns the middles of n equal parts of an exposure.
func evenly(n int) []float64 {
	times := make([]float64, n)
	for i := range times {
		times[i] = (float64(i) + 0.5) / float64(n)
	}
	return times
}

// once is an exposure of a scene without layers.
func once(views []homography) exposure {
	moments := make([]moment, len(views))
	for i, view := range views {
		moments[i].scene = view
	}
	return exposure{frames: [][]moment{moments}}
}
