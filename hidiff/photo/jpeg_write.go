package photo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
)

const (
	defaultQuality = 95
	maxSegment     = 65535 - 2 // bytes in a JPEG segment's body
)

func encodeJPEG(p *Photo, quality int) ([]byte, error) {
	if quality == 0 {
		quality = defaultQuality
	}
	if quality < 1 || quality > 100 {
		return nil, fmt.Errorf("JPEG quality %d is outside 1..100", quality)
	}
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, p.opaque8(), &jpeg.Options{Quality: quality}); err != nil {
		return nil, err
	}
	out := []byte{0xFF, 0xD8}
	segment := func(marker byte, prefix string, body []byte) {
		if body == nil || len(prefix)+len(body) > maxSegment {
			return
		}
		out = append(out, 0xFF, marker)
		out = binary.BigEndian.AppendUint16(out, uint16(2+len(prefix)+len(body)))
		out = append(append(out, prefix...), body...)
	}
	segment(0xE1, exifPrefix, p.Meta.EXIF)
	segment(0xE1, xmpPrefix, p.Meta.XMP)
	const part = maxSegment - len(iccPrefix) - 2
	if n := (len(p.Meta.ICC) + part - 1) / part; n <= 255 {
		for i := range n {
			body := p.Meta.ICC[i*part : min((i+1)*part, len(p.Meta.ICC))]
			segment(0xE2, iccPrefix+string([]byte{byte(i + 1), byte(n)}), body)
		}
	}
	return append(out, picture.Bytes()[2:]...), nil
}

// opaque8 returns the colours, rounded to 8 bits and without alpha, as *image.Gray or *image.RGBA,
// which encoders treat fastest.
func (p *Photo) opaque8() image.Image {
	r := image.Rect(0, 0, p.Width, p.Height)
	if p.Channels == 1 {
		m := image.NewGray(r)
		for i, v := range p.Pix {
			m.Pix[i] = p.to8(v)
		}
		return m
	}
	m := image.NewRGBA(r)
	for i := range p.Width * p.Height {
		for k := range 3 {
			m.Pix[4*i+k] = p.to8(p.Pix[3*i+k])
		}
		m.Pix[4*i+3] = 255
	}
	return m
}
