package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"

	"golang.org/x/image/bmp"
)

// bmpPicture is the layout of a BMP file.
type bmpPicture struct {
	w, h, bits int
	topDown    bool
	runs       bool       // run-length code
	palette    [][]uint16 // R, G, B of each index; nil where masks tell
	masks      [4]uint32  // where R, G, B, A lie in a pixel
	pixels     []byte
}

var errBMPKind = errors.New("a BMP of an unsupported kind; save it anew as PNG or as an ordinary BMP")

// BMP's compressions.
const (
	bmpPlain      = 0
	bmpRuns8      = 1
	bmpRuns4      = 2
	bmpMasks      = 3
	bmpAlphaMasks = 6
)

func inspectBMP(data []byte) (*file, error) {
	b, err := readBMPHeader(data)
	if err != nil {
		return nil, err
	}
	f := &file{Info: Info{Format: BMP, Width: b.w, Height: b.h, Channels: 3, Depth: 8, Alpha: b.masks[3] != 0}}
	if b.white() == 65535 {
		f.Depth = 16
	}
	if b.palette != nil {
		f.Channels = 1
		for _, c := range b.palette {
			if c[0] != c[1] || c[1] != c[2] {
				f.Channels = 3
			}
		}
	}
	f.payload = int64(len(data)) - int64(binary.LittleEndian.Uint32(data[10:]))
	f.needs = int64(b.rowBytes()) * int64(b.h)
	if b.runs { // may leave any number of pixels out
		f.needs = int64(b.w) * int64(b.h) >> 14
	}
	f.meta.readBMP(data)
	f.pixels = func() (*Photo, error) {
		b.pixels = data[len(data)-int(f.payload):]
		return b.decode()
	}
	return f, nil
}

// readBMPHeader reads the headers of OS/2 (12 or 64 bytes) and of Windows (40 bytes or more).
func readBMPHeader(data []byte) (*bmpPicture, error) {
	le := binary.LittleEndian
	if len(data) < 26 || int64(len(data)) < 14+int64(le.Uint32(data[14:])) {
		return nil, errTruncated
	}
	b := &bmpPicture{}
	size := int(le.Uint32(data[14:]))
	end := 14 + size // of the headers
	compression, colours, entry := uint32(bmpPlain), 0, 4
	switch size {
	case 12:
		b.w, b.h, b.bits, entry = int(le.Uint16(data[18:])), int(le.Uint16(data[20:])), int(le.Uint16(data[24:])), 3
	case 40, 52, 56, 64, 108, 124:
		b.w, b.h, b.bits = int(int32(le.Uint32(data[18:]))), int(int32(le.Uint32(data[22:]))), int(le.Uint16(data[28:]))
		compression, colours = le.Uint32(data[30:]), int(le.Uint32(data[46:]))
	default:
		return nil, errBMPKind
	}
	if b.h < 0 {
		b.h, b.topDown = -b.h, true
	}
	switch {
	case compression == bmpPlain && (b.bits == 1 || b.bits == 2 || b.bits == 4 || b.bits == 8):
	case compression == bmpRuns8 && b.bits == 8, compression == bmpRuns4 && b.bits == 4:
		b.runs = true
	case compression == bmpPlain && b.bits == 16:
		b.masks = [4]uint32{0x1F << 10, 0x1F << 5, 0x1F}
	case compression == bmpPlain && (b.bits == 24 || b.bits == 32):
		b.masks = [4]uint32{0xFF << 16, 0xFF << 8, 0xFF}
		if b.bits == 32 && size > 40 { // in older files the fourth byte means nothing
			b.masks[3] = 0xFF << 24
		}
	case (compression == bmpMasks || compression == bmpAlphaMasks) && (b.bits == 16 || b.bits == 32) && size != 64:
		n := 3
		if compression == bmpAlphaMasks || size >= 56 {
			n = 4
		}
		if end = max(end, 54+4*n); len(data) < end {
			return nil, errTruncated
		}
		for i := range n {
			m := le.Uint32(data[54+4*i:])
			if run := m >> bits.TrailingZeros32(m); b.bits == 16 && m>>16 != 0 || run&(run+1) != 0 || m == 0 && i < 3 || bits.OnesCount32(m) > 16 {
				return nil, errBMPKind
			}
			b.masks[i] = m
		}
	default:
		return nil, errBMPKind
	}
	if b.bits <= 8 {
		n := 1 << b.bits
		if colours > 0 {
			n = min(n, colours)
		}
		if n = min(n, (int(le.Uint32(data[10:]))-end)/entry); n < 1 || len(data) < end+n*entry {
			return nil, errTruncated
		}
		for i := range n {
			c := data[end+i*entry:]
			b.palette = append(b.palette, []uint16{uint16(c[2]), uint16(c[1]), uint16(c[0])})
		}
	}
	return b, nil
}

