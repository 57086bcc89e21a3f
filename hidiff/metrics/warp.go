package metrics

import "math"

// homography is a 3×3 matrix by rows. It takes a pixel (x, y, 1) of the output to its place in the input,
// as with OpenCV's WARP_INVERSE_MAP.
type homography [9]float64

// at is where pixel (x, y) comes from.
func (h *homography) at(x, y float64) (u, v float64) {
	w := h[6]*x + h[7]*y + h[8]
	return (h[0]*x + h[1]*y + h[2]) / w, (h[3]*x + h[4]*y + h[5]) / w
}

// shift is how far any corner of width×height pixels moves between two homographies, in pixels.
func (h *homography) shift(other *homography, width, height int) (most float64) {
	for _, x := range []float64{0, float64(width - 1)} {
		for _, y := range []float64{0, float64(height - 1)} {
			u, v := h.at(x, y)
			p, q := other.at(x, y)
			most = max(most, math.Abs(u-p), math.Abs(v-q)) // NaN stays
		}
	}
	return most
}

// nearestInside says whether the pixel nearest to (u, v) lies in width×height: the mask of INTER_NEAREST.
func nearestInside(u, v float64, width, height int) bool {
	u, v = math.RoundToEven(u), math.RoundToEven(v)
	return u >= 0 && v >= 0 && u < float64(width) && v < float64(height)
}

// steps is how finely OpenCV interpolates: it rounds places to 1/32 of a pixel.
const steps = 32

// cubic holds the weights of four neighbours by 1/32 of a pixel: Keys' kernel with a = −0.75.
var cubic = func() (table [steps][4]float64) {
	const a = -0.75
	near := func(d float64) float64 { return ((a+2)*d-(a+3))*d*d + 1 }
	far := func(d float64) float64 { return ((a*d-5*a)*d+8*a)*d - 4*a }
	for i := range table {
		d := float64(i) / steps
		table[i] = [4]float64{far(1 + d), near(d), near(1 - d), far(2 - d)}
	}
	return table
}()

// warpCubic gives the channels of an image, divided by 255 and multiplied by scale, as seen through h, and the mask
// of the pixels that nearestInside keeps: 1, or 0 and all channels too.
// cv2.warpPerspective(INTER_CUBIC + WARP_INVERSE_MAP, BORDER_REFLECT).
func warpCubic(m Image, scale float64, h homography) (channels []grid, mask grid) {
	mask = newGrid(m.Width, m.Height)
	for range m.Channels {
		channels = append(channels, newGrid(m.Width, m.Height))
	}
	inBands(m.Height, func(from, to int) {
		for i := from * m.Width; i < to*m.Width; i++ {
			u, v := h.at(float64(i%m.Width), float64(i/m.Width))
			if !nearestInside(u, v, m.Width, m.Height) {
				continue
			}
			mask.pix[i] = 1
			col, across := cubicTaps(u, m.Width, m.Channels)
			row, down := cubicTaps(v, m.Height, m.Channels*m.Width)
			for c, g := range channels {
				value := 0.0
				for j, w := range down {
					p := m.Pix[row[j]+c:]
					value += w * (across[0]*float64(p[col[0]]) + across[1]*float64(p[col[1]]) +
						across[2]*float64(p[col[2]]) + across[3]*float64(p[col[3]]))
				}
				g.pix[i] = value / 255 * scale
			}
		}
	})
	return channels, mask
}

// cubicTaps gives the four neighbours of u in 0..n-1, stride apart, and their weights. A reflected border repeats the edge.
func cubicTaps(u float64, n, stride int) (at [4]int, weights *[4]float64) {
	place := int(math.RoundToEven(u*steps)) + steps // not negative, so that / and % round down
	for i := range at {
		k := place/steps - 2 + i
		if k < 0 {
			k = -1 - k
		} else if k >= n {
			k = 2*n - 1 - k
		}
		at[i] = k * stride
	}
	return at, &cubic[place%steps]
}
