package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/kovidgoyal/imaging/prism/meta/icc"
)

// Tags that describe a TIFF picture.
const (
	tagNewSubfileType  = 254
	tagSubfileType     = 255
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
	tagInkSet          = 332
	tagExtraSamples    = 338
	tagSampleFormat    = 339
	tagJPEGTables      = 347
	tagCoefficients    = 529
	tagSubsampling     = 530
	tagReferences      = 532
	tagDNGVersion      = 50706
)

// Photometric interpretations.
const (
	whiteIsZero = 0
	blackIsZero = 1
	rgb         = 2
	palette     = 3
	separated   = 5
	yCbCr       = 6
	cieLab      = 8
	iccLab      = 9
)

// tiffPicture is the layout of a TIFF file's first picture.
type tiffPicture struct {
	block
	w, h, bits, samples      int
	photometric, compression int
	predictor                int
	floats                   bool // samples are floating-point numbers
	reversed                 bool // the lowest bit of a byte comes first
	planar                   bool // one plane after another
	tiled                    bool
	chunkW, chunkH           int           // a strip's or tile's size in pixels
	offsets, counts          []int64       // of strips or tiles, in bytes
	colours                  []uint16      // a palette's reds, greens, blues
	alpha                    int           // index of the alpha sample, or -1
	associated               bool          // alpha is multiplied into the colours
	inks                     *icc.Pipeline // of four inks, nil without a profile
	ycc                      ycc           // of YCbCr
	tables                   []byte        // JPEGTables
	ycbcrJPEG                bool          // JPEG data are YCbCr, and decoded to RGB
	low, high                float64       // the range of floating-point samples
}

func inspectTIFF(data []byte) (*file, error) {
	b, err := openTIFF(data)
	if err != nil {
		return nil, err
	}
	fields, next, err := b.fields(b.first)
	if err != nil {
		return nil, errTruncated
	}
	t, err := readTIFFHeader(b, fields)
	if err != nil {
		return nil, err
	}
	if err := b.onePage(next, t.w, t.h); err != nil {
		return nil, err
	}
	f := &file{Info: Info{Format: TIFF, Width: t.w, Height: t.h, Channels: 3, Depth: 8, Alpha: t.alpha >= 0}}
	if t.photometric == whiteIsZero || t.photometric == blackIsZero {
		f.Channels = 1
	}
	if t.white() == 65535 {
		f.Depth = 16
	}
	f.meta.readTIFF(b, fields, t)
	profile := find(fields, tagICC)
	switch t.photometric {
	case palette:
		if t.greyColours() && profileSpace(f.meta.ICC) != "RGB " {
			f.Channels = 1
		}
	case separated:
		if profile.count > 0 && profile.value == nil {
			return nil, errTruncated
		}
		t.inks = f.takeInks(profile.count > 0)
	case cieLab, iccLab:
		f.meta.ICC = nil // the pixels will be sRGB
	}
	if v, ok := b.number(find(fields, tagOrientation), 0); ok && v >= 1 && v <= 8 {
		f.orientation = int(v)
	}
	for _, n := range t.counts {
		f.payload += min(n, int64(len(data))+1)
	}
	if f.payload > int64(len(data)) { // chunks don't overlap in honest files
		f.payload = 0
	}
	f.needs = (int64(t.w)*int64(t.bits)*int64(t.samples) + 7) / 8 * int64(t.h) / tiffRatio(t.compression)
	if t.photometric == yCbCr { // luma alone: chroma may be shared by 16 pixels
		f.needs /= 3
	}
	f.pixels = t.decode
	return f, nil
}

// openTIFF opens an ordinary TIFF or a BigTIFF.
func openTIFF(data []byte) (block, error) {
	b := block{data: data, order: binary.LittleEndian, big: true}
	if bytes.HasPrefix(data, []byte("MM")) {
		b.order = binary.BigEndian
	}
	if len(data) >= 4 && b.uint(2, 2) == 43 {
		if len(data) < 16 {
			return b, errTruncated
		}
		first := b.uint(8, 8)
		if b.uint(4, 2) != 8 || first < 16 || first > int64(len(data)) {
			return b, errTruncated
		}
		b.first = int(first)
		return b, nil
	}
	b, err := openBlock(data)
	if err != nil {
		return b, errors.New("not a TIFF picture this program knows; save as TIFF, PNG or JPEG first")
	}
	return b, nil
}

// onePage is an error where a file has a page beside its first of w×h pixels: a picture that is not
// said to be, nor by its size is, a preview or mask of it. next is the offset of the link to the second.
func (b block) onePage(next, w, h int) error {
	for range 256 { // far beyond the previews of real files; also ends cycles
		if next == 0 {
			return nil
		}
		long := 4
		if b.big {
			long = 8
		}
		at := b.uint(next, long)
		if at == 0 {
			return nil
		}
		if at < 0 || at > int64(len(b.data)) {
			return errTruncated
		}
		fields, after, err := b.fields(int(at))
		if err != nil {
			return errTruncated
		}
		number := func(tag uint16) int { v, _ := b.number(find(fields, tag), 0); return int(v) }
		const preview, mask, oldPreview = 1, 4, 2
		pw, ph := number(tagWidth), number(tagHeight)
		smaller := pw < w && ph < h && abs(pw*h-ph*w) <= max(w, h) // and of the same shape, but for rounding
		if number(tagNewSubfileType)&(preview|mask) == 0 && number(tagSubfileType) != oldPreview && !smaller {
			return errors.New("a TIFF of several pages; save each page as a file of its own first")
		}
		next = after
	}
	return errors.New("the TIFF structure is damaged: its directories have no end")
}

