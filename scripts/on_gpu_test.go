// Package scripts holds what is run beside the program, and the tests of it.
package scripts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testenv"
)

// tiny is an option file of a network that trains in seconds on a CPU, on photos in the folder %s.
const tiny = `
name: tiny_S1
model_type: HI_Diff_S1
manual_seed: 3
datasets:
  train:
    type: PairedImageIRDataset
    dataroot_gt: %[1]s
    dataroot_lq: %[1]s
    io_backend: {type: disk}
    num_worker_per_gpu: 1
    batch_size_per_gpu: 1
    gt_size: 32
network_g: {type: Transformer, dim: 8, num_blocks: [1, 1, 1, 1], num_refinement_blocks: 1, heads: [1, 1, 1, 1], embed_dim: 4, group: 2}
network_le: {type: latent_encoder_gelu, in_chans: 6, embed_dim: 4, block_num: 1, group: 2, stage: 1}
train:
  total_iter: 100000
  warmup_iter: -1
  scheduler: {type: CosineAnnealingRestartCyclicLR, periods: [100000], restart_weights: [1], eta_mins: [1.0e-6]}
  optim_total: {type: AdamW, lr: 0.0002, weight_decay: 0.0001, betas: [0.9, 0.999]}
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
logger: {print_freq: 1, save_checkpoint_freq: 2}
`

// hanging is a torch that never comes to be, and what it started neither.
const hanging = `
import os, subprocess
child = subprocess.Popen(['sleep', '600'])
open(os.environ['SLEEPER'], 'w').write(str(child.pid))
child.wait()
`

// bare runs on-gpu as a bare machine would: with a path that has no Go, no home, and no network
// where that can be taken away.
type bare struct {
	python string
	prefix []string
	env    []string
}

func newBare(t *testing.T) *bare {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import lzma, sys; print(sys.executable)").Output()
	if err != nil {
		testenv.Missing(t, "GPU", err)
	}
	require.NoError(t, err)
	b := &bare{python: strings.TrimSpace(string(out)), env: []string{"PATH=/usr/bin:/bin"}}
	cache, err := os.UserCacheDir() // where software drivers keep what they compiled
	if err != nil {
		cache = t.TempDir()
	}
	b.env = append(b.env, "XDG_CACHE_HOME="+cache)
	if exec.Command("unshare", "-rn", "true").Run() == nil {
		b.prefix = []string{"unshare", "-rn"}
	}
	require.Error(t, b.command("-c", "import shutil, sys; sys.exit(not shutil.which('go'))").Run(), "a bare machine has no Go")
	return b
}

func (b *bare) command(args ...string) *exec.Cmd {
	argv := append(append([]string{}, b.prefix...), append([]string{b.python}, args...)...)
	c := exec.Command(argv[0], argv[1:]...)
	c.Env, c.Stdout, c.Stderr = b.env, os.Stderr, os.Stderr
	return c
}

// step is what results.json has of one.
type step struct {
	Name, Outcome string
	Lines         []struct {
		Event string
		Iter  int
	}
}

// results reads what a run has written so far.
func results(t *testing.T, out string) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(out, "results.json"))
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	var all struct{ Steps []step }
	require.NoError(t, json.Unmarshal(text, &all), "results.json must be whole at any time")
	return all.Steps
}

func find(steps []step, name string) (step, bool) {
	for _, s := range steps {
		if s.Name == name {
			return s, true
		}
	}
	return step{}, false
}

