package photo

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var little = block{order: binary.LittleEndian}

// chain makes a TIFF's first directory link to further ones of the fields given.
func chain(data []byte, further ...[]field) []byte {
	data = bytes.Clone(data)
	link := len(data) - 4
	for _, fields := range further {
		var at int
		data, at = appendFields(data, binary.LittleEndian, fields)
		binary.LittleEndian.PutUint32(data[link:], uint32(at))
		link = len(data) - 4
	}
	return data
}

// A page is a picture that nothing says to be less.
func TestPagesAreRefused(t *testing.T) {
	page := func(w, h int, further ...field) []field {
		return append([]field{little.longField(tagWidth, uint32(w)), little.longField(tagHeight, uint32(h))}, further...)
	}
	one := buildTIFF(t, 20, 10, 1, 8, blackIsZero, make([]byte, 200))
	for name, c := range map[string]struct {
		data []byte
		says string // "" where it is one page
	}{
		"same size":             {chain(one, page(20, 10)), "several pages"},
		"larger":                {chain(one, page(40, 20)), "several pages"},
		"smaller, other shape":  {chain(one, page(10, 9)), "several pages"},
		"as wide":               {chain(one, page(20, 9)), "several pages"},
		"said to be a page":     {chain(one, page(20, 10, little.longField(tagNewSubfileType, 2))), "several pages"},
		"old page":              {chain(one, page(20, 10, little.shortField(tagSubfileType, 3))), "several pages"},
		"behind a preview":      {chain(one, page(10, 5, little.longField(tagNewSubfileType, 1)), page(20, 10)), "several pages"},
		"preview":               {chain(one, page(20, 10, little.longField(tagNewSubfileType, 1))), ""},
		"old preview":           {chain(one, page(20, 10, little.shortField(tagSubfileType, 2))), ""},
		"mask":                  {chain(one, page(20, 10, little.longField(tagNewSubfileType, 4))), ""},
		"pyramid, nothing said": {chain(one, page(10, 5), page(5, 3), page(3, 2)), ""},
		"no picture":            {chain(one, []field{little.shortField(tagOrientation, 1)}), ""},
		"no end": {func() []byte {
			data := chain(one, page(5, 3))
			_, next, _ := block{data: data, order: little.order}.fields(int(little.order.Uint32(data[len(one)-4:])))
			copy(data[next:], data[len(one)-4:len(one)])
			return data
		}(), "have no end"},
		"beyond the file": {append(one[:len(one)-4:len(one)-4], 0xFF, 0xFF, 0, 0), "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := Probe(c.data, "x.tif")
			_, decodeErr := Decode(c.data, "x.tif")
			require.Equal(t, err, decodeErr)
			if c.says == "" {
				require.NoError(t, err)
				require.Equal(t, 20, info.Width)
				return
			}
			require.ErrorContains(t, err, "x.tif: ")
			require.ErrorContains(t, err, c.says)
		})
	}
}

// The link to a BigTIFF's second page has eight bytes.
func TestPagesOfBigTIFF(t *testing.T) {
	data, err := os.ReadFile("testdata/bigtiff.tif")
	require.NoError(t, err)
	b, err := openTIFF(data)
	require.NoError(t, err)
	_, next, err := b.fields(b.first)
	require.NoError(t, err)
	b.order.PutUint64(data[next:], uint64(b.first))
	_, err = Decode(data, "x.tif")
	require.ErrorContains(t, err, "several pages")
}

// EXIF of a BigTIFF comes out as an ordinary block, with directories that 8-byte offsets point to.
func TestBigTIFFKeepsEXIF(t *testing.T) {
	b := block{order: binary.LittleEndian, big: true}
	data := append([]byte("II+\x00\x08\x00\x00\x00"), make([]byte, 8)...)
	add := func(entries ...[]byte) int {
		at := len(data)
		data = b.order.AppendUint64(data, uint64(len(entries)))
		data = append(data, bytes.Join(entries, nil)...)
		data = append(data, make([]byte, 8)...)
		return at
	}
	entry := func(tag, kind uint16, v uint64) []byte {
		e := b.order.AppendUint16(b.order.AppendUint16(nil, tag), kind)
		return b.order.AppendUint64(b.order.AppendUint64(e, 1), v)
	}
	exif := add(entry(34855, kindShort, 400), entry(tagPixelX, 16, 1)) // ISO; a width in 8 bytes
	pixel := len(data)
	data = append(data, 77, 0)
	first := add(
		entry(tagWidth, 16, 1), entry(tagHeight, 16, 1), entry(tagBits, kindShort, 8), entry(tagPhotometric, kindShort, 1),
		entry(tagStripOffsets, 16, uint64(pixel)), entry(tagStripByteCounts, 16, 1), entry(tagExifIFD, 18, uint64(exif)))
	b.order.PutUint64(data[8:], uint64(first))

	p := mustDecode(t, data)
	require.Equal(t, []uint16{77}, p.Pix)
	require.Equal(t, map[string]string{"34665/34855": "400"}, describe(t, p.Meta.EXIF))
}

// Floating-point samples are 0..1; what rounds to 0 or 1 is that.
func TestFloats(t *testing.T) {
	floats := func(values ...float32) []byte {
		var strip []byte
		for _, v := range values {
			strip = binary.LittleEndian.AppendUint32(strip, math.Float32bits(v))
		}
		return buildTIFF(t, len(values), 1, 1, 32, blackIsZero, strip, little.shortField(tagSampleFormat, 3))
	}
	p := mustDecode(t, floats(0, 1, 0.5, -1e-6, 1.000001, 0.25))
	require.Equal(t, []uint16{0, 65535, 32768, 0, 65535, 16384}, p.Pix)
	require.EqualValues(t, 65535, p.Max)
	for _, v := range []float32{-0.01, 1.001, 255, float32(math.NaN()), float32(math.Inf(1))} {
		_, err := Decode(floats(0.5, v, 0.5), "x.tif")
		require.ErrorContains(t, err, "x.tif: a floating-point TIFF with values from ", v)
	}
}

