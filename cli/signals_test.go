//go:build unix

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testgpu"
)

// running is a process of the program.
type running struct {
	*exec.Cmd
	stderr bytes.Buffer
}

// begin starts the program, and waits until a file is there that it makes.
func begin(t *testing.T, ready string, c *exec.Cmd) *running {
	t.Helper()
	r := &running{Cmd: c}
	c.Stderr = &r.stderr
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	require.Eventually(t, func() bool {
		found, err := filepath.Glob(ready)
		return err == nil && len(found) > 0
	}, 2*time.Minute, time.Millisecond)
	return r
}

// hangUp sends SIGHUP as often as a closing terminal does, and returns the exit code.
func (r *running) hangUp(t *testing.T) int {
	t.Helper()
	for range 3 {
		require.NoError(t, r.Process.Signal(syscall.SIGHUP))
		time.Sleep(2 * time.Millisecond)
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = r.Process.Kill() })
	defer late.Stop()
	_ = r.Wait()
	return r.ProcessState.ExitCode()
}

func noTemporaries(t *testing.T, dir string) {
	t.Helper()
	for _, name := range files(t, dir) {
		require.NotContains(t, name, ".tmp")
	}
}

// manyPairs is a command that makes pairs for some seconds.
func manyPairs(t *testing.T) []string {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "a.png", street(300, 200))
	return []string{"synth", "a.png", "-o", "out", "--per-photo", "300", "--crop", "128", "-j", "1"}
}

func TestHangUpEndsInOrder(t *testing.T) {
	args := manyPairs(t)
	r := begin(t, "out/input/*", hidiffProcess(t, args...))
	require.Equal(t, exitInterrupted, r.hangUp(t), r.stderr.String())
	require.Contains(t, r.stderr.String(), "hidiff: interrupted")
	noTemporaries(t, "out")
	input, err := filepath.Glob("out/input/*.png")
	require.NoError(t, err)
	target, err := filepath.Glob("out/target/*.png")
	require.NoError(t, err)
	require.Len(t, target, len(input))
}

// TestNohup: where SIGHUP is ignored from the start, it stays so.
func TestNohup(t *testing.T) {
	args := manyPairs(t)
	args[5] = "12"
	self := hidiffProcess(t, args...)
	shell := exec.Command("sh", "-c", `trap '' HUP; exec "$0" "$@"`)
	shell.Args, shell.Env = append(shell.Args, self.Args...), self.Env
	r := begin(t, "out/input/*", shell)
	require.Equal(t, exitOK, r.hangUp(t), r.stderr.String())
	require.Contains(t, r.stderr.String(), "made 12 pairs")
}

// TestHangUpOfTraining: it saves, though what reads its messages is gone, too.
func TestHangUpOfTraining(t *testing.T) {
	testgpu.Need(t)
	workshop(t)
	c := hidiffProcess(t, "train", "-opt", "s1.yml", "--force_yml", "train:total_iter=100000", "--force_yml", "logger:save_checkpoint_freq=100000")
	read, messages, err := os.Pipe()
	require.NoError(t, err)
	c.Stdout = messages
	ready := "experiments/tiny_S1/train_tiny_S1_*.log"
	c.Stderr = messages
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	require.NoError(t, messages.Close())
	require.Eventually(t, func() bool {
		found, _ := filepath.Glob(ready)
		if len(found) == 0 {
			return false
		}
		text, err := os.ReadFile(found[0])
		return err == nil && strings.Contains(string(text), "iter:")
	}, 2*time.Minute, time.Millisecond)
	require.NoError(t, read.Close())
	r := &running{Cmd: c}
	require.Equal(t, exitInterrupted, r.hangUp(t))
	states, err := filepath.Glob("experiments/tiny_S1/training_states/*.state")
	require.NoError(t, err)
	require.Len(t, states, 1)
	noTemporaries(t, "experiments")
}

func TestHangUpOfVideo(t *testing.T) {
	testgpu.Need(t)
	t.Chdir(t.TempDir())
	clip(t, "clip.mp4", "")
	r := begin(t, "out/.hidiff-*.tmp", hidiffProcess(t, "deblur", "clip.mp4", "-o", "out/", "-x", "-m", tiny))
	require.Equal(t, exitInterrupted, r.hangUp(t), r.stderr.String())
	require.Empty(t, files(t, "out"))
}
