package prepare

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// lay lays out crops of 4 at stride 2, and of 2 for validation.
func lay(t *testing.T, source, output string, change ...func(*GoProOptions)) (*Work, error) {
	t.Helper()
	o := GoProOptions{Source: source, Output: output, Cutting: Cutting{4, 2, 2}, Workers: 2}
	for _, c := range change {
		c(&o)
	}
	return FindGoPro(t.Context(), o)
}

// cutAll plans and runs.
func cutAll(t *testing.T, source, output string, change ...func(*GoProOptions)) *Work {
	t.Helper()
	p, err := lay(t, source, output, change...)
	require.NoError(t, err)
	require.Empty(t, p.Problems)
	require.NoError(t, p.Run(t.Context()))
	require.Empty(t, p.Problems)
	return p
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		length, crop, stride int
		want                 []int
	}{
		{1280, 512, 256, []int{0, 256, 512, 768}}, // ends at the edge
		{720, 512, 256, []int{0, 208}},
		{512, 512, 256, []int{0}},
		{513, 512, 256, []int{0, 1}},
		{768, 512, 256, []int{0, 256}},
		{769, 512, 256, []int{0, 256, 257}},
		{7, 3, 3, []int{0, 3, 4}},
	} {
		require.Equal(t, c.want, origins(c.length, c.crop, c.stride), c)
	}
	for length := range 30 { // as BasicSR says it: all strides that fit, and the edge if something is left
		for crop := 1; crop <= length; crop++ {
			for stride := 1; stride <= crop; stride++ {
				var want []int
				for x := 0; x <= length-crop; x += stride {
					want = append(want, x)
				}
				if want[len(want)-1]+crop < length {
					want = append(want, length-crop)
				}
				require.Equal(t, want, origins(length, crop, stride), "%d %d %d", length, crop, stride)
			}
		}
	}
}

// TestReleasedNumbers cuts photos of GoPro's size as the release does.
func TestReleasedNumbers(t *testing.T) {
	dir := tree(t, 1280, 720, "train/{input,target}/GOPR0372_07_00-000047.png", "test/{input,target}/GOPR0384_11_00-000001.png")
	p := cutAll(t, dir, dir, func(o *GoProOptions) { o.Cutting = Released })
	require.Equal(t, [2]int{8, 8}, [2]int{p.Splits[0].Crops, p.Splits[0].Written})
	require.Equal(t, 16824, 2103*p.Splits[0].Crops)
	require.Equal(t, []string{"train: GoPro has 2103 pairs, here are 1", "val: GoPro has 1111 pairs, here are 1"}, p.Notes)
	var want []string
	for _, side := range []string{"input", "target"} {
		want = append(want, "val/"+side+"_crops/GOPR0384_11_00-000001.png")
		isPart(t, dir, "test/"+side+"/GOPR0384_11_00-000001.png", want[len(want)-1], 512, 232, 256)
		for n, at := range [][2]int{{0, 0}, {256, 0}, {512, 0}, {768, 0}, {0, 208}, {256, 208}, {512, 208}, {768, 208}} {
			want = append(want, fmt.Sprintf("train/%s_crops/GOPR0372_07_00-000047-%d.png", side, n+1))
			isPart(t, dir, "train/"+side+"/GOPR0372_07_00-000047.png", want[len(want)-1], at[0], at[1], 512)
		}
	}
	require.ElementsMatch(t, want, below(t, filepath.Join(dir, "crop")))
}

// isPart requires a crop to be a part of its photo, pixel by pixel.
func isPart(t *testing.T, dir, source, crop string, x0, y0, size int) {
	t.Helper()
	whole, err := photo.Open(filepath.Join(dir, source))
	require.NoError(t, err)
	part, err := photo.Open(filepath.Join(dir, "crop", crop))
	require.NoError(t, err)
	require.Equal(t, []int{size, size, whole.Channels, int(whole.Max)}, []int{part.Width, part.Height, part.Channels, int(part.Max)}, crop)
	require.Equal(t, whole.Alpha == nil, part.Alpha == nil)
	n := whole.Channels
	for y := range size {
		from := (y0+y)*whole.Width + x0
		require.True(t, slices.Equal(whole.Pix[from*n:(from+size)*n], part.Pix[y*size*n:(y+1)*size*n]), "%s, row %d", crop, y)
		if whole.Alpha != nil {
			require.True(t, slices.Equal(whole.Alpha[from:from+size], part.Alpha[y*size:(y+1)*size]), "%s, row %d", crop, y)
		}
	}
}

