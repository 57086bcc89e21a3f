package photo

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// stripBytes is about how much a strip holds before compression.
const stripBytes = 1 << 18

// encodeTIFF writes strips compressed with Deflate after horizontal differencing.
//
// An EXIF block is itself a TIFF structure, so the file begins with that very block, and only a new
// first directory is added: every offset in the block stays true, even those inside maker notes.
func encodeTIFF(p *Photo) ([]byte, error) {
	b := block{order: binary.LittleEndian}
	out := []byte("II*\x00\x00\x00\x00\x00")
	e, old, err := exifFields(p.Meta.EXIF)
	if err == nil {
		b.order, out = e.order, bytes.Clone(p.Meta.EXIF)
	}
	fields := p.Meta.tiffFields(b)
	for _, f := range old {
		if f.value != nil && slices.Contains(keptTags, f.tag) && find(fields, f.tag).tag == 0 {
			fields = append(fields, f)
		}
	}

	samples, bits, photometric := p.Channels, uint16(8), uint16(blackIsZero)
	if p.Channels == 3 {
		photometric = rgb
	}
	if p.Alpha != nil {
		samples++
		fields = append(fields, b.shortField(tagExtraSamples, 2)) // not premultiplied
	}
	if p.Max == 65535 {
		bits = 16
	}
	depths := slices.Repeat([]uint16{bits}, samples)
	rowBytes := p.Width * samples * int(bits) / 8
	rowsPerStrip := min(p.Height, max(1, stripBytes/rowBytes))
	var offsets, counts []uint32
	for y := 0; y < p.Height; y += rowsPerStrip {
		var strip bytes.Buffer
		z := zlib.NewWriter(&strip)
		var row []byte
		for r := y; r < min(y+rowsPerStrip, p.Height); r++ {
			row = p.appendRow(row[:0], r, int(bits)/8, b.order)
			subtractLeft(row, samples, int(bits), b.order)
			z.Write(row) // a bytes.Buffer takes everything
		}
		z.Close()
		if len(out)%2 == 1 {
			out = append(out, 0)
		}
		offsets, counts = append(offsets, uint32(len(out))), append(counts, uint32(strip.Len()))
		out = append(out, strip.Bytes()...)
	}
	fields = append(fields,
		b.longField(tagWidth, uint32(p.Width)), b.longField(tagHeight, uint32(p.Height)),
		b.shortField(tagBits, depths...), b.shortField(tagCompression, deflateAdobe),
		b.shortField(tagPhotometric, photometric), b.shortField(tagOrientation, 1),
		b.shortField(tagSamples, uint16(samples)), b.longField(tagRowsPerStrip, uint32(rowsPerStrip)),
		b.longField(tagStripOffsets, offsets...), b.longField(tagStripByteCounts, counts...),
		b.shortField(tagPlanar, 1), b.shortField(tagPredictor, 2))
	out, first := appendFields(out, b.order, fields)
	if uint64(len(out)) > math.MaxUint32 {
		return nil, errors.New("the picture needs more than the 4 GiB a TIFF can hold; write PNG")
	}
	b.order.PutUint32(out[4:], uint32(first))
	return out, nil
}

// subtractLeft replaces each sample by its difference from the pixel to the left.
func subtractLeft(row []byte, samples, bits int, o order) {
	if bits == 8 {
		for i := len(row) - 1; i >= samples; i-- {
			row[i] -= row[i-samples]
		}
		return
	}
	for i := len(row) - 2; i >= 2*samples; i -= 2 {
		o.PutUint16(row[i:], o.Uint16(row[i:])-o.Uint16(row[i-2*samples:]))
	}
}
