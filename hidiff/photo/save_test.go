package photo

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSave(t *testing.T) {
	dir := t.TempDir()
	p := noise(7, 5, 3, 255, true)
	for name, want := range map[string]Format{"a.png": PNG, "b.JPG": JPEG, "c.tif": TIFF, "d.webp": WebP, "e.bmp": BMP} {
		path := filepath.Join(dir, name)
		require.NoError(t, Save(path, p, EncodeOptions{}))
		q, err := Open(path)
		require.NoError(t, err)
		require.Equal(t, want, q.Format)
		require.Equal(t, want.KeepsAlpha(), q.Alpha != nil)
	}
	explicit := filepath.Join(dir, "photo.dat")
	require.NoError(t, Save(explicit, p, EncodeOptions{Format: TIFF}))
	require.Equal(t, 6, count(t, dir), "nothing but the files asked for")
}

func TestSaveKeepsModeAndLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.png"), filepath.Join(dir, "link.png")
	require.NoError(t, os.WriteFile(target, []byte("old"), 0o640))
	require.NoError(t, os.Symlink("target.png", link))
	require.NoError(t, Save(link, noise(2, 2, 1, 255, false), EncodeOptions{}))
	info, err := os.Lstat(target)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	info, err = os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	_, err = Open(target)
	require.NoError(t, err)
}

func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder.png")
	require.NoError(t, os.Mkdir(folder, 0o755))
	p := noise(2, 2, 1, 255, false)
	for path, says := range map[string]string{
		filepath.Join(dir, "x.gif"):             ".gif",
		filepath.Join(dir, "missing", "x.png"):  "cannot write",
		folder:                                  "folder",
		os.DevNull:                              "not an ordinary file",
		filepath.Join(folder, "x.png", "y.png"): "cannot write",
	} {
		err := Save(path, p, EncodeOptions{Format: map[bool]Format{true: PNG}[path == os.DevNull]})
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, says)
	}
	bad := *p
	bad.Pix = nil
	require.ErrorContains(t, Save(filepath.Join(dir, "bad.png"), &bad, EncodeOptions{}), "bad.png")
	require.Equal(t, 1, count(t, dir))
	if os.Getuid() != 0 {
		require.NoError(t, os.Chmod(folder, 0o555))
		require.ErrorContains(t, Save(filepath.Join(folder, "x.png"), p, EncodeOptions{}), "x.png")
	}
	require.Equal(t, 0, count(t, folder))
}

func count(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return len(entries)
}
