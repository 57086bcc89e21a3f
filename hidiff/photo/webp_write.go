package photo

import "encoding/binary"

func encodeWebP(p *Photo) ([]byte, error) {
	picture := encodeVP8L(p)
	var body []byte
	chunk := func(kind string, data []byte) {
		if data == nil {
			return
		}
		body = binary.LittleEndian.AppendUint32(append(body, kind...), uint32(len(data)))
		body = append(body, data...)
		if len(data)%2 == 1 {
			body = append(body, 0)
		}
	}
	m := p.Meta
	if m.ICC == nil && m.EXIF == nil && m.XMP == nil {
		chunk("VP8L", picture)
	} else {
		var flags uint32
		for _, has := range []struct {
			what bool
			bit  uint32
		}{{m.ICC != nil, 0x20}, {p.Alpha != nil, 0x10}, {m.EXIF != nil, 0x08}, {m.XMP != nil, 0x04}} {
			if has.what {
				flags |= has.bit
			}
		}
		w, h := uint32(p.Width-1), uint32(p.Height-1)
		header := binary.LittleEndian.AppendUint32(nil, flags)
		header = append(header, byte(w), byte(w>>8), byte(w>>16), byte(h), byte(h>>8), byte(h>>16))
		chunk("VP8X", header)
		chunk("ICCP", m.ICC)
		chunk("VP8L", picture)
		chunk("EXIF", m.EXIF)
		chunk("XMP ", m.XMP)
	}
	out := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+len(body)))
	return append(append(out, "WEBP"...), body...), nil
}
