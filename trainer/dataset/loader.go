package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hidiff/internal/streams"
)

// LoaderOptions say how batches are drawn from a dataset. Keys in comments are BasicSR's.
type LoaderOptions struct {
	Seed          uint64 // manual_seed
	BatchSize     int    // batch_size_per_gpu: samples drawn for an iteration
	EnlargeRatio  int    // dataset_enlarge_ratio: how often an epoch shows each pair; 0 means 1
	GeometricAugs bool   // geometric_augs: one of the eight flips and rotations, at random

	// Phase is progressive learning: how many of the samples drawn for an iteration are kept, at random,
	// and the side of the window all of them are cut to. More than BatchSize and gt_size mean all, as in
	// BasicSR. It is asked ahead of training. nil keeps everything.
	Phase func(iter int) (miniBatch, size int)

	Start    int // iterations done before; the first batch is that of iteration Start+1
	Workers  int // num_worker_per_gpu: goroutines that read photos; 0 means one per CPU
	Prefetch int // batches that may be made ahead; 0 means 4

	OnSkip func(path string, err error) // told, by Next, of each file skipped as Options.SkipBad asks, once
}

// Batch is the training data of one iteration.
type Batch struct {
	Iter     int       // counted from 1
	Epoch    int       // of the first sample drawn, counted from 0
	LQ, GT   []float32 // [N, H, W, 3], RGB in [0, 1]
	N, H, W  int
	Names    []string // of the N pairs
	Replaced int      // samples drawn in place of bad ones

	loader *Loader
}

// Release gives the memory of LQ and GT back to the loader, which will overwrite it.
func (b *Batch) Release() {
	if b.LQ != nil {
		b.loader.recycle(pixels{b.LQ, b.GT})
		b.LQ, b.GT = nil, nil
	}
}

type pixels struct{ lq, gt []float32 }

// Loader draws random batches, in order, ahead of their use. Batch k depends on the dataset, the options
// and k alone: not on the number of workers, on timing, or on where a run was resumed.
type Loader struct {
	o    LoaderOptions
	data *Dataset

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ready  chan *pending // in order of iterations, maybe still in the making
	jobs   chan job

	mu   sync.Mutex
	free []pixels
	bad  map[int]error // pairs that cannot be read, found so far

	failed   error               // what Next returned, and will return
	reported map[string]struct{} // paths OnSkip was told of
}

// pending is a batch in the making.
type pending struct {
	batch   *Batch
	left    atomic.Int64  // samples to be made
	done    chan struct{} // closed when none are left
	results []result      // of each sample
	err     error
}

type result struct {
	skipped []error // *badImage
	err     error
}

// job is one sample to be made.
type job struct {
	to       *pending
	slot     int
	sample   uint64
	order    []int32 // the pairs of the sample's epoch
	position int     // of the sample in it
	view     view    // but for what the sample's own stream says
}

