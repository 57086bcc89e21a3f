package photo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// packet is XMP with attributes and content of its one description.
func packet(attributes, content string) string {
	return `<?xpacket begin="` + "\ufeff" + `" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="` + nsRDF + `">` +
		`<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:Container="` + nsContainer + `" xmlns:Item="` + nsItem +
		`" xmlns:GCamera="` + nsCamera + `" xmlns:GDepth="` + nsDepth + `" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg" ` + attributes + `>` + content +
		`</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>`
}

// container lists items as "Semantic mime length padding".
func container(items ...string) string {
	out := `<Container:Directory><rdf:Seq>`
	for _, i := range items {
		f := strings.Fields(i)
		out += fmt.Sprintf(`<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="%s" Item:Mime="%s" Item:Length="%s" Item:Padding="%s"/></rdf:li>`, f[0], f[1], f[2], f[3])
	}
	return out + `</rdf:Seq></Container:Directory>`
}

var smallVideo = []byte("\x00\x00\x00\x14ftypmp42\x00\x00\x00\x00mp42")

var motionXMP = packet(`GCamera:MicroVideo="1" GCamera:MicroVideoVersion="1" GCamera:MicroVideoOffset="20"`, "")

// smallJPEG is a picture with a comment, such as gain maps are.
func smallJPEG(t testing.TB, comment string) []byte {
	p := noise(3, 2, 1, 255, false)
	p.Meta.extras = []extra{{JPEG, "COM", "comment", []byte(comment)}}
	return mustEncode(t, p, JPEG)
}

func segmentOf(marker byte, body string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xFF, marker}, uint16(2+len(body))), body...)
}

type jpegFile struct{ segments [][]byte }

func jpegWith(segments ...[]byte) jpegFile { return jpegFile{segments} }

