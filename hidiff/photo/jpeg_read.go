package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
)

const (
	exifPrefix = "Exif\x00\x00"
	xmpPrefix  = "http://ns.adobe.com/xap/1.0/\x00"
	iccPrefix  = "ICC_PROFILE\x00"

	// maxScans stops progressive files that repeat scans to waste time; real ones have about ten.
	maxScans = 256
)

func inspectJPEG(data []byte) (*file, error) {
	f := &file{Info: Info{Format: JPEG, Channels: 3, Depth: 8}}
	var icc profileParts
	components, adobe, scan := 0, false, false
	at := 2
	for !scan {
		skip := bytes.IndexByte(data[at:], 0xFF)
		if skip < 0 || at+skip+4 > len(data) {
			break
		}
		at += skip + 1
		marker := data[at]
		if marker == 0xFF { // fill byte
			continue
		}
		at++
		if marker <= 0x01 || marker >= 0xD0 && marker <= 0xD8 { // markers without a body
			continue
		}
		if marker == 0xD9 {
			break
		}
		n := int(binary.BigEndian.Uint16(data[at:]))
		if n < 2 || at+n > len(data) {
			break
		}
		body := data[at+2 : at+n]
		switch {
		case marker == 0xDA:
			scan = true
		case marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC:
			if marker > 0xC2 {
				return nil, fmt.Errorf("a lossless, hierarchical or arithmetic-coded JPEG (SOF%d) is not supported; convert it to a common one", marker-0xC0)
			}
			if len(body) < 6 {
				return nil, errors.New("the JPEG header is damaged")
			}
			if body[0] != 8 {
				return nil, fmt.Errorf("a %d-bit JPEG is not supported; convert it to PNG or TIFF", body[0])
			}
			f.Height, f.Width = int(be16(body[1:])), int(be16(body[3:]))
			components = int(body[5])
		case marker == 0xE1 && bytes.HasPrefix(body, []byte(exifPrefix)) && f.meta.EXIF == nil:
			f.meta.EXIF = body[len(exifPrefix):]
		case marker == 0xE1 && bytes.HasPrefix(body, []byte(xmpPrefix)):
			f.meta.XMP = body[len(xmpPrefix):] // extended XMP, a different prefix, is left behind
		case marker == 0xE2 && bytes.HasPrefix(body, []byte(iccPrefix)):
			icc.add(body[len(iccPrefix):])
		case marker == 0xEE && bytes.HasPrefix(body, []byte("Adobe")):
			adobe = true
		}
		at += n
	}
	if components == 0 {
		return nil, errTruncated
	}
	if components == 1 {
		f.Channels = 1
	}
	f.meta.ICC = icc.join()
	if components == 4 {
		f.meta.ICC = nil // it describes inks; the pixels will be RGB
	}
	if scan {
		f.payload = int64(len(data) - at)
	}
	// Each 8×8 block of the first component takes at least one bit.
	f.needs = (int64(f.Width)+7)/8*((int64(f.Height)+7)/8)/8 + 1
	f.pixels = func() (*Photo, error) {
		if n := countScans(data[at:]); n > maxScans {
			return nil, fmt.Errorf("a JPEG with %d scans; the file is damaged", n)
		}
		if components == 4 && !adobe {
			return decodePlainCMYK(data)
		}
		img, err := decodeWith(jpeg.Decode, data)
		if err != nil {
			return nil, err
		}
		return fromImage(img), nil
	}
	return f, nil
}

// countScans counts start-of-scan markers in entropy-coded data, up to the end of the picture.
func countScans(data []byte) int {
	if end := bytes.Index(data, []byte{0xFF, 0xD9}); end >= 0 {
		data = data[:end]
	}
	return 1 + bytes.Count(data, []byte{0xFF, 0xDA})
}

// decodePlainCMYK decodes four-component files without Adobe's marker. image/jpeg insists on the
// marker, and Adobe stores inks inverted: so add one, and invert what comes out.
func decodePlainCMYK(data []byte) (*Photo, error) {
	adobe := append([]byte{0xFF, 0xD8, 0xFF, 0xEE, 0, 14}, "Adobe\x00\x64\x00\x00\x00\x00\x00"...)
	img, err := decodeWith(jpeg.Decode, append(adobe, data[2:]...))
	if err != nil {
		return nil, err
	}
	if m, ok := img.(*image.CMYK); ok {
		for i := range m.Pix {
			m.Pix[i] = 255 - m.Pix[i]
		}
	}
	return fromImage(img), nil
}

// profileParts collects an ICC profile spread over several APP2 segments.
type profileParts struct {
	parts [256][]byte
	count byte
}

// add takes a segment body: sequence number from 1, total, data.
func (p *profileParts) add(b []byte) {
	if len(b) > 2 {
		p.parts[b[0]], p.count = b[2:], b[1]
	}
}

// join returns the profile, or nil if a part is missing.
func (p *profileParts) join() []byte {
	var icc []byte
	for i := 1; i <= int(p.count); i++ {
		if p.parts[i] == nil {
			return nil
		}
		icc = append(icc, p.parts[i]...)
	}
	return icc
}
