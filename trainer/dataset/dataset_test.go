package dataset

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// coordinates is a 16-bit photo whose pixels say where they are: (y, x, id), and id is odd for gt.
func coordinates(w, h, id int) *photo.Photo {
	p := &photo.Photo{Width: w, Height: h, Channels: 3, Max: 65535}
	for y := range h {
		for x := range w {
			p.Pix = append(p.Pix, uint16(y), uint16(x), uint16(id))
		}
	}
	return p
}

func savePhoto(t testing.TB, p *photo.Photo, elements ...string) {
	t.Helper()
	file := filepath.Join(elements...)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, photo.Save(file, p, photo.EncodeOptions{}))
}

// writePairs makes folders lq and gt of n photos, of ids 2i and 2i+1, and returns options to use them.
func writePairs(t testing.TB, n, w, h int) Options {
	t.Helper()
	root := t.TempDir()
	o := Options{DatarootLQ: filepath.Join(root, "lq"), DatarootGT: filepath.Join(root, "gt")}
	for i := range n {
		name := fmt.Sprintf("photo%d.png", i)
		savePhoto(t, coordinates(w, h, 2*i), o.DatarootLQ, name)
		savePhoto(t, coordinates(w, h, 2*i+1), o.DatarootGT, name)
	}
	return o
}

