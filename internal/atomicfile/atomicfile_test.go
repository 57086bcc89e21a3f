package atomicfile

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// names lists a folder.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWriteReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, text := range []string{"first", "second"} {
		require.NoError(t, WriteBytes(path, []byte(text)))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(data))
	}
	require.Equal(t, []string{"a"}, names(t, dir))
}

func TestNothingIsThereBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, WriteBytes(path, []byte("old")))
	for range 2 { // two at once get in nobody's way
		f, err := Create(path)
		require.NoError(t, err)
		defer func() {
			f.Discard()
			require.NotContains(t, names(t, dir), filepath.Base(f.Name()))
		}()
		require.NoError(t, os.WriteFile(f.Name(), []byte("half"), 0))
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(data))
	require.Len(t, names(t, dir), 3)
}

func TestDiscardAfterCommitKeepsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	f, err := Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Commit())
	f.Discard()
	require.FileExists(t, path)
}

// bad are paths in a folder that cannot be written, and why.
func bad(t *testing.T, dir string) map[string]string {
	t.Helper()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o666))
	paths := map[string]string{
		filepath.Join(dir, "folder"):                 "this is a folder",
		filepath.Join(dir, strings.Repeat("x", 256)): "choose a shorter name",
		filepath.Join(dir, "file", "x"):              "not a directory",
		os.DevNull:                                   "not an ordinary file",
	}
	if os.Getuid() != 0 {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "closed"), 0o555))
		paths[filepath.Join(dir, "closed", "x")] = "permission denied"
	}
	return paths
}

func TestWhatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	var c Checker
	for path, says := range bad(t, dir) {
		for _, err := range []error{WriteBytes(path, nil), c.Check(path)} {
			require.ErrorContains(t, err, path+": cannot write: ")
			require.ErrorContains(t, err, says)
			require.NotContains(t, err.Error(), ".tmp")
		}
	}
}

// Bytes count, not letters.
func TestLongestNames(t *testing.T) {
	dir := t.TempDir()
	var c Checker
	for _, name := range []string{strings.Repeat("x", 255), strings.Repeat("é", 127) + "x"} {
		require.NoError(t, c.Check(filepath.Join(dir, name)))
		require.NoError(t, WriteBytes(filepath.Join(dir, name), nil))
	}
	require.ErrorContains(t, c.Check(filepath.Join(dir, strings.Repeat("é", 128))), "choose a shorter name")
}

func TestCheckBelowMissingFolders(t *testing.T) {
	dir := t.TempDir()
	var c Checker
	long := strings.Repeat("x", 256)
	require.NoError(t, c.Check(filepath.Join(dir, "a", "b", "c")))
	require.ErrorContains(t, c.Check(filepath.Join(dir, "a", "b", long)), "choose a shorter name")
	require.ErrorContains(t, c.Check(filepath.Join(dir, "a", long, "c")), "choose a shorter name")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o666))
	require.ErrorContains(t, c.Check(filepath.Join(dir, "file", "b", "c")), "not a directory")
	require.Equal(t, []string{"file"}, names(t, dir))
	t.Chdir(dir)
	require.NoError(t, c.Check("new"))
	require.NoError(t, c.Check(filepath.Join("new", "er")))
}

func TestErrorsOfTheFunctionArePassedOn(t *testing.T) {
	dir := t.TempDir()
	err := Write(filepath.Join(dir, "x"), func(w io.Writer) error {
		_, err := w.Write([]byte("half"))
		require.NoError(t, err)
		return io.ErrUnexpectedEOF
	})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Empty(t, names(t, dir))
}
