package metrics

import (
	"encoding/json"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const fixtures = "../../conformance/testdata/metrics"

type fixture struct {
	GT, Out  string
	PSNR     float64 `json:"psnr_rgb"`
	PSNRCrop float64 `json:"psnr_rgb_crop4"`
	PSNRY    float64 `json:"psnr_y"`
	SSIM     float64 `json:"ssim_rgb"`
	SSIMY    float64 `json:"ssim_y"`
	Matlab   float64 `json:"ssim_matlab_volume"`
	RealBlur struct {
		PSNR, SSIM float64
		Homography [3][3]float64
	}
	gt, out Image
}

func readFixtures(t testing.TB) (list []fixture) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtures, "metrics.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &list))
	require.Len(t, list, 4)
	for i := range list {
		list[i].gt, list[i].out = readPNG(t, list[i].GT), readPNG(t, list[i].Out)
	}
	return list
}

func readPNG(t testing.TB, name string) Image {
	t.Helper()
	f, err := os.Open(filepath.Join(fixtures, name))
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	rgba, ok := img.(*image.RGBA)
	require.True(t, ok, "%s is no opaque 8-bit RGB file", name)
	m := Image{Width: rgba.Rect.Dx(), Height: rgba.Rect.Dy(), Channels: 3}
	for i := 0; i < len(rgba.Pix); i += 4 {
		m.Pix = append(m.Pix, rgba.Pix[i:i+3]...)
	}
	return m
}

// near fails unless got is within tolerance of want; NaN is never near.
func near(t *testing.T, want, got, tolerance float64, what string) {
	t.Helper()
	if d := got - want; !(d <= tolerance && -d <= tolerance) {
		t.Errorf("%s: got %.12g, want %.12g (off by %.3g, allowed %.3g)", what, got, want, d, tolerance)
	}
}

func must(v float64, err error) float64 {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFixtures(t *testing.T) {
	for _, f := range readFixtures(t) {
		t.Run(f.Out, func(t *testing.T) {
			near(t, f.PSNR, must(PSNR(f.out, f.gt, Options{})), 1e-9, "PSNR")
			near(t, f.PSNR, must(MatlabPSNR(f.out, f.gt)), 1e-9, "MATLAB's psnr")
			near(t, f.PSNRCrop, must(PSNR(f.out, f.gt, Options{CropBorder: 4})), 1e-9, "PSNR, cropped")
			near(t, f.PSNRY, must(PSNR(f.out, f.gt, Options{YChannel: true})), 1e-9, "PSNR of Y")
			near(t, f.SSIM, must(SSIM(f.out, f.gt, Options{})), 1e-9, "SSIM")
			near(t, f.SSIMY, must(SSIM(f.out, f.gt, Options{YChannel: true})), 1e-9, "SSIM of Y")
			near(t, f.Matlab, must(MatlabSSIM(f.out, f.gt)), 1e-9, "MATLAB's ssim")
		})
	}
}

func TestFixturesRealBlur(t *testing.T) {
	for _, f := range readFixtures(t) {
		t.Run(f.Out, func(t *testing.T) {
			want := f.RealBlur
			score, err := RealBlur(f.out, f.gt)
			require.NoError(t, err)
			near(t, want.PSNR, score.PSNR, 0.005, "PSNR")
			near(t, want.SSIM, score.SSIM, 1e-4, "SSIM")
			h, found := f.homography(), homography(score.Homography)
			near(t, 0, found.shift(&h, f.gt.Width, f.gt.Height), 0.05, "corners")

			// OpenCV's rounding errors sway the alignment; given the same, scores agree to float32's precision.
			scale, err := intensityScale(f.out, f.gt)
			require.NoError(t, err)
			score, err = scoreAligned(f.out, f.gt, scale, h)
			require.NoError(t, err)
			near(t, want.PSNR, score.PSNR, 2e-6, "PSNR as aligned by OpenCV")
			near(t, want.SSIM, score.SSIM, 2e-6, "SSIM as aligned by OpenCV")
		})
	}
}

func (f fixture) homography() (h homography) {
	for i := range h {
		h[i] = f.RealBlur.Homography[i/3][i%3]
	}
	return h
}
