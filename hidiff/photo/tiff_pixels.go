package photo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image/jpeg"
	"math"
	"math/bits"
)

// decode reads all chunks into one array of samples and interprets that.
func (t *tiffPicture) decode() (*Photo, error) {
	across, down := (t.w+t.chunkW-1)/t.chunkW, (t.h+t.chunkH-1)/t.chunkH
	planes, perChunk := 1, t.samples
	if t.planar {
		planes, perChunk = t.samples, 1
	}
	n := int64(across) * int64(down) * int64(planes)
	if n > int64(min(len(t.offsets), len(t.counts))) {
		return nil, errTruncated
	}
	if t.w*t.h > 4*maxPixels/t.samples {
		return nil, fmt.Errorf("%d×%d pixels of %d samples are more than this program handles; flatten the picture", t.w, t.h, t.samples)
	}
	raw := make([]uint16, t.w*t.h*t.samples)
	for i := range int(n) {
		plane, x0, y0 := i/(across*down), i%across*t.chunkW, i/across%down*t.chunkH
		rows := t.chunkH
		if !t.tiled {
			rows = min(rows, t.h-y0)
		}
		row, err := t.chunk(i, rows, perChunk)
		if err != nil {
			return nil, err
		}
		for y := y0; y < min(y0+rows, t.h); y++ {
			samples, width := row(y-y0), min(t.chunkW, t.w-x0)
			if t.planar {
				for x := range width {
					raw[(y*t.w+x0+x)*t.samples+plane] = samples[x]
				}
			} else {
				copy(raw[(y*t.w+x0)*t.samples:], samples[:width*t.samples])
			}
		}
	}
	if t.floats && !(t.low > -0.5/65535 && t.high < 1+0.5/65535) { // also not, where one is not a number
		return nil, fmt.Errorf("a floating-point TIFF with values from %g to %g, where 0 is black and 1 white; scale or clip it to these first", t.low, t.high)
	}
	return t.interpret(raw)
}

// chunk unpacks strip or tile i and returns a function that gives the samples of one of its rows, until
// it is called again.
func (t *tiffPicture) chunk(i, rows, perPixel int) (row func(y int) []uint16, err error) {
	rowBytes := (t.chunkW*perPixel*t.bits + 7) / 8
	size := rowBytes * rows
	shared := t.photometric == yCbCr && t.ycc.shared()
	if shared {
		size = t.ycc.size(t.chunkW, rows)
	}
	at, n := t.offsets[i], t.counts[i]
	if at > int64(len(t.data)) || n > int64(len(t.data))-at || n*tiffRatio(t.compression) < int64(size) {
		return nil, errTruncated
	}
	src := t.data[at : at+n]
	if t.compression == jpegCode {
		return t.jpegChunk(src, rows, perPixel)
	}
	if t.reversed {
		src = bytes.Clone(src)
		for i := range src {
			src[i] = bits.Reverse8(src[i])
		}
	}
	data, err := tiffDecompress(t.compression, src, size)
	if err != nil {
		return nil, err
	}
	samples := make([]uint16, 0, (t.chunkW*perPixel+7)&^7)
	if shared {
		return func(y int) []uint16 { return t.ycc.unshare(samples, data, t.chunkW, y) }, nil
	}
	return func(y int) []uint16 { return t.unpack(samples, data[y*rowBytes:(y+1)*rowBytes], perPixel) }, nil
}

// jpegChunk decodes a strip or tile that is a JPEG file without its tables.
func (t *tiffPicture) jpegChunk(src []byte, rows, perPixel int) (row func(y int) []uint16, err error) {
	if len(src) < 2 {
		return nil, errTruncated
	}
	if n := len(t.tables); n >= 4 {
		src = append(append([]byte{0xFF, 0xD8}, t.tables[2:n-2]...), src[2:]...) // without the markers at its ends
	}
	config, err := jpeg.DecodeConfig(bytes.NewReader(src))
	if err == nil && (config.Width < t.chunkW || config.Height < rows || config.Width > t.chunkW+15 || config.Height > t.chunkH+15) {
		err = fmt.Errorf("its JPEG data are %d×%d pixels where %d×%d are expected", config.Width, config.Height, t.chunkW, rows)
	}
	if n := countScans(src); err == nil && n > maxScans {
		err = fmt.Errorf("its JPEG data have %d scans", n)
	}
	if err != nil {
		return nil, fmt.Errorf("the file is damaged or of an unsupported kind: %w", err)
	}
	decode := decodeUnmarked
	if t.ycbcrJPEG {
		decode = jpeg.Decode
	}
	img, err := decodeWith(decode, src)
	if err != nil {
		return nil, err
	}
	samples, stored := samplesOf(img)
	if stored != perPixel {
		return nil, fmt.Errorf("the file is damaged: %d samples per pixel in JPEG data where %d are expected", stored, perPixel)
	}
	width := img.Bounds().Dx() * perPixel
	return func(y int) []uint16 { return samples[y*width : (y+1)*width] }, nil
}

