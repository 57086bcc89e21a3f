package photo

import (
	"bytes"
	"encoding/binary"
)

// Photoshop's image resources ("8BIM", its number, a padded name, length, padded data) hold IPTC in JPEG, in TIFF
// and, as ImageMagick writes it, in PNG.

const (
	resourceMark = "8BIM"
	resourceIPTC = 0x0404
)

// asResources wraps IPTC that stands alone, as in TIFF's own tag.
func asResources(b []byte) []byte {
	if len(b) == 0 || bytes.HasPrefix(b, []byte(resourceMark)) {
		return b
	}
	return appendResource(nil, resourceIPTC, b)
}

func appendResource(out []byte, number uint16, data []byte) []byte {
	out = binary.BigEndian.AppendUint16(append(out, resourceMark...), number)
	out = binary.BigEndian.AppendUint32(append(out, 0, 0), uint32(len(data)))
	out = append(out, data...)
	if len(data)%2 == 1 {
		out = append(out, 0)
	}
	return out
}

// eachResource calls f with the resources up to the first that is damaged.
func eachResource(b []byte, f func(number uint16, data, whole []byte)) {
	for len(b) >= 12 && string(b[:4]) == resourceMark {
		at := 6 + 1 + int(b[6])
		at += at % 2
		if at+4 > len(b) {
			return
		}
		n := int64(binary.BigEndian.Uint32(b[at:]))
		if at += 4; n > int64(len(b)-at) {
			return
		}
		end := min(len(b), at+int(n)+int(n%2))
		f(binary.BigEndian.Uint16(b[4:]), b[at:at+int(n)], b[:end])
		b = b[end:]
	}
}

// usefulResources are a copy of those that speak of the photograph. Others are copies of what is kept
// elsewhere (resolution, ICC, EXIF, XMP), thumbnails of the picture before editing, or Photoshop's
// paths and settings, which are places in the picture: these go where it is turned.
func usefulResources(b []byte, orientation int) (out []byte) {
	eachResource(b, func(number uint16, data, whole []byte) {
		switch number {
		case 0x03ED, 0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424: // resolution, thumbnails, ICC, EXIF, XMP
			return
		case resourceIPTC, 0x040A, 0x040B, 0x0425: // IPTC, copyright flag, address, IPTC's digest
		default:
			if orientation > 1 {
				return
			}
		}
		out = append(out, whole...)
		if len(whole)%2 == 1 {
			out = append(out, 0)
		}
	})
	return out
}

// iptc returns the IPTC among resources, or nil.
func iptc(resources []byte) (found []byte) {
	eachResource(resources, func(number uint16, data, _ []byte) {
		if number == resourceIPTC && found == nil {
			found = data
		}
	})
	return found
}