// readTIFFHeader reads and judges the layout; what it accepts, decode can decode.
func readTIFFHeader(b block, fields []field) (*tiffPicture, error) {
	number := func(tag uint16, missing int) int {
		if v, ok := b.number(find(fields, tag), 0); ok {
			return int(v)
		}
		return missing
	}
	if find(fields, tagDNGVersion).tag != 0 || number(tagNewSubfileType, 0)&1 != 0 {
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
	base := map[int]int{whiteIsZero: 1, blackIsZero: 1, rgb: 3, palette: 1, separated: 4, yCbCr: 3, cieLab: 3, iccLab: 3}[t.photometric]
	if t.compression != lzwCode && t.compression != deflateAdobe && t.compression != deflateOld {
		t.predictor = 1 // only these use it
	}
	format := number(tagSampleFormat, 1)
	t.floats = format == 3
	linear := t.photometric == whiteIsZero || t.photometric == blackIsZero || t.photometric == rgb || t.photometric == separated
	switch {
	case base == 0 || t.photometric == separated && number(tagInkSet, 1) != 1:
		return nil, fmt.Errorf("TIFF colour model %d is not supported, or not with such inks; convert it to grey or RGB", t.photometric)
	case t.samples < base || t.samples > 16:
		return nil, fmt.Errorf("a TIFF with %d samples per pixel where %d are expected; the file is damaged", t.samples, base)
	case format != 1 && !t.floats || t.floats && !linear:
		return nil, errors.New("a TIFF with signed or complex samples, or floating-point ones that are not grey, RGB or CMYK, is not supported; convert it to 16-bit integers")
	case t.floats && t.bits != 16 && t.bits != 32 && t.bits != 64,
		!t.floats && (t.bits < 1 || t.bits > 16),
		t.bits != 8 && t.bits != 16 && (t.photometric == yCbCr || t.photometric == cieLab || t.photometric == iccLab):
		return nil, fmt.Errorf("a TIFF with %d-bit samples is not supported; convert it to 8 or 16 bits", t.bits)
	case t.photometric == palette && t.bits > 8:
		return nil, errors.New("a TIFF palette with more than 256 colours; the file is damaged")
	case t.compression == oldJPEG:
		return nil, errors.New("a TIFF with JPEG data of the old kind (compression 6), which was never well defined, is not supported; save it with another compression")
	case tiffRatio(t.compression) == 0:
		return nil, fmt.Errorf("TIFF compression %d is not supported; save with LZW, Deflate, PackBits, JPEG or none", t.compression)
	case t.compression == jpegCode && t.bits != 8:
		return nil, fmt.Errorf("a TIFF with JPEG data of %d bits is not supported; save it with another compression", t.bits)
	case t.predictor != 1 && (t.floats && t.predictor != 3 || !t.floats && (t.predictor != 2 || t.bits != 8 && t.bits != 16)):
		return nil, fmt.Errorf("TIFF predictor %d is not supported for %d-bit samples; save without it", t.predictor, t.bits)
	}
	t.reversed = number(tagFillOrder, 1) == 2 && t.compression != jpegCode
	t.tables = find(fields, tagJPEGTables).value
	if t.photometric == yCbCr {
		if err := t.readYCC(fields); err != nil {
			return nil, err
		}
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
	return t, t.readChunks(fields)
}

// readChunks reads where the strips or tiles are.
func (t *tiffPicture) readChunks(fields []field) error {
	number := func(tag uint16) int { v, _ := t.number(find(fields, tag), 0); return int(v) }
	t.chunkW, t.chunkH = t.w, t.h
	if n := number(tagRowsPerStrip); n > 0 {
		t.chunkH = min(n, t.h)
	}
	offsets, counts := find(fields, tagStripOffsets), find(fields, tagStripByteCounts)
	if t.tiled = find(fields, tagTileWidth).tag != 0; t.tiled {
		t.chunkW, t.chunkH = number(tagTileWidth), number(tagTileHeight)
		offsets, counts = find(fields, tagTileOffsets), find(fields, tagTileByteCounts)
		if t.chunkW < 1 || t.chunkH < 1 || t.chunkW > max(1024, t.w+15) || t.chunkH > max(1024, t.h+15) {
			return fmt.Errorf("TIFF tiles of %d×%d pixels do not suit a picture of %d×%d; the file is damaged", t.chunkW, t.chunkH, t.w, t.h)
		}
	}
	t.offsets, t.counts = t.numbers(offsets), t.numbers(counts)
	return nil
}

// sample8 takes a palette entry to 8 bits.
func (t *tiffPicture) sample8(index, channel int) uint16 {
	return t.colours[channel<<t.bits+index] >> 8
}

// white is the value of white in the photo to be.
func (t *tiffPicture) white() uint16 {
	if t.bits <= 8 || t.photometric == palette {
		return 255
	}
	return 65535
}

func (t *tiffPicture) greyColours() bool {
	for i := range 1 << t.bits {
		if t.sample8(i, 0) != t.sample8(i, 1) || t.sample8(i, 1) != t.sample8(i, 2) {
			return false
		}
	}
	return true
}
