package photo

import (
	"encoding/binary"
	"math"
)

// resolution is how densely a picture is to be printed; the zero value says nothing about it.
type resolution struct {
	X, Y float64
	Unit uint16 // TIFF's ResolutionUnit
}

// TIFF's units.
const (
	aspectOnly    = 1 // only the ratio of X and Y counts
	perInch       = 2
	perCentimetre = 3
)

// newResolution says nothing where a number is missing or where square pixels are all that it says.
func newResolution(x, y float64, unit uint16) resolution {
	r := resolution{x, y, unit}
	if !(x > 0 && y > 0 && x < math.MaxInt32 && y < math.MaxInt32) || unit < aspectOnly || unit > perCentimetre || unit == aspectOnly && x == y {
		return resolution{}
	}
	return r
}

// fromMetres reads pixels a metre as PNG and BMP count them. They are whole numbers, so what a whole
// number of pixels an inch gives is taken for that: 11811 is 300 an inch.
func fromMetres(x, y uint32) resolution {
	r := newResolution(math.Round(float64(x)*0.0254), math.Round(float64(y)*0.0254), perInch)
	if mx, my := r.metres(); r.Unit != 0 && mx == x && my == y {
		return r
	}
	return newResolution(float64(x)/100, float64(y)/100, perCentimetre)
}

// metres is the resolution in pixels a metre, or a ratio of whole numbers.
func (r resolution) metres() (x, y uint32) {
	scale := map[uint16]float64{aspectOnly: 1, perInch: 1 / 0.0254, perCentimetre: 100}[r.Unit]
	if r.Unit == aspectOnly && (r.X != math.Trunc(r.X) || r.Y != math.Trunc(r.Y)) {
		scale = 1000
	}
	whole := func(v float64) uint32 { return uint32(min(math.Round(v*scale), math.MaxUint32)) }
	return whole(r.X), whole(r.Y)
}

// jfif is the resolution in the whole numbers of JFIF, in the unit that rounds it less.
func (r resolution) jfif() (unit byte, x, y uint32) {
	if r.Unit == aspectOnly {
		x, y = r.metres()
		for x > math.MaxUint16 || y > math.MaxUint16 {
			x, y = x/2, y/2
		}
		return 0, x, y
	}
	inch := map[uint16]float64{perInch: 1, perCentimetre: 2.54}[r.Unit]
	rounded := func(scale float64) (x, y, off float64) {
		x, y = math.Round(r.X*scale), math.Round(r.Y*scale)
		return x, y, math.Abs(x/(r.X*scale)-1) + math.Abs(y/(r.Y*scale)-1)
	}
	ix, iy, inchOff := rounded(inch)
	cx, cy, centimetreOff := rounded(inch / 2.54)
	if centimetreOff < inchOff || max(ix, iy) > math.MaxUint16 {
		return 2, uint32(cx), uint32(cy)
	}
	return 1, uint32(ix), uint32(iy)
}

// fits reports whether a format can hold the resolution.
func (r resolution) fits(f Format) bool {
	x, y := r.metres()
	limit := uint32(math.MaxInt32)
	switch f {
	case JPEG:
		_, x, y = r.jfif()
		limit = math.MaxUint16
	case BMP:
		if r.Unit == aspectOnly {
			return false
		}
	case TIFF:
		return true
	}
	return min(x, y) >= 1 && max(x, y) <= limit
}

// tiffResolution reads the three tags of a directory.
func tiffResolution(b block, fields []field) resolution {
	rational := func(tag uint16) float64 {
		f := find(fields, tag)
		if f.kind != kindRational || len(f.value) < 8 {
			return 0
		}
		return float64(b.order.Uint32(f.value)) / float64(b.order.Uint32(f.value[4:]))
	}
	unit := int64(perInch)
	if v, ok := b.number(find(fields, tagResolutionUnit), 0); ok {
		unit = v
	}
	return newResolution(rational(tagXResolution), rational(tagYResolution), uint16(min(unit, math.MaxUint16)))
}

func exifResolution(exif []byte) resolution {
	b, fields, err := exifFields(exif)
	if err != nil {
		return resolution{}
	}
	return tiffResolution(b, fields)
}

// fields are the resolution's three tags.
func (r resolution) fields(b block) []field {
	rational := func(tag uint16, v float64) field {
		den := 1.0
		for math.Abs(math.Round(v*den)/den-v) > 1e-9*v && v*den*10 <= math.MaxUint32 {
			den *= 10
		}
		value := b.order.AppendUint32(nil, uint32(math.Round(v*den)))
		return field{tag: tag, kind: kindRational, count: 1, value: b.order.AppendUint32(value, uint32(den))}
	}
	return []field{rational(tagXResolution, r.X), rational(tagYResolution, r.Y), b.shortField(tagResolutionUnit, r.Unit)}
}

// setEXIFResolution returns a block, a new one if there is none, with the resolution in it. The new
// first directory stands at the end, so that every offset in the block stays true.
func setEXIFResolution(exif []byte, r resolution) []byte {
	b, old, err := exifFields(exif)
	out := append([]byte(nil), exif...)
	if err != nil {
		b.order, out = binary.BigEndian, []byte("MM\x00*\x00\x00\x00\x00")
	}
	fields := r.fields(b)
	for _, f := range old {
		if f.value != nil && find(fields, f.tag).tag == 0 {
			fields = append(fields, f)
		}
	}
	out, first := appendFields(out, b.order, fields)
	b.order.PutUint32(out[4:], uint32(first))
	return out
}
