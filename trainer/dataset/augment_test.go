package dataset

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// The crop is
//
//	1 2 3
//	4 5 6
//	7 8 9
//
// at (1, 2) of a larger photo. Written by hand from numpy's flipud and rot90 (counter-clockwise).
var turned = [8][9]float32{
	{1, 2, 3, 4, 5, 6, 7, 8, 9}, // identity
	{7, 8, 9, 4, 5, 6, 1, 2, 3}, // flipud
	{3, 6, 9, 2, 5, 8, 1, 4, 7}, // rot90
	{1, 4, 7, 2, 5, 8, 3, 6, 9}, // rot90, flipud
	{9, 8, 7, 6, 5, 4, 3, 2, 1}, // rot180
	{3, 2, 1, 6, 5, 4, 9, 8, 7}, // rot180, flipud
	{7, 4, 1, 8, 5, 2, 9, 6, 3}, // rot270
	{9, 6, 3, 8, 5, 2, 7, 4, 1}, // rot270, flipud
}

// cropSource is a 6×5 photo around that crop; channel c adds 10c.
func cropSource(channels int, white uint16) *photo.Photo {
	p := &photo.Photo{Width: 6, Height: 5, Channels: channels, Max: white, Pix: make([]uint16, 6*5*channels)}
	for i := range p.Pix {
		y, x, c := i/channels/6-1, i/channels%6-2, i%channels
		p.Pix[i] = 200
		if y >= 0 && y < 3 && x >= 0 && x < 3 {
			p.Pix[i] = uint16(1 + 3*y + x + 10*c)
		}
	}
	return p
}

func TestAugmentations(t *testing.T) {
	for _, c := range []struct {
		channels int
		white    uint16
	}{{3, 255}, {3, 65535}, {1, 255}} {
		p := cropSource(c.channels, c.white)
		for mode, want := range turned {
			for size := 1; size <= 3; size++ {
				for y := range 3 - size + 1 {
					for x := range 3 - size + 1 {
						got := make([]float32, size*size*3)
						view{top: 1, left: 2, n: 3, mode: mode, y: y, x: x, size: size}.write(got, p)
						for i, v := range got {
							row, column, channel := i/3/size, i/3%size, i%3
							if c.channels == 1 {
								channel = 0
							}
							level := want[3*(y+row)+x+column] + float32(10*channel)
							require.True(t, v == level/float32(c.white), "mode %d, window %d at (%d,%d), value %d: %v, not level %v", mode, size, y, x, i, v, level)
						}
					}
				}
			}
		}
	}
}

func TestWhiteIsOne(t *testing.T) {
	for _, white := range []uint16{255, 65535} {
		got := make([]float32, 3)
		view{n: 1, size: 1}.write(got, &photo.Photo{Width: 1, Height: 1, Channels: 3, Max: white, Pix: []uint16{0, white, white / 5}, Alpha: []uint16{0}})
		require.Equal(t, []float32{0, 1, 0.2}, got)
	}
}