// over reports whether a process has ended, though nobody may have asked for its exit code.
func over(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// blocks is a picture with edges everywhere.
func blocks(size int) image.Image {
	img, random := image.NewGray(image.Rect(0, 0, size, size)), rand.New(rand.NewPCG(1, 2))
	for y := 0; y < size; y += 8 {
		for x := 0; x < size; x += 8 {
			draw.Draw(img, image.Rect(x, y, x+8, y+8), image.NewUniform(color.Gray{uint8(random.Uint32())}), image.Point{}, draw.Src)
		}
	}
	return img
}

// pack makes a kit of a small photo and the tiny network.
func pack(t *testing.T, folder string, more ...string) string {
	t.Helper()
	photos := filepath.Join(filepath.Dir(folder), "photos")
	for _, part := range []string{"train", "val"} {
		require.NoError(t, os.MkdirAll(filepath.Join(photos, part), 0o777))
		var file bytes.Buffer
		require.NoError(t, png.Encode(&file, blocks(640)))
		require.NoError(t, os.WriteFile(filepath.Join(photos, part, "blocks.png"), file.Bytes(), 0o666))
	}
	options := filepath.Join(filepath.Dir(folder), "tiny.yml")
	require.NoError(t, os.WriteFile(options, fmt.Appendf(nil, tiny, filepath.Join(photos, "train")), 0o666))
	c := exec.Command("python3", append([]string{"on-gpu", "pack", folder, "--photos", photos, "--options", options}, more...)...)
	said, err := c.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return string(said)
}

// The rehearsal: it trains until a checkpoint has come back, is ended from outside, and goes on
// from what came back. Steps that hang are cut off.
func TestOnGPU(t *testing.T) {
	testenv.Long(t)
	b := newBare(t)
	dir := t.TempDir()
	kit, out, again, hung := filepath.Join(dir, "kit"), filepath.Join(dir, "out"), filepath.Join(dir, "again"), filepath.Join(dir, "hung")
	require.Contains(t, pack(t, kit), "with 2 of 2 photos")

	t.Run("hang", func(t *testing.T) {
		module, sleeper := filepath.Join(dir, "modules", "torch.py"), filepath.Join(dir, "sleeper")
		require.NoError(t, os.MkdirAll(filepath.Dir(module), 0o777))
		require.NoError(t, os.WriteFile(module, []byte(hanging), 0o666))
		c := b.command("on-gpu", "run", hung, "--kit", kit, "--minutes", "0.4", "--only", "pytorch", "pairs")
		c.Env = append(c.Env, "PYTHONPATH="+filepath.Dir(module), "SLEEPER="+sleeper)
		began := time.Now()
		require.NoError(t, c.Run())
		require.Less(t, time.Since(began), 60*time.Second)
		steps := results(t, hung)
		require.Len(t, steps, 5)
		for _, s := range steps[:4] {
			require.Contains(t, s.Outcome, "cut off after", s.Name)
		}
		require.Equal(t, "pairs", steps[4].Name, "a step that hangs must not stop the next")
		text, err := os.ReadFile(sleeper)
		require.NoError(t, err)
		pid, err := strconv.Atoi(string(text))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return over(pid) }, 10*time.Second, 50*time.Millisecond, "what a step started must end with it")
	})

	c := b.command("on-gpu", "run", out, "--kit", kit, "--minutes", "5", "--only", "machine", "gpus", "train")
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	seen := map[string]bool{} // what was running when we looked
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		for _, s := range results(t, out) {
			if s.Outcome == "running" {
				seen[s.Name] = true
			}
		}
		if made, err := filepath.Glob(filepath.Join(out, "training-*", "SHA256SUMS")); err == nil && len(made) > 0 {
			break
		}
		select {
		case err := <-ended:
			summary, _ := os.ReadFile(filepath.Join(out, "summary.txt"))
			t.Fatalf("it ended without a checkpoint: %v\n%s", err, summary)
		default:
		}
		require.True(t, time.Now().Before(deadline), "no checkpoint came back")
	}
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	require.Error(t, <-ended)
	require.True(t, seen["gpus"], "results must appear step by step: %v", seen)
	for _, name := range []string{"machine", "gpus"} {
		s, ok := find(results(t, out), name)
		require.True(t, ok, name)
		require.Equal(t, "done", s.Outcome, name)
	}
	files := 0
	require.NoError(t, filepath.WalkDir(out, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			info, err := e.Info()
			require.NoError(t, err)
			require.Less(t, info.Size(), int64(16<<20), path)
			files++
		}
		return err
	}))
	require.LessOrEqual(t, files, 8, "no more files come back")

	// A second folder, newer, is no checkpoint: half of it came back.
	broken := filepath.Join(out, "training-9999")
	require.NoError(t, os.Mkdir(broken, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(broken, "SHA256SUMS"), fmt.Appendf(nil, "%064d part-0\n", 0), 0o666))
	pack(t, kit, "--resume", out)
	c = b.command("on-gpu", "run", again, "--kit", kit, "--minutes", "0.6", "--only", "train")
	require.NoError(t, c.Run())
	steps := results(t, again)
	trained := steps[len(steps)-1]
	require.Contains(t, trained.Outcome, "cut off after", "it trains until the minutes are over")
	var first int
	for _, l := range trained.Lines {
		if l.Event == "iter" {
			first = l.Iter
			break
		}
	}
	require.Greater(t, first, 2, "training must go on where the checkpoint was made")
}
