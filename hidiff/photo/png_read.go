package photo

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"
	"io"
	"slices"
)

const (
	pngSignature = "\x89PNG\r\n\x1a\n"

	// maxMetadata bounds one metadata block after decompression.
	maxMetadata = 16 << 20
	// deflateRatio is the most that deflate can shrink data.
	deflateRatio = 1032
)

func inspectPNG(data []byte) (*file, error) {
	f := &file{Info: Info{Format: PNG, Channels: 3, Depth: 8}}
	var bits, samples int64
	var texts pngTexts
	for at := len(pngSignature); ; {
		if at+12 > len(data) {
			break // cut short: the decoder says so once the header has been judged
		}
		n := int64(binary.BigEndian.Uint32(data[at:]))
		kind := string(data[at+4 : at+8])
		if n > int64(len(data)-at-12) {
			if kind == "IDAT" {
				f.payload += int64(len(data) - at - 8)
			}
			break
		}
		body := data[at+8 : at+8+int(n)]
		switch kind {
		case "IHDR":
			if n != 13 {
				return nil, errors.New("the PNG header is damaged")
			}
			f.Width, f.Height = int(int32(binary.BigEndian.Uint32(body))), int(int32(binary.BigEndian.Uint32(body[4:])))
			bits, samples = int64(body[8]), map[byte]int64{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[body[9]]
			if samples == 0 || bits > 16 {
				return nil, fmt.Errorf("the PNG header is damaged (bit depth %d, colour type %d)", bits, body[9])
			}
			if bits == 16 {
				f.Depth = 16
			}
			if body[9] == 0 || body[9] == 4 {
				f.Channels = 1
			}
			f.Alpha = body[9] >= 4
		case "PLTE":
			// Greys under an RGB profile stay RGB: the profile would not fit a grey picture.
			if samples == 1 && f.Channels == 3 && greyTriples(body) && profileSpace(f.meta.ICC) != "RGB " {
				f.Channels = 1
			}
		case "tRNS":
			f.Alpha = true
		case "acTL":
			if n >= 4 && binary.BigEndian.Uint32(body) > 1 {
				return nil, fmt.Errorf("an animation of %d frames; extract its frames first", binary.BigEndian.Uint32(body))
			}
		case "IDAT":
			f.payload += n
		case "eXIf":
			f.meta.EXIF = body
		case "iCCP":
			f.meta.ICC = pngProfile(body)
		case "pHYs":
			if n == 9 {
				x, y := binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
				if f.meta.resolution = fromMetres(x, y); body[8] != 1 {
					f.meta.resolution = newResolution(float64(x), float64(y), aspectOnly)
				}
			}
		case "tEXt", "zTXt", "iTXt":
			texts.add(kind, body)
		default:
			if kind == "bKGD" && bits > 0 && bits < 8 && n == 2 { // grey becomes one of 8 bits
				body = []byte{0, byte(int(body[1]) * 255 / (1<<bits - 1))}
			}
			if slices.Contains(pngColour, kind) {
				f.meta.extras = append(f.meta.extras, extra{PNG, kind, "", body})
			}
		}
		at += 12 + int(n)
		if kind == "IEND" {
			if !isPadding(data[at:]) {
				f.meta.addLost(furtherData)
			}
			break
		}
	}
	if samples == 0 {
		return nil, errTruncated
	}
	texts.into(&f.meta)
	namePNGColour(&f.meta, f.Alpha)
	f.needs = int64(f.Height) * (1 + (int64(f.Width)*bits*samples+7)/8) / deflateRatio
	f.pixels = func() (*Photo, error) {
		img, err := decodeWith(png.Decode, data)
		if err != nil {
			return nil, err
		}
		p := fromImage(img)
		if f.Alpha && p.Alpha == nil { // a palette whose transparency is all opaque
			p.Alpha = make([]uint16, p.Width*p.Height)
			for i := range p.Alpha {
				p.Alpha[i] = p.Max
			}
		}
		return p, nil
	}
	return f, nil
}

func greyTriples(b []byte) bool {
	for ; len(b) >= 3; b = b[3:] {
		if b[0] != b[1] || b[1] != b[2] {
			return false
		}
	}
	return true
}

// pngProfile unpacks iCCP: a name, a zero, the compression method, zlib data.
func pngProfile(b []byte) []byte {
	_, rest, ok := bytes.Cut(b, []byte{0})
	if !ok || len(rest) < 1 || rest[0] != 0 {
		return nil
	}
	return inflate(rest[1:])
}

// inflate unpacks zlib metadata; damaged or oversized metadata is treated as absent.
func inflate(b []byte) []byte {
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	out, err := io.ReadAll(io.LimitReader(z, maxMetadata+1))
	if err != nil || len(out) > maxMetadata || len(out) == 0 {
		return nil
	}
	return out
}
