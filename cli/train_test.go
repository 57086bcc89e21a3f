package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
	"hidiff/trainer"
)

// tinyTraining is an option file of a small network; %s are name, model_type, and what
// stage two adds.
const tinyTraining = `
name: %s
model_type: %s
manual_seed: 3
datasets:
  train:
    type: PairedImageIRDataset
    dataroot_gt: target
    dataroot_lq: input
    io_backend: {type: disk}
    num_worker_per_gpu: 2
    batch_size_per_gpu: 2
    gt_size: 32
    dataset_enlarge_ratio: 3
network_g: {type: Transformer, dim: 8, num_blocks: [1, 1, 1, 1], num_refinement_blocks: 1, heads: [1, 1, 1, 1], embed_dim: 4, group: 2}
network_le: {type: latent_encoder_gelu, in_chans: 6, embed_dim: 4, block_num: 1, group: 2, stage: 1}
%s
train:
  total_iter: 6
  warmup_iter: -1
  use_grad_clip: true
  scheduler: {type: CosineAnnealingRestartCyclicLR, periods: [3, 200000], restart_weights: [1, 1], eta_mins: [0.0002, 1.0e-06]}
  optim_total: {type: AdamW, lr: 0.0002, weight_decay: 0.0001, betas: [0.9, 0.999]}
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
  pixel_diff_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
logger: {print_freq: 2, save_checkpoint_freq: 3, use_tb_logger: true}
`

const tinyStageTwo = `
network_le_dm: {type: latent_encoder_gelu, in_chans: 3, embed_dim: 4, block_num: 1, group: 2, stage: 2}
network_d: {type: denoising, in_channel: 16, out_channel: 16, inner_channel: 16, block_num: 3, group: 2}
diffusion_schedule: {apply_ldm: false, schedule: linear, timesteps: 3, linear_start: 0.1, linear_end: 0.5}
path:
  pretrain_network_g: experiments/debug_tiny_S1/models/net_g_300000.pth
  pretrain_network_le: experiments/debug_tiny_S1/models/net_le_300000.pth
`

// workshop is a folder with pairs of photos and option files, in which a test works.
func workshop(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../conformance/testdata/metrics/00_astronaut_gt.png")
	require.NoError(t, err)
	sharp, err := photo.Open(source)
	require.NoError(t, err)
	dir := t.TempDir()
	t.Chdir(dir)
	for i := range 4 {
		crop := cut(sharp, 16*i, 8*i, 64)
		writePhoto(t, fmt.Sprintf("target/%d.png", i), crop)
		writePhoto(t, fmt.Sprintf("input/%d.png", i), smear(crop, 7))
	}
	writeOptions(t, "s1.yml", "tiny_S1", "HI_Diff_S1", "")
	writeOptions(t, "s2.yml", "tiny_S2", "HI_Diff_S2", tinyStageTwo)
	return dir
}

func writeOptions(t *testing.T, file, name, kind, more string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, tinyTraining, name, kind, more), 0o666))
}

func writePhoto(t *testing.T, path string, p *photo.Photo) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, photo.Save(path, p, photo.EncodeOptions{}))
}

func cut(p *photo.Photo, x0, y0, size int) *photo.Photo {
	out := &photo.Photo{Width: size, Height: size, Channels: p.Channels, Max: p.Max}
	for y := range size {
		row := ((y0+y)*p.Width + x0) * p.Channels
		out.Pix = append(out.Pix, p.Pix[row:row+size*p.Channels]...)
	}
	return out
}

// smear blurs as a horizontal motion over some pixels does.
func smear(p *photo.Photo, pixels int) *photo.Photo {
	q := *p
	q.Pix = make([]uint16, len(p.Pix))
	for y := range p.Height {
		for x := range p.Width {
			for c := range p.Channels {
				sum := 0
				for k := range pixels {
					at := min(max(x+k-pixels/2, 0), p.Width-1)
					sum += int(p.Pix[(y*p.Width+at)*p.Channels+c])
				}
				q.Pix[(y*p.Width+x)*p.Channels+c] = uint16((sum + pixels/2) / pixels)
			}
		}
	}
	return &q
}

// hidiffProcess runs the program in a process of its own, which may be killed.
func hidiffProcess(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), "HIDIFF_TEST_AS_PROGRAM=1")
	return c
}

