package photo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// 300 dots an inch are 11811 a metre, and 300 again, through all formats.
func TestResolutionSurvives(t *testing.T) {
	p, err := Open("testdata/dpi300.jpg")
	require.NoError(t, err)
	for _, first := range allFormats {
		for _, second := range allFormats {
			b := mustEncode(t, mustDecode(t, mustEncode(t, p, first)), second)
			require.Equal(t, resolution{300, 300, perInch}, mustDecode(t, b).Meta.resolution, "%s, %s", first, second)
		}
	}
	require.Contains(t, string(mustEncode(t, p, JPEG)), "JFIF\x00\x01\x02\x01\x01\x2c\x01\x2c")
	require.Contains(t, string(mustEncode(t, p, PNG)), "pHYs\x00\x00\x2e\x23\x00\x00\x2e\x23\x01")
}

func TestResolutions(t *testing.T) {
	jfif := func(unit, x, y int) []byte {
		return jpegWith(segmentOf(0xE0, jfifPrefix+string([]byte{1, 2, byte(unit), byte(x >> 8), byte(x), byte(y >> 8), byte(y), 0, 0}))).behind()
	}
	phys := func(x, y uint32, unit byte) []byte {
		body := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, x), y)
		return insertPNG(mustEncode(t, noise(3, 3, 3, 255, false), PNG), "pHYs", append(body, unit))
	}
	of := func(f Format, r resolution) []byte {
		p := noise(5, 4, 1, 255, false)
		p.Meta.resolution = r
		return mustEncode(t, p, f)
	}
	exifOnly := jpegWith(segmentOf(0xE1, exifPrefix+string(setEXIFResolution(exifBlock(binary.LittleEndian, 1), resolution{240, 240, perInch})))).behind()
	for name, c := range map[string]struct {
		data []byte
		want resolution
		in   map[Format]resolution // where another is written
		lost []Format
	}{
		"JFIF, centimetres":   {jfif(2, 118, 59), resolution{118, 59, perCentimetre}, nil, nil},
		"JFIF, aspect":        {jfif(0, 2, 1), resolution{2, 1, aspectOnly}, nil, []Format{BMP}},
		"JFIF, square":        {jfif(0, 1, 1), resolution{}, nil, nil},
		"JFIF, none":          {jfif(1, 0, 72), resolution{}, nil, nil},
		"pHYs 72":             {phys(2835, 2835, 1), resolution{72, 72, perInch}, nil, nil},
		"pHYs, no whole inch": {phys(1000, 2834, 1), resolution{10, 28.34, perCentimetre}, map[Format]resolution{JPEG: {10, 28, perCentimetre}}, nil},
		"pHYs, aspect":        {phys(5, 4, 0), resolution{5, 4, aspectOnly}, nil, []Format{BMP}},
		"pHYs, immense":       {phys(1<<30, 1<<30, 1), resolution{1 << 30 / 100.0, 1 << 30 / 100.0, perCentimetre}, nil, []Format{JPEG}},
		"TIFF, centimetres":   {of(TIFF, resolution{60.5, 60, perCentimetre}), resolution{60.5, 60, perCentimetre}, map[Format]resolution{JPEG: {154, 152, perInch}}, nil},
		"BMP":                 {of(BMP, resolution{96, 96, perInch}), resolution{96, 96, perInch}, nil, nil},
		"EXIF alone":          {exifOnly, resolution{240, 240, perInch}, nil, nil},
	} {
		p := mustDecode(t, c.data)
		require.Equal(t, c.want, p.Meta.resolution, name)
		for _, f := range allFormats {
			want, ok := c.in[f]
			if !ok {
				want = c.want
			}
			lost := []string(nil)
			for _, l := range c.lost {
				if l == f {
					want, lost = resolution{}, []string{"print resolution"}
				}
			}
			if f == BMP && p.Meta.EXIF != nil {
				lost = []string{"EXIF"}
			}
			require.Equal(t, lost, p.Losses(f), "%s %s", name, f)
			require.Equal(t, want, mustDecode(t, mustEncode(t, p, f)).Meta.resolution, "%s %s", name, f)
		}
		b, err := Encode(p, EncodeOptions{Format: WebP, Strip: true})
		require.NoError(t, err)
		require.Equal(t, Metadata{}, mustDecode(t, b).Meta)
	}
}

