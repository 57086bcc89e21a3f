package hidiff

import (
	"context"
	"fmt"
	"image"
	"log/slog"

	"hidiff/hidiff/photo"
	"hidiff/internal/hostmemory"
	"hidiff/internal/streams"
	"hidiff/tensor"
	"hidiff/wgpu"
)

// Options choose the GPU and bound its memory. The zero value takes the first
// adapter and a default budget.
type Options struct {
	GPU    string       // index or part of a name, as [wgpu.Adapters] lists them; empty takes the first
	Memory int64        // bytes of GPU memory to use at most; 0 chooses: half of the free memory where the adapter shares it, no bound where it has its own
	Logger *slog.Logger // nil is silent
}

// BudgetError says that [Options].Memory is too small, or must be given.
type BudgetError struct {
	Budget int64 // bytes; 0 where none could be found
	Least  int64 // bytes that a plan takes; 0 if unknown
	err    error
}

func (e *BudgetError) Error() string { return e.err.Error() }
func (e *BudgetError) Unwrap() error { return e.err }

// Model deblurs photos: HI-Diff's networks on a GPU. It may be used from
// several goroutines; they take turns.
type Model struct {
	Weights *Weights

	turn     chan struct{} // holds one where nobody uses what follows
	d        *tensor.Device
	nets     *Networks
	dry      *tensor.Device // plans
	dryNets  *Networks
	planned  map[planKey]Plan
	explicit bool // the budget is the user's
	log      *slog.Logger
}

// RestoreOptions say how to restore a photo. The zero value is the exact,
// whole-image result with seed 0.
type RestoreOptions struct {
	Seed     uint64 // of the diffusion's noise
	Name     string // of the photo, such as its relative path: photos differ in noise, whatever their order
	Ensemble bool   // average over the eight flips and turns: 8 times slower, a little sharper
	// Tile > 0 restores overlapping square tiles of that many pixels by
	// themselves. Inexact: attention no longer sees the whole photo.
	Tile        int
	TileOverlap int           // pixels, at most Tile/2; 0 means Tile/8
	Progress    func(float64) // called now and then with the fraction done
	Prior       Prior         // "" is SampledPrior
	Target      *photo.Photo  // the sharp photo, of the same size, for OraclePrior
}

// Open loads weights (a bundle, the networks' files, or a folder of them; see
// [LoadWeights]) and prepares them on a GPU. Close the model after use.
func Open(ctx context.Context, path string, o Options) (*Model, error) {
	w, err := LoadWeights(ctx, LoadOptions{}, path)
	if err != nil {
		return nil, err
	}
	return NewModel(ctx, w, o)
}

// NewModel prepares weights on a GPU. It fails with a [BudgetError] where they
// do not fit the memory that o allows.
func NewModel(ctx context.Context, w *Weights, o Options) (m *Model, err error) {
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	return newModel(ctx, d, w, o)
}

func newModel(ctx context.Context, d *tensor.Device, w *Weights, o Options) (*Model, error) {
	m := &Model{Weights: w, turn: make(chan struct{}, 1), d: d, planned: map[planKey]Plan{}, explicit: o.Memory > 0, log: o.Logger}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	budget := o.Memory
	if a := d.Adapter(); budget == 0 && (a.Software || a.Kind == "integrated") {
		free, err := hostmemory.Available()
		if err != nil {
			return nil, &BudgetError{err: fmt.Errorf("how much memory is free cannot be told, so a budget must be given: %w", err)}
		}
		budget = free / 2
	}
	d.SetBudget(budget)
	var err error
	if m.nets, err = NewNetworks(ctx, d, w.Config, w.Nets); err != nil {
		if tensor.IsOutOfMemory(err) && m.explicit {
			err = &BudgetError{Budget: budget, err: fmt.Errorf("a memory budget of %s does not hold even the weights: %w", wgpu.FormatBytes(budget), err)}
		}
		return nil, err
	}
	if err := d.Flush(); err != nil {
		return nil, err
	}
	d.Trim() // parameters that only served packing
	m.release()
	return m, nil
}

