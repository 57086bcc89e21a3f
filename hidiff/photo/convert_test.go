package photo

import (
	"bytes"
	"encoding/binary"
	"image/color"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// inkProfileOf is the profile in one of the TIFFs made for tests.
func inkProfileOf(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	b, err := openTIFF(data)
	require.NoError(t, err)
	fields, _, err := b.fields(b.first)
	require.NoError(t, err)
	return bytes.Clone(find(fields, tagICC).value)
}

func inkTIFF(t testing.TB, bits int, inks []uint16, profile []byte) []byte {
	t.Helper()
	var strip []byte
	for _, v := range inks {
		if strip = append(strip, byte(v)); bits == 16 {
			strip = append(strip, byte(v>>8))
		}
	}
	var icc []field
	if profile != nil {
		icc = append(icc, field{tag: tagICC, kind: kindUndefined, count: uint32(len(profile)), value: profile})
	}
	return buildTIFF(t, len(inks)/4, 1, 4, bits, separated, strip, icc...)
}

// inkJPEG puts a profile before a JPEG's segments, in one part of as many as said.
func inkJPEG(t testing.TB, profile []byte, parts byte) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/cmyk-adobe.jpg")
	require.NoError(t, err)
	body := append([]byte(iccPrefix+"\x01"), parts)
	body = append(body, profile...)
	segment := binary.BigEndian.AppendUint16([]byte{0xFF, 0xD8, 0xFF, 0xE2}, uint16(2+len(body)))
	return append(append(segment, body...), data[2:]...)
}

// What the profile makes of inks does not depend on their depth, and the profile does not describe RGB.
func TestInksOf16Bits(t *testing.T) {
	inks := []uint16{0, 0, 0, 0, 255, 255, 255, 255, 200, 10, 90, 30, 7, 180, 250, 0, 0, 0, 0, 255, 60, 60, 60, 128}
	deep := make([]uint16, len(inks))
	for i, v := range inks {
		deep[i] = v * 257
	}
	for _, name := range []string{"icc-mft1.tif", "icc-mft2.tif", "icc-mft2xyz.tif", "icc-mab.tif"} {
		profile := inkProfileOf(t, name)
		p := mustDecode(t, inkTIFF(t, 8, inks, profile))
		q := mustDecode(t, inkTIFF(t, 16, deep, profile))
		require.EqualValues(t, 65535, q.Max)
		require.Nil(t, q.Meta.ICC)
		for i, v := range p.Pix {
			require.InDelta(t, float64(v), float64(q.Pix[i])/257, 0.501, "%s, sample %d", name, i)
		}
	}
}

