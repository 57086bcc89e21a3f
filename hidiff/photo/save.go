package photo

import (
	"fmt"
	"path/filepath"

	"hidiff/internal/atomicfile"
)

// EncodeOptions says how to write a photo.
type EncodeOptions struct {
	Format  Format
	Quality int  // JPEG only, 1..100; 0 means 95
	Strip   bool // leave out EXIF, XMP and ICC
}

// Encode writes a photo in o.Format. The same photo gives the same bytes.
//
// Left out without an error, because the format has no place for it: alpha in JPEG and BMP (see
// [Format.KeepsAlpha]); the lower 8 bits, after rounding, in JPEG, WebP and BMP (see
// [Format.KeepsDepth16]); grey in WebP, which comes back as RGB; all metadata in BMP; EXIF or XMP too
// long for a JPEG segment (64 KiB); an ICC profile for another number of channels than is written; for
// TIFF, EXIF tags of the first directory that describe the old file's pixels.
func Encode(p *Photo, o EncodeOptions) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := o.Format.Fits(p.Width, p.Height); err != nil {
		return nil, err
	}
	q := *p // so that the caller's metadata stays
	if o.Strip {
		q.Meta = Metadata{}
	}
	q.Meta.EXIF, q.Meta.XMP, q.Meta.ICC = notEmpty(q.Meta.EXIF), notEmpty(q.Meta.XMP), notEmpty(q.Meta.ICC)
	channels := p.Channels
	if o.Format == WebP {
		channels = 3
	}
	if !profileFits(q.Meta.ICC, channels) {
		q.Meta.ICC = nil
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
