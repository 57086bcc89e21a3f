package photo

import (
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
				p.Meta = Metadata{EXIF: exifBlock(binary.BigEndian, 6), XMP: []byte("<x/>"), ICC: profile("RGB ", 140)}
				f.Add(mustEncode(f, p, format))
			}
		}
	}
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
		if len(p.Meta.EXIF) > len(data) {
			t.Fatalf("%d bytes of EXIF from %d of file", len(p.Meta.EXIF), len(data))
		}
		if p.Width*p.Height > 1<<14 {
			return
		}
		for _, format := range []Format{PNG, TIFF, WebP} {
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
		kept, orientation := normaliseEXIF(exif, 0)
		if orientation < 1 || orientation > 8 {
			t.Fatal("orientation", orientation)
		}
		if _, o := normaliseEXIF(kept, 0); o != 1 {
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
