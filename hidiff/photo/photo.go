// Package photo reads and writes photographs and keeps what photographers care about: 16-bit samples,
// alpha, grey, EXIF, XMP, IPTC, ICC profiles, print resolution and more. Orientation is applied on the way
// in, so pixels are upright.
//
//	p, err := photo.Open("holiday.jpg")
//	// … change p.Pix …
//	err = photo.Save("holiday-sharp.png", p, photo.EncodeOptions{})
//
// Read: PNG, JPEG, TIFF, WebP, BMP. Written: the same, WebP losslessly. What a format cannot hold is
// left out on writing: see [Format.KeepsAlpha], [Format.KeepsDepth16], [Photo.Losses] and [Encode].
// Colours are not converted between ICC profiles, as the profile travels with the samples; only those of
// inks and of CIE L*a*b* become sRGB.
package photo

import (
	"fmt"
	"image"
	"image/color"
)

// Photo is a decoded photograph in upright orientation.
type Photo struct {
	Width, Height int
	Channels      int      // 1 (grey) or 3 (RGB)
	Max           uint16   // 255 or 65535: the value of white
	Pix           []uint16 // Width*Height*Channels samples, interleaved, top row first, not premultiplied
	Alpha         []uint16 // Width*Height samples in 0..Max, or nil
	Meta          Metadata
	Format        Format // what it was decoded from; "" for photos made in memory
	Unmanaged     bool   // whether its colours are off: see [Info]
}

// FromImage copies any image. 8-bit images keep 8 bits, other kinds become 16-bit; grey stays grey
// (a palette of greys too); an alpha channel that is opaque throughout is dropped.
func FromImage(img image.Image) *Photo {
	p := fromImage(img)
	if p.Alpha != nil && allEqual(p.Alpha, p.Max) {
		p.Alpha = nil
	}
	if m, ok := img.(*image.Paletted); ok && greyPalette(m.Palette) {
		p.dropColour()
	}
	return p
}

// Image returns a copy as *image.Gray, *image.Gray16, *image.NRGBA or *image.NRGBA64.
// Grey with alpha has no image type and becomes NRGBA. Metadata is not carried.
func (p *Photo) Image() image.Image {
	r := image.Rect(0, 0, p.Width, p.Height)
	switch {
	case p.Max == 255 && p.Channels == 1 && p.Alpha == nil:
		m := image.NewGray(r)
		for i, v := range p.Pix {
			m.Pix[i] = uint8(v)
		}
		return m
	case p.Max == 255:
		m := image.NewNRGBA(r)
		for i := range p.Width * p.Height {
			c, a := p.rgb(i)
			m.Pix[4*i], m.Pix[4*i+1], m.Pix[4*i+2], m.Pix[4*i+3] = uint8(c[0]), uint8(c[1]), uint8(c[2]), uint8(a)
		}
		return m
	case p.Channels == 1 && p.Alpha == nil:
		m := image.NewGray16(r)
		for i, v := range p.Pix {
			m.Pix[2*i], m.Pix[2*i+1] = uint8(v>>8), uint8(v)
		}
		return m
	default:
		m := image.NewNRGBA64(r)
		for i := range p.Width * p.Height {
			c, a := p.rgb(i)
			for k, v := range [4]uint16{c[0], c[1], c[2], a} {
				m.Pix[8*i+2*k], m.Pix[8*i+2*k+1] = uint8(v>>8), uint8(v)
			}
		}
		return m
	}
}

// rgb returns pixel i as three colour samples and its alpha (Max where there is no alpha channel).
func (p *Photo) rgb(i int) (c [3]uint16, a uint16) {
	if p.Channels == 1 {
		v := p.Pix[i]
		c = [3]uint16{v, v, v}
	} else {
		c = [3]uint16(p.Pix[3*i : 3*i+3])
	}
	if p.Alpha == nil {
		return c, p.Max
	}
	return c, p.Alpha[i]
}

// to8 rounds a sample to 8 bits.
func (p *Photo) to8(v uint16) uint8 {
	if p.Max == 255 {
		return uint8(min(v, 255))
	}
	return uint8((uint32(v) + 128) / 257)
}

// check reports a photo whose fields contradict each other, so that writers may index freely.
func (p *Photo) check() error {
	n := p.Width * p.Height
	switch {
	case p.Width < 1 || p.Height < 1 || p.Width > maxPixels/p.Height:
		return fmt.Errorf("a photo of %d×%d pixels cannot be written", p.Width, p.Height)
	case p.Channels != 1 && p.Channels != 3:
		return fmt.Errorf("a photo with %d channels cannot be written; it must have 1 or 3", p.Channels)
	case p.Max != 255 && p.Max != 65535:
		return fmt.Errorf("a photo whose white is %d cannot be written; it must be 255 or 65535", p.Max)
	case len(p.Pix) != n*p.Channels:
		return fmt.Errorf("a %d×%d×%d photo needs %d samples, not %d", p.Width, p.Height, p.Channels, n*p.Channels, len(p.Pix))
	case p.Alpha != nil && len(p.Alpha) != n:
		return fmt.Errorf("a %d×%d photo needs %d alpha samples, not %d", p.Width, p.Height, n, len(p.Alpha))
	}
	return nil
}

// dropColour keeps the first channel of a photo known to be grey.
func (p *Photo) dropColour() {
	if p.Channels == 1 {
		return
	}
	n := p.Width * p.Height
	for i := range n {
		p.Pix[i] = p.Pix[3*i]
	}
	p.Pix, p.Channels = p.Pix[:n:n], 1
}

func newPhoto(w, h, channels int, max uint16, alpha bool) *Photo {
	p := &Photo{Width: w, Height: h, Channels: channels, Max: max, Pix: make([]uint16, w*h*channels)}
	if alpha {
		p.Alpha = make([]uint16, w*h)
	}
	return p
}

func allEqual(s []uint16, v uint16) bool {
	for _, x := range s {
		if x != v {
			return false
		}
	}
	return true
}

func greyPalette(pal color.Palette) bool {
	for _, c := range pal {
		if n := color.NRGBAModel.Convert(c).(color.NRGBA); n.R != n.G || n.G != n.B {
			return false
		}
	}
	return true
}
