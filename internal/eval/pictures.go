package eval

import (
	"os"
	"path/filepath"
	"slices"

	"hidiff/hidiff/photo"
)

// Amplification is by how much the error map is brighter than the error.
const Amplification = 8

// errorMap shows how far a result is from its target: at each pixel the largest difference of a channel, in 8 bits,
// amplified, from black over red and yellow to white.
func errorMap(result, target *photo.Photo) *photo.Photo {
	a, b := eightBits(coloured(result)), eightBits(coloured(target))
	out := &photo.Photo{Width: a.Width, Height: a.Height, Channels: 3, Max: 255, Pix: make([]uint16, a.Width*a.Height*3)}
	for i := range a.Width * a.Height {
		most := 0
		for c := range a.Channels {
			d := int(a.Pix[i*a.Channels+c]) - int(b.Pix[i*b.Channels+c])
			most = max(most, d, -d)
		}
		heat := min(most*Amplification, 255) * 3
		for c := range 3 {
			out.Pix[3*i+c] = uint16(min(max(heat-255*c, 0), 255))
		}
	}
	return out
}

// viewWidth is that of the pictures that the report shows before a click.
const viewWidth = 960

// shrink returns a photo of at most viewWidth pixels across, by averages in 8 bits, of any photo.
func shrink(p *photo.Photo) *photo.Photo {
	m := eightBits(p)
	w := min(p.Width, viewWidth)
	h := max(p.Height*w/p.Width, 1)
	out := &photo.Photo{Width: w, Height: h, Channels: p.Channels, Max: 255, Pix: make([]uint16, 0, w*h*p.Channels), Meta: p.Meta}
	for y := range h {
		y0, y1 := span(y, h, m.Height)
		for x := range w {
			x0, x1 := span(x, w, m.Width)
			for c := range m.Channels {
				sum := 0
				for v := y0; v < y1; v++ {
					row := m.Pix[v*m.Width*m.Channels:]
					for u := x0; u < x1; u++ {
						sum += int(row[u*m.Channels+c])
					}
				}
				n := (y1 - y0) * (x1 - x0)
				out.Pix = append(out.Pix, uint16((sum+n/2)/n))
			}
		}
	}
	return out
}

// span is the whole pixels of a line of size that pixel i of n averages over.
func span(i, n, size int) (from, to int) {
	from = i * size / n
	return from, max((i+1)*size/n, from+1)
}

// sideBySide joins photos of one size, those that are not nil, with white between them, as RGB of 8 bits and each at most viewWidth across.
func sideBySide(photos ...*photo.Photo) *photo.Photo {
	const gap = 8
	var small []*photo.Photo
	for _, p := range photos {
		if p != nil {
			small = append(small, shrink(coloured(p)))
		}
	}
	first := small[0]
	out := &photo.Photo{Width: len(small)*(first.Width+gap) - gap, Height: first.Height, Channels: 3, Max: 255}
	for y := range first.Height {
		for i, p := range small {
			if i > 0 {
				out.Pix = append(out.Pix, slices.Repeat([]uint16{255}, gap*3)...)
			}
			out.Pix = append(out.Pix, p.Pix[y*p.Width*3:][:p.Width*3]...)
		}
	}
	return out
}

// picture is one picture of the report: its file, and that of a smaller one where it is large.
type picture struct{ Label, Full, View string }

// savePicture writes a picture below the report's folder; name is a path with slashes, which the label completes.
func savePicture(dir, name, label string, p *photo.Photo) (picture, error) {
	name += "-" + label
	pic := picture{label, name + ".png", name + ".png"}
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return pic, err
	}
	plain := *p
	plain.Meta = p.Meta.ColourOnly() // reports are passed on: nobody should learn where a photo was taken
	if err := photo.Save(file+".png", &plain, photo.EncodeOptions{}); err != nil || p.Width <= viewWidth {
		return pic, err
	}
	pic.View = name + "-view.jpg"
	return pic, photo.Save(file+"-view.jpg", shrink(&plain), photo.EncodeOptions{Quality: 90})
}
