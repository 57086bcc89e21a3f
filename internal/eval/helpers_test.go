package eval

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
)

const fixtures = "../../conformance/testdata/metrics"

// pair is a pair in memory.
type pair struct {
	name string
	Photos
	err error
}

// album is a dataset in memory.
type album []pair

func (a album) Len() int          { return len(a) }
func (a album) Name(i int) string { return a[i].name }

// Photos has inputs of the pairs' names.
func (a album) Photos(i int) (Photos, error) {
	p := a[i].Photos
	p.File = a[i].name + ".png"
	return p, a[i].err
}

// realPhotos are the pairs of the fixtures, their inputs blurred further.
func realPhotos(t testing.TB) album {
	t.Helper()
	targets, err := filepath.Glob(filepath.Join(fixtures, "*_gt.png"))
	require.NoError(t, err)
	require.Len(t, targets, 4)
	var a album
	for _, file := range targets {
		target, err := photo.Open(file)
		require.NoError(t, err)
		result, err := photo.Open(strings.Replace(file, "_gt", "_out", 1))
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), "_gt.png")
		a = append(a, pair{name: name, Photos: Photos{Input: smear(result), Target: target, Restored: result}})
	}
	return a
}

// unrestored is an album without its results, and one that restores by looking them up.
func (a album) unrestored() (album, func(context.Context, Photos, uint64) (*photo.Photo, error)) {
	out := append(album{}, a...)
	results := map[string]*photo.Photo{}
	for i := range out {
		results[out[i].name+".png"] = out[i].Restored
		out[i].Restored = nil
	}
	return out, func(_ context.Context, p Photos, seed uint64) (*photo.Photo, error) {
		r, ok := results[p.File]
		if !ok {
			return nil, errors.New("who is " + p.File)
		}
		return brighter(r, int(seed)), nil
	}
}

// brighter adds to all samples but the darkest and the brightest.
func brighter(p *photo.Photo, by int) *photo.Photo {
	q := *p
	q.Pix = make([]uint16, len(p.Pix))
	for i, v := range p.Pix {
		q.Pix[i] = v
		if int(v) > 20 && int(v) < 230 {
			q.Pix[i] += uint16(by)
		}
	}
	return &q
}

// smear averages five neighbours in a row.
func smear(p *photo.Photo) *photo.Photo {
	q := *p
	q.Pix = make([]uint16, len(p.Pix))
	for y := range p.Height {
		for x := range p.Width {
			for c := range p.Channels {
				sum := 0
				for k := -2; k <= 2; k++ {
					sum += int(p.Pix[(y*p.Width+min(max(x+k, 0), p.Width-1))*p.Channels+c])
				}
				q.Pix[(y*p.Width+x)*p.Channels+c] = uint16((sum + 2) / 5)
			}
		}
	}
	return &q
}

// texture is a photo with detail everywhere.
func texture(width, height, channels int, white uint16) *photo.Photo {
	p := &photo.Photo{Width: width, Height: height, Channels: channels, Max: white, Pix: make([]uint16, width*height*channels)}
	for i := range p.Pix {
		x, y := i/channels%width, i/channels/width
		p.Pix[i] = uint16((x*x*7 + y*y*3 + x*y + 31*(i%channels)) % 251 * int(white) / 255)
	}
	return p
}

func flat(width, height int) *photo.Photo {
	p := texture(width, height, 3, 255)
	clear(p.Pix)
	return p
}

// all are scorers of all protocols.
func all() (s []Scorer) {
	for _, p := range Protocols {
		s = append(s, Scorer{Protocol: p})
	}
	return s
}

// fast are those that align nothing.
func fast() []Scorer { return []Scorer{{Protocol: BasicSR}, {Protocol: Matlab}} }

// pixels is a photo of 8 bits for metrics, by way of its own.
func pixels(p *photo.Photo) metrics.Image {
	m := metrics.Image{Width: p.Width, Height: p.Height, Channels: p.Channels}
	for _, v := range p.Pix {
		m.Pix = append(m.Pix, uint8(v))
	}
	return m
}

// same compares scores exactly, none with none.
func same(t *testing.T, want, got Number, what string) {
	t.Helper()
	if want != got && (want.Known() || got.Known()) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func near(t *testing.T, want, got, tolerance float64, what string) {
	t.Helper()
	if d := got - want; !(d <= tolerance && -d <= tolerance) {
		t.Errorf("%s: got %.12g, want %.12g", what, got, want)
	}
}

// scored runs an album that came restored.
func scored(t *testing.T, name string, a album, scorers []Scorer) *Dataset {
	t.Helper()
	d := &Dataset{Name: name, Input: "in/" + name, Target: "sharp/" + name, Folder: t.TempDir(), Protocols: scorers}
	require.NoError(t, d.Run(t.Context(), a, Options{}))
	require.Len(t, d.Images, len(a))
	return d
}

func names(images []*Image) (out []string) {
	for _, m := range images {
		out = append(out, m.Name)
	}
	return out
}

func numbered(n int, p Photos) (a album) {
	for i := range n {
		a = append(a, pair{name: fmt.Sprintf("deep/%02d", i), Photos: p})
	}
	return a
}
