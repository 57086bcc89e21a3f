package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/kovidgoyal/imaging/prism/meta/icc"
)

// openInks reads the profile of four inks: nil where there is none, or none for inks. ok tells whether
// colours will be as the file means them.
//
// The perceptual table (A2B0) is used, with black point compensation, as Little CMS does between such a
// profile and its own sRGB.
func openInks(profile []byte, announced bool) (inks *icc.Pipeline, ok bool) {
	if !announced {
		return nil, true
	}
	if !soundProfile(profile) {
		return nil, false
	}
	defer func() {
		if recover() != nil { // the library indexes what damaged tables point to
			inks, ok = nil, false
		}
	}()
	p, err := icc.DecodeProfile(bytes.NewReader(profile))
	if err != nil {
		return nil, false
	}
	inks, err = p.CreateTransformerToSRGB(icc.PerceptualRenderingIntent, true, 4, true, false, true)
	if err != nil { // it returns half a pipeline with that
		return nil, false
	}
	return inks, true
}

// soundProfile checks what the library takes on trust: it allocates what counts and offsets ask for,
// and of a lutAToB table (mAB) it reads only those with as many grid points for each ink.
func soundProfile(b []byte) bool {
	u32 := func(b []byte) int64 { return int64(binary.BigEndian.Uint32(b)) }
	if len(b) < 132 || profileSpace(b) != "CMYK" || u32(b[128:]) > int64(len(b)-132)/12 {
		return false
	}
	for entry := 132; entry < 132+12*int(u32(b[128:])); entry += 12 {
		at, n := u32(b[entry+4:]), u32(b[entry+8:])
		if at+n > int64(len(b)) {
			return false
		}
		if tag := b[at : at+n]; string(b[entry:entry+4]) == "A2B0" && bytes.HasPrefix(tag, []byte("mAB ")) && !soundTable(tag) {
			return false
		}
	}
	return true
}

// soundTable checks a lutAToB table's grid, and the lengths of its sampled curves.
func soundTable(tag []byte) bool {
	if len(tag) < 32 {
		return false
	}
	grid := int64(binary.BigEndian.Uint32(tag[24:]))
	if grid > int64(len(tag)-4) || !bytes.Equal(tag[grid:grid+4], bytes.Repeat(tag[grid:grid+1], 4)) {
		return false
	}
	for rest := tag; ; {
		_, curve, found := bytes.Cut(rest, []byte("curv"))
		if !found || len(curve) < 8 {
			return true
		}
		if int64(binary.BigEndian.Uint32(curve[4:])) > int64(len(curve)/2) {
			return false
		}
		rest = curve
	}
}

// inksToRGB replaces cyan, magenta, yellow and black, the first of every pixel's samples, by red, green
// and blue: through the profile, or without one by simple subtraction. Samples are 0..white.
func inksToRGB(pix []uint16, samples int, white uint16, inks *icc.Pipeline) error {
	if inks == nil {
		convert(pix, samples, func(s []uint16) {
			for k := range 3 {
				s[k] = cmyk(uint32(s[k]), uint32(s[3]), uint32(white))
			}
		})
		return nil
	}
	var damaged atomic.Bool
	convert(pix, samples, func(s []uint16) {
		defer func() {
			if recover() != nil {
				damaged.Store(true)
			}
		}()
		var in, out [4]float64
		for k := range in {
			in[k] = float64(s[k]) / float64(white)
		}
		inks.TransformGeneral(out[:], in[:])
		if out[0]+out[1]+out[2] != out[0]+out[1]+out[2] {
			panic("not a number")
		}
		putRGB(s, out[0], out[1], out[2], white)
	})
	if damaged.Load() {
		return errors.New("the ICC profile of its inks is damaged; convert the picture to sRGB with another program")
	}
	return nil
}

// convert runs a function that changes one pixel's samples on all pixels, on all processors.
func convert(pix []uint16, samples int, pixel func(s []uint16)) {
	n := len(pix) / samples
	workers := min(runtime.GOMAXPROCS(0), 1+n>>12)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := n * w / workers; i < n*(w+1)/workers; i++ {
				pixel(pix[i*samples : (i+1)*samples])
			}
		})
	}
	wait.Wait()
}

// putRGB stores colours of 0..1, rounded.
func putRGB(s []uint16, r, g, b float64, white uint16) {
	for k, v := range [3]float64{r, g, b} {
		s[k] = uint16(max(0, min(v, 1))*float64(white) + 0.5)
	}
}

// pack closes the gaps between the first channels samples of each pixel.
func pack(pix []uint16, samples, channels int) []uint16 {
	n := len(pix) / samples
	for i := range n {
		copy(pix[i*channels:(i+1)*channels], pix[i*samples:])
	}
	return pix[: n*channels : n*channels]
}

// labToRGB replaces L*, a* and b* under D50, the first of every pixel's samples, by sRGB. TIFF has a*
// and b* signed and L* of 100 as white; ICC has them about a middle, and in 16 bits L* of 100 as 0xFF00.
func labToRGB(pix []uint16, samples int, white uint16, signed bool) {
	d50 := icc.NewLABtosRGB(icc.XYZType{X: 0.9642, Y: 1, Z: 0.8249}, true, false)
	unit, top := 1.0, float64(white)
	if white == 65535 {
		unit = 256
		if !signed {
			top = 0xFF00
		}
	}
	chroma := func(v uint16) float64 { return float64(v)/unit - 128 }
	if signed {
		chroma = func(v uint16) float64 { return float64(int16(v*uint16(65536/(int(white)+1)))) / 256 }
	}
	convert(pix, samples, func(s []uint16) {
		r, g, b := d50.Transform(float64(s[0])*100/top, chroma(s[1]), chroma(s[2]))
		putRGB(s, r, g, b, white)
	})
}
