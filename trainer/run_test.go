package trainer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hidiff/autograd"
	"hidiff/hidiff/options"
	"hidiff/hidiff/photo"
	"hidiff/internal/testgpu"
	"hidiff/tensor"
	"hidiff/trainer/internal/experiment"
	"hidiff/wgpu"

	"github.com/stretchr/testify/require"
)

var openDevice = testgpu.Open

// tint is the smallest of models: a 1x1 convolution of the colours.
type tint struct {
	params *tensor.Parameters
	linear *tensor.Linear
	calls  int
	seeds  []uint64       // that Loss was given
	before func(call int) // called before every loss, if set

	validations int
	validating  func(call int) // called before every photo's validation, if set
}

func newTint(d *tensor.Device) *tint {
	m := &tint{params: tensor.NewParameters(d, []tensor.ParameterSpec{
		{Name: "net_g.weight", Shape: []int{3, 3}, Values: []float32{1, 0, 0, 0, 1, 0, 0, 0, 1}},
		{Name: "net_g.bias", Shape: []int{3}, Values: []float32{0.1, 0, -0.1}},
	})}
	m.linear = tensor.NewLinear(d, tensor.LinearSpec{Out: 3, In: 3, Weight: m.params.All()[0], Bias: m.params.All()[1]})
	return m
}

func (m *tint) Parameters() *tensor.Parameters { return m.params }
func (m *tint) LossNames() []string            { return []string{"l_pix"} }
func (m *tint) Repack()                        { m.linear.Repack() }
func (m *tint) UsesOracle() bool               { return true }

func (m *tint) Loss(tape *autograd.Tape, lq, gt *tensor.Tensor, seed uint64) []*autograd.Variable {
	m.seeds = append(m.seeds, seed)
	if m.calls++; m.before != nil {
		m.before(m.calls)
	}
	y := autograd.Linear(m.linear, tape.Input(lq), autograd.After{})
	defer y.Release()
	return []*autograd.Variable{autograd.Loss(tensor.Loss{Type: tensor.L1Loss, Weight: 1}, y, tape.Input(gt))}
}

func (m *tint) Validate(lq, _ *tensor.Tensor, _ uint64) *tensor.Tensor {
	if m.validations++; m.validating != nil {
		m.validating(m.validations)
	}
	return m.linear.Apply(lq, tensor.Fused{})
}

func (m *tint) Release() {
	m.linear.Release()
	m.params.Release()
}

// tintRun is a training of a tint in a folder of its own, with pairs to train and validate on.
func tintRun(t *testing.T, d *tensor.Device) (o RunOptions, model *tint, screen *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	for i := range 3 {
		for _, folder := range []string{"input", "target"} {
			p := &photo.Photo{Width: 20, Height: 17, Channels: 3, Max: 255}
			for k := range p.Width * p.Height * 3 {
				p.Pix = append(p.Pix, uint16((k*7+i*31+len(folder)*k%5)%256))
			}
			path := filepath.Join(root, folder, fmt.Sprintf("%d.png", i))
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
			require.NoError(t, photo.Save(path, p, photo.EncodeOptions{}))
		}
	}
	parsed, err := options.Parse("test.yml", fmt.Appendf(nil, `
name: tint
model_type: HI_Diff_S1
datasets:
  train: {name: Train, type: PairedImageIRDataset, dataroot_lq: %[1]s/input, dataroot_gt: %[1]s/target, batch_size_per_gpu: 2, gt_size: 16,
    mini_batch_sizes: [2, 1], iters: [6, 6], gt_sizes: [8, 16]}
  val: {name: Val, type: PairedImageIRDataset, dataroot_lq: %[1]s/input, dataroot_gt: %[1]s/target}
train:
  total_iter: 12
  use_grad_clip: true
  optim_total: {type: AdamW, lr: 0.01}
  pixel_opt: {type: L1Loss}
val:
  val_freq: 6
  save_img: true
  metrics: {psnr: {type: calculate_psnr}, ssim: {type: calculate_ssim, crop_border: 1}}
logger: {print_freq: 4, save_checkpoint_freq: 3, use_tb_logger: true}
`, root), nil)
	require.NoError(t, err)
	model, screen = newTint(d), &bytes.Buffer{}
	return RunOptions{
		Options: parsed, Root: root, Device: d, Screen: screen,
		Build: func(on *tensor.Device) (Model, error) {
			if on == d {
				return model, nil
			}
			return newTint(on), nil // for a dry run
		},
	}, model, screen
}

