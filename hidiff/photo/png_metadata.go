package photo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

const (
	xmpKeyword = "XML:com.adobe.xmp"
	rawProfile = "Raw profile type " // ImageMagick's, in text chunks; exiftool writes them, too
)

// pngColour are the chunks, iCCP apart, that say how the colours are to be shown.
var pngColour = []string{"cICP", "mDCV", "mDCv", "cLLI", "cLLi", "sRGB", "gAMA", "cHRM", "bKGD"}

// namePNGColour names what is lost where a format cannot hold the chunks: those that decide (cICP before
// iCCP before sRGB before gAMA and cHRM), unless they say sRGB, which goes without saying. A background
// counts under transparency alone.
func namePNGColour(m *Metadata, alpha bool) {
	cicp := m.extra(PNG, "cICP")
	if len(cicp) >= 2 && cicp[0] == 1 && cicp[1] == 13 { // BT.709 primaries, sRGB transfer
		cicp = []byte{}
	}
	gamma := m.ICC == nil && cicp == nil && m.extra(PNG, "sRGB") == nil
	for i, e := range m.extras {
		plain := map[string]string{
			"gAMA": "\x00\x00\xb1\x8f",
			"cHRM": "\x00\x00\x7a\x26\x00\x00\x80\x84\x00\x00\xfa\x00\x00\x00\x80\xe8\x00\x00\x75\x30\x00\x00\xea\x60\x00\x00\x3a\x98\x00\x00\x17\x70",
		}[e.key]
		switch {
		case !slices.Contains(pngColour, e.key), e.key == "sRGB",
			e.key == "cICP" && len(cicp) == 0,
			e.key == "bKGD" && !alpha,
			plain != "" && (!gamma || string(e.data) == plain):
			continue
		}
		m.extras[i].what = "colour statement " + e.key
	}
}

// pngTexts gathers text chunks. Blocks of metadata among them count where no proper chunk has them.
type pngTexts struct {
	exif, xmp, rawXMP, icc, resources []byte
	kept                              []extra
	size                              int
	tooMuch                           bool
}

// add takes the body of a tEXt, zTXt or iTXt chunk.
func (t *pngTexts) add(kind string, body []byte) {
	keyword, text := pngText(kind, body)
	profile := func() []byte { return unhex(text()) }
	switch name, raw := strings.CutPrefix(keyword, rawProfile); {
	case keyword == xmpKeyword:
		t.xmp = text()
	case keyword == "exif:Orientation": // ImageMagick's copy of what EXIF says
	case raw && (name == "exif" || name == "APP1"):
		b := profile()
		if xmp, ok := bytes.CutPrefix(b, []byte(xmpPrefix)); ok {
			t.rawXMP = xmp
		} else if t.exif == nil {
			t.exif = b
		}
	case raw && name == "xmp":
		t.rawXMP = profile()
	case raw && (name == "icc" || name == "icm"):
		t.icc = profile()
	case raw && (name == "iptc" || name == "8bim"):
		if b := asResources(profile()); t.resources == nil {
			t.resources = b
		}
	default:
		if t.size += len(body); t.size > maxMetadata {
			t.tooMuch = true
			return
		}
		t.kept = append(t.kept, extra{PNG, kind, "text", body})
	}
}

func (t *pngTexts) into(m *Metadata) {
	first := func(blocks ...[]byte) []byte {
		for _, b := range blocks {
			if len(b) > 0 {
				return b
			}
		}
		return nil
	}
	m.EXIF, m.XMP, m.ICC, m.resources = first(m.EXIF, t.exif), first(t.xmp, t.rawXMP), first(m.ICC, t.icc), t.resources
	m.extras = append(m.extras, t.kept...)
	if t.tooMuch {
		m.addLost(fmt.Sprintf("text beyond %d MiB", maxMetadata>>20))
	}
}

// pngText takes a text chunk apart: the keyword, and what gives the text, nil where it is damaged. After the
// keyword and a zero comes the text in tEXt; the method and zlib data in zTXt; in iTXt whether it is
// compressed, method, language, zero, translated keyword, zero, text.
func pngText(kind string, body []byte) (keyword string, text func() []byte) {
	key, rest, ok := bytes.Cut(body, []byte{0})
	text = func() []byte { return nil }
	switch {
	case !ok:
	case kind == "tEXt":
		text = func() []byte { return rest }
	case kind == "zTXt" && len(rest) > 1:
		text = func() []byte { return inflate(rest[1:]) }
	case kind == "iTXt" && len(rest) > 2:
		parts := bytes.SplitN(rest[2:], []byte{0}, 3)
		if len(parts) < 3 {
			break
		}
		text = func() []byte { return parts[2] }
		if rest[0] == 1 {
			text = func() []byte { return inflate(parts[2]) }
		}
	}
	return string(key), text
}

// unhex decodes a raw profile: a line with its name, one with its length, lines of hexadecimal digits.
func unhex(text []byte) []byte {
	fields := bytes.Fields(text)
	if len(fields) < 3 {
		return nil
	}
	digits := bytes.Join(fields[2:], nil)
	out := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(out, digits); err != nil || fmt.Sprint(len(out)) != string(fields[1]) {
		return nil
	}
	return out
}

// appendPNG appends the chunks that come before the picture.
func (m *Metadata) appendPNG(out []byte) []byte {
	var texts []extra
	for _, e := range m.extras {
		if slices.Contains(pngColour, e.key) {
			out = pngChunk(out, e.key, e.data)
		} else {
			texts = append(texts, e)
		}
	}
	if m.ICC != nil {
		out = pngChunk(out, "iCCP", append([]byte("ICC profile\x00\x00"), deflate(m.ICC)...))
	}
	if r := m.resolution; r != (resolution{}) {
		x, y := r.metres()
		unit := byte(1)
		if r.Unit == aspectOnly {
			unit = 0
		}
		body := binary.BigEndian.AppendUint32(nil, x)
		out = pngChunk(out, "pHYs", append(binary.BigEndian.AppendUint32(body, y), unit))
	}
	if m.EXIF != nil {
		out = pngChunk(out, "eXIf", m.EXIF)
	}
	if m.XMP != nil {
		out = pngChunk(out, "iTXt", append([]byte(xmpKeyword+"\x00\x00\x00\x00\x00"), m.XMP...))
	}
	if m.resources != nil { // PNG has no chunk for it
		text := fmt.Appendf(nil, "\niptc\n%8d\n", len(m.resources))
		for line := range slices.Chunk([]byte(hex.EncodeToString(m.resources)), 72) {
			text = append(append(text, line...), '\n')
		}
		out = pngChunk(out, "zTXt", append([]byte(rawProfile+"iptc\x00\x00"), deflate(text)...))
	}
	for _, e := range texts {
		out = pngChunk(out, e.key, e.data)
	}
	return out
}