// behind completes the file with what follows the picture; an index (see indexOf) gets its offsets.
func (f jpegFile) behind(parts ...[]byte) []byte {
	b, err := Encode(ramp(16, 8, 3, 255), EncodeOptions{Format: JPEG})
	if err != nil {
		panic(err)
	}
	out := bytes.Clone(b[:2])
	for _, s := range f.segments {
		out = append(out, s...)
	}
	out = append(out, b[2:]...)
	if i := bytes.Index(out, []byte(mpfPrefix)); i >= 0 {
		base, x := i+4, binary.LittleEndian
		entries := out[base+50:]
		x.PutUint32(entries[4:], uint32(len(out)))
		for k := range x.Uint32(out[base+30:]) - 1 {
			at := entries[16*(k+1)+8:]
			x.PutUint32(at, x.Uint32(at)+uint32(len(out)-base))
		}
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// indexOf is an MPF segment with a further picture: its attributes, offset behind the picture and size, and so on.
func indexOf(numbers ...uint32) []byte {
	x := binary.LittleEndian
	n := uint32(1 + len(numbers)/3)
	b := []byte("II*\x00\x08\x00\x00\x00\x03\x00")
	b = append(b, "\x00\xb0\x07\x00\x04\x00\x00\x000100\x01\xb0\x04\x00\x01\x00\x00\x00"...)
	b = x.AppendUint32(b, n)
	b = append(b, "\x02\xb0\x07\x00"...)
	b = x.AppendUint32(x.AppendUint32(x.AppendUint32(b, 16*n), 50), 0)
	b = append(b, x.AppendUint32(nil, 0x20030000)...)
	b = append(b, make([]byte, 12)...)
	for ; len(numbers) >= 3; numbers = numbers[3:] {
		b = x.AppendUint32(x.AppendUint32(x.AppendUint32(x.AppendUint32(b, numbers[0]), numbers[2]), numbers[1]), 0)
	}
	return segmentOf(0xE2, mpfPrefix+string(b))
}

// indexed returns the pictures that a file's index names, as other readers find them.
func indexed(t *testing.T, file []byte) (pictures [][]byte) {
	base := bytes.Index(file, []byte(mpfPrefix)) + 4
	if base < 4 {
		return nil
	}
	b, fields, err := exifFields(file[base:])
	require.NoError(t, err)
	entries := find(fields, tagMPFEntries).value
	n, _ := b.number(find(fields, tagMPFCount), 0)
	require.Equal(t, int(n)*16, len(entries))
	require.Equal(t, uint32(0x20030000), b.order.Uint32(entries))
	require.Equal(t, []byte{0xFF, 0xD9}, file[b.order.Uint32(entries[4:])-2:b.order.Uint32(entries[4:])], "the picture itself")
	for entries = entries[16:]; len(entries) > 0; entries = entries[16:] {
		at := base + int(b.order.Uint32(entries[8:]))
		pictures = append(pictures, file[at:at+int(b.order.Uint32(entries[4:]))])
	}
	return pictures
}

func TestUltraHDR(t *testing.T) {
	data, err := os.ReadFile("testdata/ultrahdr.jpg")
	require.NoError(t, err)
	p := mustDecode(t, data)
	require.Empty(t, p.Losses(JPEG))
	b := mustEncode(t, p, JPEG)
	require.Equal(t, data[len(data)-502:], b[len(b)-502:])
	require.Contains(t, string(b), `Item:Length="502"`)
	again := mustDecode(t, b)
	require.Equal(t, p.Meta.behind, again.Meta.behind)

	for _, f := range []Format{PNG, TIFF, WebP} {
		require.Equal(t, []string{gainMap}, p.Losses(f))
		q := mustDecode(t, mustEncode(t, p, f))
		require.Contains(t, string(q.Meta.XMP), "rdf:Description")
		require.NotContains(t, string(q.Meta.XMP), "hdrgm:Version")
		require.NotContains(t, string(q.Meta.XMP), "GainMap")
		require.Empty(t, q.Losses(f))
	}
	stripped, err := Encode(p, EncodeOptions{Format: JPEG, Strip: true})
	require.NoError(t, err)
	require.Equal(t, Metadata{}, mustDecode(t, stripped).Meta)
	require.True(t, bytes.HasSuffix(stripped, []byte{0xFF, 0xD9}))
	require.NotContains(t, string(stripped), "GainMap")
}

func TestBehindJPEG(t *testing.T) {
	gain, small, eye := smallJPEG(t, "hdrgainmap"), smallJPEG(t, "before"), smallJPEG(t, "left")
	g, s, e, v := len(gain), len(small), len(eye), len(smallVideo)
	iso := segmentOf(0xE2, gainMapPrefix+"\x00\x00\x00\x00")
	xmp := func(s string) []byte { return segmentOf(0xE1, xmpPrefix+s) }
	length := func(what, mime string, n, padding int) string {
		return fmt.Sprint(what, " ", mime, " ", n, " ", padding)
	}
	gainItem, videoItem := length("GainMap", "image/jpeg", g, 0), length("MotionPhoto", "video/mp4", v, 0)
	turned := segmentOf(0xE1, exifPrefix+string(exifBlock(binary.LittleEndian, 6)))
	pad := make([]byte, 5)
	nest := smallJPEG(t, "hdrgainmap"+string(small))
	for name, c := range map[string]struct {
		file   []byte
		behind []byte   // of the result
		index  [][]byte // the same as its index has it
		lost   []string
		says   []string // in its XMP
		hides  []string
	}{
		"ISO, index and container": {
			file:   jpegWith(xmp(packet(`hdrgm:Version="1.0"`, container("Primary image/jpeg 0 5", gainItem))), iso, indexOf(0, 5, uint32(g))).behind(pad, gain),
			behind: append(bytes.Clone(pad), gain...), index: [][]byte{gain}, says: []string{"GainMap", `hdrgm:Version`},
		},
		"index alone, as Apple has it": {
			file:   jpegWith(indexOf(0, 0, uint32(g))).behind(gain),
			behind: gain, index: [][]byte{gain},
		},
		"preview before a gain map": {
			file: jpegWith(xmp(packet(`hdrgm:Version="1.0"`, "")), indexOf(0x010002, 0, uint32(s), 0, uint32(s), uint32(g))).behind(small, gain),
			lost: []string{"preview (of the picture before)"}, behind: gain, index: [][]byte{gain}, says: []string{"hdrgm:Version"},
		},
		"stereo": {
			file:   jpegWith(indexOf(0x020002, 0, uint32(e))).behind(eye),
			behind: eye, index: [][]byte{eye},
		},
		"micro video": {
			file: jpegWith(xmp(strings.Replace(motionXMP, `"20"`, fmt.Sprintf(`"%d"`, v), 1))).behind(smallVideo), behind: smallVideo, says: []string{"MicroVideoOffset"},
		},
		"gain map and video, turned": {
			file: jpegWith(turned, xmp(packet(`hdrgm:Version="1.0" GCamera:MotionPhoto="1"`, container("Primary image/jpeg 0 0", gainItem, videoItem))), iso,
				indexOf(0, 0, uint32(g))).behind(gain, smallVideo),
			lost: []string{"gain map (the picture is turned)"}, behind: smallVideo,
			says: []string{`Item:Semantic="MotionPhoto"`, `Item:Semantic="Primary"`, `GCamera:MotionPhoto="1"`}, hides: []string{"hdrgm:Version", "GainMap"},
		},
		"depth in XMP, turned": {
			file: jpegWith(turned, xmp(packet(`GDepth:Format="RangeInverse" GDepth:Data="AAAA"`, ""))).behind(),
			lost: []string{"depth map (the picture is turned)"}, hides: []string{"GDepth:Data"}, says: []string{"dc:format"},
		},
		"depth in XMP": {
			file: jpegWith(xmp(packet(`GDepth:Data="AAAA"`, ""))).behind(), says: []string{"GDepth:Data"},
		},
		"a promise alone": {
			file: jpegWith(xmp(packet(`hdrgm:Version="1.0"`, container("Primary image/jpeg 0 0", gainItem))), iso).behind(),
			lost: []string{"gain map (announced, but not there)"}, hides: []string{"hdrgm:Version", "Container:Item"}, says: []string{"dc:format"},
		},
		"a promise in damaged XMP": {
			file: jpegWith(xmp(`<x:xmpmeta xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0">`)).behind(),
			lost: []string{"XMP (damaged)"}, hides: []string{"hdrgm"},
		},
		"a length beyond the file": {
			file: jpegWith(xmp(packet("", container("Primary image/jpeg 0 0", length("GainMap", "image/jpeg", g+1, 0))))).behind(gain),
			lost: []string{"gain map (damaged)", furtherData}, hides: []string{"GainMap"},
		},
		"an index beyond the file": {
			file: jpegWith(indexOf(0, 0, 1<<31)).behind(gain),
			lost: []string{"further picture (damaged)", furtherData},
		},
		"no video there": {
			file: jpegWith(xmp(motionXMP)).behind(bytes.Repeat([]byte("no movie"), 9)),
			lost: []string{"motion video (damaged)", furtherData}, hides: []string{"MicroVideo="},
		},
		"parts over each other": {
			file: jpegWith(indexOf(0, 0, uint32(len(nest)), 0, uint32(bytes.Index(nest, small)), uint32(len(small)))).behind(nest),
			lost: []string{"further picture (damaged)"}, behind: nest, index: [][]byte{nest},
		},
		"padding between parts": {
			file:   jpegWith(xmp(packet(`hdrgm:Version="1.0"`, container("Primary image/jpeg 0 0", length("GainMap", "image/jpeg", g, 5), videoItem)))).behind(gain, pad, smallVideo),
			behind: slices.Concat(gain, pad, smallVideo), says: []string{"MotionPhoto", "GainMap"},
		},
		"something unknown": {file: jpegWith().behind([]byte("trailer")), lost: []string{furtherData}},
		"padding":           {file: jpegWith().behind(make([]byte, 512))},
		"unknown after a gain map": {
			file: jpegWith(indexOf(0, 0, uint32(g))).behind(gain, []byte("trailer")),
			lost: []string{furtherData}, behind: gain, index: [][]byte{gain},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustDecode(t, c.file)
			require.Equal(t, c.lost, p.Losses(JPEG))
			b := mustEncode(t, p, JPEG)
			q := mustDecode(t, b)
			require.Empty(t, q.Losses(JPEG), "what the result says is true")
			require.True(t, bytes.HasSuffix(b[:len(b)-len(c.behind)], []byte{0xFF, 0xD9}), "the picture's end")
			require.Equal(t, string(c.behind), string(b[len(b)-len(c.behind):]))
			require.Equal(t, len(c.behind), len(q.Meta.behind.data))
			require.Equal(t, c.index, indexed(t, b))
			for _, text := range c.says {
				require.Contains(t, string(q.Meta.XMP), text)
			}
			for _, text := range c.hides {
				require.NotContains(t, string(q.Meta.XMP), text)
			}
			require.Equal(t, c.index != nil && bytes.Contains(c.file, iso), bytes.Contains(b, iso))
			r := mustDecode(t, mustEncode(t, p, PNG))
			for _, text := range append(c.hides, "MicroVideo=", "MotionPhoto", "hdrgm:Version", "Container:") {
				require.NotContains(t, string(r.Meta.XMP), text)
			}
		})
	}
}

// Extended XMP is one packet here, and divided again where a segment does not hold it.
func TestExtendedXMP(t *testing.T) {
	long := strings.Repeat("AAAA", 40000)
	extension := packet(`GDepth:Data="`+long+`"`, "<dc:title>depth</dc:title>")
	guid := strings.Repeat("0123456789ABCDEF", 2)
	segments := [][]byte{segmentOf(0xE1, xmpPrefix+packet(`xmlns:xmpNote="`+nsNote+`" xmpNote:HasExtendedXMP="`+guid+`"`, "<dc:source>phone</dc:source>"))}
	for at := 0; at < len(extension); at += 60000 {
		head := binary.BigEndian.AppendUint32([]byte(xmpExtensionPrefix+guid), uint32(len(extension)))
		head = binary.BigEndian.AppendUint32(head, uint32(at))
		segments = append(segments, segmentOf(0xE1, string(head)+extension[at:min(at+60000, len(extension))]))
	}
	p := mustDecode(t, jpegWith(segments...).behind())
	require.Empty(t, p.Losses(JPEG))
	check := func(xmp []byte) {
		n, err := parseXMP(xmp)
		require.NoError(t, err)
		require.Equal(t, long, n.value(nsDepth, "Data"))
		require.Equal(t, "phone", n.value("http://purl.org/dc/elements/1.1/", "source"))
		require.Equal(t, "depth", n.value("http://purl.org/dc/elements/1.1/", "title"))
		require.NotContains(t, string(xmp), "HasExtendedXMP")
	}
	check(p.Meta.XMP)
	b := mustEncode(t, p, JPEG)
	require.Contains(t, string(b), "phone</dc:source></rdf:Description><rdf:Description", "the first description stays in the first segment")
	require.Equal(t, 3, bytes.Count(b, []byte(xmpExtensionPrefix)))
	check(mustDecode(t, b).Meta.XMP)
	check(mustDecode(t, mustEncode(t, mustDecode(t, mustEncode(t, p, PNG)), JPEG)).Meta.XMP)

	segments = segments[:2]
	p = mustDecode(t, jpegWith(segments...).behind())
	require.Equal(t, []string{"extended XMP (damaged or too long)"}, p.Losses(JPEG))
	require.NotContains(t, string(p.Meta.XMP), "HasExtendedXMP")
}

// One that does not name all namespaces where they are used moves with what it owes to its parents.
func TestSplitXMPCarriesNamespaces(t *testing.T) {
	main := `<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:a="urn:a"><rdf:RDF xmlns:rdf="` + nsRDF + `" xmlns:b="urn:b"><rdf:Description a:n="1"/><rdf:Description xmlns:b="urn:c" a:n="2" b:m="` +
		strings.Repeat("x", 70000) + `"/></rdf:RDF></x:xmpmeta>`
	first, rest, err := splitXMP([]byte(main))
	require.NoError(t, err)
	n, err := parseXMP(rest)
	require.NoError(t, err)
	require.Equal(t, "2", n.value("urn:a", "n"))
	require.Len(t, n.value("urn:c", "m"), 70000)
	n, err = parseXMP(first)
	require.NoError(t, err)
	require.Equal(t, "1", n.value("urn:a", "n"))
	require.Len(t, n.value(nsNote, "HasExtendedXMP"), 32)
}