// TestPixels holds every kind of photo to lossless crops without metadata.
func TestPixels(t *testing.T) {
	for _, c := range []struct {
		channels int
		max      uint16
		alpha    bool
		file     string
	}{{3, 255, false, "a.png"}, {3, 65535, false, "a.png"}, {1, 255, false, "a.png"}, {1, 65535, true, "a.tif"}, {3, 255, true, "a.png"}, {3, 255, false, "a.jpg"}} {
		dir := tree(t, 7, 5, "test/{input,target}/b.png")
		for _, side := range []string{"input", "target"} {
			p := picture(7, 5, c.channels, c.max, side)
			p.Meta.XMP = []byte("<x:xmpmeta/>")
			if c.alpha {
				p.Alpha = picture(7, 5, 1, c.max, "alpha").Pix
			}
			put(t, p, dir, "train", side, c.file)
		}
		out := t.TempDir()
		p := cutAll(t, dir, out)
		require.Equal(t, 6, p.Splits[0].Crops) // columns 0, 2, 3; rows 0, 1
		require.NoError(t, os.CopyFS(filepath.Join(dir, "crop"), os.DirFS(filepath.Join(out, "crop"))))
		for n, at := range [][2]int{{0, 0}, {2, 0}, {3, 0}, {0, 1}, {2, 1}, {3, 1}} {
			isPart(t, dir, "train/input/"+c.file, fmt.Sprintf("train/input_crops/a-%d.png", n+1), at[0], at[1], 4)
			isPart(t, dir, "train/target/"+c.file, fmt.Sprintf("train/target_crops/a-%d.png", n+1), at[0], at[1], 4)
		}
		isPart(t, dir, "test/input/b.png", "val/input_crops/b.png", 2, 1, 2)
		crop, err := photo.Open(filepath.Join(out, "crop/train/input_crops/a-1.png"))
		require.NoError(t, err)
		require.Equal(t, photo.Metadata{}, crop.Meta)
	}
}

// TestPlaces has GoPro where the release's files and other projects have it.
func TestPlaces(t *testing.T) {
	for _, c := range []struct{ files, source, train, test string }{
		{"datasets/GoPro/{train,test}/{input,target}/s-1.png", "datasets/GoPro", "datasets/GoPro/train/input", "datasets/GoPro/test/input"},
		{"datasets/GoPro/{train,test}/{input,target}/s-1.png", "datasets", "datasets/GoPro/train/input", "datasets/GoPro/test/input"},
		{"datasets/GoPro/{train,test/GoPro}/{input,target}/s-1.png", "datasets/GoPro", "datasets/GoPro/train/input", "datasets/GoPro/test/GoPro/input"},
		{"datasets/{GoPro/train,test/GoPro,test/HIDE}/{input,target}/s-1.png", "datasets/GoPro", "datasets/GoPro/train/input", "datasets/test/GoPro/input"},
		{"datasets/{GoPro/train,test/GoPro,test/HIDE}/{input,target}/s-1.png", "datasets", "datasets/GoPro/train/input", "datasets/test/GoPro/input"},
		{"datasets/Deblurring/{train,test}/{GoPro,HIDE}/{input,target}/s-1.png", "datasets", "datasets/Deblurring/train/GoPro/input", "datasets/Deblurring/test/GoPro/input"},
		{"GOPRO_Large/{train,test}/s/{blur,blur_gamma,sharp}/1.png", "GOPRO_Large", "GOPRO_Large/train/*/blur", "GOPRO_Large/test/*/blur"},
		{"GOPRO_Large/{train,test}/s/{blur,blur_gamma,sharp}/1.png", ".", "GOPRO_Large/train/*/blur", "GOPRO_Large/test/*/blur"},
		{"x/{train,test}/{blur,sharp}/s-1.png", "x", "x/train/blur", "x/test/blur"},
		{"x/{Train,Test}/{blurry,sharp}/s-1.png", "x", "x/Train/blurry", "x/Test/blurry"},
		{"x/{train,test}/{lq,gt}/s/1.png", "x", "x/train/lq", "x/test/lq"},
		{"x/{train,test}/{LQ,GT}/s-1.jpg", "x", "x/train/LQ", "x/test/LQ"},
	} {
		t.Run(c.files+" "+c.source, func(t *testing.T) {
			dir := tree(t, 4, 4, c.files)
			out := t.TempDir()
			p := cutAll(t, filepath.Join(dir, c.source), out)
			require.Equal(t, []string{filepath.Join(dir, c.train), filepath.Join(dir, c.test)}, []string{p.Splits[0].Input, p.Splits[1].Input})
			require.Equal(t, []string{
				"prepare.json", "train/input_crops/s-1-1.png", "train/target_crops/s-1-1.png", "val/input_crops/s-1.png", "val/target_crops/s-1.png",
			}, below(t, filepath.Join(out, "crop")))
			gamma := "beside " + p.Splits[0].Input + " and " + p.Splits[0].Target + ", blur_gamma is left out"
			require.Equal(t, strings.Contains(c.files, "gamma"), strings.Contains(strings.Join(p.Notes, "\n"), gamma))
		})
	}
}