// rowBytes is the bytes of a row that is not run-length coded.
func (b *bmpPicture) rowBytes() int { return (b.w*b.bits + 31) / 32 * 4 }

// white is 255 unless a channel has more than 8 bits.
func (b *bmpPicture) white() uint16 {
	for _, m := range b.masks {
		if bits.OnesCount32(m) > 8 {
			return 65535
		}
	}
	return 255
}

func (b *bmpPicture) decode() (*Photo, error) {
	p := newPhoto(b.w, b.h, 3, b.white(), b.masks[3] != 0)
	var indices []uint8
	var err error
	if b.runs {
		if indices, err = b.unpackRuns(); err != nil {
			return nil, err
		}
	}
	for y := range b.h {
		stored := b.h - 1 - y
		if b.topDown {
			stored = y
		}
		for x := range b.w {
			i := y*b.w + x
			switch {
			case b.palette == nil:
				b.masked(p, i, b.pixels[stored*b.rowBytes()+x*b.bits/8:])
				continue
			case !b.runs:
				at := x * b.bits
				v := b.pixels[stored*b.rowBytes()+at/8]
				err = b.indexed(p, i, v>>(8-b.bits-at%8)&(1<<b.bits-1))
			default:
				err = b.indexed(p, i, indices[stored*b.w+x])
			}
			if err != nil {
				return nil, err
			}
		}
	}
	if allEqual(p.Alpha, 0) { // many writers leave the fourth byte 0 and mean opaque
		p.Alpha = nil
	}
	return p, nil
}

func (b *bmpPicture) indexed(p *Photo, i int, index uint8) error {
	if int(index) >= len(b.palette) {
		return errors.New("the file is damaged: a colour beyond its palette")
	}
	copy(p.Pix[3*i:], b.palette[index])
	return nil
}

// masked takes channels of any width to 0..white.
func (b *bmpPicture) masked(p *Photo, i int, pixel []byte) {
	var v uint32
	for k := range b.bits / 8 {
		v |= uint32(pixel[k]) << (8 * k)
	}
	for k, m := range b.masks {
		if m == 0 {
			continue
		}
		shift := bits.TrailingZeros32(m)
		last := m >> shift
		sample := uint16(((v&m)>>shift*uint32(p.Max) + last/2) / last)
		if k < 3 {
			p.Pix[3*i+k] = sample
		} else {
			p.Alpha[i] = sample
		}
	}
}

// unpackRuns returns an index for each pixel, in the order stored; pixels left out have 0.
func (b *bmpPicture) unpackRuns() ([]uint8, error) {
	out := make([]uint8, b.w*b.h)
	x, y := 0, 0
	put := func(v uint8) {
		if x < b.w && y < b.h {
			out[y*b.w+x] = v
		}
		x++
	}
	// nibble is pixel i of those that bytes hold.
	nibble := func(bytes []byte, i int) uint8 {
		if b.bits == 8 {
			return bytes[i]
		}
		return bytes[i/2] >> (4 - i%2*4) & 15
	}
	src := b.pixels
	for len(src) >= 2 {
		n, v := int(src[0]), int(src[1])
		used := 2
		switch {
		case n > 0:
			for i := range n {
				put(nibble(src[1:2], i%(8/b.bits)))
			}
		case v == 0: // end of row
			x, y = 0, y+1
		case v == 1: // end of picture
			return out, nil
		case v == 2: // move on
			if used = 4; len(src) >= 4 {
				x, y = x+int(src[2]), y+int(src[3])
			}
		default: // v pixels as they are, to an even number of bytes
			bytes := (v*b.bits + 7) / 8
			if used = 2 + (bytes+1)&^1; len(src) >= 2+bytes {
				for i := range v {
					put(nibble(src[2:], i))
				}
			}
		}
		if used > len(src) {
			break
		}
		src = src[used:]
	}
	if y >= b.h || y == b.h-1 && x >= b.w { // only the mark at the end is missing
		return out, nil
	}
	return nil, errTruncated
}

func encodeBMP(p *Photo) ([]byte, error) {
	var out bytes.Buffer
	err := bmp.Encode(&out, p.opaque8())
	return p.Meta.intoBMP(out.Bytes()), err
}
