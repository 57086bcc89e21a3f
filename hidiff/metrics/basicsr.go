package metrics

import (
	"fmt"
	"math"
)

// Options choose what [PSNR] and [SSIM] compare: in the names of BasicSR's option files, crop_border and
// test_y_channel. The zero value compares whole images in RGB.
type Options struct {
	CropBorder int  // pixels left out along each edge
	YChannel   bool // compare the luma of ITU-R BT.601 instead of R, G and B
}

// planes checks a pair and cuts it into what the options say is to be compared. Grey is R = G = B, as BasicSR reads
// files (cv2.IMREAD_COLOR).
func (o Options) planes(a, b Image) (of [2][]plane, err error) {
	if err := checkSizes(a, b); err != nil {
		return of, err
	}
	if o.CropBorder < 0 {
		return of, fmt.Errorf("a border of %d pixels cannot be cropped; give 0 or more", o.CropBorder)
	}
	if min(a.Width, a.Height) <= 2*o.CropBorder {
		return of, fmt.Errorf("cropping %d pixels along each edge leaves nothing of %d×%d pixels", o.CropBorder, a.Width, a.Height)
	}
	for i, m := range []Image{a, b} {
		if o.YChannel {
			of[i] = []plane{m.luma(o.CropBorder)}
			continue
		}
		for c := range max(a.Channels, b.Channels) {
			of[i] = append(of[i], m.channel(min(c, m.Channels-1), o.CropBorder))
		}
	}
	return of, nil
}

// luma is Y of ITU-R BT.601 in 16..235 without a frame of crop pixels; not whole numbers, but rounded to
// float32 where BasicSR rounds. basicsr.metrics.metric_util.to_y_channel, matlab_functions.bgr2ycbcr(y_only=True).
func (m Image) luma(crop int) plane {
	return plane{m.Width - 2*crop, m.Height - 2*crop, func(y int, row []float64) {
		i, green, blue := ((y+crop)*m.Width+crop)*m.Channels, min(1, m.Channels-1), m.Channels-1
		for x := range row {
			y := 16 + 24.966*unit(m.Pix[i+blue]) + 128.553*unit(m.Pix[i+green]) + 65.481*unit(m.Pix[i])
			row[x] = float64(float32(y/255) * 255)
			i += m.Channels
		}
	}}
}

// PSNR is the peak signal-to-noise ratio in dB, 10·log10(255² / mean((a − b)²)), and +Inf for equal images. Grey counts as R = G = B.
// basicsr.metrics.calculate_psnr.
func PSNR(a, b Image, o Options) (float64, error) {
	planes, err := o.planes(a, b)
	if err != nil {
		return 0, err
	}
	squares := 0.0
	for c := range planes[0] {
		squares += squaredError(planes[0][c], planes[1][c])
	}
	first := planes[0][0]
	return 10 * math.Log10(255*255*float64(len(planes[0])*first.width*first.height)/squares), nil
}

func squaredError(a, b plane) float64 {
	rows := make([]float64, a.height)
	inBands(a.height, func(from, to int) {
		p, q := make([]float64, a.width), make([]float64, a.width)
		for y := from; y < to; y++ {
			a.read(y, p)
			b.read(y, q)
			for x := range p {
				d := p[x] - q[x]
				rows[y] += d * d
			}
		}
	})
	return sum(rows)
}

// SSIM is the structural similarity, the mean over channels and over all places where the window, an
// 11×11 Gaussian of standard deviation 1.5, lies inside the image. Grey counts as R = G = B. basicsr.metrics.calculate_ssim.
func SSIM(a, b Image, o Options) (mean float64, err error) {
	planes, err := o.planes(a, b)
	if err != nil {
		return 0, err
	}
	for c := range planes[0] {
		p, q := planes[0][c], planes[1][c]
		if p.width < window || p.height < window {
			return 0, fmt.Errorf("SSIM needs %d×%d pixels, and %d×%d are left to compare", window, window, p.width, p.height)
		}
		mean += meanSSIM(p.width, p.height, pairMoments(p, q))
	}
	return mean / float64(len(planes[0])), nil
}

// unit is v in 0..1, in float32's precision.
func unit(v uint8) float64 { return float64(float32(v) / 255) }