func TestOnePart(t *testing.T) {
	dir := tree(t, 4, 4, "test/{input,target}/1.png")
	p := cutAll(t, dir, t.TempDir())
	require.Len(t, p.Splits, 1)
	require.Equal(t, dir+" has no folder train with photos, so there will be no crops for train", p.Notes[0])
}

func TestWorkersDoNotMatter(t *testing.T) {
	dir := tree(t, 9, 7, "train/{input,target}/{1,2,3,4,5,6,7,8,9}.png", "test/{input,target}/{1,2,3}.png")
	var first map[string]string
	for _, workers := range []int{1, 2, 7, 0} {
		out := t.TempDir()
		calls := map[string]int{}
		inOrder := true
		cutAll(t, dir, out, func(o *GoProOptions) {
			o.Workers = workers
			o.Progress = func(what string, done, total int) {
				calls[what]++
				inOrder = inOrder && done == calls[what] && done <= total
			}
		})
		require.True(t, inOrder)
		require.Equal(t, map[string]int{"checking train": 9, "checking val": 3, "cutting train": 9, "cutting val": 3}, calls)
		got := map[string]string{}
		for _, file := range below(t, out) {
			data, err := os.ReadFile(filepath.Join(out, file))
			require.NoError(t, err)
			got[file] = string(data)
		}
		require.Len(t, got, 1+2*(9*4*3+3))
		if first == nil {
			first = got
		}
		require.Equal(t, first, got)
	}
}

