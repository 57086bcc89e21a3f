package photo

import "image"

// fromYCbCr converts a picture with shared chroma samples. smooth fills one full-width row of chroma;
// rgb converts one pixel.
func fromYCbCr(m *image.YCbCr, smooth func(dst []uint8, c plane, y int), rgb func(y, cb, cr int32) (r, g, b uint8)) *Photo {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	p := newPhoto(w, h, 3, 255, false)
	at := m.COffset(m.Rect.Min.X, m.Rect.Min.Y)
	sx, sy := subsampling(m.SubsampleRatio)
	ox, oy := m.Rect.Min.X&(sx-1), m.Rect.Min.Y&(sy-1) // a sub-image may begin inside a chroma sample
	c := plane{stride: m.CStride, w: (w + ox + sx - 1) / sx, h: (h + oy + sy - 1) / sy, sx: sx, sy: sy}
	cb, cr := make([]uint8, ox+w), make([]uint8, ox+w)
	for y := range h {
		c.pix = m.Cb[at:]
		smooth(cb, c, oy+y)
		c.pix = m.Cr[at:]
		smooth(cr, c, oy+y)
		luma := m.Y[m.YOffset(m.Rect.Min.X, m.Rect.Min.Y+y):]
		for x := range w {
			r, g, b := rgb(int32(luma[x]), int32(cb[ox+x]), int32(cr[ox+x]))
			p.set(y*w+x, r, g, b, 255)
		}
	}
	return p
}

// plane is a chroma plane of w×h samples, each covering sx×sy pixels.
type plane struct {
	pix          []uint8
	stride, w, h int
	sx, sy       int
}

// row returns chroma row y, the nearest one where y is outside.
func (c plane) row(y int) []uint8 {
	y = max(0, min(y, c.h-1))
	return c.pix[y*c.stride : y*c.stride+c.w]
}

func subsampling(r image.YCbCrSubsampleRatio) (sx, sy int) {
	switch r {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// smoothJPEG upsamples as libjpeg-turbo does by default ("fancy"): the triangle filter, weights 3/4
// and 1/4 along each halved direction, with its alternating rounding. Like libjpeg it repeats samples
// for other ratios and for planes at most two samples wide.
func smoothJPEG(dst []uint8, c plane, y int) {
	near := c.row(y / c.sy)
	if c.sx > 2 || c.sx == 2 && c.w <= 2 {
		for x := range dst {
			dst[x] = near[x/c.sx]
		}
		return
	}
	far := c.row(y/2 - 1 + 2*(y%2)) // the neighbour row on this side of the pixel
	switch {
	case c.sx == 1 && c.sy == 1:
		copy(dst, near)
	case c.sx == 1: // 4:4:0
		bias := 1 + y%2
		for x := range dst {
			dst[x] = uint8((3*int(near[x]) + int(far[x]) + bias) >> 2)
		}
	case c.sy == 1: // 4:2:2
		for x := range dst {
			i := x / 2
			j := max(0, min(i-1+2*(x%2), c.w-1))
			dst[x] = uint8((3*int(near[i]) + int(near[j]) + 1 + x%2) >> 2)
		}
	default: // 4:2:0
		for x := range dst {
			i := x / 2
			j := max(0, min(i-1+2*(x%2), c.w-1))
			dst[x] = uint8((9*int(near[i]) + 3*int(far[i]) + 3*int(near[j]) + int(far[j]) + 8 - x%2) >> 4)
		}
	}
}

// jpegRGB is JFIF's conversion in libjpeg's 16-bit fixed point.
func jpegRGB(y, cb, cr int32) (r, g, b uint8) {
	cb -= 128
	cr -= 128
	return clip8(y + (91881*cr+1<<15)>>16),
		clip8(y + (-22554*cb-46802*cr+1<<15)>>16),
		clip8(y + (116130*cb+1<<15)>>16)
}

func clip8(v int32) uint8 { return uint8(max(0, min(v, 255))) }
