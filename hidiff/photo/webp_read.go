package photo

import (
	"encoding/binary"
	"errors"
	"image"
	"io"

	"golang.org/x/image/webp"
)

func inspectWebP(data []byte) (*file, error) {
	f := &file{Info: Info{Format: WebP, Channels: 3, Depth: 8}}
	end := 8 + int64(binary.LittleEndian.Uint32(data[4:]))
	var canvasW, canvasH int
	for at := int64(12); at+8 <= min(end, int64(len(data))); {
		kind := string(data[at : at+4])
		n := int64(binary.LittleEndian.Uint32(data[at+4:]))
		body := data[at+8 : min(at+8+n, int64(len(data)))]
		switch kind {
		case "VP8X":
			if len(body) < 10 {
				return nil, errors.New("the WebP header is damaged")
			}
			canvasW, canvasH = 1+int(le24(body[4:])), 1+int(le24(body[7:]))
		case "ANIM", "ANMF":
			return nil, errors.New("an animated WebP; extract its frames first")
		case "ALPH":
			f.Alpha = true
		case "VP8 ":
			if len(body) < 10 || string(body[3:6]) != "\x9d\x01\x2a" {
				return nil, errors.New("the WebP picture header is damaged or cut short")
			}
			f.Width = int(binary.LittleEndian.Uint16(body[6:]) & 0x3FFF)
			f.Height = int(binary.LittleEndian.Uint16(body[8:]) & 0x3FFF)
			f.payload = int64(len(body))
			f.needs = int64(f.Width) * int64(f.Height) >> 12 // flat pictures reach 400 pixels a byte
		case "VP8L":
			if len(body) < 5 || body[0] != 0x2F {
				return nil, errors.New("the WebP picture header is damaged or cut short")
			}
			v := binary.LittleEndian.Uint32(body[1:])
			f.Width, f.Height = 1+int(v&0x3FFF), 1+int(v>>14&0x3FFF)
			f.Alpha = v>>28&1 == 1
			f.payload = int64(len(body))
			// A flat picture of any size fits in 38 bytes, so the format gives no bound. Beyond 16
			// million pixels, where a few bytes would cost much memory, ask for photo-like content.
			if px := int64(f.Width) * int64(f.Height); px > 1<<24 {
				f.needs = px >> 14
			}
		case "ICCP":
			f.meta.ICC = body
		case "EXIF":
			f.meta.EXIF = body
		case "XMP ":
			f.meta.XMP = body
		}
		at += 8 + n + n&1
	}
	if f.payload == 0 {
		return nil, errTruncated
	}
	if canvasW != 0 && (canvasW != f.Width || canvasH != f.Height) {
		return nil, errors.New("the WebP canvas and its picture differ in size; the file is damaged")
	}
	f.pixels = func() (*Photo, error) {
		if end > int64(len(data)) {
			return nil, io.ErrUnexpectedEOF
		}
		img, err := decodeWith(webp.Decode, data)
		if err != nil {
			return nil, err
		}
		return fromWebP(img, f.Alpha), nil
	}
	return f, nil
}

// fromWebP converts what webp.Decode returns: NRGBA if lossless, otherwise VP8's YCbCr, which is not
// the full-range YCbCr that Go's image package takes it for.
func fromWebP(img image.Image, alpha bool) *Photo {
	var p *Photo
	switch m := img.(type) {
	case *image.YCbCr:
		return fromYCbCr(m, smoothVP8, vp8RGB)
	case *image.NYCbCrA:
		p = fromYCbCr(&m.YCbCr, smoothVP8, vp8RGB)
		p.Alpha = make([]uint16, p.Width*p.Height)
		eachRow(m.Rect, m.AOffset, func(i, o int) { p.Alpha[i] = uint16(m.A[o]) }, 1)
	default:
		p = fromImage(img)
	}
	if !alpha {
		p.Alpha = nil
	}
	return p
}

// smoothVP8 upsamples 4:2:0 chroma as libwebp does by default: weights 9, 3, 3, 1.
func smoothVP8(dst []uint8, c plane, y int) {
	near, far := c.row(y/2), c.row(y/2-1+2*(y%2))
	for x := range dst {
		i := x / 2
		j := max(0, min(i-1+2*(x%2), c.w-1))
		dst[x] = uint8((9*int(near[i]) + 3*int(far[i]) + 3*int(near[j]) + int(far[j]) + 8) >> 4)
	}
}

// vp8RGB is BT.601 with luma in 16..235, in libwebp's fixed point.
func vp8RGB(y, cb, cr int32) (r, g, b uint8) {
	y = y * 19077 >> 8
	return clip8((y + cr*26149>>8 - 14234) >> 6),
		clip8((y - cb*6419>>8 - cr*13320>>8 + 8708) >> 6),
		clip8((y + cb*33050>>8 - 17685) >> 6)
}

func le24(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }
