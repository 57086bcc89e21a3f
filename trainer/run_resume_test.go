package trainer

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hidiff/hidiff/options"
	"hidiff/tensor"
	"hidiff/trainer/internal/experiment"
	"hidiff/wgpu"

	"github.com/stretchr/testify/require"
)

// snapshot returns the files below a folder and what they hold.
func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		out[filepath.ToSlash(name)] = string(data)
		return err
	}))
	return out
}

// checkpoints are the files of a run that the next goes on from.
func checkpoints(t *testing.T, o RunOptions) map[string]string {
	t.Helper()
	out := snapshot(t, filepath.Join(o.Root, "experiments", o.Name))
	maps.DeleteFunc(out, func(name, _ string) bool {
		return !strings.HasPrefix(name, "models/") && !strings.HasPrefix(name, "training_states/")
	})
	return out
}

// again is the same training in a new process.
func again(o RunOptions) RunOptions {
	o.AutoResume = true
	o.Build = func(d *tensor.Device) (Model, error) { return newTint(d), nil }
	return o
}

// Every validation is in the checkpoint of its iteration, also where it was broken off, by a signal or with
// the process, and made up for: all files end with the same bytes.
func TestValidationsAreNeverLost(t *testing.T) {
	d := openDevice(t)
	for _, c := range []struct {
		name                string
		total, every, photo int // the photo, counted over all validations, at which one breaks off
	}{
		{"of a checkpoint", 12, 6, 2},
		{"between checkpoints", 12, 4, 3},
		{"of the last iteration", 12, 6, 5},
		{"of a last iteration that no frequency divides", 11, 6, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			with := func() (RunOptions, *tint, *bytes.Buffer) {
				o, model, screen := tintRun(t, d)
				o.Train.TotalIter, o.Val.ValFreq = c.total, c.every
				return o, model, screen
			}
			o, _, screen := with()
			require.NoError(t, Run(t.Context(), o))
			want := checkpoints(t, o)
			times := strings.Count(screen.String(), "Validation Val")
			require.Equal(t, (c.total+c.every-1)/c.every, times)
			for iter := 1; iter <= c.total; iter++ {
				path := filepath.Join(o.Root, "experiments/tint/training_states", fmt.Sprintf("%d.state", iter))
				if _, saved := want["training_states/"+fmt.Sprintf("%d.state", iter)]; !saved || iter%c.every > 0 && iter < c.total {
					continue
				}
				state, err := experiment.Load(path, []experiment.ParamState{{Name: "net_g.weight", Shape: []int{3, 3}}, {Name: "net_g.bias", Shape: []int{3}}})
				require.NoError(t, err)
				require.Equal(t, iter, state.Extra.Validated)
				require.Equal(t, iter, state.Extra.Best["Val"]["psnr"].Iter, "it gets better")
			}
			requireSame := func(o RunOptions, screen *bytes.Buffer) {
				got := checkpoints(t, o)
				for name := range want {
					require.Contains(t, got, name)
					require.True(t, want[name] == got[name], name)
				}
				require.Equal(t, 1, strings.Count(screen.String(), "End of training"))
				require.Equal(t, times, strings.Count(screen.String(), "Validation Val"))
			}

			// A signal.
			o, model, screen := with()
			ctx, cancel := context.WithCancel(t.Context())
			model.validating = func(call int) {
				if call == c.photo {
					cancel()
				}
			}
			require.ErrorIs(t, Run(ctx, o), ErrStopped)
			require.NotContains(t, screen.String(), "End of training")
			require.Contains(t, screen.String(), "Training stopped after iteration")
			require.NoError(t, Run(t.Context(), again(o)))
			requireSame(o, screen)

			// A process that dies.
			o, model, screen = with()
			model.validating = func(call int) {
				if call == c.photo {
					tensor.Abort(wgpu.ErrDeviceLost)
				}
			}
			require.ErrorIs(t, Run(t.Context(), o), wgpu.ErrDeviceLost)
			require.NoError(t, Run(t.Context(), again(o)))
			requireSame(o, screen)
		})
	}
}

// A training that is complete is not validated again.
func TestResumeOfWhatIsComplete(t *testing.T) {
	d := openDevice(t)
	o, _, screen := tintRun(t, d)
	o.Train.TotalIter = 7
	require.NoError(t, Run(t.Context(), o))
	want := checkpoints(t, o)
	require.NoError(t, Run(t.Context(), again(o)))
	require.Equal(t, want, checkpoints(t, o))
	require.Equal(t, 2, strings.Count(screen.String(), "Validation Val"))
	require.Equal(t, 2, strings.Count(screen.String(), "End of training"))
}

