package photo

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
)

// encodePNG writes all eight combinations of grey or RGB, alpha or none, 8 or 16 bits; image/png has
// neither grey with alpha nor metadata.
func encodePNG(p *Photo) ([]byte, error) {
	samples, colourType := p.Channels, byte(0)
	if p.Channels == 3 {
		colourType = 2
	}
	if p.Alpha != nil {
		samples++
		colourType += 4
	}
	bytesPer, depth := 1, byte(8)
	if p.Max == 65535 {
		bytesPer, depth = 2, 16
	}

	header := binary.BigEndian.AppendUint32(nil, uint32(p.Width))
	header = binary.BigEndian.AppendUint32(header, uint32(p.Height))
	out := pngChunk([]byte(pngSignature), "IHDR", append(header, depth, colourType, 0, 0, 0))
	out = p.Meta.appendPNG(out)

	var idat bytes.Buffer
	z := zlib.NewWriter(&idat)
	pixel := samples * bytesPer
	filter := newPNGFilter(p.Width*pixel, pixel)
	for y := range p.Height {
		row := p.appendRow(filter.row[:0], y, bytesPer, binary.BigEndian)
		z.Write(filter.best(row)) // a bytes.Buffer takes everything
	}
	z.Close()
	for b := idat.Bytes(); len(b) > 0; {
		n := min(len(b), 1<<30) // a chunk's length has 31 bits
		out = pngChunk(out, "IDAT", b[:n])
		b = b[n:]
	}
	return pngChunk(out, "IEND", nil), nil
}

// appendRow appends row y with interleaved alpha, one or two bytes per sample.
func (p *Photo) appendRow(dst []byte, y, bytesPer int, order binary.AppendByteOrder) []byte {
	put := func(v uint16) {
		if bytesPer == 1 {
			dst = append(dst, uint8(min(v, 255)))
		} else {
			dst = order.AppendUint16(dst, v)
		}
	}
	for i := y * p.Width; i < (y+1)*p.Width; i++ {
		for _, v := range p.Pix[i*p.Channels : (i+1)*p.Channels] {
			put(v)
		}
		if p.Alpha != nil {
			put(p.Alpha[i])
		}
	}
	return dst
}

func pngChunk(out []byte, kind string, body []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
	start := len(out)
	out = append(append(out, kind...), body...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[start:]))
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// pngFilter picks for each row the filter with the smallest sum of absolute differences, the rule
// the PNG specification recommends.
type pngFilter struct {
	row, previous []byte
	tries         [5][]byte // filter type byte, then the filtered row
	pixel         int       // bytes per pixel
}

func newPNGFilter(rowBytes, pixel int) *pngFilter {
	f := &pngFilter{row: make([]byte, rowBytes), previous: make([]byte, rowBytes), pixel: pixel}
	for i := range f.tries {
		f.tries[i] = make([]byte, 1+rowBytes)
		f.tries[i][0] = byte(i)
	}
	return f
}

// best filters row, which must be f.row filled, and keeps it as the previous row.
func (f *pngFilter) best(row []byte) []byte {
	var sums [5]int
	for i, v := range row {
		var a, c byte // left, above left
		if i >= f.pixel {
			a, c = row[i-f.pixel], f.previous[i-f.pixel]
		}
		b := f.previous[i]
		for k, d := range [5]byte{v, v - a, v - b, v - byte((int(a)+int(b))/2), v - paeth(a, b, c)} {
			f.tries[k][1+i] = d
			sums[k] += magnitude(d)
		}
	}
	f.row, f.previous = f.previous, row
	best := 0
	for k := range sums {
		if sums[k] < sums[best] {
			best = k
		}
	}
	return f.tries[best]
}

// magnitude is the absolute value of a difference modulo 256.
func magnitude(d byte) int { return max(int(int8(d)), -int(int8(d))) }

func paeth(a, b, c byte) byte {
	pa := abs(int(b) - int(c))
	pb := abs(int(a) - int(c))
	pc := abs(int(a) + int(b) - 2*int(c))
	switch {
	case pa <= pb && pa <= pc:
		return a
	case pb <= pc:
		return b
	}
	return c
}

func abs(v int) int { return max(v, -v) }
