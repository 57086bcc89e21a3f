package diffusion_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/diffusion"
	"hidiff/internal/reference"
)

func TestScheduleIsThatOfTheReleasedCode(t *testing.T) {
	for file, config := range map[string]hidiff.Config{"gopro_tiny_1x32x32": hidiff.GoPro(), "realblur_tiny_1x32x32": hidiff.RealBlur()} {
		t.Run(file, func(t *testing.T) {
			s, err := diffusion.NewSchedule(diffusion.Options(config.Diffusion))
			require.NoError(t, err)
			stored, err := checkpoint.Open(t.Context(), reference.Testdata("networks", file+".safetensors"))
			require.NoError(t, err)
			buffers := map[string][]float32{
				"betas":                          s.Betas,
				"alphas_cumprod":                 s.AlphasCumprod,
				"alphas_cumprod_prev":            s.AlphasCumprodPrev,
				"sqrt_alphas_cumprod":            s.SqrtAlphasCumprod,
				"sqrt_one_minus_alphas_cumprod":  s.SqrtOneMinusAlphasCumprod,
				"log_one_minus_alphas_cumprod":   s.LogOneMinusAlphasCumprod,
				"sqrt_recip_alphas_cumprod":      s.SqrtRecipAlphasCumprod,
				"sqrt_recipm1_alphas_cumprod":    s.SqrtRecipm1AlphasCumprod,
				"posterior_variance":             s.PosteriorVariance,
				"posterior_log_variance_clipped": s.PosteriorLogVarianceClipped,
				"posterior_mean_coef1":           s.PosteriorMeanCoef1,
				"posterior_mean_coef2":           s.PosteriorMeanCoef2,
			}
			want := stored.Groups[""]
			for name, got := range buffers {
				array, ok := want.Get("schedule." + name)
				require.True(t, ok, name)
				require.Equal(t, array.Float32s(), got, name) // bit for bit
			}
		})
	}
}

func TestBetas(t *testing.T) {
	// Four steps from 0.04 to 0.64, by hand; cosine does not depend on the ends.
	cos2 := func(t float64) float64 { c := math.Cos((t/4 + 0.008) / 1.008 * math.Pi / 2); return c * c }
	cosine := []float64{1 - cos2(1)/cos2(0), 1 - cos2(2)/cos2(1), 1 - cos2(3)/cos2(2), 0.999}
	linear, roots := []float64{0.04, 0.24, 0.44, 0.64}, []float64{0.04, 0.16, 0.36, 0.64}
	for _, c := range []struct {
		ldm      bool
		schedule string
		want     []float64
	}{
		{false, "linear", linear},
		{false, "quad", roots},
		{false, "warmup10", []float64{0.64, 0.64, 0.64, 0.64}},
		{false, "warmup50", []float64{0.04, 0.64, 0.64, 0.64}},
		{false, "const", []float64{0.64, 0.64, 0.64, 0.64}},
		{false, "cosine", cosine},
		{true, "linear", roots},
		{true, "cosine", cosine},
		{true, "sqrt_linear", linear},
		{true, "sqrt", []float64{0.2, math.Sqrt(0.24), math.Sqrt(0.44), 0.8}},
	} {
		s, err := diffusion.NewSchedule(diffusion.Options{ApplyLDM: c.ldm, Schedule: c.schedule, Timesteps: 4, LinearStart: 0.04, LinearEnd: 0.64})
		require.NoError(t, err, c.schedule)
		require.Len(t, s.Betas, 4)
		for i, want := range c.want {
			require.InEpsilon(t, want, s.Betas[i], 1e-6, "%s, apply_ldm %t, step %d", c.schedule, c.ldm, i)
		}
	}

	s, err := diffusion.NewSchedule(diffusion.Options{Schedule: "warmup10", Timesteps: 20, LinearStart: 0.1, LinearEnd: 0.5})
	require.NoError(t, err)
	require.Equal(t, append([]float32{0.1}, slices.Repeat([]float32{0.5}, 19)...), s.Betas, "two steps of warming up")
}

func TestScheduleRefuses(t *testing.T) {
	for want, change := range map[string]func(c *diffusion.Options){
		`schedule is "sqrt": with apply_ldm false it must be one of const, cosine, jsd, linear, quad, warmup10, warmup50`: func(c *diffusion.Options) { c.Schedule = "sqrt" },
		"timesteps is 0":            func(c *diffusion.Options) { c.Timesteps = 0 },
		"timesteps is 1000000000":   func(c *diffusion.Options) { c.Timesteps = 1e9 },
		"linear_start is NaN":       func(c *diffusion.Options) { c.LinearStart = math.NaN() },
		"linear_end is 1":           func(c *diffusion.Options) { c.LinearEnd = 1 },
		"step 8 of 8, with β 1":     func(c *diffusion.Options) { c.Schedule = "jsd" },
		"take fewer timesteps":      func(c *diffusion.Options) { c.Timesteps = 500 },
		"step 1 of 8, with β 1e-17": func(c *diffusion.Options) { c.LinearStart = 1e-17 },
	} {
		c := diffusion.Options(hidiff.GoPro().Diffusion)
		change(&c)
		_, err := diffusion.NewSchedule(c)
		require.ErrorContains(t, err, want)
	}
}
