package photo

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every combination comes back as the format promises.
func TestRoundTrip(t *testing.T) {
	for _, f := range allFormats {
		for _, channels := range []int{1, 3} {
			for _, white := range []uint16{255, 65535} {
				for _, alpha := range []bool{false, true} {
					for _, size := range [][2]int{{1, 1}, {7, 5}, {70, 41}, {1, 300}} {
						name := fmt.Sprintf("%s/%dch/%d/alpha=%v/%v", f, channels, white, alpha, size)
						t.Run(name, func(t *testing.T) {
							p := noise(size[0], size[1], channels, white, alpha)
							if f == JPEG {
								p = ramp(size[0], size[1], channels, white)
							}
							b := mustEncode(t, p, f)
							require.Equal(t, b, mustEncode(t, p, f), "not deterministic")
							got := mustDecode(t, b)
							want := expected(p, f)
							require.Equal(t, f, got.Format)
							if f == JPEG {
								require.LessOrEqual(t, worst(t, want, got), 8)
								return
							}
							require.Zero(t, worst(t, want, got))
							info, err := Probe(b, "x")
							require.NoError(t, err)
							depth := 8
							if got.Max == 65535 {
								depth = 16
							}
							require.Equal(t, Info{Format: f, Width: p.Width, Height: p.Height, Channels: got.Channels, Depth: depth, Alpha: got.Alpha != nil}, info)
						})
					}
				}
			}
		}
	}
}

// expected is what should remain of p in a format.
func expected(p *Photo, f Format) *Photo {
	q := newPhoto(p.Width, p.Height, p.Channels, p.Max, p.Alpha != nil && f.KeepsAlpha())
	copy(q.Pix, p.Pix)
	copy(q.Alpha, p.Alpha)
	if p.Alpha != nil && !f.KeepsAlpha() { // on white
		for i, v := range q.Pix {
			a, m := float64(p.Alpha[i/p.Channels]), float64(p.Max)
			q.Pix[i] = uint16(math.Floor((float64(v)*a+m*(m-a))/m + 0.5))
		}
	}
	if p.Max == 65535 && !f.KeepsDepth16() {
		q.Max = 255
		for _, s := range [][]uint16{q.Pix, q.Alpha} {
			for i, v := range s {
				s[i] = uint16((float64(v) / 257) + 0.5)
			}
		}
	}
	if f == WebP && q.Channels == 1 {
		rgb := make([]uint16, 0, 3*len(q.Pix))
		for _, v := range q.Pix {
			rgb = append(rgb, v, v, v)
		}
		q.Channels, q.Pix = 3, rgb
	}
	return q
}

func TestImageRoundTrip(t *testing.T) {
	for _, p := range []*Photo{
		noise(7, 5, 1, 255, false), noise(7, 5, 1, 65535, false),
		noise(7, 5, 3, 255, false), noise(7, 5, 3, 65535, false),
		noise(7, 5, 3, 255, true), noise(7, 5, 3, 65535, true),
	} {
		require.Zero(t, worst(t, p, FromImage(p.Image())))
	}
}

func TestFromImageUnpremultiplies(t *testing.T) {
	m := image.NewRGBA(image.Rect(3, 4, 5, 5)) // not at the origin
	m.SetRGBA(3, 4, color.RGBA{50, 100, 3, 100})
	m.SetRGBA(4, 4, color.RGBA{0, 0, 0, 0})
	p := FromImage(m)
	require.Equal(t, []uint16{128, 255, 8, 0, 0, 0}, p.Pix) // 50·255/100 = 127.5, 3·255/100 = 7.65
	require.Equal(t, []uint16{100, 0}, p.Alpha)
}

