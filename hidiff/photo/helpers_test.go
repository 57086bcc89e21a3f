package photo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var allFormats = []Format{PNG, JPEG, TIFF, WebP, BMP}

// noise is a photo of random samples; alpha includes fully transparent pixels with colours under them.
func noise(w, h, channels int, max uint16, alpha bool) *Photo {
	r := rand.New(rand.NewPCG(uint64(w), uint64(h)))
	p := newPhoto(w, h, channels, max, alpha)
	for i := range p.Pix {
		p.Pix[i] = uint16(r.IntN(int(max) + 1))
	}
	for i := range p.Alpha {
		p.Alpha[i] = uint16(r.IntN(int(max) + 1))
		if i%3 == 0 {
			p.Alpha[i] = uint16(i%2) * max
		}
	}
	return p
}

// ramp is smooth, for lossy formats.
func ramp(w, h, channels int, max uint16) *Photo {
	p := newPhoto(w, h, channels, max, false)
	for i := range p.Pix {
		x, y := i/channels%w, i/channels/w
		p.Pix[i] = uint16(int(max) * (x + y + i%channels*3) / (w + h + 6))
	}
	return p
}

func mustEncode(t testing.TB, p *Photo, f Format) []byte {
	t.Helper()
	b, err := Encode(p, EncodeOptions{Format: f})
	require.NoError(t, err)
	return b
}

func mustDecode(t testing.TB, b []byte) *Photo {
	t.Helper()
	p, err := Decode(b, "test")
	require.NoError(t, err)
	return p
}

// worst is the largest difference of samples and alpha.
func worst(t testing.TB, a, b *Photo) int {
	t.Helper()
	require.Equal(t, [4]int{a.Width, a.Height, a.Channels, int(a.Max)}, [4]int{b.Width, b.Height, b.Channels, int(b.Max)})
	require.Equal(t, len(a.Pix), len(b.Pix))
	require.Equal(t, len(a.Alpha), len(b.Alpha))
	d := 0
	for i := range a.Pix {
		d = max(d, abs(int(a.Pix[i])-int(b.Pix[i])))
	}
	for i := range a.Alpha {
		d = max(d, abs(int(a.Alpha[i])-int(b.Alpha[i])))
	}
	return d
}

// profile is a stand-in ICC profile with a colour space in the right place.
func profile(space string, n int) []byte {
	b := bytes.Repeat([]byte{0x5A, 0xA5, 7}, n/3+1)[:n]
	copy(b[16:], space)
	return b
}

// exifBlock is an EXIF block with make, orientation, exposure time, size, interoperability, position
// and a thumbnail.
func exifBlock(o order, orientation int) []byte {
	b := block{order: o}
	out := []byte("II*\x00\x00\x00\x00\x00")
	if o == binary.BigEndian {
		out = []byte("MM\x00*\x00\x00\x00\x00")
	}
	rational := o.AppendUint32(o.AppendUint32(nil, 1), 250)
	out, inter := appendFields(out, o, []field{{tag: 1, kind: 2, count: 4, value: []byte("R98\x00")}})
	out, exif := appendFields(out, o, []field{
		{tag: 33434, kind: 5, count: 1, value: rational},
		{tag: 37500, kind: kindUndefined, count: 11, value: []byte("maker notes")},
		b.longField(tagPixelX, 40), b.shortField(tagPixelY, 30),
		b.longField(tagInteropIFD, uint32(inter)),
	})
	out, gps := appendFields(out, o, []field{{tag: 1, kind: 2, count: 2, value: []byte("N\x00")}})
	out, thumb := appendFields(out, o, []field{b.shortField(tagCompression, 6)})
	out, first := appendFields(out, o, []field{
		{tag: 271, kind: 2, count: 12, value: []byte("Hasselblad!\x00")},
		b.shortField(tagOrientation, uint16(orientation)),
		b.longField(tagExifIFD, uint32(exif)), b.longField(tagGPSIFD, uint32(gps)),
	})
	o.PutUint32(out[4:], uint32(first))
	o.PutUint32(out[len(out)-4:], uint32(thumb))
	return out
}

// describe lists what an EXIF block says, independent of offsets and byte order.
func describe(t testing.TB, exif []byte) map[string]string {
	t.Helper()
	b, err := openBlock(exif)
	require.NoError(t, err)
	said := map[string]string{}
	var walk func(at int, where string)
	walk = func(at int, where string) {
		fields, next, err := b.fields(at)
		require.NoError(t, err)
		require.NotZero(t, next)
		if b.order.Uint32(exif[next:]) != 0 {
			said[where+"next"] = "linked"
		}
		for _, f := range fields {
			name := fmt.Sprintf("%s%d", where, f.tag)
			switch f.tag {
			case tagExifIFD, tagGPSIFD, tagInteropIFD:
				v, _ := b.number(f, 0)
				walk(int(v), name+"/")
			default:
				said[name] = string(f.value)
				if v, ok := b.number(f, 0); ok {
					said[name] = fmt.Sprint(v)
				} else if f.kind == 5 {
					said[name] = fmt.Sprint(b.order.Uint32(f.value), "/", b.order.Uint32(f.value[4:]))
				}
			}
		}
	}
	walk(b.first, "")
	return said
}

// insertPNG puts a chunk after IHDR.
func insertPNG(png []byte, kind string, body []byte) []byte {
	at := 8 + 12 + 13
	return append(pngChunk(bytes.Clone(png[:at]), kind, body), png[at:]...)
}

// headerPNG is a PNG that only announces a size.
func headerPNG(w, h uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, w)
	b = append(binary.BigEndian.AppendUint32(b, h), 8, 2, 0, 0, 0)
	return pngChunk(pngChunk([]byte(pngSignature), "IHDR", b), "IEND", nil)
}

// buildTIFF is a little-endian TIFF of one uncompressed strip, of which further fields replace those of
// the same tags.
func buildTIFF(t testing.TB, w, h, samples, bits, photometric int, strip []byte, further ...field) []byte {
	t.Helper()
	b := block{order: binary.LittleEndian}
	fields := []field{
		b.longField(tagWidth, uint32(w)), b.longField(tagHeight, uint32(h)), b.shortField(tagBits, uint16(bits)),
		b.shortField(tagPhotometric, uint16(photometric)), b.shortField(tagSamples, uint16(samples)),
		b.longField(tagStripOffsets, 8), b.longField(tagStripByteCounts, uint32(len(strip))),
	}
	fields = slices.DeleteFunc(fields, func(f field) bool { return find(further, f.tag).tag != 0 })
	out, first := appendFields(append([]byte("II*\x00\x00\x00\x00\x00"), strip...), b.order, append(fields, further...))
	b.order.PutUint32(out[4:], uint32(first))
	return out
}

// buildBMP is a BMP with a header of 40 bytes and what follows it before the pixels: palette or masks.
func buildBMP(w, h, bits, compression int, pixels []byte, behindHeader ...byte) []byte {
	le := binary.LittleEndian
	out := make([]byte, 54, 54+len(behindHeader)+len(pixels))
	copy(out, "BM")
	le.PutUint32(out[10:], uint32(54+len(behindHeader)))
	le.PutUint32(out[14:], 40)
	le.PutUint32(out[18:], uint32(w))
	le.PutUint32(out[22:], uint32(h))
	le.PutUint16(out[26:], 1)
	le.PutUint16(out[28:], uint16(bits))
	le.PutUint32(out[30:], uint32(compression))
	return append(append(out, behindHeader...), pixels...)
}