// Before the first iteration there is nothing to save, and nothing says so.
func TestStopBeforeTheFirstIteration(t *testing.T) {
	d := openDevice(t)
	o, model, _ := tintRun(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	o.Build = func(on *tensor.Device) (Model, error) {
		cancel()
		if on == d {
			return model, nil
		}
		return newTint(on), nil
	}
	err := Run(ctx, o)
	require.ErrorIs(t, err, ErrStopped)
	require.ErrorContains(t, err, "before the first iteration")
	require.Empty(t, checkpoints(t, o))
	require.Zero(t, model.calls)
}

// Which state a run begins with, and what becomes of the experiment that is there.
func TestResumeState(t *testing.T) {
	d := openDevice(t)
	old, _, _ := tintRun(t, d)
	old.Train.TotalIter = 6
	require.NoError(t, Run(t.Context(), old))
	elsewhere := filepath.Join(old.Root, "experiments/tint/training_states/3.state")

	for _, c := range []struct {
		name                string
		exists              bool // an experiment of three iterations more: 3.state, 6.state and 9.state
		own                 bool // resume_state is its 3.state; else that of another
		autoResume, restart bool
		from                string // in the log; or
		says                string // the error
	}{
		{"the newest wins", true, true, true, false, "iter: 9 ", ""},
		{"the newest wins over another's", true, false, true, false, "iter: 9 ", ""},
		{"there is no newest", false, false, true, false, "iter: 3 ", ""},
		{"a new experiment", false, false, false, false, "iter: 3 ", ""},
		{"back in the same experiment", true, true, false, false, "iter: 3 ", ""},
		{"over another experiment", true, false, false, false, "", ErrExists.Error()},
		{"anew from another's", true, false, false, true, "iter: 3 ", ""},
		{"anew from what is put aside", true, true, false, true, "", "is of the experiment that is to be put aside"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, _, screen := tintRun(t, d)
			o.Train.TotalIter = 9
			if c.exists {
				require.NoError(t, Run(t.Context(), o))
			}
			screen.Reset()
			o = again(o)
			o.AutoResume, o.Restart, o.Path.ResumeState = c.autoResume, c.restart, elsewhere
			if c.own {
				o.Path.ResumeState = filepath.Join(o.Root, "experiments/./tint/training_states/3.state")
			}
			before := snapshot(t, o.Root)
			err := Run(t.Context(), o)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				require.Equal(t, before, snapshot(t, o.Root), "something was touched")
				return
			}
			require.NoError(t, err)
			require.Contains(t, screen.String(), c.from)
			require.Contains(t, checkpoints(t, o), "training_states/9.state")
			archived, err := filepath.Glob(filepath.Join(o.Root, "experiments/tint_archived_*/training_states/9.state"))
			require.NoError(t, err)
			require.Equal(t, c.restart, len(archived) == 1)
		})
	}
}

// What is no state is refused before an experiment is put aside.
func TestResumeStateThatIsNone(t *testing.T) {
	d := openDevice(t)
	o, _, _ := tintRun(t, d)
	o.Train.TotalIter = 3
	require.NoError(t, Run(t.Context(), o))
	elsewhere := filepath.Join(t.TempDir(), "net_g_3.pth")
	require.NoError(t, os.Rename(filepath.Join(o.Root, "experiments/tint/models/net_g_3.pth"), elsewhere))
	before := snapshot(t, o.Root)
	o = again(o)
	o.AutoResume, o.Restart, o.Path.ResumeState = false, true, elsewhere
	require.ErrorContains(t, Run(t.Context(), o), "path.resume_state: "+elsewhere+" holds weights, not a training state")
	require.Equal(t, before, snapshot(t, o.Root))
}

// What a killed run was deleting goes with the next, though that keeps all.
func TestNextRunEndsPruning(t *testing.T) {
	d := openDevice(t)
	o, _, _ := tintRun(t, d)
	require.NoError(t, Run(t.Context(), o))
	states := filepath.Join(o.Root, "experiments/tint/training_states")
	require.NoError(t, os.Rename(filepath.Join(states, "3.state"), filepath.Join(states, "3.state"+".pruned")))
	require.NoError(t, Run(t.Context(), again(o)))
	left := checkpoints(t, o)
	require.NotContains(t, left, "models/net_g_3.pth")
	require.NotContains(t, left, "training_states/3.state"+".pruned")
	require.Contains(t, left, "models/net_g_6.pth")
}

// What cannot be validated is named before anything is trained, whatever its section says of bad images.
func TestBadImagesToValidateOn(t *testing.T) {
	d := openDevice(t)
	o, model, _ := tintRun(t, d)
	o.Datasets[1].DatarootGT = t.TempDir()
	for _, name := range []string{"0.png", "1.png", "2.png"} {
		data, err := os.ReadFile(filepath.Join(o.Root, "target", name))
		require.NoError(t, err)
		if name == "1.png" {
			data = []byte("no photo")
		}
		require.NoError(t, os.WriteFile(filepath.Join(o.Datasets[1].DatarootGT, name), data, 0o666))
	}
	o.Datasets[1].OnBadImage = options.SkipBadImage
	require.ErrorContains(t, Run(t.Context(), o), filepath.Join(o.Datasets[1].DatarootGT, "1.png"))
	require.Zero(t, model.calls)
}
