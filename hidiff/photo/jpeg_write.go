package photo

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
	"slices"
)

const (
	defaultQuality = 95
	maxSegment     = 65535 - 2 // bytes in a JPEG segment's body
	iccPart        = maxSegment - len(iccPrefix) - 2
	xmpPart        = maxSegment - len(xmpExtensionPrefix) - 40
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
		if body == nil {
			return
		}
		out = append(out, 0xFF, marker)
		out = binary.BigEndian.AppendUint16(out, uint16(2+len(prefix)+len(body)))
		out = append(append(out, prefix...), body...)
	}
	m := p.Meta
	if m.resolution != (resolution{}) {
		unit, x, y := m.resolution.jfif()
		segment(0xE0, jfifPrefix, []byte{1, 2, unit, byte(x >> 8), byte(x), byte(y >> 8), byte(y), 0, 0})
	}
	segment(0xE1, exifPrefix, m.EXIF)
	xmp, extension, err := splitXMP(m.XMP)
	if err != nil {
		return nil, err
	}
	segment(0xE1, xmpPrefix, xmp)
	guid := fmt.Sprintf("%X", md5.Sum(extension))
	for at := 0; at < len(extension); at += xmpPart {
		head := binary.BigEndian.AppendUint32([]byte(xmpExtensionPrefix+guid), uint32(len(extension)))
		head = binary.BigEndian.AppendUint32(head, uint32(at))
		segment(0xE1, string(head), extension[at:min(at+xmpPart, len(extension))])
	}
	for b := range slices.Chunk(m.resources, maxSegment-len(resourcesPrefix)) {
		segment(0xED, resourcesPrefix, b)
	}
	n := (len(m.ICC) + iccPart - 1) / iccPart
	for i := range n {
		body := m.ICC[i*iccPart : min((i+1)*iccPart, len(m.ICC))]
		segment(0xE2, iccPrefix+string([]byte{byte(i + 1), byte(n)}), body)
	}
	for _, e := range m.extras {
		segment(map[string]byte{"COM": 0xFE, "APP2": 0xE2}[e.key], "", e.data)
	}
	out, setOffsets := m.behind.appendMPF(out)
	out = append(out, picture.Bytes()[2:]...)
	setOffsets(out, len(out))
	return append(out, m.behind.data...), nil
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