// A picture laid on its side is as dense from left to right as it was from top to bottom.
func TestResolutionTurns(t *testing.T) {
	for _, f := range []Format{PNG, JPEG, TIFF, WebP} {
		for _, orientation := range []int{3, 6} {
			p := noise(8, 6, 3, 255, false)
			p.Meta.resolution = resolution{300, 150, perInch}
			p.Meta.EXIF = setEXIFResolution(exifBlock(binary.BigEndian, orientation), p.Meta.resolution)
			b := mustEncode(t, p, f)
			if f == TIFF {
				setTIFFOrientation(t, b, orientation)
			}
			q := mustDecode(t, b)
			want := resolution{300, 150, perInch}
			if orientation == 6 {
				want = resolution{150, 300, perInch}
			}
			require.Equal(t, want, q.Meta.resolution, f)
			require.Equal(t, want, exifResolution(q.Meta.EXIF), f)
		}
	}
}

func withChunks(t *testing.T, p *Photo, chunks ...string) []byte {
	b := mustEncode(t, p, PNG)
	for _, c := range chunks {
		b = insertPNG(b, c[:4], []byte(c[4:]))
	}
	return b
}

func TestPNGColourStatements(t *testing.T) {
	const (
		srgbGamma = "gAMA\x00\x00\xb1\x8f"
		gamma     = "gAMA\x00\x01\x86\xa0"
		pq        = "cICP\x09\x10\x00\x01"
		srgbCICP  = "cICP\x01\x0d\x00\x01"
		srgb      = "sRGB\x00"
		light     = "cLLI\x00\x98\x96\x80\x00\x3d\x09\x00"
	)
	chroma := "cHRM" + strings.Repeat("\x00\x00\x12\x34", 8)
	mastering := "mDCV" + strings.Repeat("\x01", 24)
	icc := "iCCPx\x00\x00" + string(deflate(profile("RGB ", 200)))
	for name, c := range map[string]struct {
		chunks []string
		lost   []string
	}{
		"linear":                   {[]string{gamma, chroma}, []string{"colour statement cHRM", "colour statement gAMA"}},
		"sRGB goes without saying": {[]string{srgb, srgbGamma}, nil},
		"sRGB before gamma":        {[]string{srgb, gamma}, nil},
		"sRGB's gamma":             {[]string{srgbGamma}, nil},
		"iCCP before gamma":        {[]string{icc, gamma, chroma}, nil},
		"HDR before iCCP":          {[]string{icc, pq, mastering, light}, []string{"colour statement cLLI", "colour statement mDCV", "colour statement cICP"}},
		"sRGB as cICP":             {[]string{srgbCICP, gamma}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, channels := range []int{1, 3} {
				chunks := c.chunks
				if channels == 1 && chunks[0] == icc {
					continue // a profile of three channels
				}
				p := mustDecode(t, withChunks(t, noise(4, 3, channels, 65535, true), chunks...))
				require.Nil(t, p.Losses(PNG))
				b := mustEncode(t, p, PNG)
				for _, chunk := range chunks {
					if chunk != icc {
						require.Contains(t, string(b), chunk)
						require.Less(t, strings.Index(string(b), chunk), strings.Index(string(b), "IDAT"))
					}
				}
				for _, f := range []Format{JPEG, TIFF, WebP} {
					require.Equal(t, c.lost, p.Losses(f), f)
				}
				plain := *p
				plain.Meta = p.Meta.ColourOnly()
				require.Equal(t, b, mustEncode(t, &plain, PNG), "all of it is about colour")
			}
		})
	}
}

