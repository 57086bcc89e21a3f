package photo

// turnUpright applies an EXIF orientation, 1..8, to pixels and alpha.
func (p *Photo) turnUpright(orientation int) {
	if orientation <= 1 || orientation > 8 {
		return
	}
	p.Pix = turn(p.Pix, p.Width, p.Height, p.Channels, orientation)
	if p.Alpha != nil {
		p.Alpha = turn(p.Alpha, p.Width, p.Height, 1, orientation)
	}
	if orientation >= 5 {
		p.Width, p.Height = p.Height, p.Width
	}
}

// turn moves w×h pixels of n samples. Every orientation is a start pixel and two strides: the source
// steps taken for one step right and one step down in the upright picture.
func turn(src []uint16, w, h, n, orientation int) []uint16 {
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
	dst := make([]uint16, 0, len(src))
	for y := range height {
		at := start + y*down
		for range width {
			dst = append(dst, src[at*n:at*n+n]...)
			at += right
		}
	}
	return dst
}