// NewLoader starts workers that draw batches until ctx is done or Close is called.
func NewLoader(ctx context.Context, data *Dataset, o LoaderOptions) (*Loader, error) {
	o.EnlargeRatio, o.Workers, o.Prefetch = cmp.Or(o.EnlargeRatio, 1), cmp.Or(o.Workers, runtime.GOMAXPROCS(0)), cmp.Or(o.Prefetch, 4)
	if o.Phase == nil {
		o.Phase = func(int) (int, int) { return o.BatchSize, data.o.GTSize }
	}
	switch {
	case data.o.GTSize < 1:
		return nil, fmt.Errorf("gt_size must be at least 1, not %d", data.o.GTSize)
	case o.BatchSize < 1:
		return nil, fmt.Errorf("batch_size_per_gpu must be at least 1, not %d", o.BatchSize)
	case o.EnlargeRatio < 0 || o.EnlargeRatio > math.MaxInt32/data.Len():
		return nil, fmt.Errorf("dataset_enlarge_ratio %d is out of range: with %d pairs it may be 1 to %d", o.EnlargeRatio, data.Len(), math.MaxInt32/data.Len())
	case o.Workers < 0 || o.Prefetch < 0 || o.Start < 0:
		return nil, fmt.Errorf("num_worker_per_gpu (%d), batches ahead (%d) and iterations done (%d) cannot be negative", o.Workers, o.Prefetch, o.Start)
	}
	l := &Loader{
		o: o, data: data,
		ready: make(chan *pending, o.Prefetch), jobs: make(chan job),
		bad: map[int]error{}, reported: map[string]struct{}{},
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.wg.Go(l.draw)
	for range o.Workers {
		l.wg.Go(func() {
			var memory encoded
			for j := range l.jobs {
				l.fill(j, &memory)
			}
		})
	}
	return l, nil
}

// Close stops the workers and waits for them.
func (l *Loader) Close() {
	l.cancel()
	l.wg.Wait()
}

// Next returns the batch of the next iteration and how long it had to be waited for. After an error it
// returns the same again. Only one goroutine may call it.
func (l *Loader) Next() (b *Batch, waited time.Duration, err error) {
	start := time.Now()
	if l.failed == nil {
		b, l.failed = l.next()
	}
	return b, time.Since(start), l.failed
}

func (l *Loader) next() (*Batch, error) {
	if l.ctx.Err() != nil {
		return nil, context.Cause(l.ctx)
	}
	var p *pending
	select {
	case p = <-l.ready:
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	}
	select {
	case <-p.done:
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	}
	for _, r := range p.results {
		for _, err := range r.skipped {
			l.report(err)
		}
		if p.err == nil {
			p.err = r.err
		}
		if len(r.skipped) > 0 {
			p.batch.Replaced++
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.batch, nil
}

// report tells OnSkip of a bad file the first time.
func (l *Loader) report(err error) {
	bad := new(badImage)
	if l.o.OnSkip == nil || !errors.As(err, &bad) {
		return
	}
	if _, known := l.reported[bad.path]; !known {
		l.reported[bad.path] = struct{}{}
		l.o.OnSkip(bad.path, bad.err)
	}
}

// draw decides what goes into each batch, in order, and hands out the work.
func (l *Loader) draw() {
	defer close(l.jobs)
	samples := &sampler{seed: l.o.Seed, n: l.data.Len(), total: l.data.Len() * l.o.EnlargeRatio}
	for iter := l.o.Start + 1; ; iter++ {
		p := &pending{done: make(chan struct{})}
		select {
		case l.ready <- p:
		case <-l.ctx.Done():
			return
		}
		n, size := l.o.Phase(iter)
		if n < 1 || size < 1 {
			p.err = fmt.Errorf("mini_batch_sizes and gt_sizes must be at least 1; for iteration %d they are %d and %d", iter, n, size)
			close(p.done)
			return
		}
		n, size = min(n, l.o.BatchSize), min(size, l.data.o.GTSize)
		// One window for the whole batch, and a choice of its samples. The samples not kept are never
		// read, but they count.
		draw := streams.Numbered(l.o.Seed, "batch", uint64(iter))
		v := view{n: l.data.o.GTSize, size: size}
		v.y, v.x = draw.IntN(v.n-size+1), draw.IntN(v.n-size+1)
		kept := draw.Perm(l.o.BatchSize)[:n]
		slices.Sort(kept) // epoch after epoch

		first := uint64(iter-1) * uint64(l.o.BatchSize)
		epoch, _, _ := samples.at(first)
		memory := l.allocate(3 * n * size * size)
		p.batch = &Batch{
			Iter: iter, Epoch: epoch, LQ: memory.lq, GT: memory.gt, N: n, H: size, W: size,
			Names: make([]string, n), loader: l,
		}
		p.results = make([]result, n)
		p.left.Store(int64(n))
		for slot, k := range kept {
			j := job{to: p, slot: slot, sample: first + uint64(k), view: v}
			_, j.order, j.position = samples.at(j.sample)
			select {
			case l.jobs <- j:
			case <-l.ctx.Done():
				return
			}
		}
	}
}

// fill makes one sample.
func (l *Loader) fill(j job, memory *encoded) {
	b, r := j.to.batch, &j.to.results[j.slot]
	var pair Pair
	if pair, r.err = l.usable(j, r, memory); r.err == nil {
		draw := streams.Numbered(l.o.Seed, "sample", j.sample)
		v := j.view
		v.top, v.left = draw.IntN(pair.GT.Height-v.n+1), draw.IntN(pair.GT.Width-v.n+1)
		if l.o.GeometricAugs {
			v.mode = draw.IntN(len(augmentations))
		}
		size := len(b.LQ) / b.N
		v.write(b.LQ[j.slot*size:][:size], pair.LQ)
		v.write(b.GT[j.slot*size:][:size], pair.GT)
		b.Names[j.slot] = pair.Name
	}
	if j.to.left.Add(-1) == 0 {
		close(j.to.done)
	}
}

// usable reads a sample's pair. Where bad ones are skipped, it then tries those that follow a random
// position in the epoch, and notes the bad ones in r.
func (l *Loader) usable(j job, r *result, memory *encoded) (Pair, error) {
	p, err := l.read(int(j.order[j.position]), memory)
	if err == nil {
		return p, nil
	}
	if !l.data.o.SkipBad {
		return p, fmt.Errorf("a training photo cannot be used: %w; repair it, or remove it and its partner, or set on_bad_image to skip (it is fail)", err)
	}
	r.skipped = append(r.skipped, err)
	start := streams.Numbered(l.o.Seed, "replacement", j.sample).IntN(len(j.order))
	for i := range j.order {
		if l.ctx.Err() != nil {
			return p, context.Cause(l.ctx)
		}
		p, err = l.read(int(j.order[(start+i)%len(j.order)]), memory)
		if err == nil {
			return p, nil
		}
		r.skipped = append(r.skipped, err)
	}
	return p, fmt.Errorf("none of the %d pairs of photos can be read; the last: %w", l.data.Len(), err)
}

// read reads pair i, unless it is known to be bad.
func (l *Loader) read(i int, memory *encoded) (Pair, error) {
	l.mu.Lock()
	err := l.bad[i]
	l.mu.Unlock()
	if err != nil {
		return Pair{}, err
	}
	p, err := l.data.read(i, memory)
	if err != nil {
		l.mu.Lock()
		l.bad[i] = err
		l.mu.Unlock()
	}
	return p, err
}

// allocate returns two slices of n values, from batches released before where they are long enough.
func (l *Loader) allocate(n int) pixels {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.free) > 0 {
		p := l.free[len(l.free)-1]
		l.free = l.free[:len(l.free)-1]
		if cap(p.lq) >= n && cap(p.gt) >= n {
			return pixels{p.lq[:n], p.gt[:n]}
		}
	}
	return pixels{make([]float32, n), make([]float32, n)}
}

func (l *Loader) recycle(p pixels) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, p)
}
