package conformance

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
)

// How far scores may be off: in dB, and absolutely.
const (
	scoreTolerance        = 1e-6
	realBlurPSNRTolerance = 0.02
	realBlurSSIMTolerance = 1e-3
	cornerTolerance       = 0.1 // pixels
)

// scoreRow is one pair of metrics.json.
type scoreRow struct {
	GT       string  `json:"gt"`
	Out      string  `json:"out"`
	PSNR     float64 `json:"psnr_rgb"`
	PSNRCrop float64 `json:"psnr_rgb_crop4"`
	PSNRY    float64 `json:"psnr_y"`
	SSIM     float64 `json:"ssim_rgb"`
	SSIMY    float64 `json:"ssim_y"`
	Volume   float64 `json:"ssim_matlab_volume"`
	RealBlur struct {
		PSNR       float64       `json:"psnr"`
		SSIM       float64       `json:"ssim"`
		Homography [3][3]float64 `json:"homography"`
	} `json:"realblur"`
}

func (r *runner) metrics(path string) error {
	r.kind = "metrics"
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var rows []scoreRow
	if err := decodeStrictly(raw, &rows); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, row := range rows {
		var pair [2]metrics.Image
		for i, name := range []string{row.Out, row.GT} {
			p, err := photo.Open(filepath.Join(filepath.Dir(path), name))
			if err != nil {
				return err
			}
			pair[i] = metrics.Image{Width: p.Width, Height: p.Height, Channels: p.Channels}
			for _, v := range p.Pix {
				pair[i].Pix = append(pair[i].Pix, uint8(v))
			}
		}
		if err := r.scores(row, pair[0], pair[1]); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) scores(row scoreRow, out, gt metrics.Image) error {
	y := metrics.Options{YChannel: true}
	for _, s := range []struct {
		name  string
		want  float64
		score func() (float64, error)
	}{
		{"psnr_rgb", row.PSNR, func() (float64, error) { return metrics.PSNR(out, gt, metrics.Options{}) }},
		{"psnr_rgb_crop4", row.PSNRCrop, func() (float64, error) { return metrics.PSNR(out, gt, metrics.Options{CropBorder: 4}) }},
		{"psnr_y", row.PSNRY, func() (float64, error) { return metrics.PSNR(out, gt, y) }},
		{"psnr_matlab", row.PSNR, func() (float64, error) { return metrics.MatlabPSNR(out, gt) }},
		{"ssim_rgb", row.SSIM, func() (float64, error) { return metrics.SSIM(out, gt, metrics.Options{}) }},
		{"ssim_y", row.SSIMY, func() (float64, error) { return metrics.SSIM(out, gt, y) }},
		{"ssim_matlab_volume", row.Volume, func() (float64, error) { return metrics.MatlabSSIM(out, gt) }},
	} {
		got, err := s.score()
		r.score(row.Out+" "+s.name, got, s.want, scoreTolerance, err)
	}
	b, err := metrics.RealBlur(out, gt)
	if err != nil {
		return fmt.Errorf("%s: %w", row.Out, err)
	}
	r.score(row.Out+" realblur psnr", b.PSNR, row.RealBlur.PSNR, realBlurPSNRTolerance, nil)
	r.score(row.Out+" realblur ssim", b.SSIM, row.RealBlur.SSIM, realBlurSSIMTolerance, nil)
	var want [9]float64
	for i, line := range row.RealBlur.Homography {
		copy(want[3*i:], line[:])
	}
	r.score(row.Out+" realblur corners", cornerDistance(b.Homography, want, float64(gt.Width-1), float64(gt.Height-1)), 0, cornerTolerance, nil)
	return nil
}

// score compares absolutely.
func (r *runner) score(what string, got, want, tolerance float64, err error) {
	off := math.Abs(got - want)
	if err == nil && !(off <= tolerance) {
		err = fmt.Errorf("got %.9g, want %.9g within %g", got, want, tolerance)
	}
	r.result(what, Diff{MaxAbs: off, MaxRel: off, Scale: 1, Got: got, Want: want}, tolerance, err)
}

// cornerDistance is how far two homographies take a corner apart, at most.
func cornerDistance(a, b [9]float64, right, bottom float64) (worst float64) {
	to := func(h [9]float64, x, y float64) (float64, float64) {
		w := h[6]*x + h[7]*y + h[8]
		return (h[0]*x + h[1]*y + h[2]) / w, (h[3]*x + h[4]*y + h[5]) / w
	}
	for _, c := range [][2]float64{{0, 0}, {right, 0}, {0, bottom}, {right, bottom}} {
		ax, ay := to(a, c[0], c[1])
		bx, by := to(b, c[0], c[1])
		worst = max(worst, math.Hypot(ax-bx, ay-by))
	}
	return worst
}
