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

// TestGreyBesideColour has BasicSR's scores take grey for R = G = B, as they get it from files, and the others refuse it, as
// MATLAB's psnr and RealBlur's cv2.cvtColor do.
func TestGreyBesideColour(t *testing.T) {
	grey, colour := randomImage(20, 15, 1, 1), randomImage(20, 15, 3, 2)
	for _, o := range []Options{{}, {CropBorder: 2}, {YChannel: true}, {YChannel: true, CropBorder: 1}} {
		for name, score := range map[string]func(a, b Image, o Options) (float64, error){"PSNR": PSNR, "SSIM": SSIM} {
			want := must(score(rgb(grey), colour, o))
			require.Equal(t, want, must(score(grey, colour, o)), "%s %v", name, o)
			near(t, want, must(score(colour, grey, o)), 1e-12, name)
			other := randomImage(20, 15, 1, 3)
			near(t, must(score(rgb(grey), rgb(other), o)), must(score(grey, other, o)), 1e-12, name+" of two grey ones")
		}
	}
	for _, name := range []string{"MatlabPSNR", "MatlabSSIM", "RealBlur"} {
		for _, pair := range [][2]Image{{grey, colour}, {colour, grey}} {
			_, err := scores[name](pair[0], pair[1])
			require.EqualError(t, err, "one image is grey and the other coloured: convert one of them", name)
		}
	}
}

func TestFromSamples(t *testing.T) {
	for v, want := range map[uint16]uint8{0: 0, 128: 0, 129: 1, 257: 1, 65535: 255, 65406: 254, 65407: 255} {
		require.Equal(t, Image{[]uint8{want}, 1, 1, 1}, FromSamples([]uint16{v}, 65535, 1, 1, 1), v)
	}
	require.Equal(t, Image{[]uint8{0, 1, 255}, 1, 1, 3}, FromSamples([]uint16{0, 1, 255}, 255, 1, 1, 3))
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
