package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"hidiff/hidiff/options"
	"hidiff/internal/atomicfile"
	"hidiff/internal/folder"
	"hidiff/internal/lock"
	"hidiff/internal/streams"
	"hidiff/tensor"
	"hidiff/trainer/dataset"
	"hidiff/trainer/internal/experiment"
)

// What may be found in errors of [Run], for who has advice on it.
var (
	ErrStopped   = errors.New("training was interrupted") // and saved as far as it had come
	ErrSaved     = errors.New("is saved")                 // an iteration, from which a run can go on
	ErrExists    = experiment.ErrExists                   // neither AutoResume nor Restart says what to do with it
	ErrPutAside  = errors.New("is of the experiment that is to be put aside")
	ErrNotFinite = errors.New("are not finite") // gradients; see SkipNaN and DetectAnomaly
)

// RunOptions say how to run the training that Options describe.
type RunOptions struct {
	*options.Options
	Root   string // experiments and tb_logger go here; "" is the current folder
	Device *tensor.Device
	Build  func(d *tensor.Device) (Model, error) // makes the model with its first weights

	AutoResume    bool // go on from the newest checkpoint, if there is one
	Restart       bool // put an experiment of this name aside, and start anew
	Keep          int  // how many checkpoints to keep beside the best; 0 is all
	SkipNaN       bool // pass over steps whose gradients are not finite, and report them
	DetectAnomaly bool // find the operator that first makes a NaN, slowly

	Screen   io.Writer // gets the log's lines; nil for none
	Terminal bool      // whether it is a terminal
	JSON     io.Writer // gets an object a line; nil for none
}

// run is a training under way.
type run struct {
	RunOptions
	steps     *Stepper
	scheduler *options.Scheduler
	loader    *dataset.Loader
	watch     *watcher
	lock      *lock.Lock
	exp       *experiment.Experiment
	val       []valSet
	best      experiment.BestResults
	seed      uint64
	iter      int // done so far
	saved     int // iteration of the newest checkpoint of this run in this experiment; 0 for none
	validated int // iteration of the newest validation
	epoch     int
	size      [2]int // of the last batch: images, pixels of a side

	since         time.Time // the last report
	reported      int       // its iteration
	images        int       // trained on since
	waited        time.Duration
	skippedBefore int
}

// Run trains. When ctx ends, it finishes the iteration at hand, or leaves off
// its validation, saves, and returns [ErrStopped].
func Run(ctx context.Context, o RunOptions) (err error) {
	defer tensor.Catch(&err)
	r := &run{RunOptions: o, best: experiment.BestResults{}, seed: uint64(o.ManualSeed)}
	defer r.close()
	if err := r.open(ctx); err != nil {
		return err
	}
	r.since, r.reported = time.Now(), r.iter
	for r.unvalidated() || r.iter < r.Train.TotalIter {
		if ctx.Err() != nil {
			return r.stop()
		}
		if r.unvalidated() {
			if err := r.validation(ctx); err != nil {
				return r.explain(err)
			}
			continue
		}
		if err := r.iteration(); err != nil {
			return r.explain(fmt.Errorf("iteration %d: %w", r.iter+1, err))
		}
		if err := r.after(ctx); err != nil {
			return r.explain(err)
		}
	}
	if err := r.finish(ctx); err != nil {
		return r.explain(err)
	}
	return nil
}