func TestHalf(t *testing.T) {
	for bits, want := range map[uint16]float64{
		0: 0, 0x8000: 0, 1: 1.0 / (1 << 24), 0x03FF: 1023.0 / (1 << 24), 0x0400: 1.0 / (1 << 14), 0x3C00: 1, 0xBC00: -1, 0x3555: 1365.0 / 4096, 0x7BFF: 65504,
	} {
		require.Equal(t, want, half(bits)+0, "%#x", bits)
	}
	require.True(t, math.IsNaN(half(0x7C01)))
	require.Greater(t, half(0x7C00), 65504.0)
}

// L*a*b* of 8 and 16 bits, of TIFF's kind and of ICC's, of one colour: D50's white, sRGB's red and blue.
func TestLab(t *testing.T) {
	colours := []struct {
		l, a, b float64
		rgb     [3]float64
	}{
		{100, 0, 0, [3]float64{1, 1, 1}},
		{54.29, 80.81, 69.89, [3]float64{1, 0, 0}}, // adapted to D50 by Bradford's matrix
		{29.57, 68.30, -112.03, [3]float64{0, 0, 1}},
		{0, 0, 0, [3]float64{}},
	}
	for _, c := range colours {
		for _, kind := range []struct {
			photometric, bits int
			code              [3]float64
		}{
			{cieLab, 8, [3]float64{c.l * 2.55, c.a, c.b}},
			{iccLab, 8, [3]float64{c.l * 2.55, c.a + 128, c.b + 128}},
			{cieLab, 16, [3]float64{c.l * 655.35, c.a * 256, c.b * 256}},
			{iccLab, 16, [3]float64{c.l * 652.8, (c.a + 128) * 256, (c.b + 128) * 256}},
		} {
			var strip []byte
			for _, v := range kind.code {
				n := int(math.Round(v))
				if strip = append(strip, byte(n)); kind.bits == 16 {
					strip = append(strip, byte(n>>8))
				}
			}
			p := mustDecode(t, buildTIFF(t, 1, 1, 3, kind.bits, kind.photometric, strip, field{tag: tagICC, kind: kindUndefined, count: 140, value: profile("RGB ", 140)}))
			require.Nil(t, p.Meta.ICC, "it is sRGB now")
			require.Equal(t, kind.bits == 16, p.Max == 65535)
			for k, want := range c.rgb {
				// Steps of a*, b* in 8 bits are worth up to 6 of 255; saturated colours lie on the border.
				allowed := map[int]float64{8: 0.025, 16: 0.003}[kind.bits]
				require.InDelta(t, want, float64(p.Pix[k])/float64(p.Max), allowed, "%v %v", c, kind)
			}
		}
	}
}

// Inks lose their alpha before they become light: half covered by full cyan is cyan, half transparent.
func TestAssociatedAlphaOfInks(t *testing.T) {
	p := mustDecode(t, buildTIFF(t, 2, 1, 5, 8, separated, []byte{100, 0, 0, 0, 100, 50, 0, 0, 0, 100}, little.shortField(tagExtraSamples, 1)))
	require.Equal(t, []uint16{0, 255, 255, 127, 255, 255}, p.Pix)
	require.Equal(t, []uint16{100, 100}, p.Alpha)
}

// Depths between, planes, and a predictor that compression makes void.
func TestOddLayouts(t *testing.T) {
	grey := buildTIFF(t, 3, 1, 1, 6, blackIsZero, []byte{0b000000_10, 0b0000_1111, 0b11_000000})
	require.Equal(t, []uint16{0, 130, 255}, mustDecode(t, grey).Pix) // 129.5

	white := mustDecode(t, buildTIFF(t, 2, 1, 1, 10, whiteIsZero, []byte{0xFF, 0xC0, 0x00}))
	require.Equal(t, []uint16{0, 65535}, white.Pix)

	planes := buildTIFF(t, 2, 1, 3, 8, rgb, []byte{1, 2, 3, 4, 5, 6},
		little.shortField(tagPlanar, 2), little.longField(tagStripOffsets, 8, 10, 12), little.longField(tagStripByteCounts, 2, 2, 2))
	require.Equal(t, []uint16{1, 3, 5, 2, 4, 6}, mustDecode(t, planes).Pix)

	void := buildTIFF(t, 3, 1, 1, 8, blackIsZero, []byte{1, 2, 3}, little.shortField(tagPredictor, 2))
	require.Equal(t, []uint16{1, 2, 3}, mustDecode(t, void).Pix)
}

// Every cut of the kinds that encodeTIFF does not write is an error.
func TestTruncatedTIFFs(t *testing.T) {
	for _, name := range []string{"bigtiff.tif", "jpeg-420.tif", "ycbcr-22.tif", "float32-predictor.tif", "icc-mft2.tif", "rle8.bmp", "565.bmp"} {
		whole, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		want := mustDecode(t, whole)
		for n := range whole {
			got, err := Decode(whole[:n:n], "cut")
			if err == nil { // behind all that matters
				require.True(t, slices.Equal(want.Pix, got.Pix), "%s of %d/%d bytes", name, n, len(whole))
				require.Equal(t, want.Meta, got.Meta, "%s of %d/%d bytes", name, n, len(whole))
			}
		}
	}
}