func TestFromImageKinds(t *testing.T) {
	grey := color.Palette{color.Gray{9}, color.Gray{200}}
	pal := image.NewPaletted(image.Rect(0, 0, 2, 1), grey)
	pal.Pix[1] = 1
	p := FromImage(pal)
	require.Equal(t, 1, p.Channels)
	require.Equal(t, []uint16{9, 200}, p.Pix)

	cmyk := image.NewCMYK(image.Rect(0, 0, 1, 1))
	copy(cmyk.Pix, []byte{255, 0, 51, 51})
	require.Equal(t, []uint16{0, 204, 163}, FromImage(cmyk).Pix)

	alpha16 := image.NewAlpha16(image.Rect(0, 0, 1, 1)) // a kind without its own case
	alpha16.SetAlpha16(0, 0, color.Alpha16{0x1234})
	require.Equal(t, []uint16{0x1234}, FromImage(alpha16).Alpha)
}

// Inputs that only other programs write.
func TestPNGKinds(t *testing.T) {
	encode := func(m image.Image) []byte {
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, m))
		return b.Bytes()
	}
	colours := color.Palette{color.NRGBA{1, 2, 3, 255}, color.NRGBA{200, 100, 50, 7}, color.NRGBA{9, 9, 9, 0}}
	for _, n := range []int{2, 3, 17} { // 1, 2 and 8 bits per index
		pal := append(color.Palette{}, colours[:min(n, 3)]...)
		for len(pal) < n {
			pal = append(pal, color.NRGBA{uint8(len(pal)), 0, 77, 255})
		}
		m := image.NewPaletted(image.Rect(0, 0, 5, 3), pal)
		for i := range m.Pix {
			m.Pix[i] = uint8(i % n)
		}
		p := mustDecode(t, encode(m))
		require.Equal(t, 3, p.Channels)
		for i := range m.Pix {
			c := pal[i%n].(color.NRGBA)
			require.Equal(t, []uint16{uint16(c.R), uint16(c.G), uint16(c.B)}, p.Pix[3*i:3*i+3])
			require.Equal(t, uint16(c.A), p.Alpha[i], "the colour under small alpha must survive too")
		}
	}
	greys := image.NewPaletted(image.Rect(0, 0, 2, 1), color.Palette{color.Gray{3}, color.Gray{250}})
	greys.Pix[1] = 1
	b := encode(greys)
	require.Equal(t, []uint16{3, 250}, mustDecode(t, b).Pix)
	withProfile := insertPNG(b, "iCCP", append([]byte("x\x00\x00"), deflate(profile("RGB ", 200))...))
	p := mustDecode(t, withProfile)
	require.Equal(t, []uint16{3, 3, 3, 250, 250, 250}, p.Pix, "an RGB profile keeps greys RGB")
	require.NotNil(t, p.Meta.ICC)

	grey := mustEncode(t, &Photo{Width: 2, Height: 1, Channels: 1, Max: 255, Pix: []uint16{5, 6}}, PNG)
	p = mustDecode(t, insertPNG(grey, "tRNS", []byte{0, 6}))
	require.Equal(t, 1, p.Channels)
	require.Equal(t, []uint16{5, 6}, p.Pix)
	require.Equal(t, []uint16{255, 0}, p.Alpha)
}

func TestBMPWithEmptyAlphaIsOpaque(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	copy(m.Pix, []byte{1, 2, 3, 0, 4, 5, 6, 0})
	b := bmp32(m)
	p := mustDecode(t, b)
	require.Nil(t, p.Alpha)
	require.Equal(t, []uint16{1, 2, 3, 4, 5, 6}, p.Pix)
	m.Pix[3] = 9
	require.Equal(t, []uint16{9, 0}, mustDecode(t, bmp32(m)).Alpha)
}

// bmp32 writes a 32-bit BMP with a V4 header, which has alpha.
func bmp32(m *image.NRGBA) []byte {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	b := make([]byte, 14+108)
	copy(b, "BM")
	b[10], b[14] = 122, 108
	b[18], b[22], b[26], b[28] = byte(w), byte(h), 1, 32
	for y := h - 1; y >= 0; y-- {
		for x := range w {
			c := m.NRGBAAt(x, y)
			b = append(b, c.B, c.G, c.R, c.A)
		}
	}
	return b
}