func TestGoesOn(t *testing.T) {
	dir, out := tree(t, 4, 6, "train/{input,target}/{1,2,3}.png", "test/{input,target}/{1,2}.png"), t.TempDir()
	cutAll(t, dir, out)
	crops := func(name string) string { return filepath.Join(out, "crop", "train", name) }
	old := time.Now().Add(-time.Hour)
	for _, file := range below(t, dir) {
		require.NoError(t, os.Chtimes(filepath.Join(dir, file), old, old))
	}
	before := map[string]time.Time{}
	for _, file := range below(t, out) {
		at := time.Now().Add(-time.Minute)
		require.NoError(t, os.Chtimes(filepath.Join(out, file), at, at))
		info, err := os.Stat(filepath.Join(out, file))
		require.NoError(t, err)
		before[file] = info.ModTime()
	}
	p := cutAll(t, dir, out)
	require.Equal(t, []int{0, 6, 0, 2}, []int{p.Splits[0].Written, p.Splits[0].Kept, p.Splits[1].Written, p.Splits[1].Kept})

	// Missing, cut short, of another size, another kind, older than its photo: cut again. The rest stays.
	require.NoError(t, os.Remove(crops("input_crops/1-1.png")))
	require.NoError(t, os.Truncate(crops("target_crops/1-2.png"), 100))
	put(t, picture(3, 4, 3, 255, ""), crops("input_crops/2-1.png"))
	put(t, picture(4, 4, 3, 65535, ""), crops("input_crops/2-2.png"))
	put(t, picture(4, 4, 1, 255, ""), crops("target_crops/2-2.png"))
	require.NoError(t, os.Chtimes(crops("target_crops/3-1.png"), old.Add(-time.Hour), old.Add(-time.Hour)))
	p = cutAll(t, dir, out)
	require.Equal(t, []int{5, 1, 0, 2}, []int{p.Splits[0].Written, p.Splits[0].Kept, p.Splits[1].Written, p.Splits[1].Kept})
	var rewritten []string
	for _, file := range below(t, out) {
		info, err := os.Stat(filepath.Join(out, file))
		require.NoError(t, err)
		if !info.ModTime().Equal(before[file]) && file != "crop/prepare.json" {
			rewritten = append(rewritten, strings.TrimPrefix(file, "crop/train/"))
		}
	}
	require.Equal(t, strings.Fields("input_crops/1-1.png input_crops/2-1.png input_crops/2-2.png target_crops/1-2.png target_crops/2-2.png target_crops/3-1.png"), rewritten)
	fresh := t.TempDir()
	cutAll(t, dir, fresh)
	for _, file := range below(t, fresh) {
		a, err := os.ReadFile(filepath.Join(fresh, file))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(out, file))
		require.NoError(t, err)
		require.True(t, bytes.Equal(a, b), file)
	}
}

// TestStops ends the work in the middle: what is there is whole, and the next run goes on.
func TestStops(t *testing.T) {
	dir, out := tree(t, 12, 12, "train/{input,target}/{1,2,3,4,5,6,7,8}.png", "test/{input,target}/1.png"), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := lay(t, dir, out, func(o *GoProOptions) {
		o.Progress = func(what string, done, _ int) {
			if what == "cutting train" && done == 3 {
				cancel()
			}
		}
	})
	require.NoError(t, err)
	require.Equal(t, context.Canceled, p.Run(ctx))
	there := below(t, out)
	require.Less(t, len(there), 1+2*8*25)
	require.Greater(t, len(there), 2*3*25)
	for _, file := range there {
		if filepath.Base(file) != "prepare.json" {
			_, err := photo.Open(filepath.Join(out, file)) // none is a temporary one, and all are whole
			require.NoError(t, err)
		}
	}
	s := cutAll(t, dir, out).Splits[0]
	require.Equal(t, p.Splits[0].Written, s.Kept)
	require.Equal(t, 8*25, s.Kept+s.Written)

	_, err = FindGoPro(ctx, GoProOptions{Source: dir, Output: out, Cutting: Cutting{4, 2, 2}})
	require.Equal(t, context.Canceled, err)
}

// TestBadPairs lists everything that is wrong, and writes nothing.
func TestBadPairs(t *testing.T) {
	dir := tree(t, 4, 4, "train/{input,target}/{fine,size,depth,colour,text}.png", "train/input/alone.png", "test/{input,target}/1.png", "test/target/2.png")
	put(t, picture(4, 5, 3, 255, ""), dir, "train/input/size.png")
	put(t, picture(4, 4, 3, 65535, ""), dir, "train/input/depth.png")
	put(t, picture(4, 4, 1, 255, ""), dir, "train/target/colour.png")
	put(t, picture(9, 3, 3, 255, ""), dir, "train/target/small.png")
	put(t, picture(9, 3, 3, 255, ""), dir, "train/input/small.png")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "train/target/text.png"), []byte("no photo"), 0o666))
	out := filepath.Join(dir, "out")
	p, err := lay(t, dir, out)
	require.NoError(t, err)
	var kinds []string
	for _, problem := range p.Problems {
		kinds = append(kinds, problem.Kind)
	}
	slices.Sort(kinds)
	require.Equal(t, []string{Depth, Missing, Missing, Size, Small, Unreadable}, kinds)
	require.Contains(t, messages(p.Problems), "small: "+dir+"/train/input/small.png is 9×3, smaller than 4×4")
	require.Error(t, p.Run(t.Context()))
	require.NoDirExists(t, out)
}

