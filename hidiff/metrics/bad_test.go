package metrics

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPairsThatCannotBeCompared(t *testing.T) {
	good := randomImage(20, 15, 3, 1)
	for _, c := range []struct {
		bad  Image
		says string
	}{
		{randomImage(15, 20, 3, 1), "differ in size"},
		{randomImage(20, 14, 3, 1), "20×14"},
		{randomImage(20, 15, 1, 1), "the other"},
		{randomImage(20, 15, 4, 1), "4 channels"},
		{Image{}, "0 channels"},
		{Image{nil, 0, 15, 3}, "0×15 pixels"},
		{Image{good.Pix, -20, -15, 3}, "-20×-15 pixels"},
		{Image{good.Pix[1:], 20, 15, 3}, "899 samples"},
	} {
		for name, score := range scores {
			_, err := score(good, c.bad)
			require.ErrorContains(t, err, c.says, name)
			_, err = score(c.bad, good)
			require.ErrorContains(t, err, c.says, name)
		}
	}
}

func TestTooSmall(t *testing.T) {
	for _, size := range [][2]int{{10, 11}, {11, 10}, {1, 1}} {
		a, b := randomImage(size[0], size[1], 3, 1), randomImage(size[0], size[1], 3, 2)
		_, err := SSIM(a, b, Options{})
		require.ErrorContains(t, err, "11×11")
		_, err = RealBlur(a, b)
		require.ErrorContains(t, err, "11×11")
		_, err = PSNR(a, b, Options{})
		require.NoError(t, err)
	}
	a, b := randomImage(20, 15, 3, 1), randomImage(20, 15, 3, 2)
	_, err := SSIM(a, b, Options{CropBorder: 3})
	require.ErrorContains(t, err, "14×9 are left")
	_, err = SSIM(a, b, Options{CropBorder: 2})
	require.NoError(t, err)
	for _, score := range []func(a, b Image, o Options) (float64, error){PSNR, SSIM} {
		_, err = score(a, b, Options{CropBorder: -1})
		require.ErrorContains(t, err, "-1 pixels")
		_, err = score(a, b, Options{CropBorder: 8})
		require.ErrorContains(t, err, "nothing")
	}
	_, err = PSNR(a, b, Options{CropBorder: 7})
	require.NoError(t, err)
}
