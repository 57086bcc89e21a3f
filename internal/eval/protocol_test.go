package eval

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/metrics"
)

// TestScores holds the scores of all protocols to those of package metrics, bit for bit.
func TestScores(t *testing.T) {
	a := realPhotos(t)
	o := metrics.Options{CropBorder: 4, YChannel: true}
	cropped := Scorer{BasicSR, o, metrics.Options{}}
	d := scored(t, "GoPro", a, append(all(), cropped))
	for i, m := range d.Images {
		require.Equal(t, a[i].name, m.Name)
		require.Empty(t, m.Error)
		target := pixels(a[i].Target)
		result, input := pixels(a[i].Restored), pixels(a[i].Input)
		must := func(v float64, err error) Number {
			require.NoError(t, err)
			return Number(v)
		}
		check := func(s *Score, psnr, ssim func(a, b metrics.Image) (float64, error)) {
			t.Helper()
			require.Empty(t, s.Error+s.InputError)
			require.Len(t, s.PSNR, 1)
			same(t, must(psnr(result, target)), s.PSNR[0], "PSNR")
			same(t, must(ssim(result, target)), s.SSIM[0], "SSIM")
			same(t, must(psnr(input, target)), s.InputPSNR, "the input's PSNR")
			same(t, must(ssim(input, target)), s.InputSSIM, "the input's SSIM")
		}
		check(m.Scores[Matlab], metrics.MatlabPSNR, metrics.MatlabSSIM)
		check(m.Scores[RealBlur],
			func(a, b metrics.Image) (float64, error) { s, err := metrics.RealBlur(a, b); return s.PSNR, err },
			func(a, b metrics.Image) (float64, error) { s, err := metrics.RealBlur(a, b); return s.SSIM, err })
		check(m.Scores[BasicSR], // the last of the two
			func(a, b metrics.Image) (float64, error) { return metrics.PSNR(a, b, o) },
			func(a, b metrics.Image) (float64, error) { return metrics.SSIM(a, b, metrics.Options{}) })
	}
}

func TestDefaults(t *testing.T) {
	for dataset, want := range map[string]Protocol{
		"GoPro": Matlab, "HIDE": Matlab, "hide": Matlab, "RealBlur_J": RealBlur, "RealBlur-R": RealBlur, "realblur": RealBlur, "Set14": BasicSR, "": BasicSR, "GoPro2": BasicSR,
	} {
		require.Equal(t, []Scorer{{Protocol: want}}, Default(dataset), dataset)
	}
	s, err := NewScorer("matlab")
	require.NoError(t, err)
	require.Equal(t, Scorer{Protocol: Matlab}, s)
	_, err = NewScorer("ssim")
	require.EqualError(t, err, "ssim is no protocol: it must be basicsr, matlab or realblur")
}

func TestSentences(t *testing.T) {
	require.Contains(t, Scorer{Protocol: BasicSR}.Sentence(), "calculate_ssim of RGB, of 8-bit")
	y := metrics.Options{CropBorder: 4, YChannel: true}
	require.Contains(t, Scorer{BasicSR, y, y}.Sentence(), "of the Y channel, less a border of 4 pixels, of")
	require.Contains(t, Scorer{BasicSR, y, metrics.Options{}}.Sentence(), "of the Y channel, less a border of 4 pixels and RGB")
	require.Contains(t, Scorer{Protocol: Matlab}.Sentence(), "MATLAB")
	require.Contains(t, Scorer{Protocol: RealBlur}.Sentence(), "homography")
}

func TestPublished(t *testing.T) {
	one := PublishedScores("GoPro", Matlab, "GoPro")
	require.Len(t, one, 1)
	require.Equal(t, [3]float64{33.33, 0.964, 1111}, [3]float64{one[0].PSNR, one[0].SSIM, float64(one[0].Pairs)})
	require.Equal(t, 31.46, PublishedScores("HIDE", Matlab, "")[0].PSNR)
	require.Equal(t, 41.01, PublishedScores("RealBlur-R", RealBlur, "RealBlur")[0].PSNR)
	require.Equal(t, 29.15, PublishedScores("RealBlur_J", RealBlur, "GoPro")[0].PSNR)
	require.Len(t, PublishedScores("RealBlur_J", RealBlur, ""), 2)
	require.Empty(t, PublishedScores("GoPro", RealBlur, "GoPro"), "by another protocol it is another number")
	require.Empty(t, PublishedScores("GoPro", Matlab, "RealBlur"))
	require.Empty(t, PublishedScores("mine", BasicSR, ""))
}

func TestNumber(t *testing.T) {
	for _, n := range []Number{0, 33.330000000000005, 1e-12, Number(math.Inf(1)), none} {
		text, err := json.Marshal([]Number{n})
		require.NoError(t, err)
		var back []Number
		require.NoError(t, json.Unmarshal(text, &back))
		same(t, n, back[0], string(text))
	}
	var n Number
	require.Error(t, json.Unmarshal([]byte(`"high"`), &n))
	require.Equal(t, []string{"33.33", "∞", "–"}, []string{Number(33.3333).Round(2), Number(math.Inf(1)).Round(2), none.Round(2)})
	require.Equal(t, []string{"0.5", "inf", ""}, []string{Number(0.5).text(), Number(math.Inf(1)).text(), none.text()})
	near(t, 2, float64(mean([]Number{1, 2, 3})), 0, "mean")
	near(t, 1, float64(spread([]Number{1, 2, 3})), 0, "spread of a sample")
	require.False(t, mean(nil).Known() || spread([]Number{1}).Known())
}