// TestDamagedPhotos has damage that no header shows: the other pairs are cut, and after repair the rest.
func TestDamagedPhotos(t *testing.T) {
	dir, out := tree(t, 40, 30, "train/{input,target}/{1,2,3}.png", "test/{input,target}/1.png"), t.TempDir()
	whole := func(o *GoProOptions) { o.Cutting = Cutting{20, 20, 20} }
	file := filepath.Join(dir, "train/target/2.png")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(file, info.Size()-50))
	for _, name := range []string{"train/input/3.png", "train/target/3.png"} {
		putTurned(t, picture(40, 60, 3, 255, name), dir, name)
	}
	p, err := lay(t, dir, out, whole)
	require.NoError(t, err)
	require.Empty(t, p.Problems)
	require.NoError(t, p.Run(t.Context()))
	require.Len(t, p.Problems, 3)
	for _, problem := range p.Problems {
		require.Equal(t, Unreadable, problem.Kind)
		require.Contains(t, problem.Message, problem.Files[0])
		if problem.Files[0] != file {
			require.Contains(t, problem.Message, "3.png is 60×40, 8 bits, colour, and not 40×60, 8 bits, colour as its first bytes say")
		}
	}
	s := p.Splits[0]
	require.Equal(t, []int{14, 4, 0}, []int{s.Crops, s.Written, s.Kept}) // 4 + 4 + 6
	for _, path := range below(t, out) {
		require.False(t, strings.Contains(path, "/2-"), "half a pair: %s", path)
	}
	put(t, picture(40, 30, 3, 255, ""), file)
	put(t, picture(40, 30, 3, 255, ""), dir, "train/input/3.png")
	put(t, picture(40, 30, 3, 255, ""), dir, "train/target/3.png")
	s = cutAll(t, dir, out, whole).Splits[0]
	require.Equal(t, []int{12, 8, 4}, []int{s.Crops, s.Written, s.Kept})
}

// TestOutputIsChecked refuses crops that are not these, which would be trained on.
func TestOutputIsChecked(t *testing.T) {
	dir, out := tree(t, 8, 8, "train/{input,target}/{1,2}.png", "test/{input,target}/1.png"), t.TempDir()
	cutAll(t, dir, out)
	other := func(o *GoProOptions) { o.Stride = 4 }
	_, err := lay(t, dir, out, other)
	require.EqualError(t, err, filepath.Join(out, "crop")+" has crops of 4 at stride 2, and of 2 for validation: remove them, or let the new ones go into another folder")
	_, err = lay(t, dir, out, func(o *GoProOptions) { o.Cutting = Released })
	require.ErrorContains(t, err, "has crops of 4 at stride 2")

	record := filepath.Join(out, "crop", "prepare.json")
	require.NoError(t, os.WriteFile(record, []byte("{"), 0o666))
	_, err = lay(t, dir, out)
	require.ErrorContains(t, err, record+" is damaged")
	require.NoError(t, os.Remove(record)) // as where the release's script made them
	_, err = lay(t, dir, out)
	require.ErrorContains(t, err, "has crops of 512 at stride 256, and of 256 for validation")

	require.NoError(t, os.RemoveAll(out))
	cutAll(t, dir, out, other)
	stranger := put(t, picture(4, 4, 3, 255, ""), out, "crop/train/input_crops/3-1.png")
	p, err := lay(t, dir, out, other)
	require.NoError(t, err)
	require.Equal(t, []string{"foreign: " + stranger}, messages(p.Problems))
	require.NoError(t, os.Remove(stranger))

	p, err = lay(t, dir, out, other)
	require.NoError(t, err)
	put(t, picture(4, 4, 3, 255, ""), stranger) // while the crops are being cut
	require.ErrorContains(t, p.Run(t.Context()), "holds 8 of 8 crops, and 1 other photos")
}

