package metrics

// MatlabPSNR is MATLAB's psnr(a, b) of uint8 images: 10·log10(255² / immse(a, b)) in dB, over all channels. Like MATLAB, it
// does not compare grey with colour.
func MatlabPSNR(a, b Image) (float64, error) {
	if err := checkPair(a, b); err != nil {
		return 0, err
	}
	return PSNR(a, b, Options{})
}

// MatlabSSIM is MATLAB's ssim(a, b) of uint8 images. MATLAB takes an RGB image for a volume: the Gaussian, 11
// taps of standard deviation 1.5, runs along height, width and channels, with the outermost values repeated
// past every edge, and the mean is over the whole volume. Grey images are filtered along two axes.
func MatlabSSIM(a, b Image) (mean float64, err error) {
	if err := checkPair(a, b); err != nil {
		return 0, err
	}
	n := a.Channels
	for c := range n {
		mix := channelWeights(c, n)
		mean += meanSSIM(a.Width+2*radius, a.Height+2*radius, func(y int, m *moments) {
			y = min(max(y-radius, 0), a.Height-1)
			start, end := y*a.Width*n, (y+1)*a.Width*n
			mixMoments(m, a.Pix[start:end], b.Pix[start:end], mix)
			for _, row := range m {
				for i := range radius {
					row[i], row[len(row)-1-i] = row[radius], row[len(row)-1-radius]
				}
			}
		})
	}
	return mean / float64(n), nil
}

// channelWeights are the weights of n channels in the Gaussian around channel c.
func channelWeights(c, n int) []float64 {
	weights := make([]float64, n)
	for d := -radius; d <= radius; d++ {
		weights[min(max(c+d, 0), n-1)] += gauss[max(d, -d)]
	}
	return weights
}

// mixMoments fills the middle of m, leaving radius values at both ends, with the channels' moments in these weights.
func mixMoments(m *moments, a, b []uint8, weights []float64) {
	for x := radius; len(a) > 0; x++ {
		var meanOfA, meanOfB, square, product float64
		for k, w := range weights {
			p, q := float64(a[k]), float64(b[k])
			meanOfA += w * p
			meanOfB += w * q
			square += w * (p*p + q*q)
			product += w * p * q
		}
		m[meanA][x], m[meanB][x], m[meanSq][x], m[meanProd][x] = meanOfA, meanOfB, square, product
		a, b = a[len(weights):], b[len(weights):]
	}
}
