package folder

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// tree makes empty files below a new folder.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range files {
		path := filepath.Join(dir, filepath.FromSlash(file))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, nil, 0o666))
	}
	return dir
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Skip("no links here:", err)
	}
}

func TestRead(t *testing.T) {
	dir := tree(t, "b.PNG", "a.jpg", "sub/c.tif", "sub/deep/d.webp", ".hidden.png", ".git/e.png", "notes.txt", "empty/readme", "f.png/g.bmp")
	c, err := Read(dir, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"a.jpg", "b.PNG", "f.png/g.bmp", "sub/c.tif", "sub/deep/d.webp"}, c.Photos)
	require.Empty(t, c.PassedOver)
	require.NoError(t, c.Err())

	c, err = Read(dir, Options{Flat: true})
	require.NoError(t, err)
	require.Equal(t, []string{"a.jpg", "b.PNG"}, c.Photos)

	c, err = Read(dir, Options{Skip: func(path string, isFolder bool) bool {
		require.Equal(t, isFolder, filepath.Ext(path) == "" && filepath.Base(path) != "readme" || filepath.Base(path) == "f.png", path)
		return path == filepath.Join(dir, "sub", "deep") || path == filepath.Join(dir, "a.jpg")
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"b.PNG", "f.png/g.bmp", "sub/c.tif"}, c.Photos)
}

// TestReadCountsWhatIsNotRead counts by kind, in any case, in subfolders, and looks into what has no extension.
func TestReadCountsWhatIsNotRead(t *testing.T) {
	dir := tree(t, "a.png", "b.heic", "c.HEIC", "sub/d.heif", "sub/e.dng", "f.CR3", "g.mp4", "h.gif", "i.avif", "j.jxl", ".hidden.heic", "notes.txt", "k.go", "makefile")
	data, err := photo.Encode(&photo.Photo{Width: 1, Height: 1, Channels: 1, Max: 255, Pix: []uint16{9}}, photo.EncodeOptions{Format: photo.PNG})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "noext"), data, 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "BMW"), []byte("BMW is a car"), 0o666))
	c, err := Read(dir, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"a.png"}, c.Photos)
	want := Kinds{".heic": 2, ".heif": 1, ".dng": 1, ".cr3": 1, ".mp4": 1, ".gif": 1, ".avif": 1, ".jxl": 1, NoExtension: 1}
	require.Equal(t, want, c.PassedOver)
	require.Equal(t, "2 .heic, 1 .avif, 1 .cr3, 1 .dng, 1 .gif, 1 .heif, 1 .jxl, 1 .mp4, 1 without extension", c.PassedOver.String())
	require.Equal(t, " that hidiff reads (3 .heic)", Kinds{".heic": 3}.Unread())
	require.Empty(t, Kinds{}.Unread())

	want.Add(Kinds{".heic": 1, ".jp2": 4})
	require.Equal(t, 3, want[".heic"])
	require.Equal(t, 4, want[".jp2"])
}

func TestReadFollowsLinks(t *testing.T) {
	dir := tree(t, "set/a.png", "elsewhere/b.png", "elsewhere/c.png")
	link(t, "../elsewhere", filepath.Join(dir, "set", "folder"))
	link(t, "../elsewhere/c.png", filepath.Join(dir, "set", "file.png"))
	link(t, "..", filepath.Join(dir, "set", "round"))
	link(t, "nowhere", filepath.Join(dir, "set", "lost.png")) // a photo that is missing, to be missed
	link(t, "nowhere", filepath.Join(dir, "set", "lost"))
	link(t, "set", filepath.Join(dir, "link"))
	c, err := Read(filepath.Join(dir, "link"), Options{})
	require.NoError(t, err)
	require.NoError(t, c.Err())
	require.Equal(t, []string{
		"a.png", "file.png", "folder/b.png", "folder/c.png", "lost.png", "round/elsewhere/b.png", "round/elsewhere/c.png",
	}, c.Photos)
}

func TestReadErrors(t *testing.T) {
	dir := tree(t, "a.png", "closed/b.png", "open/c.png")
	_, err := Read(filepath.Join(dir, "none"), Options{})
	require.EqualError(t, err, filepath.Join(dir, "none")+": there is no such folder")
	_, err = Read(filepath.Join(dir, "a.png"), Options{})
	require.ErrorContains(t, err, "a.png is a file: give a folder")

	closed := filepath.Join(dir, "closed")
	require.NoError(t, os.Chmod(closed, 0))
	defer os.Chmod(closed, 0o777)
	if _, err := os.ReadDir(closed); err == nil {
		t.Skip("this user may read everything")
	}
	c, err := Read(dir, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"a.png", "open/c.png"}, c.Photos)
	require.Equal(t, closed, c.Failed[0].Path)
	require.ErrorIs(t, c.Err(), fs.ErrPermission)
	require.Equal(t, 1, strings.Count(c.Err().Error(), closed))
}
