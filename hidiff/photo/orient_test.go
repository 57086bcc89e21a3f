package photo

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The letter F as a camera stores it for each orientation, and upright.
func TestOrientations(t *testing.T) {
	upright := "##" + "#." + "#." // 2 wide, 3 high: a short F
	stored := map[int]struct {
		w, h int
		pix  string
	}{
		1: {2, 3, "##" + "#." + "#."},
		2: {2, 3, "##" + ".#" + ".#"},
		3: {2, 3, ".#" + ".#" + "##"},
		4: {2, 3, "#." + "#." + "##"},
		5: {3, 2, "###" + "#.."},
		6: {3, 2, "#.." + "###"},
		7: {3, 2, "..#" + "###"},
		8: {3, 2, "###" + "..#"},
	}
	for orientation, s := range stored {
		for _, o := range []order{binary.LittleEndian, binary.BigEndian} {
			for _, format := range holders {
				t.Run(fmt.Sprint(orientation, o, format), func(t *testing.T) {
					b := mustEncode(t, letter(s.w, s.h, s.pix, o, orientation, format), format)
					if format == TIFF {
						setTIFFOrientation(t, b, orientation)
					}
					p := mustDecode(t, b)
					info, err := Probe(b, "x")
					require.NoError(t, err)
					require.Equal(t, [2]int{2, 3}, [2]int{p.Width, p.Height})
					require.Equal(t, [2]int{2, 3}, [2]int{info.Width, info.Height})
					got := ""
					for i := range p.Width * p.Height {
						got += map[bool]string{true: "#", false: "."}[p.Pix[i*p.Channels] > 127]
						if p.Alpha != nil {
							require.Equal(t, p.Pix[i*p.Channels] > 127, p.Alpha[i] == 255, "alpha turns too")
						}
					}
					require.Equal(t, upright, got)

					said := describe(t, p.Meta.EXIF)
					if format != TIFF {
						require.Equal(t, "1", said["274"])
					}
					require.Empty(t, said["next"], "the thumbnail is unlinked")
					x, y := "40", "30"
					if orientation >= 5 {
						x, y = y, x
					}
					require.Equal(t, x, said["34665/40962"])
					require.Equal(t, y, said["34665/40963"])
					require.Equal(t, `<x tiff:Orientation="1"/>`, string(p.Meta.XMP), "EXIF counts, and XMP must not disagree")
				})
			}
		}
	}
}

// letter is white where pix is '#'. JPEG gets no alpha, which it could not keep.
func letter(w, h int, pix string, o order, orientation int, f Format) *Photo {
	p := newPhoto(w, h, 1, 255, f.KeepsAlpha())
	for i, c := range pix {
		if c == '#' {
			p.Pix[i] = 255
			if p.Alpha != nil {
				p.Alpha[i] = 255
			}
		}
	}
	p.Meta.EXIF = exifBlock(o, orientation)
	p.Meta.XMP = []byte(`<x tiff:Orientation="8"/>`)
	return p
}

func setTIFFOrientation(t *testing.T, b []byte, orientation int) {
	blk, err := openBlock(b)
	require.NoError(t, err)
	fields, _, err := blk.fields(blk.first)
	require.NoError(t, err)
	blk.setNumber(find(fields, tagOrientation), uint32(orientation))
}

func TestTurnAndTurnBack(t *testing.T) {
	p := noise(5, 3, 3, 255, true)
	p.Meta.XMP = []byte("<x/>")
	for o := 1; o <= 8; o++ {
		q := p.Turn(o)
		require.Equal(t, Metadata{}, q.Meta, "it would be turned twice")
		back := q.Turn(TurnBack(o))
		require.Equal(t, p.Pix, back.Pix, o)
		require.Equal(t, p.Alpha, back.Alpha, o)
		require.Equal(t, p.Width, back.Width, o)
	}
	require.Equal(t, &Photo{Width: 3, Height: 5, Channels: 1, Max: 255}, (&Photo{Width: 5, Height: 3, Channels: 1, Max: 255}).Turn(6))
}

func TestCrop(t *testing.T) {
	p := &Photo{Width: 4, Height: 3, Channels: 1, Max: 255, Pix: []uint16{0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}, Meta: Metadata{XMP: []byte("<x/>")}}
	require.Equal(t, &Photo{Width: 2, Height: 2, Channels: 1, Max: 255, Pix: []uint16{12, 13, 22, 23}}, p.Crop(2, 1, 2, 2))
	p.Alpha = p.Pix
	p.Pix = nil
	require.Equal(t, &Photo{Width: 3, Height: 1, Channels: 1, Max: 255, Alpha: []uint16{0, 1, 2}}, p.Crop(0, 0, 3, 1))
	c := noise(9, 7, 3, 65535, true)
	got := c.Crop(2, 3, 5, 4)
	for i := range 5 * 4 {
		at := (3+i/5)*9 + 2 + i%5
		require.Equal(t, c.Pix[3*at:3*at+3], got.Pix[3*i:3*i+3])
		require.Equal(t, c.Alpha[at], got.Alpha[i])
	}
}
