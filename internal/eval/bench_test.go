package eval

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// mosaic repeats a photo over 1280×720 pixels, from an offset on.
func mosaic(p *photo.Photo, offset int) *photo.Photo {
	out := &photo.Photo{Width: 1280, Height: 720, Channels: 3, Max: 255}
	for y := range out.Height {
		for x := range out.Width {
			at := (y+offset)%p.Height*p.Width + (x+7*offset)%p.Width
			out.Pix = append(out.Pix, p.Pix[3*at:3*at+3]...)
		}
	}
	return out
}

// BenchmarkTenPairs scores ten pairs of 1280×720 pixels, results and inputs, by all three protocols.
func BenchmarkTenPairs(b *testing.B) {
	small := realPhotos(b)
	var a album
	for i := range 10 {
		p := small[i%4]
		a = append(a, pair{name: p.name, Photos: Photos{Input: mosaic(p.Input, i), Target: mosaic(p.Target, i), Restored: mosaic(p.Restored, i)}})
	}
	d := &Dataset{Name: "ten", Folder: b.TempDir(), Protocols: all()}
	for b.Loop() {
		require.NoError(b, d.Run(b.Context(), a, Options{}))
		for _, m := range d.Images {
			require.False(b, m.Failed(), "%v", m.problem(RealBlur))
		}
	}
}
