package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"hidiff/autograd"
	"hidiff/internal/atomicfile"
	"hidiff/internal/folder"
	"hidiff/internal/lock"
	"hidiff/internal/streams"
	"hidiff/tensor"
)

// ErrStopped says that a training was interrupted, and saved as far as it had come.
var ErrStopped = errors.New("training was interrupted")

// RunOptions say how to run the training that Options describe.
type RunOptions struct {
	*Options
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
	d         *tensor.Device
	model     Model
	optimizer *Optimizer
	scheduler *Scheduler
	loader    *Loader
	tape      *autograd.Tape
	watch     *watcher
	lock      *lock.Lock
	exp       *experiment
	val       []valSet
	best      BestResults
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
	losses        [][]*tensor.Tensor // of the iteration at hand, by batch
	skippedBefore int
}

// Run trains. When ctx ends, it finishes the iteration at hand, or leaves off
// its validation, saves, and returns [ErrStopped].
func Run(ctx context.Context, o RunOptions) (err error) {
	defer tensor.Catch(&err)
	r := &run{RunOptions: o, d: o.Device, best: BestResults{}, seed: uint64(o.ManualSeed)}
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
	mode, state := startFresh, r.Path.ResumeState
	ours := state != "" && isBelow(experimentFolder(r.Root, r.Name), state)
	switch {
	case r.Restart && ours:
		return fmt.Errorf("path.resume_state: %s is of the experiment that --restart puts aside: leave out --restart to go on from it", state)
	case r.Restart:
		mode = startAnew
	case r.AutoResume || ours:
		mode = startResume
	}
	if state != "" && !r.AutoResume {
		if _, err := loadState(state); err != nil { // before --restart puts anything aside
			return fmt.Errorf("path.resume_state: %w", err)
		}
	}
	section := r.Dataset("train")
	if section == nil {
		return errors.New("datasets: there is no section train")
	}
	data, err := OpenDataset(ctx, section.open())
	if err != nil {
		return err
	}
	if r.val, err = openValidation(ctx, r.Options); err != nil {
		return err
	}
	if r.scheduler, err = r.Train.NewScheduler(); err != nil {
		return err
	}
	if r.lock, err = lockExperiment(r.Root, r.Name); err != nil {
		return err
	}
	if r.exp, err = openExperiment(r.Root, r.Name, mode, time.Now()); err != nil {
		return err
	}
	if err := r.checkPictures(); err != nil {
		return err
	}
	if r.AutoResume { // what the experiment has is farther than what it began with
		newest, err := r.exp.latest()
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
	if r.model, err = r.Build(r.d); err != nil {
		return err
	}
	r.optimizer = NewOptimizer(r.model.Parameters(), r.Train.OptimTotal, r.Train.ClipGradNorm, r.Train.EMADecay)
	r.optimizer.stop = !r.SkipNaN
	resumed, err := r.resume(state)
	if err != nil {
		return err
	}
	if err := r.exp.finishPruning(networksOf(r.optimizer.describe())); err != nil {
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
	recompute, err := r.recompute()
	if err != nil {
		return err
	}
	r.tape = &autograd.Tape{Checkpointing: recompute, DetectAnomaly: r.DetectAnomaly}
	// The iteration at hand is finished when ctx ends, so the loader goes on.
	r.loader, err = NewLoader(context.WithoutCancel(ctx), data, section.load(r.Train.Accumulate, r.iter, r.seed, func(path string, err error) {
		r.watch.Warn("passed over %s: %v", path, err)
	}))
	return err
}

func (r *run) announce(data *Dataset, resumed string) {
	a := r.d.Adapter()
	r.watch.Info("%s on %s: %d parameters, %d pairs of photos, %d iterations", r.Name, a.Name, r.model.Parameters().Count(), data.Len(), r.Train.TotalIter)
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
	return atomicfile.WriteBytes(filepath.Join(r.exp.dir, r.Name+".yml"), text)
}

// resume takes everything from a training state, and returns its path for the
// log, "" if there is none.
func (r *run) resume(state string) (string, error) {
	if state == "" {
		return "", nil
	}
	c, err := LoadCheckpoint(state, r.optimizer.describe())
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
	r.optimizer.restore(c.Params)
	r.model.Repack()
	r.iter, r.epoch = c.Iter, c.Epoch
	if sameFile(state, r.exp.statePath(c.Iter)) {
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
	r.releaseLosses()
	for part := range r.Train.Accumulate {
		batch, waited, err := r.loader.Next()
		if err != nil {
			return err
		}
		r.waited += waited
		r.images += batch.N
		r.epoch = batch.Epoch
		r.sized(batch)
		lq := tensor.From(r.d, batch.LQ, batch.N, batch.H, batch.W, 3)
		gt := tensor.From(r.d, batch.GT, batch.N, batch.H, batch.W, 3)
		batch.Release()
		seed := streams.Numbered(r.seed, "loss", uint64(now*r.Train.Accumulate+part)).Uint64()
		losses := r.model.Loss(r.tape, lq, gt, seed)
		var values []*tensor.Tensor
		for _, l := range losses {
			values = append(values, l.Share())
		}
		r.losses = append(r.losses, values)
		r.tape.Backward(1/float32(r.Train.Accumulate), losses...)
		for _, l := range losses {
			l.Release()
		}
		lq.Release()
		gt.Release()
	}
	r.optimizer.Step(now, r.scheduler.LR(now))
	r.model.Repack()
	r.iter = now
	r.watch.Step(now)
	return r.d.Flush()
}

// sized frees what no batch of a new size can use, and says so.
func (r *run) sized(b *Batch) {
	size := [2]int{b.N, b.H}
	if size == r.size {
		return
	}
	if r.size != [2]int{} {
		r.d.Trim()
	}
	r.size = size
	r.watch.Info("Updating Patch_Size to %d and Batch_Size to %d", b.H, b.N)
}

func (r *run) releaseLosses() {
	for _, part := range r.losses {
		for _, l := range part {
			l.Release()
		}
	}
	r.losses = r.losses[:0]
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
	return r.exp.saveState(c)
}

// healthy looks for steps that were skipped.
func (r *run) healthy(ctx context.Context) error {
	count, first, err := r.optimizer.Skipped(context.WithoutCancel(ctx))
	switch {
	case err != nil:
		return err
	case count > 0 && !r.SkipNaN:
		return fmt.Errorf("the gradients of iteration %d are not finite, and parameters are as they were before it: try a lower lr or a warm-up, "+
			"find the operator with --detect-anomaly, or pass over such iterations with --skip-nan", first)
	case count > r.skippedBefore:
		r.watch.Warn("passed over %d iterations with gradients that are not finite, the first of this run at %d", count-r.skippedBefore, first)
		r.skippedBefore = count
	}
	return nil
}

// report reads losses and norm back, and tells whoever watches.
func (r *run) report(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	sums := make([]float64, len(r.model.LossNames()))
	for _, part := range r.losses {
		for i, l := range part {
			v, err := l.Floats(ctx)
			if err != nil {
				return err
			}
			sums[i] += float64(v[0]) / float64(len(r.losses))
		}
	}
	norm, err := r.optimizer.GradNorm(ctx)
	if err != nil {
		return err
	}
	elapsed, n := time.Since(r.since).Seconds(), float64(r.iter-r.reported)
	stats := r.d.Stats()
	report := IterReport{
		Iter: r.iter, Epoch: r.epoch, LR: r.scheduler.LR(r.iter), GradNorm: norm,
		ImagesPerSecond: float64(r.images) / elapsed, Time: elapsed / n, DataTime: r.waited.Seconds() / n,
		GPUBytes: stats.Live + stats.Pooled,
	}
	for i, name := range r.model.LossNames() {
		report.Losses = append(report.Losses, Scalar{name, sums[i]})
	}
	r.watch.Iter(report)
	r.since, r.reported, r.images, r.waited = time.Now(), r.iter, 0, 0
	return nil
}

// checkpoint reads the training back.
func (r *run) checkpoint() (*Checkpoint, error) {
	params, err := r.optimizer.params(context.Background())
	if err != nil {
		return nil, err
	}
	o := r.Train.OptimTotal
	return &Checkpoint{
		Iter: r.iter, Epoch: r.epoch, Step: r.iter, Params: params,
		Optimizer: OptimizerState{LR: r.scheduler.LR(r.iter), InitialLR: o.LR, Betas: o.Betas, Eps: o.Eps, WeightDecay: o.WeightDecay},
		Scheduler: SchedulerState{Attributes: schedulerAttributes(r.Train.Scheduler, r.Train.TotalIter), LastLR: r.scheduler.LR(r.iter)},
		Extra:     &ExtraState{Seed: r.seed, Sample: r.samples(r.iter), Validated: r.validated, Best: r.best},
	}, nil
}

func (r *run) save() error {
	c, err := r.checkpoint()
	if err != nil {
		return err
	}
	path, err := r.exp.save(c)
	if err != nil {
		return err
	}
	r.saved = r.iter
	r.watch.Saved(r.iter, path)
	return r.exp.prune(r.iter, r.Keep, networksOf(c.Params), r.best.iters()...)
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
	return fmt.Errorf("%w after iteration %d, which is saved: --auto_resume goes on from there", ErrStopped, r.iter)
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
	if err := r.exp.saveLatest(c); err != nil {
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
	return fmt.Errorf("%w (iteration %d is saved: --auto_resume goes on from there)", err, r.saved)
}

func (r *run) close() {
	if r.loader != nil {
		r.loader.Close()
	}
	for _, v := range r.val {
		_ = v.data.Close() // opened for reading
	}
	r.releaseLosses()
	if r.tape != nil {
		r.tape.Reset()
	}
	if r.optimizer != nil {
		r.optimizer.Release()
	}
	if r.model != nil {
		r.model.Release()
	}
	if r.watch != nil {
		_ = r.watch.Close() // it has warned of what could not be written
	}
	r.lock.Release()
}
