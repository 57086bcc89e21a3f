package photo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

var holders = []Format{PNG, JPEG, TIFF, WebP} // of metadata

// Metadata survives from every format into every other and back, in both byte orders.
func TestMetadataSurvives(t *testing.T) {
	for _, o := range []order{binary.LittleEndian, binary.BigEndian} {
		want := describe(t, exifBlock(o, 1))
		delete(want, "next")
		delete(want, fmt.Sprint(tagOrientation)) // allowed to go: 1 is the default
		for _, from := range holders {
			for _, to := range holders {
				for _, channels := range []int{1, 3} {
					t.Run(fmt.Sprint(o, from, to, channels), func(t *testing.T) {
						p := noise(9, 6, channels, 255, false)
						p.Meta = Metadata{
							EXIF: exifBlock(o, 1),
							XMP:  []byte(`<x:xmpmeta tiff:Orientation="6">é</x:xmpmeta>`),
							ICC:  profile("junk", 70001), // more than one JPEG segment
						}
						q := mustDecode(t, mustEncode(t, mustDecode(t, mustEncode(t, p, from)), to))
						require.Equal(t, `<x:xmpmeta tiff:Orientation="1">é</x:xmpmeta>`, string(q.Meta.XMP), "EXIF's 1 counts; the other is reset")
						require.Empty(t, q.Losses(to))
						require.Equal(t, p.Meta.ICC, q.Meta.ICC)
						got := describe(t, q.Meta.EXIF)
						delete(got, fmt.Sprint(tagOrientation))
						require.Equal(t, want, got)
						if from != TIFF && to != TIFF {
							require.Equal(t, len(p.Meta.EXIF), len(q.Meta.EXIF), "the block itself is kept")
						}
						b, err := Encode(q, EncodeOptions{Format: to, Strip: true})
						require.NoError(t, err)
						require.Equal(t, Metadata{}, mustDecode(t, b).Meta)
						require.NotNil(t, q.Meta.EXIF, "Encode must not touch the photo")
					})
				}
			}
		}
	}
}

// Maker notes hold offsets from the start of the block; a TIFF keeps the block where it was.
func TestTIFFKeepsEXIFInPlace(t *testing.T) {
	p := noise(9, 6, 3, 65535, true)
	p.Meta.EXIF = exifBlock(binary.BigEndian, 1)
	b := mustEncode(t, p, TIFF)
	require.Equal(t, p.Meta.EXIF[8:], b[8:len(p.Meta.EXIF)])
}

func TestProfileMustFitTheSamples(t *testing.T) {
	for _, c := range []struct {
		space    string
		channels int
		to       Format
		kept     bool
	}{
		{"RGB ", 3, PNG, true}, {"RGB ", 1, PNG, false}, {"GRAY", 1, PNG, true}, {"GRAY", 3, JPEG, false},
		{"CMYK", 3, TIFF, false}, {"GRAY", 1, TIFF, true}, {"GRAY", 1, WebP, false}, {"RGB ", 3, WebP, true},
	} {
		p := noise(3, 3, c.channels, 255, false)
		p.Meta.ICC = profile(c.space, 200)
		q := mustDecode(t, mustEncode(t, p, c.to))
		require.Equal(t, c.kept, q.Meta.ICC != nil, c)
		require.Equal(t, c.kept, p.Losses(c.to) == nil, c)
	}
}

func TestCMYKLosesItsProfile(t *testing.T) {
	for _, name := range []string{"testdata/cmyk-adobe.jpg", "testdata/cmyk-plain.jpg", "testdata/cmyk.tif"} {
		p, err := Open(name)
		require.NoError(t, err)
		require.Equal(t, 3, p.Channels)
		require.Nil(t, p.Meta.ICC)
	}
}

// Blocks too long for a JPEG segment are left out; the picture and the rest are not.
func TestJPEGSegmentLimit(t *testing.T) {
	for _, n := range []int{65533 - len(xmpPrefix), 65534 - len(xmpPrefix)} {
		p := noise(3, 3, 3, 255, false)
		p.Meta = Metadata{XMP: bytes.Repeat([]byte{' '}, n), EXIF: exifBlock(binary.LittleEndian, 1)}
		q := mustDecode(t, mustEncode(t, p, JPEG))
		require.Equal(t, n+len(xmpPrefix) <= 65533, q.Meta.XMP != nil)
		require.NotNil(t, q.Meta.EXIF)
	}
}