func TestPNGBackground(t *testing.T) {
	grey := noise(4, 3, 1, 255, true)
	for _, c := range []struct {
		p     *Photo
		chunk string
		lost  []string // as JPEG
	}{
		{grey, "bKGD\x00\x80", []string{"colour statement bKGD"}},
		{noise(4, 3, 3, 65535, true), "bKGD\x01\x02\x03\x04\x05\x06", []string{"colour statement bKGD"}},
		{noise(4, 3, 3, 255, false), "bKGD\x00\x02\x00\x04\x00\x06", nil},
	} {
		p := mustDecode(t, withChunks(t, c.p, c.chunk))
		require.Contains(t, string(mustEncode(t, p, PNG)), c.chunk)
		require.Nil(t, p.Losses(PNG))
		require.Equal(t, c.lost, p.Losses(JPEG))
	}
	for bits, want := range map[byte]string{0: "damaged", 1: "bKGD\x00\xff", 2: "bKGD\x00\x55"} {
		small := pngChunk([]byte(pngSignature), "IHDR", []byte{0, 0, 0, 4, 0, 0, 0, 1, bits, 0, 0, 0, 0})
		small = pngChunk(small, "bKGD", []byte{0, 1})
		small = pngChunk(pngChunk(small, "IDAT", deflate([]byte{0, 0xA0})), "IEND", nil)
		p, err := Decode(small, "x")
		if bits == 0 {
			require.ErrorContains(t, err, want)
			continue
		}
		require.NoError(t, err)
		require.Contains(t, string(mustEncode(t, p, PNG)), want)
	}
	index := mustDecode(t, withChunks(t, grey, "bKGD\x07"))
	require.Equal(t, []string{"colour statement bKGD"}, index.Losses(PNG))
	require.NotContains(t, string(mustEncode(t, index, PNG)), "bKGD")
}

func TestTIFFColourStatements(t *testing.T) {
	p := noise(4, 3, 3, 255, false)
	b := block{order: binary.BigEndian}
	ratios := func(tag uint16, n int) field {
		return field{tag: tag, kind: kindRational, count: uint32(n), value: bytes.Repeat([]byte{0, 0, 0, 1, 0, 0, 0, 3}, n)}
	}
	out, first := appendFields([]byte("MM\x00*\x00\x00\x00\x00"), b.order, []field{ratios(tagWhitePoint, 2), ratios(tagPrimaries, 6)})
	b.order.PutUint32(out[4:], uint32(first))
	p.Meta.EXIF = out
	curve := make([]byte, 2*256)
	for i := range curve {
		curve[i] = byte(i)
	}
	p.Meta.extras = []extra{{TIFF, "transfer", "transfer function", curve}}
	q := mustDecode(t, mustEncode(t, p, TIFF))
	require.Nil(t, q.Losses(TIFF))
	again := mustDecode(t, mustEncode(t, q, TIFF))
	require.Equal(t, curve, again.Meta.extra(TIFF, "transfer"))
	for _, f := range holders {
		said := describe(t, mustDecode(t, mustEncode(t, q, f)).Meta.EXIF)
		require.Equal(t, "1/3", said["318"], f)
		require.Equal(t, "1/3", said["319"], f)
		if f != TIFF {
			require.Equal(t, []string{"transfer function"}, q.Losses(f))
		}
	}
	q.Max = 65535 // the curve has a value for each of 256
	require.Equal(t, []string{"transfer function"}, q.Losses(TIFF))

	// Statements about samples that the pixels no longer are.
	m := Metadata{}
	fields := []field{ratios(tagWhitePoint, 2), b.shortField(tagTransfer, make([]uint16, 256)...)}
	m.readTIFF(block{data: make([]byte, 4096), order: b.order}, fields, &tiffPicture{photometric: separated})
	require.Equal(t, Metadata{}, m)
}

func TestBMPColourStatements(t *testing.T) {
	for _, channels := range []int{1, 3} {
		p := noise(5, 4, channels, 255, false)
		p.Meta.ICC = profile(map[int]string{1: "GRAY", 3: "RGB "}[channels], 300)
		p.Meta.resolution = resolution{300, 300, perInch}
		q := mustDecode(t, mustEncode(t, p, BMP))
		require.Equal(t, p.Pix, q.Pix)
		require.Equal(t, p.Meta, q.Meta, "an embedded profile")
		require.Equal(t, p.Meta.ICC, mustDecode(t, mustEncode(t, q, PNG)).Meta.ICC)
	}
	calibrated := append(make([]byte, 4), bytes.Repeat([]byte{0, 0, 1, 0}, 12)...)
	for key, data := range map[string][]byte{"colours": calibrated, "link": []byte("C:\\Windows\\p3.icm\x00")} {
		p := noise(5, 4, 3, 255, false)
		p.Meta.extras = []extra{{BMP, key, "", data}}
		q := mustDecode(t, mustEncode(t, p, BMP))
		require.Equal(t, p.Pix, q.Pix)
		require.Equal(t, data, q.Meta.extra(BMP, key))
		require.Nil(t, q.Losses(BMP))
		require.Len(t, q.Losses(PNG), 1)
	}
	broken := noise(5, 4, 3, 255, false)
	broken.Meta.ICC = profile("RGB ", 300)
	b := mustEncode(t, broken, BMP)
	require.Equal(t, []string{"ICC profile (damaged)"}, mustDecode(t, b[:len(b)-1]).Losses(BMP))
}

