package dataset

import "hidiff/hidiff/photo"

// augmentations are the eight augmentations in BasicSR's order: identity, flipud, rot90, rot90 + flipud, rot180,
// rot180 + flipud, rot270, rot270 + flipud, with numpy's flipud and (counter-clockwise) rot90. Pixel
// (y, x) of the result is pixel (y, x) of the crop, or (x, y) if swap, counted from the far edge where flipped.
var augmentations = [8]struct{ swap, flipY, flipX bool }{
	{false, false, false},
	{false, true, false},
	{true, false, true},
	{true, false, false},
	{false, true, true},
	{false, false, true},
	{true, true, false},
	{true, true, true},
}

// view is what a sample shows of a photo: of the n×n crop at (top, left), augmented by a mode, the
// size×size window at (y, x).
type view struct {
	top, left, n int
	mode         int
	y, x, size   int
}

// source is the photo's pixel that the window's pixel (r, c) shows.
func (v view) source(r, c int) (y, x int) {
	m := augmentations[v.mode]
	y, x = v.y+r, v.x+c
	if m.swap {
		y, x = x, y
	}
	if m.flipY {
		y = v.n - 1 - y
	}
	if m.flipX {
		x = v.n - 1 - x
	}
	return v.top + y, v.left + x
}

// write fills dst, [size, size, 3], with RGB in [0, 1]. Grey is repeated in all three channels.
func (v view) write(dst []float32, p *photo.Photo) {
	at := func(r, c int) int {
		y, x := v.source(r, c)
		return (y*p.Width + x) * p.Channels
	}
	white, step := float32(p.Max), at(0, 1)-at(0, 0)
	green, blue := 1, 2
	if p.Channels == 1 {
		green, blue = 0, 0
	}
	for r := range v.size {
		i, row := at(r, 0), dst[3*r*v.size:3*(r+1)*v.size]
		for o := 0; o < len(row); o += 3 {
			row[o] = float32(p.Pix[i]) / white
			row[o+1] = float32(p.Pix[i+green]) / white
			row[o+2] = float32(p.Pix[i+blue]) / white
			i += step
		}
	}
}
