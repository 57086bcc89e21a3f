//go:build unix

package atomicfile

import (
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPermissions(t *testing.T) {
	dir := t.TempDir()
	fresh, old, link := filepath.Join(dir, "fresh"), filepath.Join(dir, "old"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(old, nil, 0o600))
	require.NoError(t, os.Symlink("old", link))
	defer syscall.Umask(syscall.Umask(0o027))
	for path, want := range map[string]fs.FileMode{fresh: 0o640, link: 0o600} {
		require.NoError(t, WriteBytes(path, []byte("new")))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), path)
	}
	to, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, "old", to)
	data, err := os.ReadFile(old)
	require.NoError(t, err)
	require.Equal(t, "new", string(data))
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = 1 << 20
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	err := WriteBytes(filepath.Join(dir, "x"), make([]byte, 3<<20))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	require.ErrorIs(t, err, syscall.EFBIG)
	require.Equal(t, filepath.Join(dir, "x")+": cannot write: file too large", err.Error())
	require.Empty(t, names(t, dir))
}