// rawText is a profile as ImageMagick writes it into a text chunk.
func rawText(kind, name string, data []byte) string {
	text := fmt.Appendf(nil, "\n%s\n%8d\n%s\n", name, len(data), hex.EncodeToString(data))
	switch kind {
	case "tEXt":
		return kind + rawProfile + name + "\x00" + string(text)
	case "zTXt":
		return kind + rawProfile + name + "\x00\x00" + string(deflate(text))
	}
	return kind + rawProfile + name + "\x00\x01\x00\x00\x00" + string(deflate(text))
}

func TestRawProfiles(t *testing.T) {
	p, err := Open("testdata/raw-profile-exif.png")
	require.NoError(t, err)
	require.Equal(t, [2]int{80, 96}, [2]int{p.Width, p.Height}, "orientation 6")
	require.Equal(t, "1", describe(t, p.Meta.EXIF)["274"])
	for _, f := range holders {
		q := mustDecode(t, mustEncode(t, p, f))
		require.NotNil(t, q.Meta.EXIF)
		require.Equal(t, 80, q.Width)
	}

	exif := append([]byte(exifPrefix), exifBlock(binary.LittleEndian, 6)...)
	xmp := []byte(`<x tiff:Orientation="6"/>`)
	icc, news := profile("RGB ", 500), []byte("\x1c\x02\x05\x00\x05title")
	for _, kind := range []string{"tEXt", "zTXt", "iTXt"} {
		for name, data := range map[string][]byte{"exif": exif, "APP1": exif} {
			q := mustDecode(t, withChunks(t, noise(4, 2, 3, 255, false), rawText(kind, name, data)))
			require.Equal(t, 2, q.Width, "%s %s", kind, name)
			require.Equal(t, "Hasselblad!\x00", describe(t, q.Meta.EXIF)["271"])
			require.NotContains(t, string(mustEncode(t, q, PNG)), rawProfile, "it has a chunk of its own")
		}
		for name, data := range map[string][]byte{"xmp": xmp, "APP1": append([]byte(xmpPrefix), xmp...)} {
			q := mustDecode(t, withChunks(t, noise(4, 2, 3, 255, false), rawText(kind, name, data)))
			require.Equal(t, 2, q.Width, "XMP's orientation where EXIF has none")
			require.Equal(t, `<x tiff:Orientation="1"/>`, string(q.Meta.XMP))
		}
		require.Equal(t, icc, mustDecode(t, withChunks(t, noise(4, 2, 3, 255, false), rawText(kind, "icc", icc))).Meta.ICC)
		for name, data := range map[string][]byte{"iptc": asResources(news), "8bim": asResources(news)} {
			q := mustDecode(t, withChunks(t, noise(4, 2, 3, 255, false), rawText(kind, name, data)))
			require.Equal(t, news, iptc(q.Meta.resources))
		}
		chunk := map[string]string{"tEXt": string(xmp), "zTXt": "\x00" + string(deflate(xmp)), "iTXt": "\x00\x00\x00\x00" + string(xmp)}[kind]
		require.Equal(t, 2, mustDecode(t, withChunks(t, noise(4, 2, 3, 255, false), kind+xmpKeyword+"\x00"+chunk)).Width)
	}

	both := withChunks(t, noise(4, 2, 3, 255, false), "eXIf"+string(exifBlock(binary.BigEndian, 1)), rawText("zTXt", "exif", exif))
	require.Equal(t, 4, mustDecode(t, both).Width, "the proper chunk counts")
	for name, text := range map[string]string{
		"length": strings.Replace(rawText("tEXt", "exif", exif), fmt.Sprintf(" %d\n", len(exif)), fmt.Sprintf(" %d\n", len(exif)+1), 1), "digits": rawText("tEXt", "exif", exif) + "x", "short": "tEXt" + rawProfile + "exif\x00\nexif\n",
	} {
		require.Nil(t, mustDecode(t, withChunks(t, noise(4, 2, 3, 255, false), text)).Meta.EXIF, name)
	}
}