// open prepares everything that the first iteration needs.
func (r *run) open(ctx context.Context) error {
	mode, state := experiment.Fresh, r.Path.ResumeState
	ours := state != "" && experiment.Owns(r.Root, r.Name, state)
	switch {
	case r.Restart && ours:
		return fmt.Errorf("path.resume_state: %s %w", state, ErrPutAside)
	case r.Restart:
		mode = experiment.Anew
	case r.AutoResume || ours:
		mode = experiment.Resume
	}
	if state != "" && !r.AutoResume {
		if err := experiment.CheckState(state); err != nil { // before anything is put aside
			return fmt.Errorf("path.resume_state: %w", err)
		}
	}
	section := r.Dataset("train")
	if section == nil {
		return errors.New("datasets: there is no section train")
	}
	data, err := dataset.Open(ctx, pairsOf(section))
	if err != nil {
		return err
	}
	if r.val, err = openValidation(ctx, r.Options); err != nil {
		return err
	}
	if r.scheduler, err = r.Train.NewScheduler(); err != nil {
		return err
	}
	if r.lock, err = experiment.Lock(r.Root, r.Name); err != nil {
		return err
	}
	if r.exp, err = experiment.Open(r.Root, r.Name, mode, time.Now()); err != nil {
		return err
	}
	if err := r.checkPictures(); err != nil {
		return err
	}
	if r.AutoResume { // what the experiment has is farther than what it began with
		newest, err := r.exp.Latest()
		if err != nil {
			return err
		}
		if newest != "" {
			state = newest
		}
	}
	if err := r.keepOptions(); err != nil {
		return err
	}
	model, err := r.Build(r.Device)
	if err != nil {
		return err
	}
	r.steps = NewStepper(model, *r.Train)
	r.steps.optimizer.stop = !r.SkipNaN
	resumed, err := r.resume(state)
	if err != nil {
		return err
	}
	if err := r.exp.FinishPruning(experiment.Networks(r.steps.optimizer.describe())); err != nil {
		return err
	}
	if r.watch, err = newWatcher(watchOptions{
		Experiment: r.exp, TensorBoard: r.Logger.UseTBLogger, Screen: r.Screen, Terminal: r.Terminal, JSON: r.JSON,
		Start: r.iter, Total: r.Train.TotalIter,
	}); err != nil {
		return err
	}
	for _, w := range r.Warnings {
		r.watch.Warn("%s", w)
	}
	for _, set := range append([]valSet{{section.Name, data}}, r.val...) {
		if passed := set.data.PassedOver(); len(passed) > 0 {
			r.watch.Warn("%s: passed over: %s", set.name, folder.Kinds(passed))
		}
		if files := set.data.Unmanaged(); files != nil {
			r.watch.Warn("%s: %s", set.name, folder.Unmanaged(files...))
		}
	}
	r.announce(data, resumed)
	r.steps.tape.DetectAnomaly = r.DetectAnomaly
	if r.steps.tape.Checkpointing, err = r.recompute(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	// The iteration at hand is finished when ctx ends, so the loader goes on.
	r.loader, err = dataset.NewLoader(context.WithoutCancel(ctx), data, drawing(section, r.Train.Accumulate, r.iter, r.seed, func(path string, err error) {
		r.watch.Warn("passed over %s: %v", path, err)
	}))
	return err
}

// CheckOutputs finds out, without a device, whether the experiment's files can be written. It leaves nothing behind.
func (o RunOptions) CheckOutputs() error {
	return experiment.Check(o.Root, o.Name, o.Logger.UseTBLogger)
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

func (r *run) announce(data *dataset.Dataset, resumed string) {
	a := r.Device.Adapter()
	r.watch.Info("%s on %s: %d parameters, %d pairs of photos, %d iterations", r.Name, a.Name, r.steps.model.Parameters().Count(), data.Len(), r.Train.TotalIter)
	if a.Software {
		r.watch.Warn("there is no hardware GPU: this trains on the CPU, slowly")
	}
	if resumed != "" {
		r.watch.Info("Resuming training from epoch: %d, iter: %d (%s)", r.epoch, r.iter, resumed)
	}
}

// keepOptions stores the options in effect beside what they lead to.
func (r *run) keepOptions() error {
	text, err := r.YAML()
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(r.exp.Dir, r.Name+".yml"), text)
}

// resume takes everything from a training state, and returns its path for the
// log, "" if there is none.
func (r *run) resume(state string) (string, error) {
	if state == "" {
		return "", nil
	}
	c, err := experiment.Load(state, r.steps.optimizer.describe())
	if err != nil {
		return "", err
	}
	if x := c.Extra; x != nil {
		if x.Seed != r.seed {
			return "", fmt.Errorf("%s was trained with manual_seed %d, the options say %d: the run would not be the same", state, x.Seed, r.seed)
		}
		if want := r.samples(c.Iter); x.Sample != want {
			return "", fmt.Errorf("%s has drawn %d photos in %d iterations, with these options it would be %d: batch_size_per_gpu or accumulate changed",
				state, x.Sample, c.Iter, want)
		}
		if x.Best != nil {
			r.best = x.Best
		}
		r.validated = x.Validated
	}
	r.steps.restore(c)
	r.iter, r.epoch = c.Iter, c.Epoch
	if sameFile(state, r.exp.StatePath(c.Iter)) {
		r.saved = c.Iter
	}
	return state, nil
}

// samples is how many crops have been drawn after some iterations.
func (r *run) samples(iter int) uint64 {
	return uint64(iter * r.Train.Accumulate * r.Dataset("train").BatchSizePerGPU)
}

// iteration makes one step.
func (r *run) iteration() (err error) {
	defer tensor.Catch(&err)
	now := r.iter + 1
	err = r.steps.Step(now, r.scheduler.LR(now), func(part int) (b Batch, err error) {
		batch, waited, err := r.loader.Next()
		if err != nil {
			return b, err
		}
		r.waited += waited
		r.images += batch.N
		r.epoch = batch.Epoch
		r.sized(batch)
		b.LQ = tensor.From(r.Device, batch.LQ, batch.N, batch.H, batch.W, 3)
		b.GT = tensor.From(r.Device, batch.GT, batch.N, batch.H, batch.W, 3)
		batch.Release()
		b.Seed = streams.Numbered(r.seed, "loss", uint64(now*r.Train.Accumulate+part)).Uint64()
		return b, nil
	})
	if err != nil {
		return err
	}
	r.iter = now
	r.watch.Step(now)
	return r.Device.Flush()
}

// sized frees what no batch of a new size can use, and says so.
func (r *run) sized(b *dataset.Batch) {
	size := [2]int{b.N, b.H}
	if size == r.size {
		return
	}
	if r.size != [2]int{} {
		r.Device.Trim()
	}
	r.size = size
	r.watch.Info("Updating Patch_Size to %d and Batch_Size to %d", b.H, b.N)
}

// after does what is due after an iteration, but for its validation, which
// takes long: what was trained is saved before.
func (r *run) after(ctx context.Context) (err error) {
	defer tensor.Catch(&err)
	print, save := r.every(r.Logger.PrintFreq), r.every(r.Logger.SaveCheckpointFreq) || r.iter == r.Train.TotalIter
	if print || save || r.unvalidated() {
		if err := r.healthy(ctx); err != nil {
			return err
		}
	}
	if print {
		if err := r.report(ctx); err != nil {
			return err
		}
	}
	if save {
		return r.save()
	}
	return nil
}

// every says whether the iteration done last is one that comes every n.
func (r *run) every(n int) bool { return n > 0 && r.iter%n == 0 }

// unvalidated says that the iteration done last is still to be validated:
// every val_freq-th is, and the last.
func (r *run) unvalidated() bool {
	return len(r.val) > 0 && r.Val.ValFreq > 0 && r.iter > r.validated && (r.every(r.Val.ValFreq) || r.iter == r.Train.TotalIter)
}

// validation validates, and notes in the iteration's checkpoint, where there is
// one, that it did, and the best results. Where it is interrupted, or the
// process killed, the checkpoint says that it is still to be done.
func (r *run) validation(ctx context.Context) (err error) {
	defer tensor.Catch(&err)
	switch err := r.validateAveraged(ctx); {
	case errors.Is(err, ErrStopped):
		return nil // the loop saves and stops
	case err != nil:
		return err
	}
	r.validated = r.iter
	if r.saved != r.iter {
		return nil
	}
	c, err := r.checkpoint()
	if err != nil {
		return err
	}
	return r.exp.SaveState(c)
}

// healthy looks for steps that were skipped.
func (r *run) healthy(ctx context.Context) error {
	count, first, err := r.steps.optimizer.skips(context.WithoutCancel(ctx))
	switch {
	case err != nil:
		return err
	case count > 0 && !r.SkipNaN:
		return fmt.Errorf("the gradients of iteration %d %w, and parameters are as they were before it: try a lower lr or a warm-up", first, ErrNotFinite)
	case count > r.skippedBefore:
		r.watch.Warn("passed over %d iterations with gradients that are not finite, the first of this run at %d", count-r.skippedBefore, first)
		r.skippedBefore = count
	}
	return nil
}

// report reads losses and norm back, and tells whoever watches.
func (r *run) report(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	losses, err := r.steps.Losses(ctx)
	if err != nil {
		return err
	}
	norm, err := r.steps.GradNorm(ctx)
	if err != nil {
		return err
	}
	elapsed, n := time.Since(r.since).Seconds(), float64(r.iter-r.reported)
	stats := r.Device.Stats()
	report := iterReport{
		Iter: r.iter, Epoch: r.epoch, LR: r.scheduler.LR(r.iter), GradNorm: norm,
		ImagesPerSecond: float64(r.images) / elapsed, Time: elapsed / n, DataTime: r.waited.Seconds() / n,
		GPUBytes: stats.Live + stats.Pooled,
	}
	for i, name := range r.steps.model.LossNames() {
		report.Losses = append(report.Losses, scalar{name, losses[i]})
	}
	r.watch.Iter(report)
	r.since, r.reported, r.images, r.waited = time.Now(), r.iter, 0, 0
	return nil
}

// checkpoint reads the training back.
func (r *run) checkpoint() (*experiment.Checkpoint, error) {
	params, err := r.steps.optimizer.params(context.Background())
	if err != nil {
		return nil, err
	}
	o := r.Train.OptimTotal
	return &experiment.Checkpoint{
		Iter: r.iter, Epoch: r.epoch, Step: r.iter, Params: params,
		Optimizer: experiment.OptimizerState{LR: r.scheduler.LR(r.iter), InitialLR: o.LR, Betas: o.Betas, Eps: o.Eps, WeightDecay: o.WeightDecay},
		Scheduler: experiment.SchedulerState{Attributes: r.Train.Scheduler.Attributes(r.Train.TotalIter), LastLR: r.scheduler.LR(r.iter)},
		Extra:     &experiment.ExtraState{Seed: r.seed, Sample: r.samples(r.iter), Validated: r.validated, Best: r.best},
	}, nil
}

func (r *run) save() error {
	c, err := r.checkpoint()
	if err != nil {
		return err
	}
	path, err := r.exp.Save(c)
	if err != nil {
		return err
	}
	r.saved = r.iter
	r.watch.Saved(r.iter, path)
	return r.exp.Prune(r.iter, r.Keep, experiment.Networks(c.Params), r.best.Iters()...)
}

// stop saves an interrupted training.
func (r *run) stop() error {
	if err := r.healthy(context.Background()); err != nil {
		return r.explain(err)
	}
	if r.iter > r.saved {
		if err := r.save(); err != nil {
			return r.explain(err)
		}
	}
	r.watch.Done(r.iter, true)
	if r.iter == 0 {
		return fmt.Errorf("%w before the first iteration: there is nothing to save", ErrStopped)
	}
	return fmt.Errorf("%w after iteration %d, which %w", ErrStopped, r.iter, ErrSaved)
}

// finish saves the last networks.
func (r *run) finish(ctx context.Context) error {
	if err := r.healthy(ctx); err != nil {
		return err
	}
	if r.iter > r.saved {
		if err := r.save(); err != nil {
			return err
		}
	}
	c, err := r.checkpoint()
	if err != nil {
		return err
	}
	if err := r.exp.SaveLatest(c); err != nil {
		return err
	}
	r.watch.Done(r.iter, false)
	return nil
}

// explain adds to an error what remains of the training.
func (r *run) explain(err error) error {
	if r.saved == 0 {
		return fmt.Errorf("%w (nothing was saved yet)", err)
	}
	return fmt.Errorf("%w (iteration %d %w)", err, r.saved, ErrSaved)
}

func (r *run) close() {
	if r.loader != nil {
		r.loader.Close()
	}
	for _, v := range r.val {
		_ = v.data.Close() // opened for reading
	}
	if r.steps != nil {
		r.steps.Release()
	}
	if r.watch != nil {
		_ = r.watch.Close() // it has warned of what could not be written
	}
	r.lock.Release()
}