func openDataset(t testing.TB, o Options) *Dataset {
	t.Helper()
	d, err := Open(context.Background(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func pairNames(d *Dataset) (out []string) {
	for i := range d.Len() {
		out = append(out, d.Name(i))
	}
	return out
}

// damage cuts off the end of a file: its header stays, its pixels cannot be read.
func damage(t testing.TB, elements ...string) {
	t.Helper()
	file := filepath.Join(elements...)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(file, info.Size()-30))
}

func TestPairsInNaturalOrder(t *testing.T) {
	d := openDataset(t, writePairs(t, 12, 3, 2))
	require.Equal(t, strings.Fields("photo0 photo1 photo2 photo3 photo4 photo5 photo6 photo7 photo8 photo9 photo10 photo11"), pairNames(d))
	for i := range d.Len() {
		p, err := d.Pair(i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("photo%d", i), p.Name)
		require.Equal(t, coordinates(3, 2, 2*i).Pix, p.LQ.Pix)
		require.Equal(t, coordinates(3, 2, 2*i+1).Pix, p.GT.Pix)
	}
}

func TestCompareNatural(t *testing.T) {
	sorted := []string{"", "a", "a/1", "a/01b", "a/1c", "a/2", "a/002x", "a/10", "a/18446744073709551616", "a/18446744073709551617", "aa", "b"}
	for i, a := range sorted {
		for j, b := range sorted {
			got := compareNatural(a, b)
			require.Equal(t, i < j, got < 0, "%q %q", a, b)
			require.Equal(t, i == j, got == 0, "%q %q", a, b)
		}
	}
	same := []string{"x1", "x01", "x001"} // equal numbers still have an order
	slices.SortFunc(same, compareNatural)
	require.Equal(t, []string{"x001", "x01", "x1"}, same)
}

func TestSubfoldersTemplatesAndExtensions(t *testing.T) {
	root := t.TempDir()
	o := Options{DatarootLQ: filepath.Join(root, "lq"), DatarootGT: filepath.Join(root, "elsewhere"), FilenameTmpl: "{}_blur"}
	savePhoto(t, coordinates(4, 4, 0), root, "lq/b/x_blur.PNG")
	savePhoto(t, coordinates(4, 4, 0), root, "lq/a.b/1.5_blur.tif")
	savePhoto(t, coordinates(4, 4, 0), root, "lq/top_blur.png")
	savePhoto(t, coordinates(4, 4, 1), root, "gt/b/x.png")
	savePhoto(t, coordinates(4, 4, 1), root, "gt/a.b/1.5.png")
	savePhoto(t, coordinates(4, 4, 1), root, "gt/top.bmp")
	savePhoto(t, coordinates(4, 4, 1), root, "gt/.hidden.png")
	require.NoError(t, os.WriteFile(filepath.Join(root, "gt", "notes.txt"), []byte("x"), 0o644))
	require.NoError(t, os.Symlink("gt", filepath.Join(root, "elsewhere")))
	require.NoError(t, os.Rename(filepath.Join(root, "gt/b"), filepath.Join(root, "moved")))
	require.NoError(t, os.Symlink("../moved", filepath.Join(root, "gt/b")))
	require.NoError(t, os.Symlink("..", filepath.Join(root, "gt/a.b/round"))) // must not be followed for ever
	d := openDataset(t, o)
	require.Equal(t, []string{"a.b/1.5", "b/x", "top"}, pairNames(d))
	require.Equal(t, []string{"a.b/1.5_blur.tif", "b/x_blur.PNG", "top_blur.png"}, []string{d.LQFile(0), d.LQFile(1), d.LQFile(2)})
}

func TestMetaInfoFile(t *testing.T) {
	o := writePairs(t, 4, 3, 3)
	o.MetaInfoFile = filepath.Join(t.TempDir(), "meta.txt")
	require.NoError(t, os.WriteFile(o.MetaInfoFile, []byte("photo2.png (3,3,3)\n\n  photo0.png\r\nphoto2.png 1"), 0o644))
	require.Equal(t, []string{"photo2", "photo0", "photo2"}, pairNames(openDataset(t, o)))

	require.NoError(t, os.WriteFile(o.MetaInfoFile, []byte("photo2.png\nsub/photo1.png\nphoto9.png\n"), 0o644))
	requireErrors(t, o, "meta_info_file", "lists 2 photos that dataroot_gt", ": sub/photo1, photo9")
	require.NoError(t, os.WriteFile(o.MetaInfoFile, []byte("\n \n"), 0o644))
	requireErrors(t, o, "meta_info_file", "lists no photo")
	require.NoError(t, os.Remove(o.MetaInfoFile))
	requireErrors(t, o, "meta_info_file", "meta.txt")
}

// requireErrors requires the dataset not to open, and the error to have these parts.
func requireErrors(t *testing.T, o Options, parts ...string) {
	t.Helper()
	d, err := Open(context.Background(), o)
	require.Error(t, err)
	require.Nil(t, d)
	for _, part := range parts {
		require.ErrorContains(t, err, part)
	}
}

func TestUnequalPairs(t *testing.T) {
	o := writePairs(t, 13, 2, 2)
	for i := range 11 {
		require.NoError(t, os.Remove(filepath.Join(o.DatarootLQ, fmt.Sprintf("photo%d.png", i))))
	}
	savePhoto(t, coordinates(2, 2, 0), o.DatarootLQ, "extra.png")
	requireErrors(t, o,
		o.DatarootLQ+" lacks 11 of 13 photos", "photo0, photo1, photo2, photo3, photo4, photo5, photo6, photo7, photo8, photo9, and 1 more",
		"holds 1 photos without a partner in dataroot_gt "+o.DatarootGT+": extra", `filename_tmpl is "{}"`)
}

func TestFoldersThatAreNone(t *testing.T) {
	o := writePairs(t, 1, 2, 2)
	empty, file := t.TempDir(), filepath.Join(o.DatarootGT, "photo0.png")
	for _, c := range []struct {
		lq, gt string
		parts  []string
	}{
		{o.DatarootLQ, "", []string{"dataroot_gt is missing"}},
		{"", o.DatarootGT, []string{"dataroot_lq is missing"}},
		{empty, o.DatarootGT, []string{"dataroot_lq: the folder " + empty + " holds no photo"}},
		{o.DatarootLQ, empty + "/none", []string{"dataroot_gt: there is no folder " + empty + "/none"}},
		{o.DatarootLQ, file, []string{"dataroot_gt: " + file + " is a file"}},
	} {
		requireErrors(t, Options{DatarootLQ: c.lq, DatarootGT: c.gt}, c.parts...)
	}
}

func TestAmbiguousNames(t *testing.T) {
	o := writePairs(t, 1, 2, 2)
	savePhoto(t, coordinates(2, 2, 0), o.DatarootGT, "photo0.bmp")
	requireErrors(t, o, "dataroot_gt: ", "photo0.bmp and photo0.png", "remove one")
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	o := writePairs(t, 1, 2, 2)
	for _, tmpl := range []string{"blur", "{}{}", "{0}"} {
		o.FilenameTmpl = tmpl
		requireErrors(t, o, "filename_tmpl", tmpl)
	}
}

func TestSizesAreChecked(t *testing.T) {
	o := writePairs(t, 20, 8, 9)
	savePhoto(t, coordinates(8, 8, 0), o.DatarootLQ, "photo3.png")
	requireErrors(t, o, "1 of 20 pairs", filepath.Join(o.DatarootLQ, "photo3.png")+" is 8×8 pixels", filepath.Join(o.DatarootGT, "photo3.png")+" is 8×9")

	o = writePairs(t, 12, 8, 9)
	o.GTSize = 8
	openDataset(t, o)
	o.GTSize = 9
	requireErrors(t, o, "12 of 12 pairs", "8×9 pixels, smaller than gt_size 9", "photo9.png", "and 2 more", "lower gt_size",
		filepath.Join(o.DatarootLQ, "photo0.png"), filepath.Join(o.DatarootGT, "photo0.png"))
}

// A header that is not in the first page of the file, and an orientation that comes after the pixels.
func TestSizesBeyondTheFirstPage(t *testing.T) {
	root := t.TempDir()
	o := Options{DatarootLQ: filepath.Join(root, "lq"), DatarootGT: filepath.Join(root, "gt")}
	p := coordinates(40, 50, 0)
	savePhoto(t, p, o.DatarootGT, "a.png")
	p.Meta.ICC = append(make([]byte, 16, 9000), "RGB "...)
	p.Meta.ICC = p.Meta.ICC[:9000]
	savePhoto(t, p, o.DatarootLQ, "a.jpg")
	savePhoto(t, p, o.DatarootGT, "b.tif")
	savePhoto(t, p, o.DatarootLQ, "b.png")
	require.Equal(t, 2, openDataset(t, o).Len())
}

func TestDamagedHeaders(t *testing.T) {
	o := writePairs(t, 3, 2, 2)
	bad := filepath.Join(o.DatarootGT, "photo1.png")
	require.NoError(t, os.WriteFile(bad, []byte("no photo"), 0o644))
	requireErrors(t, o, "1 of 3 pairs", bad, "repair")

	o.SkipBad = true
	d := openDataset(t, o)
	require.Equal(t, 3, d.Len())
	_, err := d.Pair(1)
	require.ErrorContains(t, err, bad)

	for i := range 3 {
		require.NoError(t, os.WriteFile(filepath.Join(o.DatarootLQ, fmt.Sprintf("photo%d.png", i)), nil, 0o644))
	}
	requireErrors(t, o, "3 of 3 pairs", "empty")
}

func TestOpenStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Open(ctx, writePairs(t, 2, 2, 2))
	require.ErrorIs(t, err, context.Canceled)
}

func TestPairOfChangedFiles(t *testing.T) {
	o := writePairs(t, 2, 6, 6)
	o.GTSize = 5
	d := openDataset(t, o)
	savePhoto(t, coordinates(4, 4, 0), o.DatarootLQ, "photo0.png")
	_, err := d.Pair(0)
	require.ErrorContains(t, err, "photo0.png is 4×4 pixels, but its partner")
	savePhoto(t, coordinates(4, 4, 0), o.DatarootGT, "photo0.png")
	_, err = d.Pair(0)
	require.ErrorContains(t, err, "smaller than gt_size 5")
	damage(t, o.DatarootGT, "photo1.png")
	_, err = d.Pair(1)
	require.ErrorContains(t, err, filepath.Join(o.DatarootGT, "photo1.png"))
}

// windowsTexts are a text as editors and shells of Windows write it.
func windowsTexts(text string) map[string][]byte {
	crlf := "\uFEFF" + strings.ReplaceAll(text, "\n", "\r\n")
	var little, big []byte
	for _, unit := range utf16.Encode([]rune(crlf)) {
		little, big = binary.LittleEndian.AppendUint16(little, unit), binary.BigEndian.AppendUint16(big, unit)
	}
	return map[string][]byte{"UTF-8 with a mark": []byte(crlf), "UTF-16LE": little, "UTF-16BE": big}
}

func TestMetaInfoFileOfWindows(t *testing.T) {
	names, err := readMetaInfo("testdata/meta-bom.txt")
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1"}, names)
	o := writePairs(t, 4, 3, 3)
	o.MetaInfoFile = filepath.Join(t.TempDir(), "meta.txt")
	for kind, text := range windowsTexts("photo2.png (3,3,3)\n\nphoto0.png\n") {
		require.NoError(t, os.WriteFile(o.MetaInfoFile, text, 0o644))
		require.Equal(t, []string{"photo2", "photo0"}, pairNames(openDataset(t, o)), kind)
	}
	require.NoError(t, os.WriteFile(o.MetaInfoFile, []byte("PK\x03\x04\x00"), 0o644))
	requireErrors(t, o, "meta_info_file", o.MetaInfoFile+" is no text file")
}
