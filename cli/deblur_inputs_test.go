package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree is the layout that TestJobs works in.
var tree = []string{
	"a.jpg", "b.PNG", "c.bmp", "d.webp", "notes.txt", "odd.dat", ".hidden.png", "a_deblurred.jpg",
	"in/x.png", "in/deep/x.png", "in/deep/er/y.tif", "in/.git/z.png", "in/out/old.png", "empty/readme", "same/p.jpg", "same/p.png",
	"films/clip.mp4", "films/clip_deblurred.mp4", "films/old.AVI", "mixed/m.mov", "mixed/m.png",
}

func TestJobs(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range tree {
		writeText(t, path, path)
	}
	if err := os.Symlink("in", "link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args string // inputs, then options
		want string // input>output pairs, or part of the error
	}{
		{"beside", "a.jpg", "a.jpg>a_deblurred.jpg"},
		{"the extension's case is kept", "b.PNG", "b.PNG>b_deblurred.PNG"},
		{"BMP becomes PNG", "c.bmp", "c.bmp>c_deblurred.png"},
		{"BMP where asked for", "c.bmp -f bmp", "c.bmp>c_deblurred.bmp"},
		{"an unknown extension becomes PNG", "odd.dat", "odd.dat>odd_deblurred.png"},
		{"a format for all", "a.jpg d.webp -f png", "a.jpg>a_deblurred.png d.webp>d_deblurred.png"},
		{"jpg is jpeg", "a.jpg -f jpeg", "a.jpg>a_deblurred.jpg"},
		{"a suffix", "a.jpg --suffix -sharp", "a.jpg>a-sharp.jpg"},
		{"into a file", "a.jpg -o new/name.png", "a.jpg>new/name.png"},
		{"into a file without extension", "a.jpg -o name -f png", "a.jpg>name"},
		{"into a folder that is there", "a.jpg -o empty", "a.jpg>empty/a.jpg"},
		{"into a folder to be made", "a.jpg -o new/", "a.jpg>new/a.jpg"},
		{"several into a folder", "a.jpg b.PNG -o new", "a.jpg>new/a.jpg b.PNG>new/b.PNG"},
		{"a folder", "in -o new", "in/x.png>new/x.png"},
		{"a folder, mirrored", "in -r -o new", "in/deep/er/y.tif>new/deep/er/y.tif in/deep/x.png>new/deep/x.png in/out/old.png>new/out/old.png in/x.png>new/x.png"},
		{"a link to a folder", "link -o new", "link/x.png>new/x.png"},
		{"results inside the folder are no inputs", "in -r -o in/out", "in/deep/er/y.tif>in/out/deep/er/y.tif in/deep/x.png>in/out/deep/x.png in/x.png>in/out/x.png"},
		{"earlier results in a folder are no inputs", ". -f png", "a.jpg>a_deblurred.png b.PNG>b_deblurred.PNG c.bmp>c_deblurred.png d.webp>d_deblurred.png"},
		{"but they are where named", "a_deblurred.jpg", "a_deblurred.jpg>a_deblurred_deblurred.jpg"},
		{"a pattern", "?.*[gp] -o new", "a.jpg>new/a.jpg c.bmp>new/c.png d.webp>new/d.webp"},
		{"a pattern without -r takes no folders", "i* -o new", "i*>"},
		{"a pattern with -r", "i* -r -o in/out", "in/deep/er/y.tif>in/out/deep/er/y.tif in/deep/x.png>in/out/deep/x.png in/x.png>in/out/x.png"},
		{"twice the same", "a.jpg ./a.jpg -o new/", "a.jpg>new/a.jpg"},
		{"missing", "a.jpg none.jpg -o new", "a.jpg>new/a.jpg none.jpg>"},
		{"no photo", "empty -o new", "empty>"},
		{"pipes", "-", "->-"},
		{"from a pipe", "- -o x.png", "->x.png"},
		{"into a pipe", "a.jpg -o -", "a.jpg>-"},
		{"a video", "films/clip.mp4", "films/clip.mp4>films/clip_deblurred.mp4"},
		{"a video, and photos in another format", "films/clip.mp4 a.jpg -f png -o new", "films/clip.mp4>new/clip.mp4 a.jpg>new/a.png"},
		{"a video into a file", "films/clip.mp4 -o new/name.WEBM", "films/clip.mp4>new/name.WEBM"},
		{"a video of an old kind becomes MKV", "films/old.AVI -o new/", "films/old.AVI>new/old.mkv"},
		{"a pattern takes videos", "films/*", "films/clip.mp4>films/clip_deblurred.mp4 films/old.AVI>films/old_deblurred.mkv"},
		{"a folder does not", "mixed -o new", "mixed/m.png>new/m.png"},
		{"a folder of videos", "films -o new", "films>"},
		{"a video into a pipe", "films/clip.mp4 -o -", "the video films/clip.mp4 cannot go to standard output"},
		{"a video into a photo", "films/clip.mp4 -o x.png", "-o x.png: videos are written as .mp4"},
		{"a video onto itself", "films/clip.mp4 -o films/", "would overwrite the input films/clip.mp4"},
		{"several into a pipe", "a.jpg b.PNG -o -", "2 photos cannot go into one output"},
		{"a folder into a pipe", "in -r -o -", "4 photos cannot go into one output"},
		{"a pipe into a folder", "- a.jpg -o new", "where should the photo from standard input go?"},
		{"an unknown format", "a.jpg -o name", "-o name has the extension of no image format"},
		{"contradiction", "a.jpg -o x.png -f jpg", "-o x.png and -f jpeg differ"},
		{"onto itself", "a.jpg -o ./a.jpg", "would overwrite the input a.jpg"},
		{"a folder onto itself", "in -o in", "would overwrite the input in/x.png"},
		{"through a link", "in/x.png -o link", "would overwrite the input in/x.png"},
		{"onto another input", "a.jpg a_deblurred.jpg", "a.jpg> a_deblurred.jpg>a_deblurred_deblurred.jpg"},
		{"one of a folder onto another input", "same -f png --suffix=", "would overwrite the input same/p.png"},
		{"no suffix", "a.jpg --suffix=", "would overwrite the input a.jpg"},
		{"two into one", "same -f png -o new", "same/p.jpg>new/p.png same/p.png>"},
		{"two folders into one", "in in/deep -o new", "in/x.png>new/x.png in/deep/x.png>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := []string{}
			jobs, _, err := parseDeblur(t, strings.Fields(c.args)).jobs()
			if err != nil {
				require.Contains(t, err.Error(), c.want)
				require.IsType(t, &usageError{}, err)
				return
			}
			for _, j := range jobs {
				got = append(got, filepath.ToSlash(j.input+">"+j.output))
				require.Equal(t, j.output == "", j.err != nil)
			}
			require.Equal(t, c.want, strings.Join(got, " "))
		})
	}
	require.Equal(t, len(tree), len(files(t, "."))-1, "finding jobs must not write (the link counts as one)")
}

func TestVideosInFolders(t *testing.T) {
	t.Chdir(t.TempDir())
	writeText(t, "films/clip.mp4", "")
	got := deblurFake(t, nil, "films")
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, "error: films: the folder holds no photo, and videos in folders are passed over: name them, or a pattern such as 'films/*.mp4'\npassed over: 1 .mp4\n", filepath.ToSlash(got.stderr))
}

func TestNoiseNames(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/deep/x.png", picture(2, 2))
	write(t, "in/y.png", picture(2, 2))
	engine := &fakeEngine{}
	require.Zero(t, deblurFake(t, engine, "in", "-r", "-o", "out").code)
	require.Equal(t, []string{"deep/x.png", "y.png"}, engine.names)
	engine = &fakeEngine{}
	require.Zero(t, deblurFake(t, engine, "in/deep/x.png", "-o", "out").code)
	require.Equal(t, []string{"x.png"}, engine.names)
}
