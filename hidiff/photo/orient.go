package photo

// Turn returns the photo turned upright from an EXIF orientation, 1..8, without its metadata. A photo without samples has
// none then, either.
func (p *Photo) Turn(orientation int) *Photo {
	q := *p
	q.Meta = Metadata{}
	q.turnUpright(orientation)
	return &q
}

// Crop copies w×h pixels at (x, y). Metadata stays behind: it would multiply. A photo without samples has none then, either.
func (p *Photo) Crop(x, y, w, h int) *Photo {
	q := &Photo{Width: w, Height: h, Channels: p.Channels, Max: p.Max}
	for from := y*p.Width + x; h > 0; from, h = from+p.Width, h-1 {
		if p.Pix != nil {
			q.Pix = append(q.Pix, p.Pix[from*p.Channels:(from+w)*p.Channels]...)
		}
		if p.Alpha != nil {
			q.Alpha = append(q.Alpha, p.Alpha[from:from+w]...)
		}
	}
	return q
}

// turnUpright applies an EXIF orientation to pixels and alpha.
func (p *Photo) turnUpright(orientation int) {
	if orientation <= 1 || orientation > 8 {
		return
	}
	p.Pix = Turn(p.Pix, p.Width, p.Height, p.Channels, orientation)
	p.Alpha = Turn(p.Alpha, p.Width, p.Height, 1, orientation)
	if orientation >= 5 {
		p.Width, p.Height = p.Height, p.Width
	}
}

// TurnBack is the orientation that undoes another.
func TurnBack(orientation int) int {
	switch orientation {
	case 6:
		return 8
	case 8:
		return 6
	}
	return orientation
}

// Turn returns w×h pixels of n samples turned upright from an EXIF orientation, 1..8; nil of nil. Every orientation is a
// start pixel and two strides: the source steps taken for one step right and one step down in the upright picture.
func Turn[T any](src []T, w, h, n, orientation int) []T {
	if src == nil {
		return nil
	}
	right, down := 1, w
	if orientation >= 5 { // transposed
		right, down = w, 1
	}
	start := 0
	switch orientation {
	case 2, 3, 7, 8: // stored columns run backwards
		start += w - 1
		if orientation >= 5 {
			down = -1
		} else {
			right = -1
		}
	}
	switch orientation {
	case 3, 4, 6, 7: // stored rows run backwards
		start += (h - 1) * w
		if orientation >= 5 {
			right = -w
		} else {
			down = -w
		}
	}
	width, height := w, h
	if orientation >= 5 {
		width, height = h, w
	}
	dst := make([]T, 0, len(src))
	for y := range height {
		at := start + y*down
		for range width {
			dst = append(dst, src[at*n:at*n+n]...)
			at += right
		}
	}
	return dst
}
