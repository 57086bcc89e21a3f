package conformance

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"hidiff/autograd"
	"hidiff/hidiff"
	"hidiff/hidiff/options"
	"hidiff/internal/diffusion"
	"hidiff/tensor"
	"hidiff/trainer"
)

// How far training in float32 may be from the float64 reference.
const (
	lossTolerance   = 1e-4
	normTolerance   = 1e-3
	updateTolerance = 1e-2 // of the parameters' distance, relative to how far they moved
	rateTolerance   = 1e-7 // of learning rates, which the files round to float32
)

// chaotic is by how much a noise-predicting sampler may amplify before its training in
// float32 cannot be followed past the first iteration.
const chaotic = 100

// trajectory is a training fixture under way on the device.
type trajectory struct {
	*runner
	f         *fixture
	training  *fromNoise
	steps     *trainer.Stepper
	scheduler *options.Scheduler
	start     []float32 // the parameters' first values
}

// fromNoise is a training whose diffusion starts from a fixture's noise.
type fromNoise struct {
	*hidiff.Training
	noise *tensor.Tensor // of the next step; nil in stage one
}

func (t *fromNoise) Loss(tape *autograd.Tape, lq, gt *tensor.Tensor, _ uint64) []*autograd.Variable {
	return t.LossFrom(tape, lq, gt, t.noise)
}

func (r *runner) training(f *fixture) error {
	t, err := r.newTrajectory(f)
	if err != nil {
		return err
	}
	defer t.release()
	for iter := 1; f.has("iter%d.lq", iter); iter++ {
		if iter > 1 && t.chaotic() {
			break
		}
		if err := t.iteration(iter); err != nil {
			return err
		}
	}
	return nil
}

func (f *fixture) has(format string, args ...any) bool {
	_, ok := f.Tensors[fmt.Sprintf(format, args...)]
	return ok
}

// stage goes by what is trained.
func (f *fixture) stage() int {
	if slices.Contains(f.Trained, string(hidiff.NetLE)) {
		return 1
	}
	return 2
}

func (r *runner) newTrajectory(f *fixture) (*trajectory, error) {
	t := &trajectory{runner: r, f: f}
	if err := f.Config.Validate(); err != nil {
		return nil, err
	}
	o := hidiff.TrainingOptions{Stage: f.stage()}
	var err error
	if o.Pixel, err = f.Train.PixelOpt.Loss(); err != nil {
		return nil, err
	}
	if o.Stage == 2 {
		if o.PixelDiff, err = f.Train.PixelDiffOpt.Loss(); err != nil {
			return nil, err
		}
	}
	training, err := hidiff.NewTraining(r.d, f.Config, hidiff.FillWeights(f.Config, f.fill).Nets, o)
	if err != nil {
		return nil, err
	}
	t.training = &fromNoise{Training: training}
	trained := f.Config.Trained(o.Stage)
	for _, net := range f.Trained {
		if len(f.Trained) != len(trained) || !slices.Contains(trained, hidiff.Network(net)) {
			return nil, fmt.Errorf("stage %d trains %v, the fixture %v", o.Stage, trained, f.Trained)
		}
	}
	t.steps = trainer.NewStepper(t.training, f.Train)
	if t.scheduler, err = f.Train.NewScheduler(); err != nil {
		return nil, err
	}
	t.start, err = t.training.Parameters().Values.Floats(r.ctx)
	return t, err
}

func (t *trajectory) release() { t.steps.Release() }

// chaotic says that the sampler amplifies rounding until trajectories diverge.
func (t *trajectory) chaotic() bool {
	c := t.f.Config.Diffusion
	if t.f.stage() == 1 || c.ApplyLDM {
		return false
	}
	s, err := diffusion.NewSchedule(diffusion.Options(c))
	return err == nil && s.SqrtRecipAlphasCumprod[c.Timesteps-1] > chaotic
}

