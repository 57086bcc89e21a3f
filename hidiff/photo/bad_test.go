package photo

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBadInput(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		return b
	}
	jpegOf := func(w, h byte) []byte {
		b := mustEncode(t, noise(9, 9, 3, 255, false), JPEG)
		i := bytes.Index(b, []byte{0xFF, 0xC0})
		b[i+5], b[i+7] = h, w // high bytes
		return b
	}
	sof := func(marker byte) []byte {
		b := mustEncode(t, noise(9, 9, 3, 255, false), JPEG)
		b[bytes.Index(b, []byte{0xFF, 0xC0})+1] = marker
		return b
	}
	tiff := func(tag uint16, value uint32) []byte {
		b := mustEncode(t, noise(9, 9, 3, 255, true), TIFF)
		blk, _ := openBlock(b)
		fields, _, _ := blk.fields(blk.first)
		f := find(fields, tag)
		require.NotZero(t, f.tag)
		blk.setNumber(f, value)
		return b
	}
	vp8l := func(v uint32) []byte {
		b := mustEncode(t, noise(9, 9, 3, 255, false), WebP)
		binary.LittleEndian.PutUint32(b[21:], v)
		return b
	}
	bmpOf := func(at int, v uint32) []byte {
		b := mustEncode(t, noise(9, 9, 3, 255, false), BMP)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	scans := mustEncode(t, noise(9, 9, 3, 255, false), JPEG)
	sos := bytes.Index(scans, []byte{0xFF, 0xDA})
	scans = append(bytes.Clone(scans[:sos]), bytes.Repeat(scans[sos:sos+14], 300)...)

	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"empty":             {nil, "empty"},
		"text":              {[]byte("<html>not found</html>"), "not a PNG, JPEG, TIFF, WebP or BMP"},
		"gif":               {[]byte("GIF89a............"), "convert it"},
		"png signature":     {[]byte(pngSignature), "truncated"},
		"png zero":          {headerPNG(0, 4), "0×4"},
		"png huge":          {headerPNG(30000, 30000), "30000×30000 pixels are more"},
		"png no data":       {headerPNG(16000, 16000), "16000×16000 pixels cannot be stored in 0 bytes"},
		"png beyond int32":  {headerPNG(1<<31, 4), "nothing in it"},
		"apng":              {read("animated.png"), "animation of 3 frames"},
		"jpeg signature":    {[]byte{0xFF, 0xD8, 0xFF}, "truncated"},
		"jpeg huge":         {jpegOf(0xFF, 0xFF), "more than"},
		"jpeg no data":      {jpegOf(0x3F, 0x3F), "cannot be stored in"},
		"jpeg arithmetic":   {sof(0xC9), "arithmetic"},
		"jpeg lossless":     {sof(0xC3), "lossless"},
		"jpeg scans":        {scans, "scans"},
		"tiff huge":         {tiff(tagWidth, 1<<30), "more than"},
		"tiff no data":      {tiff(tagHeight, 20000000), "cannot be stored in"},
		"tiff zero":         {tiff(tagWidth, 0), "0×9"},
		"tiff compression":  {tiff(tagCompression, 7), "compression 7"},
		"tiff raw preview":  {append([]byte("II*\x00\x08\x00\x00\x00\x01\x00\xfe\x00\x04\x00\x01\x00\x00\x00\x01\x00\x00\x00"), 0, 0, 0, 0), "camera raw"},
		"tiff colour model": {tiff(tagPhotometric, 6), "colour model 6"},
		"tiff strip beyond": {tiff(tagStripOffsets, 1<<31), "truncated"},
		"tiff bytes beyond": {tiff(tagStripByteCounts, 1<<31), "truncated"},
		"tiff predictor":    {tiff(tagPredictor, 3), "predictor 3"},
		"bigtiff":           {[]byte("II+\x00\x08\x00\x00\x00\x00\x00"), "BigTIFF"},
		"webp huge":         {vp8l(0x0FFFFFFF), "cannot be stored in"},
		"webp animated":     {read("animated.webp"), "animated WebP"},
		"webp no picture":   {[]byte("RIFF\x04\x00\x00\x00WEBP"), "truncated"},
		"bmp huge":          {bmpOf(18, 1<<30), "more than"},
		"bmp no data":       {bmpOf(18, 1<<20), "cannot be stored in"},
		"bmp zero":          {bmpOf(18, 0), "unsupported kind"},
		"bmp run-length":    {bmpOf(30, 1), "uncompressed"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			p, err := Decode(c.data, "some/file.ext")
			runtime.ReadMemStats(&after)
			require.Nil(t, p)
			require.ErrorContains(t, err, "some/file.ext: ")
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "\n")
			require.False(t, strings.HasSuffix(err.Error(), "."))
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "allocated before judging")
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