// A run leaves what BasicSR leaves: logs, checkpoints, pictures, and says what its numbers mean.
func TestRun(t *testing.T) {
	d := openDevice(t)
	o, _, screen := tintRun(t, d)
	o.Keep = 2
	require.NoError(t, Run(t.Context(), o))
	log := screen.String()
	for _, line := range []string{
		"[tint..][epoch:  2, iter:       4, lr:(1.000e-02,)]", "iter:      12",
		"Updating Patch_Size to 8 and Batch_Size to 2", "Updating Patch_Size to 16 and Batch_Size to 1",
		"Validation Val (with the oracle prior, which sees the sharp photo; on crops, not whole photos)", "# psnr:", "# ssim:", "Best:", "End of training",
	} {
		require.Contains(t, log, line)
	}
	exists := func(pattern string) int {
		files, err := filepath.Glob(filepath.Join(o.Root, pattern))
		require.NoError(t, err)
		return len(files)
	}
	require.Equal(t, 1, exists("experiments/tint/tint.yml"))
	require.Equal(t, 1, exists("experiments/tint/train_tint_*.log"))
	require.Equal(t, 6, exists("experiments/tint/visualization/*/*_*.png"), "three photos, validated twice")
	require.Equal(t, 1, exists("tb_logger/tint/events*"))
	require.Equal(t, 1, exists("experiments/tint/models/net_g_latest.pth"))
	states := exists("experiments/tint/training_states/*.state")
	require.Contains(t, []int{2, 3}, states, "two newest, and the best where it is another")
	saved, err := options.Load(filepath.Join(o.Root, "experiments/tint/tint.yml"), nil)
	require.NoError(t, err)
	require.Equal(t, o.Train, saved.Train)
}

// Grey beside colour is validated as R = G = B, whichever of the two is grey: the score is that of the picture that is kept.
func TestValidateGrey(t *testing.T) {
	d := openDevice(t)
	for _, folder := range []string{"input", "target"} {
		o, _, screen := tintRun(t, d)
		grey := &photo.Photo{Width: 20, Height: 17, Channels: 1, Max: 65535, Pix: make([]uint16, 20*17)}
		for i := range grey.Pix {
			grey.Pix[i] = uint16(i * 191)
		}
		for i := range 3 {
			require.NoError(t, photo.Save(filepath.Join(o.Root, folder, fmt.Sprintf("%d.png", i)), grey, photo.EncodeOptions{}))
		}
		require.NoError(t, Run(t.Context(), o))
		mean := 0.0
		for i := range 3 {
			kept, err := photo.Open(filepath.Join(o.Root, fmt.Sprintf("experiments/tint/visualization/%d/%d_12.png", i, i)))
			require.NoError(t, err)
			gt, err := photo.Open(filepath.Join(o.Root, fmt.Sprintf("target/%d.png", i)))
			require.NoError(t, err)
			squares := 0.0
			for k, v := range kept.Pix {
				apart := float64(v) - math.Round(float64(gt.Pix[k*gt.Channels/3])*255/float64(gt.Max))
				squares += apart * apart
			}
			mean += 10 * math.Log10(255*255*float64(len(kept.Pix))/squares) / 3
		}
		require.Contains(t, screen.String(), fmt.Sprintf("# psnr: %.4f", mean), folder)
	}
}

// TestPicturesThatCannotBeSaved is found before the first iteration, not in the first validation.
func TestPicturesThatCannotBeSaved(t *testing.T) {
	d := openDevice(t)
	o, _, screen := tintRun(t, d)
	long := strings.Repeat("x", 249) + ".png"
	for _, folder := range []string{"input", "target"} {
		require.NoError(t, os.Rename(filepath.Join(o.Root, folder, "0.png"), filepath.Join(o.Root, folder, long)))
	}
	err := Run(t.Context(), o)
	require.ErrorContains(t, err, "val.save_img: ")
	require.ErrorContains(t, err, "_12.png: cannot write: file name too long")
	require.NotContains(t, screen.String(), "iter:")
	o.Val.SaveImg = false
	require.NoError(t, Run(t.Context(), o))
}

