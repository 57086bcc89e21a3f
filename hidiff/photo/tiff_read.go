package photo

import (
	"errors"
	"fmt"
)

// Tags that describe a TIFF picture.
const (
	tagSubfileType     = 254
	tagWidth           = 256
	tagHeight          = 257
	tagBits            = 258
	tagCompression     = 259
	tagPhotometric     = 262
	tagFillOrder       = 266
	tagStripOffsets    = 273
	tagSamples         = 277
	tagRowsPerStrip    = 278
	tagStripByteCounts = 279
	tagPlanar          = 284
	tagPredictor       = 317
	tagColorMap        = 320
	tagTileWidth       = 322
	tagTileHeight      = 323
	tagTileOffsets     = 324
	tagTileByteCounts  = 325
	tagExtraSamples    = 338
	tagSampleFormat    = 339
	tagDNGVersion      = 50706
)

// Photometric interpretations.
const (
	whiteIsZero = 0
	blackIsZero = 1
	rgb         = 2
	palette     = 3
	separated   = 5
)

// tiffPicture is the layout of a TIFF file's first picture.
type tiffPicture struct {
	block
	w, h, bits, samples      int
	photometric, compression int
	predictor                int
	planar                   bool // one plane after another
	tiled                    bool
	chunkW, chunkH           int      // a strip's or tile's size in pixels
	offsets, counts          []uint32 // of strips or tiles, in bytes
	colours                  []uint16 // a palette's reds, greens, blues
	alpha                    int      // index of the alpha sample, or -1
	associated               bool     // alpha is multiplied into the colours
}

func inspectTIFF(data []byte) (*file, error) {
	b, err := openBlock(data)
	if err != nil {
		if len(data) > 4 && (data[2] == 43 || data[3] == 43) {
			return nil, errors.New("BigTIFF is not supported; save as an ordinary TIFF")
		}
		return nil, errors.New("not a TIFF picture this program knows; save as TIFF, PNG or JPEG first")
	}
	fields, _, err := b.fields(b.first)
	if err != nil {
		return nil, errTruncated
	}
	t, err := readTIFFHeader(b, fields)
	if err != nil {
		return nil, err
	}
	f := &file{Info: Info{Format: TIFF, Width: t.w, Height: t.h, Channels: 3, Depth: 8, Alpha: t.alpha >= 0}}
	if t.photometric == whiteIsZero || t.photometric == blackIsZero {
		f.Channels = 1
	}
	if t.bits == 16 {
		f.Depth = 16
	}
	f.meta.XMP = find(fields, tagXMP).value
	f.meta.ICC = find(fields, tagICC).value
	if t.photometric == palette {
		f.Depth = 8
		if t.greyColours() && profileSpace(f.meta.ICC) != "RGB " {
			f.Channels = 1
		}
	}
	if t.photometric == separated {
		f.meta.ICC = nil // it describes inks; the pixels will be RGB
	}
	f.meta.EXIF = exifOf(b, fields)
	f.orientation = 1
	if v, ok := b.number(find(fields, tagOrientation), 0); ok && v >= 1 && v <= 8 {
		f.orientation = int(v)
	}
	for _, n := range t.counts {
		f.payload += int64(n)
	}
	if f.payload > int64(len(data)) { // chunks don't overlap in honest files
		f.payload = 0
	}
	f.needs = (int64(t.w)*int64(t.bits)*int64(t.samples) + 7) / 8 * int64(t.h) / tiffRatio(t.compression)
	f.pixels = t.decode
	return f, nil
}

