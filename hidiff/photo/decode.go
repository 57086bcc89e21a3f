package photo

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"io"
	"os"

	"github.com/kovidgoyal/imaging/prism/meta/icc"
)

// maxPixels bounds every picture, read or written: 2^28, such as 16384×16384.
const maxPixels = 1 << 28

// Info is what a file's headers say about its picture.
type Info struct {
	Format        Format
	Width, Height int  // upright, as Decode would give them
	Channels      int  // 1 (grey) or 3 (RGB), as Decode would give them
	Depth         int  // bits per sample as Decode would give them: 8 or 16
	Alpha         bool // whether the file has transparency
	Unmanaged     bool // whether its four inks have an ICC profile that cannot be read, and are converted as without
}

// file is an image file taken apart, before any pixel is decoded.
type file struct {
	Info        // Width and Height as stored, not yet upright
	meta        Metadata
	orientation int   // EXIF's 1..8; a TIFF's own until settled, 0 if it has none
	payload     int64 // bytes of picture data present
	needs       int64 // fewest bytes of picture data that could encode this many pixels
	pixels      func() (*Photo, error)
}

func tooLarge(width, height int) error {
	return fmt.Errorf("%d×%d pixels are more than the %d this program handles; split or shrink the picture", width, height, maxPixels)
}

var errTruncated = errors.New("the file is truncated; copy or download it again")

// Open decodes the photograph in a file. Errors name the path.
func Open(path string) (*Photo, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Decode(data, path)
}

// Decode decodes a photograph, recognising its format by content. Errors begin with name.
//
// A truncated or damaged picture is an error, never part of a picture. So are animations (more than
// one frame), TIFFs of several pages (not counting masks and previews), more than 2^28 pixels, and
// headers announcing more pixels than their data could hold; these are refused before pixels are
// allocated.
//
// JPEG chroma is upsampled smoothly and converted exactly as libjpeg does, lossy WebP as libwebp does.
// CMYK becomes sRGB through its ICC profile (perceptual, with black point compensation), without one
// by simple ink subtraction; CIE L*a*b* becomes sRGB. The profile is not kept then. Floating-point
// samples of 0..1 become 16 bits; others are an error. Associated alpha is divided out.
// EXIF whose header or first directory cannot be read is dropped; other damage in it is kept as it is.
// Of what lies behind a JPEG's picture, previews are dropped, for they show it before editing, and maps
// are, too, where the picture is turned; [Photo.Losses] names them.
func Decode(data []byte, name string) (*Photo, error) {
	p, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// Probe reads only the headers: format, upright size, depth, channels, alpha. It sets no limit on
// the size, so callers can apply their own. Errors begin with name.
func Probe(data []byte, name string) (Info, error) {
	f, err := inspect(data)
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", name, err)
	}
	if f.orientation >= 5 {
		f.Width, f.Height = f.Height, f.Width
	}
	return f.Info, nil
}

func decode(data []byte) (*Photo, error) {
	f, err := inspect(data)
	if err != nil {
		return nil, err
	}
	if f.Width > maxPixels/f.Height {
		return nil, tooLarge(f.Width, f.Height)
	}
	if f.payload < f.needs {
		return nil, fmt.Errorf("%d×%d pixels cannot be stored in %d bytes of picture data; the file is damaged or truncated", f.Width, f.Height, f.payload)
	}
	p, err := f.pixels()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errTruncated
	}
	if err != nil {
		return nil, err
	}
	if p.Width != f.Width || p.Height != f.Height {
		return nil, fmt.Errorf("the header says %d×%d pixels and the data %d×%d; the file is damaged", f.Width, f.Height, p.Width, p.Height)
	}
	if f.Channels == 1 {
		p.dropColour()
	}
	p.Format, p.Unmanaged = f.Format, f.Unmanaged
	p.Meta = f.meta
	if !profileFits(p.Meta.ICC, p.Channels) {
		p.Meta.ICC = nil
		p.Meta.addLost("ICC profile")
	}
	p.turnUpright(f.orientation)
	return p, nil
}

// inspect reads headers and metadata of any supported format.
func inspect(data []byte) (*file, error) {
	var f *file
	var err error
	switch {
	case len(data) == 0:
		return nil, errors.New("the file is empty")
	case bytes.HasPrefix(data, []byte(pngSignature)):
		f, err = inspectPNG(data)
	case bytes.HasPrefix(data, []byte{0xFF, 0xD8, 0xFF}):
		f, err = inspectJPEG(data)
	case bytes.HasPrefix(data, []byte("II")) || bytes.HasPrefix(data, []byte("MM")):
		f, err = inspectTIFF(data)
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		f, err = inspectWebP(data)
	case bytes.HasPrefix(data, []byte("BM")):
		f, err = inspectBMP(data)
	default:
		return nil, errors.New("not a PNG, JPEG, TIFF, WebP or BMP picture; convert it to one of these first")
	}
	if err != nil {
		return nil, err
	}
	if f.Width < 1 || f.Height < 1 {
		return nil, fmt.Errorf("the picture is %d×%d pixels; there is nothing in it", f.Width, f.Height)
	}
	f.orientation = f.meta.settle(f.orientation)
	return f, nil
}

// decodeWith runs an image decoder of another package. A panic there (fuzzers still find some) must
// not take the caller's other photos down, so it counts as damage.
func decodeWith(decode func(io.Reader) (image.Image, error), data []byte) (img image.Image, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is damaged (%v)", r)
		}
	}()
	img, err = decode(bytes.NewReader(data))
	if err != nil {
		err = fmt.Errorf("the file is damaged or of an unsupported kind: %w", err)
	}
	return img, err
}

// profileFits reports whether an ICC profile may describe a picture with this many channels.
// Profiles of unknown kinds get the benefit of the doubt.
func profileFits(icc []byte, channels int) bool {
	switch profileSpace(icc) {
	case "CMYK":
		return false
	case "GRAY":
		return channels == 1
	case "RGB ":
		return channels == 3
	}
	return true
}

// profileSpace is the colour space field of an ICC header, "" if there is no header.
func profileSpace(icc []byte) string {
	if len(icc) < 20 {
		return ""
	}
	return string(icc[16:20])
}

// takeInks takes the profile, which describes inks, from a picture of four, whose pixels will be RGB.
func (f *file) takeInks(announced bool) *icc.Pipeline {
	inks, ok := openInks(f.meta.ICC, announced)
	f.meta.ICC, f.Unmanaged = nil, !ok
	return inks
}
