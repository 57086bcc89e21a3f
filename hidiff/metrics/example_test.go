package metrics_test

import (
	"fmt"

	"hidiff/hidiff/metrics"
)

func Example() {
	sharp := metrics.Image{Pix: make([]uint8, 16*16*3), Width: 16, Height: 16, Channels: 3}
	restored := sharp
	restored.Pix = make([]uint8, len(sharp.Pix))
	for i := range sharp.Pix {
		sharp.Pix[i] = uint8(i / 3)
		restored.Pix[i] = sharp.Pix[i] ^ 2 // two grey levels off
	}
	psnr, err := metrics.PSNR(restored, sharp, metrics.Options{})
	if err != nil {
		panic(err)
	}
	ssim, err := metrics.SSIM(restored, sharp, metrics.Options{YChannel: true})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%.2f dB, %.4f\n", psnr, ssim)
	// Output: 42.11 dB, 0.9968
}
