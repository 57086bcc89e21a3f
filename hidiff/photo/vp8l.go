package photo

// A small lossless WebP (VP8L) encoder: subtract-green and spatial prediction, then one Huffman code
// per channel. Like PNG without the matching of repeated strings, which photographs rarely have. The encoder in Go of
// github.com/HugoSmits86/nativewebp v1.2.1 does not keep within the longest code: some noise
// becomes a file that nobody can read.

// predictors are the VP8L prediction modes tried for each tile, by their number in the format.
// l, t, tl are the left, upper and upper-left neighbours' values of one channel.
var predictors = []struct {
	mode int
	of   func(l, t, tl int) int
}{
	{1, func(l, t, tl int) int { return l }},
	{2, func(l, t, tl int) int { return t }},
	{7, func(l, t, tl int) int { return (l + t) / 2 }},
	{12, func(l, t, tl int) int { return max(0, min(l+t-tl, 255)) }},
	{13, func(l, t, tl int) int { a := (l + t) / 2; return max(0, min(a+(a-tl)/2, 255)) }},
}

// tileBits is log2 of the side of the squares that share a prediction mode.
const tileBits = 5

// pixel is alpha, red, green, blue.
type pixel [4]uint8

func encodeVP8L(p *Photo) []byte {
	w, h := p.Width, p.Height
	pixels := make([]pixel, w*h)
	for i := range pixels {
		c, a := p.rgb(i)
		g := p.to8(c[1])
		pixels[i] = pixel{p.to8(a), p.to8(c[0]) - g, g, p.to8(c[2]) - g} // green subtracted
	}
	modes, residuals := predict(pixels, w, h)

	var b bitWriter
	b.write(0x2F, 8)
	b.write(uint64(w-1), 14)
	b.write(uint64(h-1), 14)
	if p.Alpha != nil {
		b.write(1, 1)
	} else {
		b.write(0, 1)
	}
	b.write(0, 3)      // version
	b.write(1|2<<1, 3) // a transform: subtract green
	b.write(1|0<<1, 3) // a transform: prediction
	b.write(tileBits-2, 3)
	b.write(0, 1) // modes: no colour cache
	writeEntropy(&b, modes)
	b.write(0, 1) // no further transform
	b.write(0, 1) // pixels: no colour cache
	b.write(0, 1) // pixels: one set of Huffman codes for the whole picture
	writeEntropy(&b, residuals)
	return b.bytes()
}

// predict returns one mode per tile, as green of a small picture, and the differences from prediction.
func predict(pixels []pixel, w, h int) (modes, residuals []pixel) {
	const side = 1 << tileBits
	residuals = make([]pixel, len(pixels))
	for y0 := 0; y0 < h; y0 += side {
		for x0 := 0; x0 < w; x0 += side {
			best, bestCost := 0, -1
			for k := range predictors {
				cost := 0
				eachOf(x0, y0, min(x0+side, w), min(y0+side, h), func(x, y int) {
					for _, d := range difference(pixels, w, x, y, k) {
						cost += magnitude(d)
					}
				})
				if bestCost < 0 || cost < bestCost {
					best, bestCost = k, cost
				}
			}
			modes = append(modes, pixel{255, 0, uint8(predictors[best].mode), 0})
			eachOf(x0, y0, min(x0+side, w), min(y0+side, h), func(x, y int) {
				residuals[y*w+x] = difference(pixels, w, x, y, best)
			})
		}
	}
	return modes, residuals
}

func eachOf(x0, y0, x1, y1 int, f func(x, y int)) {
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			f(x, y)
		}
	}
}

// difference is pixel (x, y) minus its prediction. The first row and column have fixed predictions:
// opaque black for the corner, else the one neighbour there is.
func difference(pixels []pixel, w, x, y, predictor int) (d pixel) {
	i := y*w + x
	here := pixels[i]
	var from pixel
	switch {
	case x == 0 && y == 0:
		from = pixel{255, 0, 0, 0}
	case y == 0:
		from = pixels[i-1]
	case x == 0:
		from = pixels[i-w]
	default:
		l, t, tl := &pixels[i-1], &pixels[i-w], &pixels[i-w-1]
		of := predictors[predictor].of
		for k := range from {
			from[k] = uint8(of(int(l[k]), int(t[k]), int(tl[k])))
		}
	}
	for k := range d {
		d[k] = here[k] - from[k]
	}
	return d
}

// writeEntropy writes five Huffman codes (green and lengths, red, blue, alpha, distance) and the pixels.
func writeEntropy(b *bitWriter, pixels []pixel) {
	const alpha, red, green, blue = 0, 1, 2, 3
	freq := [4][]int{alpha: make([]int, 256), red: make([]int, 256), green: make([]int, 256+24), blue: make([]int, 256)}
	for _, px := range pixels {
		for k, v := range px {
			freq[k][v]++
		}
	}
	var codes [4]prefixCode
	for _, k := range []int{green, red, blue, alpha} {
		codes[k] = newPrefixCode(freq[k], 15)
		codes[k].writeTo(b)
	}
	newPrefixCode(make([]int, 40), 15).writeTo(b) // distances: none are used
	for _, px := range pixels {
		for _, k := range []int{green, red, blue, alpha} {
			codes[k].put(b, int(px[k]))
		}
	}
}
