package lock

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain holds a lock in a process of its own, until its input ends.
func TestMain(m *testing.M) {
	path := os.Getenv("LOCK_TEST_PATH")
	if path == "" {
		os.Exit(m.Run())
	}
	_, err := Acquire(path)
	fmt.Println(err)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// otherProcess starts one that has the lock.
func otherProcess(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self)
	c.Env = append(os.Environ(), "LOCK_TEST_PATH="+path)
	_, err = c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", line)
	return c
}

func TestOtherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	other := otherProcess(t, path)
	host, err := os.Hostname()
	require.NoError(t, err)
	_, err = Acquire(path)
	var held *HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, fmt.Sprintf("process %d on %s", other.Process.Pid, host), held.Holder)

	require.NoError(t, other.Process.Kill())
	_ = other.Wait() // it was killed
	require.FileExists(t, path, "what the dead left")
	l, err := Acquire(path)
	require.NoError(t, err)
	_, err = Acquire(path)
	require.EqualError(t, err, fmt.Sprintf("in use by process %d on %s", os.Getpid(), host))
	l.Release()
	require.NoFileExists(t, path)
	l.Release()
	(*Lock)(nil).Release()
}

// A shorter text replaces a longer one.
func TestStaleText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 200)), 0o666))
	l, err := Acquire(path)
	require.NoError(t, err)
	defer l.Release()
	require.NotContains(t, holder(path), "xx")
}

func TestNoFolder(t *testing.T) {
	_, err := Acquire(filepath.Join(t.TempDir(), "none", "x.lock"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Files that holders remove under those who wait let nobody in.
func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	var inside, got atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 300 {
				l, err := Acquire(path)
				if err != nil {
					continue
				}
				if inside.Add(1) > 1 {
					t.Error("two hold the lock")
				}
				got.Add(1)
				time.Sleep(20 * time.Microsecond)
				inside.Add(-1)
				l.Release()
			}
		})
	}
	all.Wait()
	require.Greater(t, got.Load(), int32(8))
}