// No part of a picture passes for a picture, whatever the format.
func TestTruncated(t *testing.T) {
	for _, f := range allFormats {
		p := noise(31, 17, 3, 255, f.KeepsAlpha())
		p.Meta.EXIF = exifBlock(binary.LittleEndian, 6)
		b := mustEncode(t, p, f)
		for n := range b {
			got, err := Decode(b[:n], "cut")
			if f == TIFF && n >= len(b)-4 { // only the link to a next page is missing
				require.NoError(t, err)
				require.Zero(t, worst(t, mustDecode(t, b), got))
				continue
			}
			require.ErrorContains(t, err, "cut: ", "%s of %d/%d bytes", f, n, len(b))
		}
	}
	b, err := os.ReadFile("testdata/lossy.webp")
	require.NoError(t, err)
	for n := range b {
		_, err := Decode(b[:n], "cut")
		require.Error(t, err, n)
	}
}

func TestOpenMissing(t *testing.T) {
	_, err := Open("no/such/file.png")
	require.ErrorContains(t, err, "no/such/file.png")
}

func TestProbeOfHuge(t *testing.T) {
	info, err := Probe(headerPNG(30000, 30000), "x")
	require.NoError(t, err)
	require.Equal(t, Info{Format: PNG, Width: 30000, Height: 30000, Channels: 3, Depth: 8}, info)
}

func TestEncodeRefuses(t *testing.T) {
	ok := noise(2, 2, 3, 255, false)
	for name, c := range map[string]struct {
		change func(*Photo)
		o      EncodeOptions
		says   string
	}{
		"format":   {func(*Photo) {}, EncodeOptions{Format: "gif"}, `"gif"`},
		"quality":  {func(*Photo) {}, EncodeOptions{Format: JPEG, Quality: 101}, "101"},
		"size":     {func(p *Photo) { p.Width = 0 }, EncodeOptions{Format: PNG}, "0×2"},
		"overflow": {func(p *Photo) { p.Width, p.Height = math.MaxInt, 4 }, EncodeOptions{Format: PNG}, "cannot be written"},
		"samples":  {func(p *Photo) { p.Pix = p.Pix[1:] }, EncodeOptions{Format: PNG}, "needs 12 samples, not 11"},
		"channels": {func(p *Photo) { p.Channels = 4 }, EncodeOptions{Format: PNG}, "4 channels"},
		"white":    {func(p *Photo) { p.Max = 1023 }, EncodeOptions{Format: PNG}, "1023"},
		"alpha":    {func(p *Photo) { p.Alpha = make([]uint16, 3) }, EncodeOptions{Format: PNG}, "4 alpha samples, not 3"},
		"webp":     {func(p *Photo) { *p = *newPhoto(16384, 1, 1, 255, false) }, EncodeOptions{Format: WebP}, "16383"},
		"jpeg":     {func(p *Photo) { *p = *newPhoto(65536, 1, 1, 255, false) }, EncodeOptions{Format: JPEG}, "65535"},
	} {
		p := *ok
		c.change(&p)
		_, err := Encode(&p, c.o)
		require.ErrorContains(t, err, c.says, name)
	}
}
