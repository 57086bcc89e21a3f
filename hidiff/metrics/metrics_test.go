package metrics

import (
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// scores are all protocols; RealBlur stands for its PSNR.
var scores = map[string]func(a, b Image) (float64, error){
	"PSNR":       func(a, b Image) (float64, error) { return PSNR(a, b, Options{}) },
	"SSIM":       func(a, b Image) (float64, error) { return SSIM(a, b, Options{}) },
	"MatlabPSNR": MatlabPSNR,
	"MatlabSSIM": MatlabSSIM,
	"RealBlur": func(a, b Image) (float64, error) {
		s, err := RealBlur(a, b)
		return s.PSNR, err
	},
}

func TestEqualImages(t *testing.T) {
	for _, channels := range []int{1, 3} {
		a := randomImage(40, 30, channels, 1)
		for name, score := range scores {
			got, err := score(a, a)
			require.NoError(t, err, name)
			if name == "SSIM" || name == "MatlabSSIM" {
				near(t, 1, got, 1e-12, name)
			} else {
				require.True(t, math.IsInf(got, 1), "%s: %v", name, got)
			}
		}
		s, err := RealBlur(a, a)
		require.NoError(t, err)
		near(t, 1, s.SSIM, 1e-12, "RealBlur's SSIM")
		h, identity := homography(s.Homography), homography{0: 1, 4: 1, 8: 1}
		near(t, 0, h.shift(&identity, 40, 30), 1e-9, "corners")
	}
}

func TestSameBitsOnAnyNumberOfCores(t *testing.T) {
	f := readFixtures(t)[1]
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	want := map[string]float64{}
	for _, cores := range []int{1, 2, 3, 8} {
		runtime.GOMAXPROCS(cores)
		for name, score := range scores {
			got, err := score(f.out, f.gt)
			require.NoError(t, err)
			if cores == 1 {
				want[name] = got
			}
			require.Equal(t, want[name], got, "%s on %d cores", name, cores)
		}
	}
}
