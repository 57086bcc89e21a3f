//go:build linux || darwin

package models

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDiskFull: what fitted is kept, and the same pull goes on when there is room.
func TestDiskFull(t *testing.T) {
	if os.Getenv("HIDIFF_DISK_FULL") == "" { // the limit holds for whatever the testing package writes, too
		child := exec.Command(os.Args[0], "-test.run=^TestDiskFull$")
		child.Env = append(os.Environ(), "HIDIFF_DISK_FULL=1")
		out, err := child.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	models := folder(t)
	build(t, nil)
	h := newHost(t, tinyBundle(t, nil))
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = 100_000
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	_, err := Pull(t.Context(), h.URL+"/x.safetensors", h.options(""))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	require.ErrorIs(t, err, syscall.EFBIG)
	require.ErrorContains(t, err, "the same command goes on from there")

	_, err = Pull(t.Context(), h.URL+"/x.safetensors", h.options(""))
	require.NoError(t, err)
	require.Equal(t, []string{"", `bytes=100000- "one"`}, h.asked())
	require.Equal(t, []string{"x.safetensors"}, names(t, models))
}
