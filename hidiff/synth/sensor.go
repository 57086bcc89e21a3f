package synth

import (
	"math"
	"math/rand/v2"

	"hidiff/hidiff/photo"
)

const midGrey = 0.18 // in linear light

// noiseOf returns the shot and read noise of cameras whose noise at mid-grey has the given standard deviation, in levels of
// 255. The variance is shot·light + read (Foi et al., "Practical Poissonian-Gaussian Noise Modeling", IEEE TIP 2008), and
// log read = 2.18 log shot + 1.2 over cameras' sensitivities (Brooks et al., "Unprocessing Images for
// Learned Raw Denoising", CVPR 2019).
func noiseOf(levels float64) (shot, read float64) {
	if levels <= 0 {
		return 0, 0
	}
	grey := math.Pow(midGrey, 1/2.4) * 1.055 // sRGB's, but for the offset: its slope is grey/2.4/midGrey
	deviation := levels / 255 / (grey / 2.4 / midGrey)
	readOf := func(shot float64) float64 { return math.Exp(2.18*math.Log(shot) + 1.2) }
	low, high := 0.0, 1.0
	for range 60 {
		shot = (low + high) / 2
		if shot*midGrey+readOf(shot) < deviation*deviation {
			low = shot
		} else {
			high = shot
		}
	}
	return shot, readOf(shot)
}

// bayer is the channel that a sensor measures at a pixel: red, green, green, blue.
func bayer(x, y int) int { return x&1 + y&1 }

// addNoise adds the noise of a Bayer sensor. Each pixel measures one channel, with the variance shot·light + read; the
// others' noise comes from the neighbours, bilinearly, as when a raw file is developed, so it is correlated as in
// cameras' photos.
func addNoise(m image, shot, read float64, rng *rand.Rand) {
	if shot == 0 && read == 0 {
		return
	}
	noise := make([]float32, m.width*m.height)
	for y := range m.height {
		row := m.row(y)
		for x := range m.width {
			light := min(max(float64(row[3*x+bayer(x, y)]), 0), 1)
			noise[y*m.width+x] = float32(math.Sqrt(shot*light+read) * rng.NormFloat64())
		}
	}
	for y := range m.height {
		row := m.row(y)
		rows := [3][]float32{}
		for dy := range rows {
			at := mirror(y+dy-1, m.height)
			rows[dy] = noise[at*m.width : (at+1)*m.width]
		}
		for x := range m.width {
			left, right := mirror(x-1, m.width), mirror(x+1, m.width)
			here := rows[1][x]
			across := (rows[1][left] + rows[1][right]) / 2
			along := (rows[0][x] + rows[2][x]) / 2
			d := row[3*x : 3*x+3 : 3*x+3]
			if own := bayer(x, y); own != 1 { // red or blue
				d[own] += here
				d[1] += (across + along) / 2
				d[2-own] += (rows[0][left] + rows[0][right] + rows[2][left] + rows[2][right]) / 4
				continue
			}
			d[1] += here
			d[2*(y&1)] += across // red in even rows, blue in odd ones
			d[2-2*(y&1)] += along
		}
	}
}

// mirror keeps a neighbour inside, on a pixel of the same channel.
func mirror(i, n int) int {
	switch {
	case i < 0:
		return min(-i, n-1)
	case i >= n:
		return max(2*n-2-i, 0)
	}
	return i
}

// compress writes and reads a JPEG file.
func compress(p *photo.Photo, quality int) (*photo.Photo, error) {
	data, err := photo.Encode(p, photo.EncodeOptions{Format: photo.JPEG, Quality: quality})
	if err != nil {
		return nil, err
	}
	return photo.Decode(data, "JPEG")
}