// XMP's orientation counts in every format, where nothing else has one.
func TestOrientationOfXMP(t *testing.T) {
	for _, f := range holders {
		p := noise(4, 2, 3, 255, false)
		p.Meta.XMP = []byte(`<rdf:li><tiff:Orientation>8</tiff:Orientation></rdf:li>`)
		b := mustEncode(t, p, f)
		want := 2
		if f == TIFF {
			want = 4 // its own tag says 1
		}
		q := mustDecode(t, b)
		require.Equal(t, want, q.Width, f)
		require.Contains(t, string(q.Meta.XMP), "Orientation>1<")
		if f == TIFF {
			x, fields, err := exifFields(b)
			require.NoError(t, err)
			x.order.PutUint16(b[find(fields, tagOrientation).at:], tagOrientation+1) // has none any more
			require.Equal(t, 2, mustDecode(t, b).Width)
		}
	}
}

func TestIPTC(t *testing.T) {
	news := []byte("\x1c\x02\x05\x00\x05title")
	thumbnail := appendResource(nil, 0x040C, []byte("a picture of before"))
	guides := appendResource(nil, 0x0408, []byte("guides"))
	p := noise(4, 2, 3, 255, false)
	p.Meta.resources = bytes.Repeat(append(append(asResources(news), thumbnail...), guides...), 1)
	for _, f := range []Format{PNG, JPEG, TIFF} {
		q := mustDecode(t, mustEncode(t, p, f))
		require.Equal(t, append(asResources(news), guides...), q.Meta.resources, f)
		require.Equal(t, []string{"IPTC"}, q.Losses(WebP))
		q.Meta.XMP = []byte(`<x tiff:Orientation="3"/>`)
		turned := mustDecode(t, mustEncode(t, q, JPEG))
		require.Equal(t, asResources(news), turned.Meta.resources, "guides are places in the picture")
	}
	alone := Metadata{}
	alone.readTIFF(block{order: binary.LittleEndian}, []field{{tag: tagIPTC, kind: kindUndefined, count: uint32(len(news)), value: news}}, &tiffPicture{})
	require.Equal(t, news, iptc(alone.resources))
	p.Meta.resources = append(asResources(news), "8BIM\x04"...)
	require.Equal(t, asResources(news), mustDecode(t, mustEncode(t, p, JPEG)).Meta.resources, "what follows is damaged")
	p.Meta.resources = asResources(bytes.Repeat([]byte("long"), 40000))
	require.Equal(t, p.Meta.resources, mustDecode(t, mustEncode(t, p, JPEG)).Meta.resources, "over several segments")
}

func TestPNGText(t *testing.T) {
	chunks := []string{"tEXtTitle\x00Cat", "zTXtComment\x00\x00" + string(deflate([]byte("purr"))), "iTXtAuthor\x00\x00\x00de\x00Autor\x00Jürgen", "tEXtno end"}
	p := mustDecode(t, withChunks(t, noise(4, 2, 1, 65535, true), chunks...))
	b := mustEncode(t, p, PNG)
	for _, c := range chunks {
		require.Equal(t, 1, strings.Count(string(b), c), c)
	}
	require.Nil(t, p.Losses(PNG))
	for _, f := range []Format{JPEG, TIFF, WebP, BMP} {
		require.Equal(t, []string{"text"}, p.Losses(f))
		mustEncode(t, p, f)
	}
	p = mustDecode(t, withChunks(t, noise(4, 2, 1, 255, false), "tEXtTitle\x00Cat", "tEXta\x00"+strings.Repeat("x", maxMetadata)))
	require.Equal(t, []string{"text beyond 16 MiB"}, p.Losses(PNG))
	p = mustDecode(t, withChunks(t, noise(4, 2, 1, 255, false), "tEXtexif:Orientation\x006"))
	require.Nil(t, p.Meta.extras, "nobody should turn the picture again")
	require.Equal(t, []string{furtherData}, mustDecode(t, append(b, "PK\x03\x04"...)).Losses(PNG))
}

func TestJPEGComment(t *testing.T) {
	p := mustDecode(t, jpegWith(segmentOf(0xFE, "taken at dawn")).behind())
	require.Equal(t, "taken at dawn", string(mustDecode(t, mustEncode(t, p, JPEG)).Meta.extra(JPEG, "COM")))
	require.Equal(t, []string{"comment"}, p.Losses(PNG))
}