// iteration makes one step and compares all that the file knows of it.
func (t *trajectory) iteration(iter int) error {
	name := func(what string) string { return fmt.Sprintf("iter%d.%s", iter, what) }
	in, err := t.f.needed(name("lq"), name("gt"))
	if err != nil {
		return err
	}
	if t.f.stage() == 2 {
		n, err := t.f.Tensor(name("noise"))
		if err != nil {
			return err
		}
		t.training.noise = upload(t.d, n)
		defer t.training.noise.Release()
	}
	lr := t.scheduler.LR(iter)
	t.number(name("lr"), lr, rateTolerance)
	if err := t.steps.Step(iter, lr, func(int) (trainer.Batch, error) {
		return trainer.Batch{LQ: upload(t.d, in[0]), GT: upload(t.d, in[1])}, nil
	}); err != nil {
		return err
	}
	losses, err := t.steps.Losses(t.ctx)
	if err != nil {
		return err
	}
	for i, what := range t.training.LossNames() {
		t.number(name(what), losses[i], lossTolerance)
	}
	norm, err := t.steps.GradNorm(t.ctx)
	if err != nil {
		return err
	}
	t.number(name("grad_norm"), norm, normTolerance)
	if len(t.f.Under(name("param."))) == 0 {
		return nil
	}
	diff, err := t.moved(name("param."))
	t.result(name("param"), diff, updateTolerance, err)
	return nil
}

// number compares one value.
func (t *trajectory) number(what string, got, tolerance float64) {
	want, err := t.f.Tensor(what)
	var diff Diff
	if err == nil {
		diff, err = compare([]float64{got}, want.Data, []int{1}, want.Shape)
		diff.Scale = math.Abs(float64(want.Data[0])) // losses may be smaller than what compare takes for zero
		diff.MaxRel = diff.MaxAbs / diff.Scale
	}
	t.result(what, diff, tolerance, err)
}

// moved compares parameters with those under prefix: ‖p − want‖ / ‖want − start‖ over all.
func (t *trajectory) moved(prefix string) (Diff, error) {
	p := t.training.Parameters()
	values, err := p.Values.Floats(t.ctx)
	if err != nil {
		return Diff{}, err
	}
	var off, way float64
	for i := range p.All() {
		spec := p.Spec(i)
		want, err := t.f.Tensor(prefix + spec.Name)
		if err != nil {
			return Diff{}, err
		}
		got, start := p.Slice(values, i), p.Slice(t.start, i)
		if _, err := compare(got, want.Data, spec.Shape, want.Shape); err != nil {
			return Diff{}, fmt.Errorf("%s: %w", spec.Name, err)
		}
		for k, w := range want.Data {
			off += math.Pow(float64(got[k])-float64(w), 2)
			way += math.Pow(float64(w)-float64(start[k]), 2)
		}
	}
	if way == 0 {
		return Diff{}, errors.New("the reference did not move")
	}
	return Diff{MaxAbs: math.Sqrt(off), Scale: math.Sqrt(way), MaxRel: math.Sqrt(off / way), At: []int{}}, nil
}

// resume goes on from a state that PyTorch wrote, along the training fixture in the folder
// above that it belongs to.
func (r *runner) resume(path string) error {
	r.kind = "resume"
	files, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(path)), "*.safetensors"))
	if err != nil {
		return err
	}
	failures := []error{fmt.Errorf("%s: no training fixture in the folder above continues it", path)}
	for _, file := range files {
		f, err := openFixture(file)
		if err != nil || f.Kind != kindTraining {
			continue
		}
		t, err := r.newTrajectory(f)
		if err != nil {
			return err
		}
		iter, err := t.steps.Load(path)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", filepath.Base(file), err))
			t.release()
			continue
		}
		defer t.release()
		for iter++; f.has("iter%d.lq", iter); iter++ {
			if err := t.iteration(iter); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(failures...)
}

// scheduleRow is one schedule of lr_schedules.json.
type scheduleRow struct {
	Type string `yaml:"type"`
	Args struct {
		options.SchedulerOptions `yaml:",inline"`
		TotalIter                int `yaml:"total_iter"`
	} `yaml:"args"`
	BaseLR     float64   `yaml:"base_lr"`
	WarmupIter int       `yaml:"warmup_iter"`
	LR         []float64 `yaml:"lr"`
}

// schedules compares learning rates, which are computed in float64, at every iteration.
func (r *runner) schedules(path string) error {
	r.kind = "lr_schedules"
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var rows []scheduleRow
	if err := decodeOptions(raw, &rows); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i, row := range rows {
		row.Args.Type = row.Type
		s, err := options.NewScheduler(row.Args.SchedulerOptions, row.BaseLR, max(row.Args.TotalIter, len(row.LR)), row.WarmupIter)
		if err != nil {
			return err
		}
		got := make([]float64, len(row.LR))
		for k := range got {
			got[k] = s.LR(k + 1)
		}
		diff, err := compare(got, row.LR, []int{len(got)}, []int{len(row.LR)})
		r.result(fmt.Sprintf("%d %s", i, row.Type), diff, 1e-12, err)
	}
	return nil
}