// Profiles that cannot be read are told, and inks converted as without one; none of them takes memory
// for what it merely announces.
func TestUnreadableInkProfiles(t *testing.T) {
	inks := []uint16{200, 10, 90, 30, 0, 0, 0, 0}
	plain := mustDecode(t, inkTIFF(t, 8, inks, nil))
	sound, table := inkProfileOf(t, "icc-mft2.tif"), inkProfileOf(t, "icc-mab.tif")
	changed := func(profile []byte, at int, value ...byte) []byte {
		b := bytes.Clone(profile)
		copy(b[at:], value)
		return b
	}
	a2b := bytes.Index(table, []byte("mAB "))
	curve := bytes.Index(table, []byte("curv"))
	huge := []byte{0x7F, 0xFF, 0xFF, 0xFF}
	for name, profile := range map[string][]byte{
		"empty":            {0},
		"cut":              sound[:len(sound)-100],
		"without tags":     sound[:132],
		"of RGB":           changed(sound, 16, []byte("RGB ")...),
		"no table":         bytes.ReplaceAll(sound, []byte("A2B0"), []byte("none")),
		"kind of table":    bytes.ReplaceAll(sound, []byte("mft2"), []byte("mftX")),
		"many tags":        changed(sound, 128, huge...),
		"far tag":          changed(sound, 136, huge...),
		"long tag":         changed(sound, 140, huge...),
		"long curve":       changed(table, curve+8, huge...),
		"uneven grid":      changed(table, a2b+int(binary.BigEndian.Uint32(table[a2b+24:])), 2),
		"grid beyond":      changed(table, a2b+24, huge...),
		"large grid":       changed(sound, bytes.Index(sound, []byte("mft2"))+10, 255),
		"many inks":        changed(sound, bytes.Index(sound, []byte("mft2"))+8, 255),
		"connection space": changed(sound, 20, []byte("Luv ")...),
	} {
		t.Run(name, func(t *testing.T) {
			for _, data := range [][]byte{inkTIFF(t, 8, inks, profile), inkJPEG(t, profile, 1)} {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				info, err := Probe(data, "x")
				runtime.ReadMemStats(&after)
				require.NoError(t, err)
				require.True(t, info.Unmanaged)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
				p := mustDecode(t, data)
				require.Nil(t, p.Meta.ICC)
				require.True(t, p.Unmanaged)
				if p.Format == TIFF {
					require.Equal(t, plain.Pix, p.Pix)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		data      []byte
		unmanaged bool
	}{
		"none":         {inkTIFF(t, 8, inks, nil), false},
		"sound":        {inkTIFF(t, 8, inks, sound), false},
		"JPEG":         {inkJPEG(t, sound, 1), false},
		"part missing": {inkJPEG(t, sound, 2), true},
	} {
		info, err := Probe(c.data, "x")
		require.NoError(t, err)
		require.Equal(t, c.unmanaged, info.Unmanaged, name)
	}
}

// A curve whose parameters give no numbers is found no later than by the pixels.
func TestInkProfileOfNoNumbers(t *testing.T) {
	profile := inkProfileOf(t, "icc-mab.tif")
	gamma := bytes.Index(profile, []byte("para\x00\x00\x00\x00\x00\x00")) + 12 // of the B curves
	copy(profile[gamma:], []byte{0x80, 0, 0, 0})                               // 0 to the power of -32768
	_, err := Decode(inkTIFF(t, 8, []uint16{0, 0, 0, 255}, profile), "x.tif")
	require.ErrorContains(t, err, "x.tif: the ICC profile of its inks is damaged")
}

// Grey keeps its own profile: its samples are not converted.
func TestGreyProfileStays(t *testing.T) {
	for _, f := range []Format{JPEG, TIFF, PNG} {
		p := ramp(9, 8, 1, 255)
		p.Meta.ICC = profile("GRAY", 140)
		q := mustDecode(t, mustEncode(t, p, f))
		require.Equal(t, p.Meta.ICC, q.Meta.ICC, f)
		require.Equal(t, 1, q.Channels)
	}
}

// What lies under transparency does not show where the format has none.
func TestBackground(t *testing.T) {
	for _, white := range []uint16{255, 65535} {
		unit := white / 255
		p := newPhoto(16, 16, 1, white, true)
		q := newPhoto(16, 16, 3, white, true)
		for i := range p.Alpha { // the left half is transparent above red, the right covers by a fifth
			a := uint16(i%16/8) * 51 * unit
			p.Alpha[i], q.Alpha[i] = a, a
			p.Pix[i], q.Pix[3*i] = 100*unit, 200*unit
		}
		for _, c := range []struct {
			photo       *Photo
			background  color.Color
			left, right [3]uint16
		}{
			{q, nil, [3]uint16{255, 255, 255}, [3]uint16{244, 204, 204}},
			{q, color.Black, [3]uint16{}, [3]uint16{40, 0, 0}},
			{q, color.NRGBA{10, 20, 30, 255}, [3]uint16{10, 20, 30}, [3]uint16{48, 16, 24}},
			{p, nil, [3]uint16{255}, [3]uint16{224}},
			{p, color.Black, [3]uint16{0}, [3]uint16{20}},
			{p, color.NRGBA{10, 20, 30, 255}, [3]uint16{10, 20, 30}, [3]uint16{28, 36, 44}},
		} {
			for _, f := range []Format{BMP, JPEG} {
				data, err := Encode(c.photo, EncodeOptions{Format: f, Quality: 100, Background: c.background})
				require.NoError(t, err)
				got := mustDecode(t, data)
				require.Nil(t, got.Alpha)
				for x, want := range map[int][3]uint16{2: c.left, 13: c.right} {
					for k := range got.Channels {
						require.InDelta(t, want[k], got.Pix[(5*16+x)*got.Channels+k], map[Format]float64{BMP: 0, JPEG: 2}[f], "%s %v %d", f, c.background, x)
					}
				}
			}
			for _, f := range []Format{PNG, TIFF, WebP} { // keep what is there
				data, err := Encode(q, EncodeOptions{Format: f, Background: c.background})
				require.NoError(t, err)
				require.Equal(t, mustEncode(t, q, f), data)
			}
		}
	}
}