// With a moving average, that is what is validated, and training goes on as if it were not there.
func TestRunAverages(t *testing.T) {
	d := openDevice(t)
	outcome := func(decay float64) (score string, weights []float32) {
		o, _, screen := tintRun(t, d)
		o.Train.EMADecay = decay
		require.NoError(t, Run(t.Context(), o))
		_, after, found := strings.Cut(screen.String(), "# psnr: ")
		require.True(t, found)
		c, err := experiment.Load(filepath.Join(o.Root, "experiments/tint/training_states/12.state"),
			[]experiment.ParamState{{Name: "net_g.weight", Shape: []int{3, 3}}, {Name: "net_g.bias", Shape: []int{3}}})
		require.NoError(t, err)
		if decay > 0 {
			require.Contains(t, screen.String(), "moving average")
			require.NotEqual(t, c.Params[0].Value, c.Params[0].EMA)
		}
		return after[:7], append(c.Params[0].Value, c.Params[1].Value...)
	}
	score, weights := outcome(0)
	averaged, same := outcome(0.9)
	require.Equal(t, weights, same)
	require.NotEqual(t, score, averaged)
}

// Between two reports nothing is read back, and after the first iteration of a phase the device
// allocates nothing.
func TestRunLeavesTheDeviceAlone(t *testing.T) {
	d := openDevice(t)
	o, model, _ := tintRun(t, d)
	o.Logger.PrintFreq, o.Logger.SaveCheckpointFreq, o.Val.ValFreq = 100, 100, 0
	o.Train.TotalIter = 90
	o.Datasets[0].Iters = []int{40, 50}
	var reads, allocations []uint64
	var memory []int64
	model.before = func(int) {
		s := d.Stats()
		reads, allocations = append(reads, uint64(s.Reads)), append(allocations, uint64(s.Allocations))
		memory = append(memory, s.Live+s.Pooled)
	}
	require.NoError(t, Run(t.Context(), o))
	distinct := map[uint64]bool{}
	for _, seed := range model.seeds {
		distinct[seed] = true
	}
	require.Len(t, distinct, 90, "every iteration draws its own noise")
	require.Len(t, reads, 90)
	require.Equal(t, reads[0], reads[89])
	require.Equal(t, allocations[2], allocations[39], "first phase")
	require.Equal(t, allocations[42], allocations[89], "second phase")
	require.Greater(t, allocations[42], allocations[39], "the counter counts")

	// What the first phase needed is given back: the second takes no more than if it were alone.
	d = openDevice(t)
	o, model, _ = tintRun(t, d)
	o.Logger.PrintFreq, o.Logger.SaveCheckpointFreq, o.Val.ValFreq = 100, 100, 0
	o.Datasets[0].Iters = []int{0, 90}
	var alone int64
	model.before = func(int) { s := d.Stats(); alone = s.Live + s.Pooled }
	require.NoError(t, Run(t.Context(), o))
	require.LessOrEqual(t, memory[89], alone)
}

// After a step that is not finite none is made, unless they are to be passed over.
func TestOptimizerStops(t *testing.T) {
	d := openDevice(t)
	for _, stop := range []bool{true, false} {
		p := tensor.NewParameters(d, []tensor.ParameterSpec{{Name: "net_g.x", Shape: []int{2}, Values: []float32{1, 2}}})
		a := newOptimizer(p, options.OptimOptions{Type: options.AdamW, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8}, 0.01, 0)
		a.stop = stop
		gradients := func(v float32) {
			values := make([]float32, p.Grads.Len())
			values[0], values[1] = v, 1
			p.Grads.Set(values)
		}
		gradients(float32(math.NaN()))
		a.step(1, 0.1)
		gradients(1)
		a.step(2, 0.1)
		values, err := p.Values.Floats(t.Context())
		require.NoError(t, err)
		require.Equal(t, stop, values[0] == 1)
		count, first, err := a.skips(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[bool]int{true: 2, false: 1}[stop], count)
		require.Equal(t, 1, first)
		a.release()
		p.Release()
	}
}

// Accumulated batches make the same step as one large one.
func TestRunAccumulates(t *testing.T) {
	d := openDevice(t)
	weights := func(batch, accumulate int) []float32 {
		o, _, _ := tintRun(t, d)
		o.Datasets[0].BatchSizePerGPU, o.Train.Accumulate = batch, accumulate
		o.Datasets[0].MiniBatchSizes, o.Datasets[0].Iters, o.Datasets[0].GTSizes = nil, nil, nil
		o.Val.ValFreq, o.Logger.UseTBLogger = 0, false
		var out []float32
		require.NoError(t, Run(t.Context(), o))
		c, err := experiment.Load(filepath.Join(o.Root, "experiments/tint/training_states/12.state"),
			[]experiment.ParamState{{Name: "net_g.weight", Shape: []int{3, 3}}, {Name: "net_g.bias", Shape: []int{3}}})
		require.NoError(t, err)
		for _, p := range c.Params {
			out = append(out, p.Value...)
		}
		return out
	}
	once, twice, other := weights(4, 1), weights(2, 2), weights(2, 1)
	for i := range once {
		require.InDelta(t, once[i], twice[i], 1e-5)
	}
	require.NotEqual(t, once, other)
}

