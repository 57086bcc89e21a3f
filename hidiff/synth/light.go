package synth

import (
	"math"
	"sync"

	"hidiff/hidiff/photo"
)

// image is RGB in linear light, interleaved; white is 1.
type image struct {
	width, height int
	pix           []float32
}

func newImage(width, height int) image {
	return image{width, height, make([]float32, width*height*3)}
}

func (m image) row(y int) []float32 { return m.pix[y*m.width*3 : (y+1)*m.width*3] }

// crop copies a part.
func (m image) crop(b Box) image {
	out := newImage(b.Width, b.Height)
	for y := range b.Height {
		copy(out.row(y), m.row(b.Y + y)[b.X*3:])
	}
	return out
}

// toLinear is sRGB's transfer function (IEC 61966-2-1).
func toLinear(v float64) float64 {
	if v <= 0.04045 {
		return v / 12.92
	}
	return math.Pow((v+0.055)/1.055, 2.4)
}

// fromLinear is toLinear's inverse.
func fromLinear(v float32) float32 {
	if v <= 0.0031308 {
		return 12.92 * v
	}
	return float32(1.055*math.Pow(float64(v), 1/2.4) - 0.055)
}

func linearTable(white int) []float32 {
	table := make([]float32, white+1)
	for i := range table {
		table[i] = float32(toLinear(float64(i) / float64(white)))
	}
	return table
}

var (
	linear8  = sync.OnceValue(func() []float32 { return linearTable(255) })
	linear16 = sync.OnceValue(func() []float32 { return linearTable(65535) })
)

// rounding turns linear light to 8 bits, exactly rounded: thresholds[k] is the least light of level k, and first[i] is the level of
// light i/(len(first)-1), from which the one sought is few steps away.
type rounding struct {
	thresholds [256]float32
	first      [4097]uint8
}

var rounded = sync.OnceValue(func() *rounding {
	r := &rounding{}
	for k := 1; k < 256; k++ {
		r.thresholds[k] = float32(toLinear((float64(k) - 0.5) / 255))
	}
	level := 0
	for i := range r.first {
		for level < 255 && r.thresholds[level+1] <= float32(i)/float32(len(r.first)-1) {
			level++
		}
		r.first[i] = uint8(level)
	}
	return r
})

func (r *rounding) level(v float32) uint16 {
	if !(v > 0) {
		return 0
	}
	if v >= 1 {
		return 255
	}
	level := int(r.first[int(v*float32(len(r.first)-1))])
	for level < 255 && v >= r.thresholds[level+1] {
		level++
	}
	return uint16(level)
}

// photo clips light to black and white, and rounds it to 8-bit sRGB.
func (m image) photo() *photo.Photo {
	p := &photo.Photo{Width: m.width, Height: m.height, Channels: 3, Max: 255, Pix: make([]uint16, len(m.pix))}
	r := rounded()
	for i, v := range m.pix {
		p.Pix[i] = r.level(v)
	}
	return p
}

// develop returns a part of a photo as made smaller by a factor: every pixel is the mean light of the area
// that it covers.
func develop(p *photo.Photo, b Box, factor float64) image {
	table := linear8()
	if p.Max != 255 {
		table = linear16()
	}
	columns, rows := areas(b.X, b.Width, p.Width, factor), areas(b.Y, b.Height, p.Height, factor)
	out := newImage(b.Width, b.Height)
	for y, area := range rows {
		row := out.row(y)
		for i, weight := range area.weights {
			narrow(row, p, area.start+i, columns, table, weight)
		}
	}
	return out
}

// narrow adds a row of a photo, made narrower, times weight.
func narrow(dst []float32, p *photo.Photo, y int, columns []area, table []float32, weight float32) {
	src := p.Pix[y*p.Width*p.Channels : (y+1)*p.Width*p.Channels]
	second, third := 1, 2
	if p.Channels == 1 {
		second, third = 0, 0
	}
	for x, area := range columns {
		var r, g, b float32
		at := area.start * p.Channels
		for _, w := range area.weights {
			r += w * table[src[at]]
			g += w * table[src[at+second]]
			b += w * table[src[at+third]]
			at += p.Channels
		}
		dst[3*x] += weight * r
		dst[3*x+1] += weight * g
		dst[3*x+2] += weight * b
	}
}

// smaller returns the image in another size: every pixel is the mean light of the area that it covers.
func (m image) smaller(width, height int) image {
	if width == m.width && height == m.height {
		return m
	}
	columns := areas(0, width, m.width, float64(m.width)/float64(width))
	rows := areas(0, height, m.height, float64(m.height)/float64(height))
	out := newImage(width, height)
	for y, down := range rows {
		row := out.row(y)
		for j, wy := range down.weights {
			src := m.row(down.start + j)
			for x, across := range columns {
				for i, wx := range across.weights {
					for c := range 3 {
						row[3*x+c] += wy * wx * src[3*(across.start+i)+c]
					}
				}
			}
		}
	}
	return out
}

// area is what a pixel covers of larger ones, along one axis. The weights' sum is 1.
type area struct {
	start   int
	weights []float32
}

// areas returns those of n pixels from the given one on.
func areas(from, n, size int, factor float64) []area {
	out := make([]area, n)
	for i := range out {
		low := float64(from+i) * factor
		high := low + factor
		start := int(low)
		end := min(int(math.Ceil(high-1e-9)), size)
		weights := make([]float32, 0, end-start)
		for k := start; k < end; k++ {
			weights = append(weights, float32((min(high, float64(k+1))-max(low, float64(k)))/factor))
		}
		out[i] = area{start, weights}
	}
	return out
}

// detail is the mean difference of neighbours in a part of a photo as made smaller, in levels of 255: 1 is out of focus,
// 2 a leaf, 10 a street. Two of every 16 rows tell it well enough.
func detail(p *photo.Photo, b Box, factor float64) float64 {
	sum, n := 0, 0
	for y := 0; y+1 < b.Height; y += 16 {
		rows := develop(p, Box{b.X, b.Y + y, b.Width, 2}, factor).photo().Pix
		for i := range 3 * (b.Width - 1) {
			sum += abs(int(rows[i+3])-int(rows[i])) + abs(int(rows[i+3*b.Width])-int(rows[i]))
			n += 2
		}
	}
	return float64(sum) / float64(n)
}

func abs(v int) int { return max(v, -v) }
