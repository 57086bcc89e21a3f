package photo

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBMPRuns(t *testing.T) {
	palette := []byte{0, 0, 0, 0, 80, 80, 80, 0, 160, 160, 160, 0, 240, 240, 240, 0}
	for name, c := range map[string]struct {
		compression int
		runs        []byte
		want        []uint16 // 3×2, bottom row first
	}{
		"whole":            {bmpRuns8, []byte{3, 1, 0, 0, 3, 2, 0, 0, 0, 1}, []uint16{80, 80, 80, 160, 160, 160}},
		"no mark at end":   {bmpRuns8, []byte{3, 1, 0, 0, 3, 2}, []uint16{80, 80, 80, 160, 160, 160}},
		"beyond the row":   {bmpRuns8, []byte{7, 1, 0, 0, 9, 2, 0, 1}, []uint16{80, 80, 80, 160, 160, 160}},
		"beyond the rows":  {bmpRuns8, []byte{0, 0, 0, 0, 0, 0, 3, 1, 0, 1}, make([]uint16, 6)},
		"empty row":        {bmpRuns8, []byte{0, 0, 2, 3, 0, 1}, []uint16{0, 0, 0, 240, 240, 0}},
		"moved":            {bmpRuns8, []byte{1, 1, 0, 2, 1, 1, 1, 3, 0, 1}, []uint16{80, 0, 0, 0, 0, 240}},
		"nothing":          {bmpRuns8, []byte{0, 1}, make([]uint16, 6)},
		"nibbles in turns": {bmpRuns4, []byte{3, 0x12, 0, 0, 0, 3, 0x32, 0x10, 0, 1}, []uint16{80, 160, 80, 240, 160, 80}},
	} {
		bits := map[int]int{bmpRuns8: 8, bmpRuns4: 4}[c.compression]
		p := mustDecode(t, buildBMP(3, 2, bits, c.compression, c.runs, palette...))
		require.Equal(t, 1, p.Channels, name)
		require.Equal(t, append(c.want[3:6:6], c.want[:3]...), p.Pix, name)
	}
}

// Rows from the top, masks of any width and order, and a fourth byte that is alpha only where said.
func TestBMPMasks(t *testing.T) {
	le := binary.LittleEndian
	masks := func(m ...uint32) (out []byte) {
		for _, v := range m {
			out = le.AppendUint32(out, v)
		}
		return out
	}
	pixel := masks(0x80C04020)
	for name, c := range map[string]struct {
		data  []byte
		pix   []uint16
		alpha []uint16
	}{
		"plain 32":      {buildBMP(1, 1, 32, bmpPlain, pixel), []uint16{0xC0, 0x40, 0x20}, nil},
		"other order":   {buildBMP(1, 1, 32, bmpMasks, pixel, masks(0xFF, 0xFF00, 0xFF0000)...), []uint16{0x20, 0x40, 0xC0}, nil},
		"alpha":         {buildBMP(1, 1, 32, bmpAlphaMasks, pixel, masks(0xFF0000, 0xFF00, 0xFF, 0xFF000000)...), []uint16{0xC0, 0x40, 0x20}, []uint16{0x80}},
		"no alpha said": {buildBMP(1, 1, 32, bmpAlphaMasks, pixel, masks(0xFF0000, 0xFF00, 0xFF, 0)...), []uint16{0xC0, 0x40, 0x20}, nil},
		"wide":          {buildBMP(1, 1, 32, bmpMasks, masks(0xFFFF7F01), masks(0xFFFF0000, 0xFF00, 0xFF)...), []uint16{0xFFFF, 0x7F7F, 0x0101}, nil},
	} {
		p := mustDecode(t, c.data)
		require.Equal(t, c.pix, p.Pix, name)
		require.Equal(t, c.alpha, p.Alpha, name)
	}

	down := buildBMP(1, 2, 16, bmpPlain, []byte{0xFF, 0x7F, 0, 0, 0, 0, 0, 0})
	require.Equal(t, []uint16{0, 0, 0, 255, 255, 255}, mustDecode(t, down).Pix)
	le.PutUint32(down[22:], 1<<32-2)
	require.Equal(t, []uint16{255, 255, 255, 0, 0, 0}, mustDecode(t, down).Pix)
}
