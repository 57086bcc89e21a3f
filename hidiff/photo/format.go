package photo

import (
	"fmt"
	"image/color"
	"path/filepath"
	"strconv"
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

// Extension returns the usual extension of the format's files, such as ".jpg".
func (f Format) Extension() string {
	switch f {
	case JPEG:
		return ".jpg"
	case TIFF:
		return ".tif"
	}
	return "." + string(f)
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

// Losses names what Encode leaves out in this format of the picture itself: transparency, and the lower half of 16 bits
// a sample. It is nil if nothing is lost. Of metadata, [Photo.Losses] tells.
func (i Info) Losses(f Format) (out []string) {
	if i.Alpha && !f.KeepsAlpha() {
		out = append(out, "transparency")
	}
	if i.Depth == 16 && !f.KeepsDepth16() {
		out = append(out, "16 bits a sample")
	}
	return out
}

// ParseColor reads white, black or #rrggbb.
func ParseColor(text string) (c color.Color, ok bool) {
	switch text {
	case "white":
		text = "#ffffff"
	case "black":
		text = "#000000"
	}
	digits, marked := strings.CutPrefix(text, "#")
	value, err := strconv.ParseUint(digits, 16, 24)
	if err != nil || !marked || len(digits) != 6 {
		return nil, false
	}
	return color.NRGBA{uint8(value >> 16), uint8(value >> 8), uint8(value), 255}, true
}