// acquire waits until nobody uses the GPU, or ctx ends.
func (m *Model) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-m.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Model) release() { m.turn <- struct{}{} }

// Close releases the GPU. It waits for what is running.
func (m *Model) Close() {
	<-m.turn
	defer m.release()
	m.d.Close()
}

// Device returns the GPU the model runs on.
func (m *Model) Device() *tensor.Device { return m.d }

// Deblur restores an image. The result has the size of img, and is opaque
// where img is.
func (m *Model) Deblur(ctx context.Context, img image.Image) (image.Image, error) {
	p, err := m.Restore(ctx, photo.FromImage(img), RestoreOptions{})
	if err != nil {
		return nil, err
	}
	return p.Image(), nil
}

// Restore deblurs a photo. Alpha and metadata carry over; grey stays grey and
// 16 bits stay 16 bits.
func (m *Model) Restore(ctx context.Context, p *photo.Photo, o RestoreOptions) (*photo.Photo, error) {
	if err := m.acquire(ctx); err != nil {
		return nil, err
	}
	defer m.release()
	if err := o.checkTarget(p); err != nil {
		return nil, err
	}
	plan, err := m.plan(ctx, p.Width, p.Height, o)
	if err != nil {
		return nil, err
	}
	for {
		out, err := m.run(ctx, p, o, plan)
		if !tensor.IsOutOfMemory(err) || m.explicit {
			return out, err
		}
		// The device has less than was thought: plan for less.
		m.d.SetBudget(plan.Peak * 3 / 4)
		m.log.Warn("out of GPU memory, trying again in smaller bands", "budget", wgpu.FormatBytes(plan.Peak*3/4))
		clear(m.planned)
		next, planErr := m.plan(ctx, p.Width, p.Height, o)
		if planErr != nil {
			return nil, err
		}
		plan = next
	}
}

func (m *Model) run(ctx context.Context, p *photo.Photo, o RestoreOptions, plan Plan) (out *photo.Photo, err error) {
	start, mark := m.d.Stats().Dispatches, m.d.Mark()
	defer func() {
		if err != nil {
			m.d.ReleaseSince(mark)
		}
	}()
	defer tensor.Catch(&err)
	step := int64(0)
	before := func() {
		abortIf(ctx.Err())
		if step++; o.Progress != nil && step%8 == 0 {
			done := float64(m.d.Stats().Dispatches-start) / float64(plan.Dispatches)
			o.Progress(min(done, 1))
		}
	}
	d := m.d.With(tensor.Execution{Scratch: plan.scratch, Offload: plan.Offload, Before: before})
	noise := normal(o.Seed, o.Name, m.Weights.Config.priorLen())
	values, err := restore(ctx, m.nets, d, p, noise, o)
	if err != nil {
		return nil, err
	}
	q := *p
	q.Pix = values
	if o.Progress != nil {
		o.Progress(1)
	}
	return &q, nil
}

// abortIf ends what runs on a device where there is an error.
func abortIf(err error) {
	if err != nil {
		tensor.Abort(err)
	}
}

func (c Config) priorLen() int { return c.G.Group * c.G.Group * 4 * c.G.EmbedDim }

