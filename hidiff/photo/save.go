package photo

import (
	"fmt"
	"image/color"
	"path/filepath"

	"hidiff/internal/atomicfile"
)

// EncodeOptions says how to write a photo.
type EncodeOptions struct {
	Format  Format
	Quality int  // JPEG only, 1..100; 0 means 95
	Strip   bool // leave out all metadata
	// Background shows through transparency where the format has none; nil means white. It is taken for a
	// colour in the photo's own colour space.
	Background color.Color
}

// Encode writes a photo in o.Format. The same photo gives the same bytes.
//
// Left out without an error, because the format has no place for it: alpha in JPEG and BMP, where the
// background shows through (see [Format.KeepsAlpha]); the lower 8 bits, after rounding, in JPEG, WebP and BMP (see
// [Format.KeepsDepth16]); grey in WebP, which comes back as RGB; metadata that [Photo.Losses] names; for
// TIFF, EXIF tags of the first directory that describe the old file's pixels.
func Encode(p *Photo, o EncodeOptions) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := o.Format.Fits(p.Width, p.Height); err != nil {
		return nil, err
	}
	q := *p // so that the caller's metadata stays
	if q.Alpha != nil && !o.Format.KeepsAlpha() {
		q.putOn(o.Background)
	}
	q.Meta = q.metadataFor(o.Format)
	if o.Strip {
		q.Meta = Metadata{}
	}
	switch o.Format {
	case PNG:
		return encodePNG(&q)
	case JPEG:
		return encodeJPEG(&q, o.Quality)
	case TIFF:
		return encodeTIFF(&q)
	case WebP:
		return encodeWebP(&q)
	case BMP:
		return encodeBMP(&q)
	}
	return nil, fmt.Errorf("unknown image format %q; use png, jpeg, tiff, webp or bmp", o.Format)
}

// putOn replaces samples by new ones that are mixed with a background, and drops alpha. Grey becomes RGB
// on a background that is not grey.
func (p *Photo) putOn(background color.Color) {
	if background == nil {
		background = color.White
	}
	c := color.NRGBA64Model.Convert(background).(color.NRGBA64)
	behind := [3]uint16{c.R, c.G, c.B}
	if p.Max == 255 {
		for k := range behind {
			behind[k] >>= 8
		}
	}
	channels := p.Channels
	if c.R != c.G || c.G != c.B {
		channels = 3
	}
	mixed := make([]uint16, 0, p.Width*p.Height*channels)
	for i := range p.Width * p.Height {
		front, alpha := p.rgb(i)
		a, m := uint64(min(alpha, p.Max)), uint64(p.Max)
		for k, v := range front[:channels] {
			mixed = append(mixed, uint16((uint64(v)*a+uint64(behind[k])*(m-a)+m/2)/m))
		}
	}
	p.Pix, p.Channels, p.Alpha = mixed, channels, nil
}

func notEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// Save encodes a photo into a file, in the format of the path's extension unless o.Format is set. The
// file appears complete or not at all: it is written under a temporary name in the same folder, synced
// and renamed. An existing file is replaced and its permissions kept. Errors name the path.
func Save(path string, p *Photo, o EncodeOptions) error {
	if o.Format == "" {
		f, ok := FormatOf(path)
		if !ok {
			return fmt.Errorf("%s: no image format has the extension %q; use .png, .jpg, .tif, .webp or .bmp", path, filepath.Ext(path))
		}
		o.Format = f
	}
	data, err := Encode(p, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return atomicfile.WriteBytes(path, data)
}
