//go:build linux || darwin

package experiment

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// limitFiles makes writes beyond size fail, as on a full disk.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = size
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	return func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old)) }
}

// TestDiskFull: whichever file the disk is too small for, nothing changes on it.
func TestDiskFull(t *testing.T) {
	if os.Getenv("HIDIFF_DISK_FULL") == "" { // the limit holds for whatever the testing package writes, too
		child := exec.Command(os.Args[0], "-test.run=^TestDiskFull$")
		child.Env = append(os.Environ(), "HIDIFF_DISK_FULL=1")
		out, err := child.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	e := newExperiment(t, "x")
	c := testCheckpoint(4)
	_, err := e.Save(c)
	require.NoError(t, err)
	before := snapshot(t, e.Dir)
	size := func(name string) uint64 { return uint64(len(before[name])) }
	for name, limit := range map[string]uint64{
		"net_g_":  size("models/net_g_4.pth") / 2,
		"net_le_": size("models/net_le_4.pth") - 1,
		".state":  size("training_states/4.state") - 1,
	} {
		for _, iter := range []int{4, 5} { // in an old one's place, and beside it
			c := testCheckpoint(iter)
			c.Params[0].Value[0]++
			lift := limitFiles(t, limit)
			_, err := e.Save(c)
			lift()
			require.ErrorIs(t, err, syscall.EFBIG)
			require.ErrorContains(t, err, name)
			require.Equal(t, before, snapshot(t, e.Dir))
		}
	}

	_, err = e.Save(testCheckpoint(5)) // room again
	require.NoError(t, err)
}