// normal draws n standard normal values that depend on seed and name alone.
func normal(seed uint64, name string, n int) []float32 {
	r := streams.Named(seed, name)
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

// Plan says how a photo will be restored.
type Plan struct {
	Width, Height int   // of the photo
	Exact         bool  // whole image; false if tiled
	Bands         int   // most bands that an operator is cut into; 1 means whole
	Offload       bool  // feature maps live in host memory
	Peak          int64 // bytes of GPU memory, weights included
	Weights       int64 // bytes of GPU memory for the weights alone
	Dispatches    int64 // GPU kernel calls
	Budget        int64 // bytes; 0 means none

	scratch int64
}

type planKey struct {
	w, h, tile, overlap int
	ensemble            bool
	prior               Prior
	budget              int64
}

// leastScratch is where a plan gives up making bands smaller.
const leastScratch = 1 << 16

// Plan finds out how a photo of that size will be restored, without doing it.
// It fails with a [BudgetError] where the budget is too small even for single
// rows in bands.
func (m *Model) Plan(ctx context.Context, width, height int, o RestoreOptions) (Plan, error) {
	if err := m.acquire(ctx); err != nil {
		return Plan{}, err
	}
	defer m.release()
	return m.plan(ctx, width, height, o)
}

// plan tries ever smaller bands on a device that only counts, so a plan holds
// exactly what the run will do.
func (m *Model) plan(ctx context.Context, width, height int, o RestoreOptions) (Plan, error) {
	if width <= 0 || height <= 0 {
		return Plan{}, fmt.Errorf("a photo of %d x %d pixels cannot be restored", width, height)
	}
	if o.Tile < 0 || o.TileOverlap < 0 || o.TileOverlap > o.Tile/2 {
		return Plan{}, fmt.Errorf("tiles of %d pixels cannot overlap by %d: 0 to half a tile is possible", o.Tile, o.TileOverlap)
	}
	if err := m.Weights.has(o.Prior); err != nil {
		return Plan{}, err
	}
	budget := m.d.Budget()
	key := planKey{width, height, o.Tile, o.TileOverlap, o.Ensemble, o.Prior, budget}
	if p, ok := m.planned[key]; ok {
		return p, nil
	}
	if m.dry == nil {
		m.dry = m.d.DryRun(0)
		nets, err := NewNetworks(ctx, m.dry, m.Weights.Config, m.Weights.Nets)
		if err != nil {
			m.dry = nil
			return Plan{}, err
		}
		m.dry.Trim()
		m.dryNets = nets
	}
	weights := m.dry.Stats().Live
	attempt := func(scratch, budget int64, offload bool) (Plan, error) {
		d := m.dry.With(tensor.Execution{Scratch: scratch, Offload: offload, Before: func() { abortIf(ctx.Err()) }})
		d.Trim()
		d.SetBudget(budget)
		d.ResetPeak()
		before := d.Stats().Dispatches
		err := m.dryRun(ctx, d, width, height, o)
		s := d.Stats()
		return Plan{
			Width: width, Height: height, Exact: o.Tile == 0, Bands: d.MostBands(), Offload: offload, Peak: s.Peak, Weights: weights,
			Dispatches: s.Dispatches - before, Budget: budget, scratch: scratch,
		}, err
	}
	available := int64(2 << 30)
	if budget > 0 {
		available = max(budget-weights, leastScratch)
	}
	for _, offload := range []bool{false, true} {
		scratch := int64(0) // as much as an operator likes
		if offload {
			scratch = available / 2
		}
		for {
			p, err := attempt(scratch, budget, offload)
			if err == nil {
				m.planned[key] = p
				return p, nil
			}
			if !tensor.IsOutOfMemory(err) {
				return Plan{}, err
			}
			if scratch == 0 {
				scratch = available
			}
			if scratch /= 2; scratch < leastScratch {
				break
			}
		}
	}
	least, err := attempt(leastScratch, 0, true)
	if err != nil {
		return Plan{}, err
	}
	return Plan{}, &BudgetError{Budget: budget, Least: least.Peak, err: fmt.Errorf("a photo of %d x %d pixels does not fit a memory budget of %s: it takes at least %s",
		width, height, wgpu.FormatBytes(budget), wgpu.FormatBytes(least.Peak))}
}

func (m *Model) dryRun(ctx context.Context, d *tensor.Device, width, height int, o RestoreOptions) (err error) {
	mark := d.Mark()
	defer func() {
		if err != nil {
			d.ReleaseSince(mark)
		}
	}()
	defer tensor.Catch(&err)
	p := &photo.Photo{Width: width, Height: height, Channels: 3, Max: 255}
	o.Target = p // as large, if there is one
	_, err = restore(ctx, m.dryNets, d, p, make([]float32, m.Weights.Config.priorLen()), o)
	return err
}
