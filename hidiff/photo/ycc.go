package photo

import (
	"errors"
	"slices"
)

// ycc is how TIFF stores YCbCr outside JPEG data: TIFF 6.0, section 21.
type ycc struct {
	sx, sy int        // pixels across and down that share their chroma samples
	luma   [3]float64 // shares of red, green and blue
	white  float64
	codes  [6]float64 // of black and white luma, and of no and most Cb and Cr
}

// readYCC reads how a picture stores YCbCr. JPEG data say so themselves, and become RGB.
func (t *tiffPicture) readYCC(fields []field) error {
	white, middle := float64(int(1)<<t.bits-1), float64(int(1)<<(t.bits-1))
	c := ycc{sx: 2, sy: 2, luma: [3]float64{0.299, 0.587, 0.114}, white: white, codes: [6]float64{0, white, middle, white, middle, white}}
	if f := find(fields, tagSubsampling); f.count == 2 {
		x, _ := t.number(f, 0)
		y, _ := t.number(f, 1)
		c.sx, c.sy = int(x), int(y)
	}
	t.rationals(find(fields, tagCoefficients), c.luma[:])
	t.rationals(find(fields, tagReferences), c.codes[:])
	sizes := []int{1, 2, 4}
	switch {
	case t.compression == jpegCode && !t.planar:
		t.photometric, t.ycbcrJPEG = rgb, true
	case !slices.Contains(sizes, c.sx) || !slices.Contains(sizes, c.sy):
		return errors.New("a TIFF with YCbCr whose subsampling is damaged")
	case c.codes[0] == c.codes[1] || c.codes[2] == c.codes[3] || c.codes[4] == c.codes[5] || c.luma[1] == 0:
		return errors.New("a TIFF with YCbCr whose coefficients are damaged")
	case t.compression == jpegCode || c.shared() && (t.planar || t.predictor != 1 || t.samples != 3 || t.bits != 8):
		return errors.New("a TIFF with YCbCr in separate planes, or with shared colour samples together with alpha, 16 bits or a predictor, is not supported; convert it to RGB")
	}
	t.ycc = c
	return nil
}

// rationals fills numbers from a field of as many fractions, if it is that.
func (b block) rationals(f field, numbers []float64) {
	if f.kind != 5 || len(f.value) != 8*len(numbers) {
		return
	}
	for i := range numbers {
		numbers[i] = float64(b.order.Uint32(f.value[8*i:])) / max(1, float64(b.order.Uint32(f.value[8*i+4:])))
	}
}

func (c ycc) shared() bool { return c.sx*c.sy > 1 }

// size is how many bytes w×h pixels take: for each block of sx×sy, its luma samples, then Cb and Cr.
func (c ycc) size(w, h int) int {
	return (w + c.sx - 1) / c.sx * ((h + c.sy - 1) / c.sy) * (c.sx*c.sy + 2)
}

// unshare appends Y, Cb, Cr of every pixel in row y of w pixels.
func (c ycc) unshare(dst []uint16, data []byte, w, y int) []uint16 {
	n := c.sx*c.sy + 2
	row := data[y/c.sy*((w+c.sx-1)/c.sx)*n:]
	for x := range w {
		block := row[x/c.sx*n:]
		dst = append(dst, uint16(block[y%c.sy*c.sx+x%c.sx]), uint16(block[n-2]), uint16(block[n-1]))
	}
	return dst
}

// toRGB converts one pixel.
func (c ycc) toRGB(s []uint16) {
	y := (float64(s[0]) - c.codes[0]) / (c.codes[1] - c.codes[0])
	// Cb and Cr of -1/2..1/2: half a code less than half of the range, as 255 codes have no middle.
	cb := (float64(s[1]) - c.codes[2]) / (c.codes[3] - c.codes[2]) * c.half()
	cr := (float64(s[2]) - c.codes[4]) / (c.codes[5] - c.codes[4]) * c.half()
	r := y + cr*(2-2*c.luma[0])
	b := y + cb*(2-2*c.luma[2])
	putRGB(s, r, (y-c.luma[0]*r-c.luma[2]*b)/c.luma[1], b, uint16(c.white))
}

// half is the largest chroma: 127 of 255, or 32767 of 65535.
func (c ycc) half() float64 { return (c.white - 1) / 2 / c.white }