// A GPU that is lost ends the run with what is saved and how to go on; the checkpoint is whole.
func TestRunLosesTheDevice(t *testing.T) {
	d := openDevice(t)
	o, model, _ := tintRun(t, d)
	model.before = func(call int) {
		if call == 5 {
			tensor.Abort(wgpu.ErrDeviceLost)
		}
	}
	err := Run(t.Context(), o)
	require.ErrorIs(t, err, wgpu.ErrDeviceLost)
	require.ErrorContains(t, err, "iteration 3 is saved")
	require.ErrorIs(t, err, ErrSaved)

	o.AutoResume = true
	o.Build = func(d *tensor.Device) (Model, error) { return newTint(d), nil }
	require.NoError(t, Run(t.Context(), o))
	require.FileExists(t, filepath.Join(o.Root, "experiments/tint/training_states/12.state"))
}

// A cancelled run saves; JSON says what happened.
func TestRunStops(t *testing.T) {
	d := openDevice(t)
	o, model, _ := tintRun(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	var lines bytes.Buffer
	o.JSON = &lines
	model.before = func(call int) {
		if call == 5 {
			cancel()
		}
	}
	require.ErrorIs(t, Run(ctx, o), ErrStopped)
	require.FileExists(t, filepath.Join(o.Root, "experiments/tint/training_states/5.state"))
	var events []string
	for line := range strings.Lines(lines.String()) {
		var v struct{ Event string }
		require.NoError(t, json.Unmarshal([]byte(line), &v))
		events = append(events, v.Event)
	}
	require.Equal(t, []string{"checkpoint", "iter", "checkpoint", "done"}, slices.DeleteFunc(events, func(e string) bool { return e == "warning" }))
}

// What a checkpoint was trained with cannot be changed behind its back.
func TestResumeChecksTheRun(t *testing.T) {
	d := openDevice(t)
	for _, c := range []struct {
		change func(o *options.Options)
		says   string
	}{
		{func(o *options.Options) { o.ManualSeed = 9 }, "manual_seed"},
		{func(o *options.Options) { o.Train.Accumulate = 2 }, "accumulate changed"},
	} {
		o, _, _ := tintRun(t, d)
		o.Train.TotalIter = 3
		require.NoError(t, Run(t.Context(), o))
		o.AutoResume = true
		o.Build = func(d *tensor.Device) (Model, error) { return newTint(d), nil }
		c.change(o.Options)
		require.ErrorContains(t, Run(t.Context(), o), c.says)
	}
}

// The plan knows each phase, and what does not fit is an error that says what to change.
func TestPlan(t *testing.T) {
	d := openDevice(t)
	o, _, _ := tintRun(t, d)
	o.Build = func(d *tensor.Device) (Model, error) { return newTint(d), nil }
	p, err := NewPlan(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 12, p.Parameters)
	require.Len(t, p.Phases, 2)
	require.Equal(t, options.Phase{Start: 7, GTSize: 16, MiniBatchSize: 1}, p.Phases[1].Phase)
	require.Equal(t, 6, p.Phases[0].Iterations)
	for _, s := range p.Phases {
		require.Positive(t, s.Peak)
		require.Positive(t, s.Dispatches)
		require.Positive(t, s.Duration)
		require.False(t, s.Checkpointing)
	}
	d.SetBudget(1 << 12)
	_, err = NewPlan(t.Context(), o)
	var memory *MemoryError
	require.ErrorAs(t, err, &memory)
	require.Greater(t, memory.Needed, memory.Budget)
}

// A plan ends with its context, whichever of its steps it is at.
func TestPlanEnds(t *testing.T) {
	d := openDevice(t)
	o, _, _ := tintRun(t, d)
	for last := range 6 { // two of each phase's dry run, two on the device
		steps := 0
		ctx, cancel := context.WithCancel(t.Context())
		end := func() {
			if steps == last {
				cancel()
			}
		}
		end()
		o.Build = func(d *tensor.Device) (Model, error) {
			m := newTint(d)
			m.before = func(int) { steps++; end() }
			return m, nil
		}
		_, err := NewPlan(ctx, o)
		require.ErrorIs(t, err, context.Canceled, last)
		require.Equal(t, last, steps)
		cancel()
	}
}
