package photo

import (
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
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
	mode, err := replaceable(path)
	if err != nil {
		return err
	}
	data, err := Encode(p, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := writeAtomically(path, data, mode); err != nil {
		return fmt.Errorf("%s: cannot write: %w", path, err)
	}
	return nil
}

// replaceable returns the mode the file at path has, or would get, and an error if something other
// than a file is there: renaming onto a device would replace the device.
func replaceable(path string) (fs.FileMode, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("%s: cannot write: %w", path, err)
	case info.IsDir():
		return 0, fmt.Errorf("%s: cannot write a picture here: this is a folder; give a file name", path)
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("%s: cannot write a picture here: this is not an ordinary file", path)
	}
	return info.Mode().Perm(), nil
}

func writeAtomically(path string, data []byte, mode fs.FileMode) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // replace what a link points to, not the link
	}
	// Not os.CreateTemp: its files are private, while this one should follow the umask.
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(path), rand.Uint32()))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	_, err = f.Write(data)
	if err == nil && mode != 0 {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(temp, path)
}