// unpack appends a row's samples, in 0..white of the photo to be but for palettes, and undoes the
// predictor.
func (t *tiffPicture) unpack(dst []uint16, src []byte, perPixel int) []uint16 {
	switch {
	case t.floats:
		return t.unpackFloats(dst, src, perPixel)
	case t.bits == 16:
		for ; len(src) >= 2; src = src[2:] {
			dst = append(dst, t.order.Uint16(src))
		}
	case t.bits == 8:
		for _, v := range src {
			dst = append(dst, uint16(v))
		}
	default:
		last, white := uint32(1)<<t.bits-1, uint32(t.white())
		if t.photometric == palette {
			white = last
		}
		var hold uint32
		held := 0
		for _, v := range src {
			hold, held = hold<<8|uint32(v), held+8
			for ; held >= t.bits; held -= t.bits {
				v := hold >> (held - t.bits) & last
				dst = append(dst, uint16((v*white+last/2)/last))
			}
		}
		return dst
	}
	if t.predictor == 2 {
		mask := uint16(1<<t.bits - 1)
		for i := perPixel; i < len(dst); i++ {
			dst[i] = (dst[i] + dst[i-perPixel]) & mask
		}
	}
	return dst
}

// unpackFloats takes 0..1 to 0..65535. Predictor 3 stores differences of bytes, and of a row first the
// highest byte of every number, then the next.
func (t *tiffPicture) unpackFloats(dst []uint16, src []byte, perPixel int) []uint16 {
	size := t.bits / 8
	n := len(src) / size
	var order binary.ByteOrder = t.order
	if t.predictor == 3 {
		for i := perPixel; i < len(src); i++ {
			src[i] += src[i-perPixel]
		}
		planes := src
		src, order = make([]byte, len(planes)), binary.BigEndian
		for i := range src {
			src[i] = planes[i%size*n+i/size]
		}
	}
	for i := range n {
		var v float64
		switch b := src[i*size:]; size {
		case 2:
			v = half(order.Uint16(b))
		case 4:
			v = float64(math.Float32frombits(order.Uint32(b)))
		default:
			v = math.Float64frombits(order.Uint64(b))
		}
		t.low, t.high = min(t.low, v), max(t.high, v)
		dst = append(dst, uint16(max(0, min(v, 1))*65535+0.5))
	}
	return dst
}

// half is the value of an IEEE binary16; infinities are taken for the large numbers beside them.
func half(b uint16) float64 {
	exponent, fraction := int(b>>10&31), float64(b&1023)
	if exponent == 31 && fraction != 0 {
		return math.NaN()
	}
	v := math.Ldexp(fraction+1024, exponent-25)
	if exponent == 0 {
		v = math.Ldexp(fraction, -24)
	}
	if b>>15 == 1 {
		return -v
	}
	return v
}

// interpret turns samples into a photo, in place where they already are one.
func (t *tiffPicture) interpret(raw []uint16) (*Photo, error) {
	p := &Photo{Width: t.w, Height: t.h, Channels: 3, Max: t.white()}
	n, base := t.w*t.h, 3
	switch t.photometric {
	case whiteIsZero:
		for i := 0; i < len(raw); i += t.samples {
			raw[i] = p.Max - raw[i]
		}
		p.Channels, base = 1, 1
	case blackIsZero:
		p.Channels, base = 1, 1
	case separated:
		base = 4
	}
	if t.alpha >= 0 {
		p.Alpha = make([]uint16, n)
		for i := range n {
			p.Alpha[i] = raw[i*t.samples+t.alpha]
		}
		if t.associated {
			unpremultiply(raw, t.samples, base, p.Alpha, p.Max)
		}
	}
	switch t.photometric {
	case palette:
		p.Pix = make([]uint16, 3*n)
		for i := range n {
			for k := range 3 {
				p.Pix[3*i+k] = t.sample8(int(raw[i*t.samples]), k)
			}
		}
		return p, nil
	case separated:
		if err := inksToRGB(raw, t.samples, p.Max, t.inks); err != nil {
			return nil, err
		}
	case yCbCr:
		convert(raw, t.samples, t.ycc.toRGB)
	case cieLab, iccLab:
		labToRGB(raw, t.samples, p.Max, t.photometric == cieLab)
	}
	p.Pix = pack(raw, t.samples, p.Channels)
	return p, nil
}
