// Package metrics scores a restored image against the sharp one as the published results were scored:
//
//   - [PSNR] and [SSIM] as BasicSR computes them (training-time validation),
//   - [MatlabPSNR] and [MatlabSSIM] as MATLAB computes them (the paper's GoPro and HIDE rows),
//   - [RealBlur], which aligns the images first (the paper's RealBlur rows).
//
// All arithmetic is float64. Work is spread over the cores by rows, and sums are added in a fixed order:
// the same pair gives the same bits on any number of cores.
package metrics

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// Image is an 8-bit image, its channels interleaved, top row first.
type Image struct {
	Pix           []uint8 // Width*Height*Channels samples
	Width, Height int
	Channels      int // 1 (grey) or 3 (RGB)
}

// FromSamples returns the image of samples in 0..white, rounded to 8 bits.
func FromSamples(pix []uint16, white uint16, width, height, channels int) Image {
	m := Image{Width: width, Height: height, Channels: channels, Pix: make([]uint8, len(pix))}
	for i, v := range pix {
		m.Pix[i] = uint8((uint32(v)*255 + uint32(white)/2) / uint32(white))
	}
	return m
}

// checkPair makes sure that two images can be compared as they are.
func checkPair(a, b Image) error {
	if err := checkSizes(a, b); err != nil {
		return err
	}
	if a.Channels != b.Channels {
		return errors.New("one image is grey and the other coloured: convert one of them")
	}
	return nil
}

// checkSizes makes sure that two images can be compared, be it that grey is taken for colour.
func checkSizes(a, b Image) error {
	for _, m := range []Image{a, b} {
		switch {
		case m.Channels != 1 && m.Channels != 3:
			return fmt.Errorf("an image has %d channels; it must have 1 (grey) or 3 (RGB)", m.Channels)
		case m.Width < 1 || m.Height < 1:
			return fmt.Errorf("an image has %d×%d pixels: it is empty", m.Width, m.Height)
		case len(m.Pix) != m.Width*m.Height*m.Channels:
			return fmt.Errorf("an image of %d×%d pixels and %d channels has %d samples", m.Width, m.Height, m.Channels, len(m.Pix))
		}
	}
	if a.Width != b.Width || a.Height != b.Height {
		return fmt.Errorf("the images differ in size: %d×%d and %d×%d; compare each result with its own target", a.Width, a.Height, b.Width, b.Height)
	}
	return nil
}

// plane is one channel of an image, given by rows.
type plane struct {
	width, height int
	read          func(y int, row []float64) // fills row with the width values of row y; safe for concurrent use
}

// channel is channel c in 0..255 without a frame of crop pixels.
func (m Image) channel(c, crop int) plane {
	return plane{m.Width - 2*crop, m.Height - 2*crop, func(y int, row []float64) {
		i := ((y+crop)*m.Width+crop)*m.Channels + c
		for x := range row {
			row[x] = float64(m.Pix[i])
			i += m.Channels
		}
	}}
}

// inBands calls work for bands that cover rows 0..n-1, one band a core, and waits for all of them.
func inBands(n int, work func(from, to int)) {
	bands := min(runtime.GOMAXPROCS(0), n)
	var wait sync.WaitGroup
	for i := range bands {
		wait.Go(func() { work(i*n/bands, (i+1)*n/bands) })
	}
	wait.Wait()
}

// sum adds up in order.
func sum(values []float64) (s float64) {
	for _, v := range values {
		s += v
	}
	return s
}
