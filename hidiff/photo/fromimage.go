package photo

import (
	"image"
	"image/color"
)

// fromImage copies an image without looking at its content: kinds with an alpha channel give one
// (opaque kinds such as image.RGBA from a decoder are dealt with by the callers), palettes give RGB.
func fromImage(img image.Image) *Photo {
	r := img.Bounds()
	w, h := r.Dx(), r.Dy()
	switch m := img.(type) {
	case *image.Gray:
		p := newPhoto(w, h, 1, 255, false)
		eachRow(r, m.PixOffset, func(i, o int) { p.Pix[i] = uint16(m.Pix[o]) }, 1)
		return p
	case *image.Gray16:
		p := newPhoto(w, h, 1, 65535, false)
		eachRow(r, m.PixOffset, func(i, o int) { p.Pix[i] = be16(m.Pix[o:]) }, 2)
		return p
	case *image.NRGBA:
		p := newPhoto(w, h, 3, 255, true)
		eachRow(r, m.PixOffset, func(i, o int) { p.set(i, m.Pix[o], m.Pix[o+1], m.Pix[o+2], m.Pix[o+3]) }, 4)
		return p
	case *image.RGBA:
		opaque := m.Opaque()
		p := newPhoto(w, h, 3, 255, !opaque)
		eachRow(r, m.PixOffset, func(i, o int) { p.set(i, m.Pix[o], m.Pix[o+1], m.Pix[o+2], m.Pix[o+3]) }, 4)
		p.unpremultiply()
		return p
	case *image.NRGBA64:
		p := newPhoto(w, h, 3, 65535, true)
		eachRow(r, m.PixOffset, func(i, o int) { p.set16(i, m.Pix[o:o+8]) }, 8)
		return p
	case *image.RGBA64:
		p := newPhoto(w, h, 3, 65535, !m.Opaque())
		eachRow(r, m.PixOffset, func(i, o int) { p.set16(i, m.Pix[o:o+8]) }, 8)
		p.unpremultiply()
		return p
	case *image.Paletted:
		return fromPaletted(m)
	case *image.YCbCr:
		return fromYCbCr(m, smoothJPEG, jpegRGB)
	case *image.NYCbCrA:
		p := fromYCbCr(&m.YCbCr, smoothJPEG, jpegRGB)
		p.Alpha = make([]uint16, w*h)
		eachRow(r, m.AOffset, func(i, o int) { p.Alpha[i] = uint16(m.A[o]) }, 1)
		return p
	case *image.CMYK:
		p := newPhoto(w, h, 3, 255, false)
		eachRow(r, m.PixOffset, func(i, o int) {
			for k := range 3 {
				p.Pix[3*i+k] = cmyk(uint32(m.Pix[o+k]), uint32(m.Pix[o+3]), 255)
			}
		}, 4)
		return p
	}
	p := newPhoto(w, h, 3, 65535, true)
	for i := range w * h {
		c := color.NRGBA64Model.Convert(img.At(r.Min.X+i%w, r.Min.Y+i/w)).(color.NRGBA64)
		p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2], p.Alpha[i] = c.R, c.G, c.B, c.A
	}
	return p
}

func fromPaletted(m *image.Paletted) *Photo {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	table := make([]color.NRGBA, 256) // indices past the palette are opaque black, as in libpng
	for i := range table {
		table[i].A = 255
	}
	alpha := false
	for i, c := range m.Palette {
		n, exact := c.(color.NRGBA)
		if !exact {
			n = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		table[i] = n
		alpha = alpha || n.A != 255
	}
	p := newPhoto(w, h, 3, 255, alpha)
	eachRow(m.Rect, m.PixOffset, func(i, o int) {
		c := table[m.Pix[o]]
		p.set(i, c.R, c.G, c.B, c.A)
	}, 1)
	return p
}

// eachRow calls f(pixel index, byte offset) for every pixel of r; step is the bytes per pixel.
func eachRow(r image.Rectangle, offset func(x, y int) int, f func(i, o int), step int) {
	i := 0
	for y := r.Min.Y; y < r.Max.Y; y++ {
		o := offset(r.Min.X, y)
		for range r.Dx() {
			f(i, o)
			i, o = i+1, o+step
		}
	}
}

func (p *Photo) set(i int, r, g, b, a uint8) {
	p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2] = uint16(r), uint16(g), uint16(b)
	if p.Alpha != nil {
		p.Alpha[i] = uint16(a)
	}
}

func (p *Photo) set16(i int, b []byte) {
	p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2] = be16(b), be16(b[2:]), be16(b[4:])
	if p.Alpha != nil {
		p.Alpha[i] = be16(b[6:])
	}
}

func (p *Photo) unpremultiply() { unpremultiply(p.Pix, p.Channels, p.Channels, p.Alpha, p.Max) }

// unpremultiply divides the first channels samples of each pixel by alpha, rounding to nearest; those of
// fully transparent pixels become 0.
func unpremultiply(pix []uint16, samples, channels int, alpha []uint16, white uint16) {
	m := uint32(white)
	for i, a := range alpha {
		a := uint32(a)
		for k := i * samples; k < i*samples+channels; k++ {
			if a == 0 {
				pix[k] = 0
			} else {
				pix[k] = uint16(min(m, (uint32(pix[k])*m+a/2)/a))
			}
		}
	}
}

// cmyk converts one ink under black k to the R, G or B it leaves, all in 0..max.
func cmyk(ink, k, max uint32) uint16 {
	return uint16(((max-ink)*(max-k) + max/2) / max)
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