// readTIFFHeader reads and judges the layout; what it accepts, decode can decode.
func readTIFFHeader(b block, fields []field) (*tiffPicture, error) {
	number := func(tag uint16, missing int) int {
		if v, ok := b.number(find(fields, tag), 0); ok {
			return int(v)
		}
		return missing
	}
	if find(fields, tagDNGVersion).tag != 0 || number(tagSubfileType, 0)&1 != 0 {
		return nil, errors.New("a camera raw file or preview; develop it to TIFF, PNG or JPEG first")
	}
	t := &tiffPicture{
		block: b, w: number(tagWidth, 0), h: number(tagHeight, 0),
		bits: number(tagBits, 1), samples: number(tagSamples, 1),
		photometric: number(tagPhotometric, -1), compression: number(tagCompression, 1),
		predictor: number(tagPredictor, 1), planar: number(tagPlanar, 1) == 2, alpha: -1,
	}
	if t.w < 1 || t.h < 1 {
		return nil, fmt.Errorf("the picture is %d×%d pixels; there is nothing in it", t.w, t.h)
	}
	bits := find(fields, tagBits)
	for i := range min(int(bits.count), 16) {
		if v, ok := b.number(bits, i); ok && int(v) != t.bits {
			return nil, errors.New("a TIFF with samples of different depths is not supported; convert it to 8 or 16 bits")
		}
	}
	base := map[int]int{whiteIsZero: 1, blackIsZero: 1, rgb: 3, palette: 1, separated: 4}[t.photometric]
	switch {
	case base == 0:
		return nil, fmt.Errorf("TIFF colour model %d is not supported; convert it to grey or RGB", t.photometric)
	case t.samples < base || t.samples > 16:
		return nil, fmt.Errorf("a TIFF with %d samples per pixel where %d are expected; the file is damaged", t.samples, base)
	case number(tagSampleFormat, 1) != 1:
		return nil, errors.New("a TIFF with floating-point or signed samples is not supported; convert it to 16-bit integers")
	case t.bits != 8 && t.bits != 16 && (t.samples != 1 || t.bits != 1 && t.bits != 2 && t.bits != 4):
		return nil, fmt.Errorf("a TIFF with %d-bit samples is not supported; convert it to 8 or 16 bits", t.bits)
	case t.photometric == palette && t.bits > 8:
		return nil, errors.New("a TIFF palette with more than 256 colours; the file is damaged")
	case tiffRatio(t.compression) == 0:
		return nil, fmt.Errorf("TIFF compression %d is not supported; save with LZW, Deflate, PackBits or none", t.compression)
	case t.predictor != 1 && (t.predictor != 2 || t.bits < 8):
		return nil, fmt.Errorf("TIFF predictor %d is not supported for %d-bit samples; save without it", t.predictor, t.bits)
	case number(tagFillOrder, 1) != 1:
		return nil, errors.New("a TIFF with reversed bit order is not supported; save it anew")
	}
	if t.samples > base {
		extra := find(fields, tagExtraSamples)
		switch v, ok := b.number(extra, 0); {
		case !ok || v == 2: // where it is not said, a further sample is taken for plain alpha
			t.alpha = base
		case v == 1:
			t.alpha, t.associated = base, true
		}
	}
	if t.photometric == palette {
		colours := find(fields, tagColorMap)
		for i := range 3 << t.bits {
			v, ok := b.number(colours, i)
			if !ok {
				return nil, errors.New("the TIFF palette is damaged")
			}
			t.colours = append(t.colours, uint16(v))
		}
	}
	t.chunkW, t.chunkH = t.w, min(t.h, max(1, number(tagRowsPerStrip, t.h)))
	offsets, counts := find(fields, tagStripOffsets), find(fields, tagStripByteCounts)
	if t.tiled = find(fields, tagTileWidth).tag != 0; t.tiled {
		t.chunkW, t.chunkH = number(tagTileWidth, 0), number(tagTileHeight, 0)
		offsets, counts = find(fields, tagTileOffsets), find(fields, tagTileByteCounts)
		if t.chunkW < 1 || t.chunkH < 1 || t.chunkW > max(1024, t.w+15) || t.chunkH > max(1024, t.h+15) {
			return nil, fmt.Errorf("TIFF tiles of %d×%d pixels do not suit a picture of %d×%d; the file is damaged", t.chunkW, t.chunkH, t.w, t.h)
		}
	}
	t.offsets, t.counts = b.numbers(offsets), b.numbers(counts)
	return t, nil
}

// sample8 takes a palette entry to 8 bits.
func (t *tiffPicture) sample8(index, channel int) uint16 {
	return t.colours[channel<<t.bits+index] >> 8
}

