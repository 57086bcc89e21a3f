package hidiff

import (
	"context"
	"testing"

	"hidiff/hidiff/photo"
	"hidiff/internal/testgpu"
	"hidiff/tensor"

	"github.com/stretchr/testify/require"
)

// The ensemble shows the networks eight different pictures, and adds what they make of each where it belongs: here they
// change nothing.
func TestEnsembleTurnsThereAndBack(t *testing.T) {
	d := testgpu.Open(t)
	p := &photo.Photo{Width: 5, Height: 3, Channels: 3, Max: 255}
	for i := range p.Width * p.Height * 3 {
		p.Pix = append(p.Pix, uint16(i))
	}
	seen := map[string]bool{}
	run := func(p, _ *photo.Photo) *tensor.Tensor {
		text := ""
		for _, v := range p.Pix {
			text += string(rune(v))
		}
		seen[text] = true
		return upload(d, p)
	}
	y, err := ensemble(context.Background(), d, p, nil, run)
	require.NoError(t, err)
	require.Len(t, seen, 8)
	got, err := y.Pixels(context.Background(), 255, p.Width, p.Height, 3)
	require.NoError(t, err)
	require.Equal(t, p.Pix, got)
}
