package photo

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Format names a file format.
type Format string

// The formats this package reads and writes.
const (
	PNG  Format = "png"
	JPEG Format = "jpeg"
	TIFF Format = "tiff"
	WebP Format = "webp"
	BMP  Format = "bmp"
)

// FormatOf tells the format of an output file from its extension (any case): .png, .jpg, .jpeg,
// .jpe, .jfif, .tif, .tiff, .webp, .bmp.
func FormatOf(path string) (Format, bool) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".png":
		return PNG, true
	case ".jpg", ".jpeg", ".jpe", ".jfif":
		return JPEG, true
	case ".tif", ".tiff":
		return TIFF, true
	case ".webp":
		return WebP, true
	case ".bmp":
		return BMP, true
	}
	return "", false
}

// Fits returns an error if no picture of this size can be written in this format.
func (f Format) Fits(width, height int) error {
	longest := map[Format]int{JPEG: 65535, WebP: 16383}[f] // the others' sides end beyond maxPixels
	switch {
	case longest > 0 && max(width, height) > longest:
		return fmt.Errorf("%d×%d pixels do not fit the format %s, whose sides end at %d; write PNG or TIFF", width, height, f, longest)
	case width > maxPixels/height:
		return tooLarge(width, height)
	}
	return nil
}

// KeepsAlpha reports whether Encode keeps the alpha channel in this format.
func (f Format) KeepsAlpha() bool { return f == PNG || f == TIFF || f == WebP }

// KeepsDepth16 reports whether Encode keeps 16-bit samples in this format; others are rounded to 8 bits.
func (f Format) KeepsDepth16() bool { return f == PNG || f == TIFF }