func TestExtendedXMPAlone(t *testing.T) {
	b := mustEncode(t, noise(3, 3, 3, 255, false), JPEG)
	extended := append([]byte{0xFF, 0xE1, 0, 45}, "http://ns.adobe.com/xmp/extension/\x00"...)
	extended = append(extended, "00000000"...)
	b = append(append(bytes.Clone(b[:2]), extended...), b[2:]...)
	require.Nil(t, mustDecode(t, b).Meta.XMP)
}

func TestPNGCompressedXMP(t *testing.T) {
	b := mustEncode(t, noise(3, 3, 3, 255, false), PNG)
	body := append([]byte(xmpKeyword+"\x00\x01\x00en\x00titre\x00"), deflate([]byte("<xmp/>"))...)
	require.Equal(t, []byte("<xmp/>"), mustDecode(t, insertPNG(b, "iTXt", body)).Meta.XMP)
	bomb := append([]byte("bomb\x00\x00"), deflate(make([]byte, maxMetadata+1))...)
	require.Nil(t, mustDecode(t, insertPNG(b, "iCCP", bomb)).Meta.ICC)
}

func TestWebPExifWithPrefix(t *testing.T) { // some programs write JPEG's prefix into WebP
	p := noise(3, 3, 3, 255, false)
	p.Meta.EXIF = append([]byte(exifPrefix), exifBlock(binary.LittleEndian, 3)...)
	b, err := encodeWebP(p)
	require.NoError(t, err)
	q := mustDecode(t, b)
	require.Equal(t, "Hasselblad!\x00", describe(t, q.Meta.EXIF)["271"])
	require.Equal(t, p.Pix[len(p.Pix)-3:], q.Pix[:3], "orientation 3 is half a turn")
}

func TestDamagedEXIF(t *testing.T) {
	good := exifBlock(binary.LittleEndian, 6)
	farIFD := bytes.Clone(good)
	binary.LittleEndian.PutUint32(farIFD[4:], 1<<30)
	selfIFD := bytes.Clone(good)
	b, _ := openBlock(selfIFD)
	fields, _, _ := b.fields(b.first)
	b.setNumber(find(fields, tagExifIFD), uint32(b.first)) // the Exif directory is the first one again
	for name, c := range map[string]struct {
		exif []byte
		kept bool
		turn bool
	}{
		"good":             {good, true, true},
		"empty":            {[]byte{}, false, false},
		"not TIFF":         {[]byte("hello, world"), false, false},
		"header only":      {good[:8], false, false},
		"directory beyond": {farIFD, false, false},
		"loop":             {selfIFD, true, true},
		"orientation 0":    {exifBlock(binary.BigEndian, 0), true, false},
		"orientation 9":    {exifBlock(binary.BigEndian, 9), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := noise(4, 2, 3, 255, false)
			p.Meta.EXIF = c.exif
			q, err := Decode(mustEncode(t, p, JPEG), "x")
			require.NoError(t, err)
			require.Equal(t, c.kept, q.Meta.EXIF != nil)
			require.Equal(t, c.turn, q.Width == 2)
			require.Equal(t, !c.kept && len(c.exif) > 0, q.Losses(JPEG) != nil)
			r := mustDecode(t, mustEncode(t, q, TIFF)) // must neither fail nor loop
			require.Equal(t, q.Width, r.Width)
		})
	}
}

// Directories that share bytes would otherwise make the block larger than the file it came from.
func TestOverlappingDirectoriesAreDropped(t *testing.T) {
	b := block{order: binary.LittleEndian, first: 8}
	var inner []field
	for tag := range uint16(20) {
		inner = append(inner, b.longField(1000+tag, 1))
	}
	outer := func(gps int) []byte {
		data, at := appendFields([]byte("II*\x00\x00\x00\x00\x00"), b.order, inner)
		data, first := appendFields(data, b.order, []field{
			b.longField(tagExifIFD, uint32(at)), b.longField(tagGPSIFD, uint32(at+gps))})
		b.order.PutUint32(data[4:], uint32(first))
		return data
	}
	extract := func(data []byte) []byte {
		b, err := openBlock(data)
		require.NoError(t, err)
		fields, _, err := b.fields(b.first)
		require.NoError(t, err)
		return exifOf(b, fields)
	}
	require.Nil(t, extract(outer(0)), "both pointers name one directory")
	require.NotNil(t, extract(outer(1<<20)), "a pointer outside the file is left out")
}