// TestNamesOfCrops: names that are too long with a crop's number are problems before anything is written; the longest are none.
func TestNamesOfCrops(t *testing.T) {
	long, longest, scene := strings.Repeat("x", 250), strings.Repeat("y", 249), strings.Repeat("s", 130)
	dir, out := tree(t, 4, 4, "train/{input,target}/"+long+".png", "train/{input,target}/"+longest+".png"), filepath.Join(t.TempDir(), "out")
	p, err := lay(t, dir, out)
	require.NoError(t, err)
	require.Len(t, p.Problems, 1)
	require.Equal(t, Unwritable, p.Problems[0].Kind)
	require.Contains(t, Describe(p.Problems), "crops that cannot be written (1): shorten the names of the photos")
	require.Contains(t, p.Problems[0].Message, long+"-1.png: cannot write: file name too long")
	require.NoDirExists(t, out)

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "train", "input", long+".png")))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "train", "target", long+".png")))
	require.Equal(t, 1, cutAll(t, dir, out).Splits[0].Written)

	dir = tree(t, 4, 4, "train/"+scene+"/{blur,sharp}/"+scene+".png") // legal by themselves
	p, err = lay(t, dir, filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	require.Len(t, p.Problems, 1)
}

func TestGoProErrors(t *testing.T) {
	dir := tree(t, 8, 8, "crops/train/{input_crops,target_crops}/1.png", "two/train/{input,target,blur,sharp}/1.png", "flat/1.png", "some/{train,test}/{input,target}/1.png")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "empty/train/input"), 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "empty/train/target"), 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "nothing"), 0o777))
	for source, want := range map[string]string{
		"none":       "none: there is no such folder",
		"flat/1.png": "1.png is a file: give a folder",
		"nothing":    "nothing has no folder train or test in which there are folders called input and target, ",
		"flat":       "flat has no folder train or test",
		"empty":      "hold no photo",
		"crops":      "hold crops already: give the folder of the whole photos",
		"two":        "holds both input and target, and blur and sharp: move one pair elsewhere",
	} {
		_, err := lay(t, filepath.Join(dir, source), t.TempDir())
		require.ErrorContains(t, err, want, source)
		require.ErrorContains(t, err, filepath.Join(dir, strings.TrimSuffix(source, "/1.png")), source)
	}
	file := filepath.Join(dir, "flat", "1.png") // in the way of a folder
	p, err := lay(t, filepath.Join(dir, "some"), file)
	if err == nil {
		err = p.Run(t.Context())
	}
	require.ErrorContains(t, err, file)
}

// A second run into one folder is refused before it writes anything.
func TestTwoRunsIntoOneFolder(t *testing.T) {
	dir, out := tree(t, 4, 4, "train/{input,target}/{1,2}.png", "test/{input,target}/1.png"), t.TempDir()
	second, err := lay(t, dir, out)
	require.NoError(t, err)
	tried := false
	first, err := lay(t, dir, out, func(o *GoProOptions) {
		o.Workers = 1
		o.Progress = func(what string, done, _ int) {
			if what != "cutting train" || done != 1 {
				return
			}
			tried = true
			before := below(t, out)
			require.ErrorContains(t, second.Run(t.Context()), fmt.Sprintf("%s is in use by process %d on ", filepath.Join(out, "crop"), os.Getpid()))
			require.Equal(t, before, below(t, out))
		}
	})
	require.NoError(t, err)
	require.NoError(t, first.Run(t.Context()))
	require.True(t, tried)
	require.NoFileExists(t, filepath.Join(out, "crop", ".lock"))
	require.NoError(t, second.Run(t.Context()), "and it is free again")
}

// A record that an editor of Windows saved.
func TestRecordOfWindows(t *testing.T) {
	dir, out := tree(t, 4, 6, "train/{input,target}/1.png", "test/{input,target}/1.png"), t.TempDir()
	p := cutAll(t, dir, out)
	text, err := os.ReadFile(p.record())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.record(), append([]byte("\uFEFF"), bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))...), 0o666))
	require.Zero(t, cutAll(t, dir, out).Splits[0].Written)
}
