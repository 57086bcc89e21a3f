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

	le := block{order: binary.LittleEndian}
	jpegTIFF := func(data []byte) []byte {
		return buildTIFF(t, 9, 9, 3, 8, yCbCr, data, le.shortField(tagCompression, jpegCode))
	}
	grey4 := []byte{0, 0, 0, 0, 80, 80, 80, 0, 160, 160, 160, 0, 240, 240, 240, 0}

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
		"tiff compression":  {tiff(tagCompression, 34712), "compression 34712"},
		"tiff old jpeg":     {tiff(tagCompression, oldJPEG), "compression 6"},
		"tiff jpeg":         {tiff(tagCompression, jpegCode), "missing SOI marker"},
		"tiff jpeg huge":    {jpegTIFF(jpegOf(0x3F, 0x3F)), "16137×16137 pixels where 9×9 are expected"},
		"tiff jpeg small":   {jpegTIFF(mustEncode(t, noise(9, 8, 3, 255, false), JPEG)), "9×8 pixels where 9×9 are expected"},
		"tiff jpeg grey":    {jpegTIFF(mustEncode(t, noise(9, 9, 1, 255, false), JPEG)), "1 samples per pixel in JPEG data where 3 are expected"},
		"tiff jpeg scans":   {jpegTIFF(scans), "scans"},
		"tiff raw preview":  {append([]byte("II*\x00\x08\x00\x00\x00\x01\x00\xfe\x00\x04\x00\x01\x00\x00\x00\x01\x00\x00\x00"), 0, 0, 0, 0), "camera raw"},
		"tiff colour model": {tiff(tagPhotometric, 10), "colour model 10"},
		"tiff strip beyond": {tiff(tagStripOffsets, 1<<31), "truncated"},
		"tiff bytes beyond": {tiff(tagStripByteCounts, 1<<31), "truncated"},
		"tiff predictor":    {tiff(tagPredictor, 3), "predictor 3"},
		"tiff ycbcr alpha":  {tiff(tagPhotometric, yCbCr), "together with alpha"},
		"tiff signed":       {buildTIFF(t, 1, 1, 1, 16, blackIsZero, make([]byte, 2), le.shortField(tagSampleFormat, 2)), "signed"},
		"tiff 32 bits":      {buildTIFF(t, 1, 1, 1, 32, blackIsZero, make([]byte, 4)), "32-bit"},
		"tiff float lab":    {buildTIFF(t, 1, 1, 3, 32, cieLab, make([]byte, 12), le.shortField(tagSampleFormat, 3)), "floating-point"},
		"tiff inks":         {buildTIFF(t, 1, 1, 4, 8, separated, make([]byte, 4), le.shortField(tagInkSet, 2)), "such inks"},
		"tiff sampling":     {buildTIFF(t, 1, 1, 3, 8, yCbCr, make([]byte, 9), le.shortField(tagSubsampling, 2, 3)), "subsampling"},
		"tiff coefficients": {buildTIFF(t, 1, 1, 3, 8, yCbCr, make([]byte, 9), field{tag: tagReferences, kind: 5, count: 6, value: make([]byte, 48)}), "coefficients"},
		"bigtiff cut":       {[]byte("II+\x00\x08\x00\x00\x00\x00\x00"), "truncated"},
		"bigtiff beyond":    {[]byte("II+\x00\x08\x00\x00\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F\x00\x00"), "truncated"},
		"bigtiff entries":   {[]byte("MM\x00+\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), "truncated"},
		"webp huge":         {vp8l(0x0FFFFFFF), "cannot be stored in"},
		"webp animated":     {read("animated.webp"), "animated WebP"},
		"webp no picture":   {[]byte("RIFF\x04\x00\x00\x00WEBP"), "truncated"},
		"bmp huge":          {bmpOf(18, 1<<30), "more than"},
		"bmp no data":       {bmpOf(18, 1<<20), "cannot be stored in"},
		"bmp zero":          {bmpOf(18, 0), "nothing in it"},
		"bmp wide":          {bmpOf(18, 1<<31), "nothing in it"},
		"bmp jpeg":          {bmpOf(30, 4), "unsupported kind"},
		"bmp runs of 24":    {bmpOf(30, 1), "unsupported kind"},
		"bmp header":        {bmpOf(14, 41), "unsupported kind"},
		"bmp header cut":    {bmpOf(14, 1<<31), "truncated"},
		"bmp runs of few":   {buildBMP(16384, 16384, 8, bmpRuns8, []byte{0, 1}, grey4...), "cannot be stored in 2 bytes"},
		"bmp runs cut":      {buildBMP(2, 2, 8, bmpRuns8, []byte{2, 1, 0, 0, 1, 1}, grey4...), "truncated"},
		"bmp pixels cut":    {buildBMP(4, 1, 8, bmpRuns8, []byte{0, 4, 1, 2}, grey4...), "truncated"},
		"bmp index":         {buildBMP(2, 1, 8, bmpRuns8, []byte{2, 4, 0, 1}, grey4...), "beyond its palette"},
		"bmp palette cut":   {buildBMP(2, 1, 8, bmpPlain, nil), "truncated"},
		"bmp no red":        {buildBMP(1, 1, 16, bmpMasks, make([]byte, 4), 0, 0, 0, 0, 0xE0, 7, 0, 0, 0x1F, 0, 0, 0), "unsupported kind"},
		"bmp mask in two":   {buildBMP(1, 1, 32, bmpMasks, make([]byte, 4), 5, 0, 0, 0, 0xE0, 7, 0, 0, 0, 0x1F, 0, 0), "unsupported kind"},
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