func (t *tiffPicture) greyColours() bool {
	for i := range 1 << t.bits {
		if t.sample8(i, 0) != t.sample8(i, 1) || t.sample8(i, 1) != t.sample8(i, 2) {
			return false
		}
	}
	return true
}

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
	var row []uint16
	for i := range int(n) {
		plane, x0, y0 := i/(across*down), i%across*t.chunkW, i/across%down*t.chunkH
		rows := t.chunkH
		if !t.tiled {
			rows = min(rows, t.h-y0)
		}
		rowBytes := (t.chunkW*perChunk*t.bits + 7) / 8
		data, err := t.chunk(i, rowBytes*rows)
		if err != nil {
			return nil, err
		}
		for y := y0; y < min(y0+rows, t.h); y++ {
			row = t.unpack(row[:0], data[(y-y0)*rowBytes:(y-y0+1)*rowBytes], perChunk)
			width := min(t.chunkW, t.w-x0)
			if t.planar {
				for x := range width {
					raw[(y*t.w+x0+x)*t.samples+plane] = row[x]
				}
			} else {
				copy(raw[(y*t.w+x0)*t.samples:], row[:width*t.samples])
			}
		}
	}
	return t.interpret(raw), nil
}

// chunk decompresses strip or tile i, which must give at least size bytes.
func (t *tiffPicture) chunk(i, size int) ([]byte, error) {
	at, n := int64(t.offsets[i]), int64(t.counts[i])
	end := at + n
	if end > int64(len(t.data)) || n*tiffRatio(t.compression) < int64(size) {
		return nil, errTruncated
	}
	return tiffDecompress(t.compression, t.data[at:end], size)
}

// unpack appends a row's samples and undoes the horizontal predictor.
func (t *tiffPicture) unpack(dst []uint16, src []byte, perPixel int) []uint16 {
	switch t.bits {
	case 16:
		for ; len(src) >= 2; src = src[2:] {
			dst = append(dst, t.order.Uint16(src))
		}
	case 8:
		for _, v := range src {
			dst = append(dst, uint16(v))
		}
	default:
		for _, v := range src {
			for shift := 8 - t.bits; shift >= 0; shift -= t.bits {
				dst = append(dst, uint16(v)>>shift&(1<<t.bits-1))
			}
		}
	}
	if t.predictor == 2 {
		mask := uint16(1<<t.bits - 1)
		for i := perPixel; i < len(dst); i++ {
			dst[i] = (dst[i] + dst[i-perPixel]) & mask
		}
	}
	return dst
}

// interpret turns samples into a photo, in place where they already are one.
func (t *tiffPicture) interpret(raw []uint16) *Photo {
	p := &Photo{Width: t.w, Height: t.h, Channels: 3, Max: 255}
	if t.bits == 16 {
		p.Max = 65535
	}
	n := t.w * t.h
	if t.alpha >= 0 {
		p.Alpha = make([]uint16, n)
		for i := range n {
			p.Alpha[i] = raw[i*t.samples+t.alpha]
		}
	}
	// colours fills a pixel's channels from its samples. The output never overtakes the input, except
	// for palettes, whose pixels grow.
	var colours func(dst, s []uint16)
	p.Pix = raw
	switch t.photometric {
	case whiteIsZero, blackIsZero:
		p.Channels = 1
		scale := p.Max / uint16(1<<min(t.bits, 16)-1)
		colours = func(dst, s []uint16) {
			dst[0] = s[0] * scale
			if t.photometric == whiteIsZero {
				dst[0] = p.Max - dst[0]
			}
		}
	case rgb:
		colours = func(dst, s []uint16) { copy(dst, s[:3]) }
	case palette:
		p.Pix = make([]uint16, 3*n)
		colours = func(dst, s []uint16) {
			for k := range 3 {
				dst[k] = t.sample8(int(s[0]), k)
			}
		}
	case separated:
		colours = func(dst, s []uint16) {
			c, m, y, k := uint32(s[0]), uint32(s[1]), uint32(s[2]), uint32(s[3])
			white := uint32(p.Max)
			dst[0], dst[1], dst[2] = cmyk(c, k, white), cmyk(m, k, white), cmyk(y, k, white)
		}
	}
	for i := range n {
		colours(p.Pix[i*p.Channels:(i+1)*p.Channels], raw[i*t.samples:(i+1)*t.samples])
	}
	p.Pix = p.Pix[: n*p.Channels : n*p.Channels]
	if t.associated {
		p.unpremultiply()
	}
	return p
}
