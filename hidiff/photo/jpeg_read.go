package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"

	"github.com/kovidgoyal/imaging/prism/meta/icc"
)

const (
	exifPrefix = "Exif\x00\x00"
	xmpPrefix  = "http://ns.adobe.com/xap/1.0/\x00"
	iccPrefix  = "ICC_PROFILE\x00"
	jfifPrefix = "JFIF\x00"

	xmpExtensionPrefix = "http://ns.adobe.com/xmp/extension/\x00"
	resourcesPrefix    = "Photoshop 3.0\x00"

	// maxScans stops progressive files that repeat scans to waste time; real ones have about ten.
	maxScans = 256
)

func inspectJPEG(data []byte) (*file, error) {
	f := &file{Info: Info{Format: JPEG, Channels: 3, Depth: 8}}
	var parts profileParts
	var extension xmpExtension
	var mpf []byte
	var mpfAt int
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
			f.meta.XMP = body[len(xmpPrefix):]
		case marker == 0xE1 && bytes.HasPrefix(body, []byte(xmpExtensionPrefix)):
			extension.add(body[len(xmpExtensionPrefix):])
		case marker == 0xE2 && bytes.HasPrefix(body, []byte(iccPrefix)):
			parts.add(body[len(iccPrefix):])
		case marker == 0xE2 && bytes.HasPrefix(body, []byte(mpfPrefix)) && mpf == nil:
			mpf, mpfAt = body[len(mpfPrefix):], at+2+len(mpfPrefix)
		case marker == 0xE2 && bytes.HasPrefix(body, []byte(gainMapPrefix)):
			f.meta.extras = append(f.meta.extras, extra{JPEG, "APP2", gainMap, body})
		case marker == 0xED && bytes.HasPrefix(body, []byte(resourcesPrefix)):
			f.meta.resources = append(f.meta.resources, body[len(resourcesPrefix):]...)
		case marker == 0xFE:
			f.meta.extras = append(f.meta.extras, extra{JPEG, "COM", "comment", body})
		case marker == 0xE0 && len(body) >= 12 && bytes.HasPrefix(body, []byte(jfifPrefix)) && body[7] <= 2:
			unit := [3]uint16{aspectOnly, perInch, perCentimetre}[body[7]]
			f.meta.resolution = newResolution(float64(be16(body[8:])), float64(be16(body[10:])), unit)
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
	f.meta.ICC = parts.join()
	var inks *icc.Pipeline
	if components == 4 {
		inks = f.takeInks(parts.count > 0)
	}
	f.meta.joinXMP(extension)
	if end := pictureEnd(data, at); scan && end > 0 {
		f.meta.findBehind(data[end:], mpf, mpfAt-end)
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
		if components == 4 {
			return decodeInks(data, adobe, inks)
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

// decodeInks decodes four-component files. Those without Adobe's marker store inks as they are, those
// with it inverted, which image/jpeg undoes.
func decodeInks(data []byte, adobe bool, inks *icc.Pipeline) (*Photo, error) {
	decode := jpeg.Decode
	if !adobe {
		decode = decodeUnmarked
	}
	img, err := decodeWith(decode, data)
	if err != nil {
		return nil, err
	}
	samples, _ := samplesOf(img) // four of them: the header has been read
	if err := inksToRGB(samples, 4, 255, inks); err != nil {
		return nil, err
	}
	size := img.Bounds()
	return &Photo{Width: size.Dx(), Height: size.Dy(), Channels: 3, Max: 255, Pix: pack(samples, 4, 3)}, nil
}

// decodeUnmarked decodes components as they are stored, whatever they mean. image/jpeg does so only
// under Adobe's marker, and takes four for inverted inks then: so add one, and invert these.
func decodeUnmarked(r io.Reader) (image.Image, error) {
	marker := append([]byte{0xFF, 0xD8, 0xFF, 0xEE, 0, 14}, "Adobe\x00\x64\x00\x00\x00\x00\x00"...)
	if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
		return nil, err
	}
	img, err := jpeg.Decode(io.MultiReader(bytes.NewReader(marker), r))
	if m, ok := img.(*image.CMYK); ok {
		for i := range m.Pix {
			m.Pix[i] = 255 - m.Pix[i]
		}
	}
	return img, err
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

// samplesOf is the samples of an image that image/jpeg returns, and how many a pixel has: grey, RGB,
// or four as they are stored.
func samplesOf(img image.Image) (samples []uint16, perPixel int) {
	if m, ok := img.(*image.CMYK); ok {
		samples = make([]uint16, len(m.Pix))
		for i, v := range m.Pix {
			samples[i] = uint16(v)
		}
		return samples, 4
	}
	p := fromImage(img)
	return p.Pix, p.Channels
}
