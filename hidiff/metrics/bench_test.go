package metrics

import "testing"

// BenchmarkPair scores a 1280×720 pair by each protocol. RealBlur's time depends on how soon the alignment settles:
// RealBlurIteration is one of at most 100 iterations.
func BenchmarkPair(b *testing.B) {
	h := homography{1.001, 0.0004, -0.8, -0.0006, 0.999, 1.1, 2e-6, -1e-6, 1}
	target, result := picture(1280, 720, 3, identity, 1), picture(1280, 720, 3, h, 0.95)
	for _, s := range []struct {
		name string
		of   func() (float64, error)
	}{
		{"PSNR", func() (float64, error) { return PSNR(result, target, Options{}) }},
		{"SSIM", func() (float64, error) { return SSIM(result, target, Options{}) }},
		{"SSIM of Y", func() (float64, error) { return SSIM(result, target, Options{YChannel: true}) }},
		{"MatlabSSIM", func() (float64, error) { return MatlabSSIM(result, target) }},
		{"RealBlur", func() (float64, error) {
			s, err := RealBlur(result, target)
			return s.PSNR, err
		}},
	} {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				must(s.of())
			}
		})
	}
	b.Run("RealBlurIteration", func(b *testing.B) {
		template, image := blur(target.grey(1)), differentiate(blur(result.grey(1)))
		for b.Loop() {
			eccStep(template, image, &h)
		}
	})
}