func TestMain(m *testing.M) {
	if os.Getenv("HIDIFF_TEST_AS_PROGRAM") != "" {
		os.Exit(Execute(Signals(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	// Where the tests themselves are run by nohup, programs that they start would inherit that SIGHUP is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

// train runs a command line that must succeed.
func train(t *testing.T, args ...string) result {
	t.Helper()
	testgpu.Need(t)
	var stdout, stderr bytes.Buffer
	code := Execute(t.Context(), append([]string{"train"}, args...), nil, &stdout, &stderr)
	require.Equal(t, exitOK, code, stderr.String())
	return result{code, stdout.String(), stderr.String()}
}

// contents reads all checkpoints of an experiment.
func contents(t *testing.T, experiment string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, folder := range []string{"models", "training_states"} {
		files, err := filepath.Glob(filepath.Join("experiments", experiment, folder, "*"))
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			out[filepath.Join(folder, filepath.Base(f))] = b
		}
	}
	return out
}

func requireSame(t *testing.T, want, got map[string][]byte) {
	t.Helper()
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	for name := range want {
		require.True(t, bytes.Equal(want[name], got[name]), name)
	}
}

// Both stages train, the second from what the first left, and the same options give the same
// bytes whatever the number of workers.
func TestTrainBothStages(t *testing.T) {
	workshop(t)
	train(t, "-opt", "s1.yml")
	first := contents(t, "tiny_S1")
	require.Len(t, first, 2+2*3, "two checkpoints of two networks, and the latest ones")
	require.NoError(t, os.Rename("experiments/tiny_S1", "experiments/before"))
	train(t, "-opt", "s1.yml", "--force_yml", "datasets:train:num_worker_per_gpu=5")
	requireSame(t, first, contents(t, "tiny_S1"))

	r := train(t, "-opt", "s2.yml", "--json")
	require.Contains(t, r.stderr, "net_g_300000.pth is not there")
	require.Contains(t, r.stderr, "l_pix_diff")
	var iterations []int
	for line := range strings.Lines(r.stdout) {
		var o struct {
			Event string
			Iter  int
		}
		require.NoError(t, json.Unmarshal([]byte(line), &o), line)
		if o.Event == "iter" {
			iterations = append(iterations, o.Iter)
		}
	}
	require.Equal(t, []int{2, 4, 6}, iterations)
	second := contents(t, "tiny_S2")
	require.Contains(t, second, "models/net_le_dm_latest.pth")
	require.NotContains(t, second, "models/net_le_latest.pth", "it is frozen")

	// The steps of diffusion are those of the training.
	steps := func(args ...string) string {
		got := run(t.Context(), nil, args...)
		require.Equal(t, exitOK, got.code, got.stderr)
		return regexp.MustCompile(`diffusion_schedule:\n.*\n.*\n +timesteps: (.*)`).FindStringSubmatch(got.stdout)[1]
	}
	const models = "experiments/tiny_S2/models/"
	require.Equal(t, "3", steps("info", "experiments/tiny_S2"))
	require.Equal(t, "3", steps("info", models+"net_g_6.pth", models+"net_le_dm_6.pth", models+"net_d_6.pth"))
	require.Equal(t, "3", steps("convert", models, "-o", "ours.safetensors"))
	require.Equal(t, "3", steps("info", "ours.safetensors"))
	require.NoError(t, os.Rename(models, "alone"))
	require.Equal(t, "8", steps("info", "alone"), "as released")
	require.Equal(t, "3", steps("convert", "alone", "-opt", "s2.yml", "-o", "told.safetensors"))
	require.Equal(t, "3", steps("info", "told.safetensors"))
	for options, says := range map[string]string{"s1.yml": "s1.yml is of stage one", "GoPro": "GoPro describes another net_g than ", "s3.yml": "no option file or preset s3.yml"} {
		got := run(t.Context(), nil, "convert", "alone", "-opt", options, "-o", "no.safetensors")
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.stderr, says)
		require.NoFileExists(t, "no.safetensors")
	}
}

// Killed after its first checkpoint and resumed, a training ends with the same bytes.
func TestTrainResumesExactly(t *testing.T) {
	testgpu.Need(t)
	workshop(t)
	for _, stage := range []string{"1", "2"} {
		t.Run("stage "+stage, func(t *testing.T) {
			options, name := "s"+stage+".yml", "tiny_S"+stage
			train(t, "-opt", options, "--force_yml", "train:ema_decay=0.9")
			want := contents(t, name)
			require.NoError(t, os.Rename("experiments/"+name, "experiments/straight"+stage))
			if stage == "1" {
				defer func() { require.NoError(t, os.Rename("experiments/straight1", "experiments/tiny_S1")) }()
			}
			defer os.RemoveAll("experiments/" + name)

			c := hidiffProcess(t, "train", "-opt", options, "--force_yml", "train:ema_decay=0.9", "--force_yml", "train:total_iter=100000")
			c.Stdout, c.Stderr = os.Stderr, os.Stderr
			require.NoError(t, c.Start())
			state := "experiments/" + name + "/training_states/3.state"
			require.Eventually(t, func() bool { _, err := os.Stat(state); return err == nil }, 2*time.Minute, time.Millisecond)
			require.NoError(t, c.Process.Kill())
			_ = c.Wait()
			removeLater(t, name)
			train(t, "-opt", options, "--auto_resume", "--force_yml", "train:ema_decay=0.9")
			requireSame(t, want, contents(t, name))
		})
	}
}

// removeLater deletes what a killed training saved after iteration 3.
func removeLater(t *testing.T, name string) {
	t.Helper()
	files, err := filepath.Glob("experiments/" + name + "/*/*")
	require.NoError(t, err)
	for _, f := range files {
		if base := filepath.Base(f); strings.HasSuffix(base, ".state") && base != "3.state" ||
			strings.HasSuffix(base, ".pth") && !strings.HasSuffix(base, "_3.pth") {
			require.NoError(t, os.Remove(f))
		}
	}
}

// Ctrl-C finishes the iteration, saves, and says how to go on.
func TestTrainStops(t *testing.T) {
	testgpu.Need(t)
	workshop(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := &cancelling{after: "iter:       4", cancel: cancel}
	code := Execute(ctx, []string{"train", "-opt", "s1.yml", "--force_yml", "train:total_iter=1000"}, nil, &bytes.Buffer{}, w)
	require.Equal(t, exitInterrupted, code, w.String())
	require.Contains(t, w.String(), "--auto_resume")
	iters, err := filepath.Glob("experiments/tiny_S1/training_states/*.state")
	require.NoError(t, err)
	require.NotEmpty(t, iters)
	train(t, "-opt", "s1.yml", "--auto_resume", "--force_yml", "train:total_iter=8")
	require.FileExists(t, "experiments/tiny_S1/models/net_g_8.pth")
}

// cancelling cancels once something was written.
type cancelling struct {
	bytes.Buffer
	after  string
	cancel func()
}

func (c *cancelling) Write(p []byte) (int, error) {
	n, err := c.Buffer.Write(p)
	if strings.Contains(c.String(), c.after) {
		c.cancel()
	}
	return n, err
}

// One batch is learned by heart: the network can express what it is shown, and every gradient
// pulls the right way.
func TestTrainOverfits(t *testing.T) {
	testenv.Long(t)
	workshop(t)
	for i := 2; i < 4; i++ {
		require.NoError(t, os.Remove(fmt.Sprintf("target/%d.png", i)))
		require.NoError(t, os.Remove(fmt.Sprintf("input/%d.png", i)))
	}
	r := train(t, "-opt", "s1.yml", "--json",
		"--force_yml", "datasets:train:gt_size=64", "--force_yml", "datasets:train:geometric_augs=false",
		"--force_yml", "train:total_iter=200", "--force_yml", "train:optim_total:lr=0.004", "--force_yml", "train:use_grad_clip=false",
		"--force_yml", "train:scheduler:periods=[50, 150]", "--force_yml", "train:scheduler:eta_mins=[0.004, 0.00001]",
		"--force_yml", "logger:print_freq=1", "--force_yml", "logger:save_checkpoint_freq=200")
	var losses []float64
	for line := range strings.Lines(r.stdout) {
		var o struct {
			Event  string
			Losses map[string]float64
		}
		require.NoError(t, json.Unmarshal([]byte(line), &o))
		if o.Event == "iter" {
			losses = append(losses, o.Losses["l_pix"])
		}
	}
	require.Len(t, losses, 200)
	t.Logf("L1 from %.4f to %.4f", losses[0], losses[199])
	require.Less(t, losses[199], losses[0]/10)
}

// A training that diverges stops before it saves anything broken, or passes over the iterations.
func TestTrainDiverges(t *testing.T) {
	testgpu.Need(t)
	workshop(t)
	diverging := []string{"train", "-opt", "s1.yml", "--force_yml", "train:optim_total:lr=1.0e+30", "--force_yml", "train:scheduler:eta_mins=[1.0e+30, 0.0]"}
	var stderr bytes.Buffer
	code := Execute(t.Context(), diverging, nil, &bytes.Buffer{}, &stderr)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr.String(), "the gradients of iteration 2 are not finite")
	require.Contains(t, stderr.String(), "--skip-nan")
	require.Empty(t, contents(t, "tiny_S1"))

	stderr.Reset()
	code = Execute(t.Context(), append(diverging, "--restart", "--detect-anomaly"), nil, &bytes.Buffer{}, &stderr)
	require.Equal(t, exitFailed, code)
	require.Regexp(t, `iteration 2: \w+ net_\S+ computed (NaN|[+-]Inf) in`, stderr.String())

	stderr.Reset()
	code = Execute(t.Context(), append(diverging, "--restart", "--skip-nan"), nil, &bytes.Buffer{}, &stderr)
	require.Equal(t, exitOK, code, stderr.String())
	require.Contains(t, stderr.String(), "passed over")
}

// Mistakes are named before anything is written.
func TestTrainRefuses(t *testing.T) {
	testgpu.Need(t)
	workshop(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no options", nil, exitUsage, "GoPro_S1"},
		{"no file", []string{"-opt", "none.yml"}, exitFailed, "none.yml"},
		{"misspelt preset", []string{"-opt", "GoPro_S3"}, exitFailed, "GoPro_S1"},
		{"test options", []string{"-opt", "GoPro"}, exitFailed, "it is for testing"},
		{"unknown option", []string{"-opt", "s1.yml", "--force_yml", "train:total_itr=5"}, exitFailed, "did you mean total_iter"},
		{"crops too large", []string{"-opt", "s1.yml", "--force_yml", "datasets:train:gt_size=128"}, exitFailed, "128"},
		{"no photos", []string{"-opt", "s1.yml", "--force_yml", "datasets:train:dataroot_lq=nowhere"}, exitFailed, "nowhere"},
		{"no stage one", []string{"-opt", "s2.yml"}, exitFailed, "train stage one first"},
		{"networks that disagree", []string{"-opt", "s1.yml", "--force_yml", "network_le:embed_dim=8"}, exitFailed, "embed_dim"},
		{"launcher", []string{"-opt", "s1.yml", "--launcher", "pytorch"}, exitUsage, "--accumulate"},
		{"too many batches", []string{"-opt", "s1.yml", "--accumulate", "70000"}, exitFailed, "--accumulate 70000: train.accumulate: is 70000: it must be at most 65536"},
		{"both ways", []string{"-opt", "s1.yml", "--auto_resume", "--restart"}, exitUsage, "exclude each other"},
		{"policy", []string{"-opt", "s1.yml", "--on-bad-image", "ignore"}, exitUsage, "skip, fail"},
		{"resume from nothing", []string{"-opt", "s1.yml", "--force_yml", "path:resume_state=none.state"}, exitFailed, "none.state"},
		{"little memory", []string{"-opt", "s1.yml", "--memory", "8MiB"}, exitFailed, "mini_batch_sizes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			require.Equal(t, c.code, Execute(t.Context(), append([]string{"train"}, c.args...), nil, &bytes.Buffer{}, &stderr), stderr.String())
			require.Contains(t, stderr.String(), c.says)
			require.Empty(t, contents(t, "tiny_S1"))
		})
	}
	whole, err := os.ReadFile("input/2.png")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("input/2.png", whole[:len(whole)/2], 0o666)) // which shows in the middle of an epoch
	for _, policy := range []string{"fail", "skip"} {
		t.Run(policy, func(t *testing.T) {
			want := map[string]int{"fail": exitFailed, "skip": exitOK}[policy]
			var stderr bytes.Buffer
			args := []string{"train", "-opt", "s1.yml", "--restart", "--on-bad-image", policy}
			require.Equal(t, want, Execute(t.Context(), args, nil, &bytes.Buffer{}, &stderr), stderr.String())
			require.Contains(t, stderr.String(), filepath.Join("input", "2.png"))
		})
	}
	var stderr bytes.Buffer
	require.Equal(t, exitFailed, Execute(t.Context(), []string{"train", "-opt", "s1.yml", "--on-bad-image", "skip"}, nil, &bytes.Buffer{}, &stderr))
	require.Contains(t, stderr.String(), "--auto_resume")
}

// What cannot be written is found before the GPU is opened, here one that is not there, and by --plan.
func TestTrainInTheWay(t *testing.T) {
	long := strings.Repeat("x", 230)
	for _, c := range []struct{ name, file, says string }{
		{long, "", "name: experiments/" + long + "/train_" + long},
		{strings.Repeat("x", 256), "", "choose a shorter name"},
		{"tiny", "experiments", "cannot write: not a directory"},
		{"tiny", "experiments/tiny", "cannot write: not a directory"},
		{"tiny", "experiments/tiny/models", "cannot write: not a directory"},
		{"tiny", "tb_logger", "cannot write: not a directory"},
	} {
		t.Run(c.file+c.says, func(t *testing.T) {
			workshop(t)
			if c.file != "" {
				writeText(t, c.file, "")
			}
			for _, plan := range []string{"--plan", "--plan=false"} {
				r := run(t.Context(), nil, "train", "-opt", "s1.yml", "-g", "no such GPU", "--force_yml", "name="+c.name, plan)
				require.Equal(t, exitFailed, r.code)
				require.Contains(t, filepath.ToSlash(r.stderr), c.says)
				require.NoDirExists(t, "experiments/"+c.name+"/training_states")
			}
		})
	}
	workshop(t)
	longest := strings.Repeat("x", 229)
	r := run(t.Context(), nil, "train", "-opt", "s1.yml", "-g", "no such GPU", "--force_yml", "name="+longest)
	require.Contains(t, r.stderr, "no such GPU")
	train(t, "-opt", "s1.yml", "--force_yml", "name="+longest, "--force_yml", "train:total_iter=1")
	require.FileExists(t, "experiments/"+longest+"/models/net_g_1.pth")
}

// Memory does not grow: not the process's, and not the device's after the first iteration.
func TestTrainMemoryStaysFlat(t *testing.T) {
	testenv.Long(t)
	workshop(t)
	var before, after runtime.MemStats
	train(t, "-opt", "s1.yml", "--force_yml", "train:total_iter=20")
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := train(t, "-opt", "s1.yml", "--restart", "--json", "--force_yml", "train:total_iter=1000",
		"--force_yml", "logger:print_freq=100", "--force_yml", "logger:save_checkpoint_freq=1000")
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(1<<20))
	var device []int64
	for line := range strings.Lines(r.stdout) {
		var o struct {
			Event string
			GPU   int64 `json:"gpu_bytes"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &o))
		if o.Event == "iter" {
			device = append(device, o.GPU)
		}
	}
	require.Len(t, device, 10)
	require.Positive(t, device[0])
	t.Logf("device: %v bytes; heap: %d, then %d", device, before.HeapAlloc, after.HeapAlloc)
	for _, bytes := range device {
		require.Equal(t, device[0], bytes)
	}
}

// What package trainer says gets the flags that there are for it.
func TestTrainAdvice(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("x"), "x"},
		{trainer.ErrExists, trainer.ErrExists.Error() + ": --auto_resume goes on from there; --restart starts anew and keeps the folder as mine_archived_<time>"},
		{fmt.Errorf("no room: %w (iteration 5 %w)", syscall.ENOSPC, trainer.ErrSaved),
			"no room: no space left on device (iteration 5 is saved): make room, and set --keep to keep only the newest checkpoints; --auto_resume goes on from there"},
	} {
		got := advised(c.err, "mine")
		require.EqualError(t, got, c.want)
		require.ErrorIs(t, got, c.err)
	}
	require.NoError(t, advised(nil, "mine"))
}
