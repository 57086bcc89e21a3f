package photo

import (
	"image"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testenv"
)

// Files made and decoded by other programs. The largest difference allowed covers rounding in the
// inverse DCT for JPEG, and in colour management, which Little CMS does in 16-bit numbers; everything
// else must be exact. Nearest-neighbour chroma, and inks without their profile, fail by far.
func TestAgainstPillow(t *testing.T) {
	files, err := filepath.Glob("testdata/*.png")
	require.NoError(t, err)
	n := 0
	for _, reference := range files {
		name := strings.TrimSuffix(reference, ".png")
		if filepath.Ext(name) == "" || name == "testdata/animated" {
			continue
		}
		n++
		t.Run(filepath.Base(name), func(t *testing.T) {
			allowed := 0
			switch base := filepath.Base(name); {
			case filepath.Ext(name) == ".jpg", strings.HasPrefix(base, "jpeg-"):
				allowed = 4
			case strings.HasPrefix(base, "icc-"):
				allowed = 1
			}
			got, err := Open(name)
			require.NoError(t, err)
			want, err := Open(reference)
			require.NoError(t, err)
			d := worst(t, want, got)
			t.Log("largest difference", d)
			require.LessOrEqual(t, d, allowed)
		})
	}
	require.Equal(t, 52, n)
}

// What we write, read by another program, where there is one.
func TestPillowReadsOurs(t *testing.T) {
	program := testenv.Python(t, "PIL")
	dir := t.TempDir()
	for _, f := range []Format{PNG, TIFF, WebP, BMP} {
		for _, p := range []*Photo{noise(70, 41, 3, 255, f.KeepsAlpha()), noise(33, 70, 1, 255, false)} {
			path := filepath.Join(dir, "ours."+string(f))
			p.Meta.XMP = []byte("<x/>")
			require.NoError(t, Save(path, p, EncodeOptions{Format: f}))
			theirs := filepath.Join(dir, "theirs.png")
			out, err := exec.Command(program, "-c", "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2])", path, theirs).CombinedOutput()
			require.NoError(t, err, string(out))
			got, err := Open(theirs)
			require.NoError(t, err)
			require.Zero(t, worst(t, expected(p, f), got))
		}
	}
}

// The triangle filter by hand.
func TestSmoothJPEG(t *testing.T) {
	row := func(c plane, y, n int) []uint8 {
		dst := make([]uint8, n)
		smoothJPEG(dst, c, y)
		return dst
	}
	// 4:2:2: ends copied; inside (3a+b+1)/4 on the left of a sample, (3a+b+2)/4 on its right.
	h2 := plane{pix: []uint8{10, 21, 100}, stride: 3, w: 3, h: 1, sx: 2, sy: 1}
	require.Equal(t, []uint8{10, 13, 18, 41, 80, 100}, row(h2, 0, 6))
	require.Equal(t, []uint8{10, 13, 18, 41, 80}, row(h2, 0, 5))
	// 4:4:0: the same down the column.
	v2 := plane{pix: []uint8{10, 21, 100}, stride: 1, w: 1, h: 3, sx: 1, sy: 2}
	for y, want := range []uint8{10, 13, 18, 41, 80, 100} {
		require.Equal(t, []uint8{want}, row(v2, y, 1), y)
	}
	// 4:2:0: columns first, 3·near+far = 10·3+40, …; then (3a+b+8)/16 and (3a+b+7)/16.
	both := plane{pix: []uint8{10, 20, 30, 40, 80, 120}, stride: 3, w: 3, h: 2, sx: 2, sy: 2}
	require.Equal(t, []uint8{10, 12, 18, 22, 28, 30}, row(both, 0, 6))
	require.Equal(t, []uint8{(4*70 + 8) >> 4, (3*70 + 140 + 7) >> 4, (3*140 + 70 + 8) >> 4, (3*140 + 210 + 7) >> 4, (3*210 + 140 + 8) >> 4, (4*210 + 7) >> 4}, row(both, 1, 6))
	// At most two samples wide, and other ratios: repeated.
	require.Equal(t, []uint8{10, 10, 90, 90}, row(plane{pix: []uint8{10, 90}, stride: 2, w: 2, h: 1, sx: 2, sy: 2}, 0, 4))
	require.Equal(t, []uint8{10, 10, 10, 10, 90}, row(plane{pix: []uint8{10, 90}, stride: 2, w: 2, h: 1, sx: 4, sy: 1}, 0, 5))
}

// libjpeg's table values for saturated colours.
func TestJPEGRGB(t *testing.T) {
	for in, want := range map[[3]int32][3]uint8{
		{76, 85, 255}:   {254, 0, 0},
		{150, 44, 21}:   {0, 255, 1},
		{29, 255, 107}:  {0, 0, 254},
		{128, 128, 128}: {128, 128, 128},
		{255, 128, 128}: {255, 255, 255},
		{100, 129, 127}: {99, 100, 102},
	} {
		r, g, b := jpegRGB(in[0], in[1], in[2])
		require.Equal(t, want, [3]uint8{r, g, b}, in)
	}
}

func TestSubImageKeepsChromaPhase(t *testing.T) {
	m := image.NewYCbCr(image.Rect(0, 0, 16, 16), image.YCbCrSubsampleRatio420)
	for i := range m.Cb {
		m.Y[4*i], m.Cb[i], m.Cr[i] = uint8(i*3), uint8(i*7), uint8(255-i*5)
	}
	whole := FromImage(m)
	part := FromImage(m.SubImage(image.Rect(3, 5, 13, 12)))
	for y := 1; y < 6; y++ { // away from the cut, where neighbours are missing
		for x := 1; x < 9; x++ {
			i, j := (y+5)*16+x+3, y*10+x
			require.Equal(t, whole.Pix[3*i:3*i+3], part.Pix[3*j:3*j+3], "%d,%d", x, y)
		}
	}
}
