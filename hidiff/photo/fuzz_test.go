package photo

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// FuzzDecode: any input gives a consistent photo that can be written again, or an error.
func FuzzDecode(f *testing.F) {
	for _, format := range allFormats {
		for _, channels := range []int{1, 3} {
			for _, white := range []uint16{255, 65535} {
				p := noise(7, 5, channels, white, format.KeepsAlpha())
				p.Meta = Metadata{EXIF: exifBlock(binary.BigEndian, 6), XMP: []byte("<x/>"), ICC: profile("RGB ", 140),
					resources: asResources([]byte("\x1c\x02\x05\x00\x01t")), resolution: resolution{300, 150, perInch},
					extras: []extra{{PNG, "gAMA", "", make([]byte, 4)}, {PNG, "tEXt", "text", []byte("a\x00b")}, {JPEG, "COM", "comment", []byte("c")},
						{BMP, "colours", "colours", bytes.Repeat([]byte{1}, 52)}}}
				f.Add(mustEncode(f, p, format))
			}
		}
	}
	f.Add(jpegWith(segmentOf(0xE1, xmpPrefix+motionXMP), indexOf(0x30000, 20, 20)).behind(smallVideo, smallJPEG(f, "hdrgainmap")))
	files, _ := filepath.Glob("testdata/*.*")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Probe(data, "fuzz")
		if err != nil || info.Width > 1<<20/info.Height {
			return // large pictures are legitimate, but slow to fuzz
		}
		p, err := Decode(data, "fuzz")
		if err != nil {
			return
		}
		if p.Width != info.Width || p.Height != info.Height || p.Channels != info.Channels {
			t.Fatalf("Probe says %+v, Decode %d×%d×%d", info, p.Width, p.Height, p.Channels)
		}
		if info.Format == TIFF && len(p.Meta.EXIF) > len(data) {
			t.Fatalf("%d bytes of EXIF from %d of file", len(p.Meta.EXIF), len(data))
		}
		if p.Width*p.Height > 1<<14 {
			return
		}
		for _, format := range allFormats {
			b, err := Encode(p, EncodeOptions{Format: format})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(b, "again"); err != nil {
				t.Fatal(format, err)
			}
		}
	})
}

// FuzzEXIF: any metadata block passes through every format without harm to the picture.
func FuzzEXIF(f *testing.F) {
	for orientation := range 9 {
		f.Add(exifBlock(binary.LittleEndian, orientation), false)
		f.Add(exifBlock(binary.BigEndian, orientation), true)
	}
	f.Fuzz(func(t *testing.T, exif []byte, grey bool) {
		m := Metadata{EXIF: exif}
		if orientation := m.settle(0); orientation < 1 || orientation > 8 {
			t.Fatal("orientation", orientation)
		}
		if o := m.settle(0); o != 1 {
			t.Fatalf("a second pass turns by %d", o)
		}
		p := ramp(3, 2, map[bool]int{true: 1, false: 3}[grey], 255)
		p.Meta.EXIF = exif
		for _, format := range holders {
			b, err := Encode(p, EncodeOptions{Format: format})
			if err != nil {
				t.Fatal(format, err)
			}
			q, err := Decode(b, "fuzz")
			if err != nil {
				t.Fatal(format, err)
			}
			if q.Width*q.Height != 6 {
				t.Fatal(format, q.Width, q.Height)
			}
		}
	})
}

// FuzzXMP: any packets can be joined and split, and lose their promises once.
func FuzzXMP(f *testing.F) {
	f.Add([]byte(motionXMP), []byte(packet("", `<rdf:Description a:b="c"/>`)))
	f.Fuzz(func(t *testing.T, main, extension []byte) {
		if joined, err := joinXMP(main, extension); err == nil {
			if _, err := parseXMP(joined); err != nil {
				t.Fatalf("%q and %q give %q", main, extension, joined)
			}
		}
		m := Metadata{XMP: main}
		m.settle(0)
		once := m.lost
		m.settle(0)
		if len(m.lost) != len(once) {
			t.Fatalf("%q: %q, then %q", main, once, m.lost)
		}
		padded := append(bytes.TrimSpace(main), bytes.Repeat([]byte{' '}, 1<<16)...)
		if first, rest, err := splitXMP(padded); err == nil && (len(first) > maxSegment-len(xmpPrefix) || rest == nil) {
			t.Fatal(len(first), len(rest))
		}
	})
}
