// Package bench times operators, whole networks and training on a device.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hidiff/hidiff"
	"hidiff/hidiff/options"
	"hidiff/hidiff/photo"
	"hidiff/internal/reference"
	"hidiff/tensor"
	"hidiff/trainer"
	"hidiff/wgpu"
)

// Timing is how fast something ran on the device.
type Timing struct {
	Name       string  `json:"name"`
	Shape      string  `json:"shape"`
	Seconds    float64 `json:"seconds"`    // per call
	Flops      float64 `json:"flops"`      // floating-point operations per call
	Bytes      float64 `json:"bytes"`      // bytes read and written per call, each operand once
	Dispatches float64 `json:"dispatches"` // per call
}

// Operators times HI-Diff's operators at the shapes they have in the
// released network on a photo of 256x256 pixels, and reports one by one.
func Operators(ctx context.Context, d *tensor.Device, report func(Timing)) (err error) {
	defer tensor.Catch(&err)
	for _, level := range []struct{ size, dim, heads int }{{256, 48, 1}, {256, 96, 1}, {128, 96, 2}, {64, 192, 4}, {32, 384, 8}} {
		if err := benchLevel(ctx, d, level.size, level.dim, level.heads, report); err != nil {
			return err
		}
	}
	x := noisy(d, 1, 256, 256, 96)
	defer x.Release()
	if err := measure(ctx, d, "conv3x3 (output)", x, report, packed(d, tensor.LinearSpec{Out: 3, In: 96, Conv: true}), func(l *tensor.Linear) *tensor.Tensor {
		return l.Conv3x3(x, tensor.Conv{})
	}); err != nil {
		return err
	}
	small := noisy(d, 1, 64, 64, 64)
	defer small.Release()
	if err := measure(ctx, d, "conv3x3 (encoder)", small, report, packed(d, tensor.LinearSpec{Out: 64, In: 64, Conv: true}), func(l *tensor.Linear) *tensor.Tensor {
		return l.Conv3x3(small, tensor.Conv{Act: tensor.GELU})
	}); err != nil {
		return err
	}
	for _, c := range []struct{ in, out int }{{512, 1024}, {1024, 512}, {256, 512}} {
		tokens := noisy(d, 1, 16, c.in)
		defer tokens.Release()
		name := fmt.Sprintf("linear (denoiser, to %d)", c.out)
		if err := measure(ctx, d, name, tokens, report, packed(d, tensor.LinearSpec{Out: c.out, In: c.in}), func(l *tensor.Linear) *tensor.Tensor {
			return l.Apply(tokens, tensor.Fused{Act: tensor.GELU})
		}); err != nil {
			return err
		}
	}
	simple := []struct {
		name string
		x    *tensor.Tensor
		run  func() *tensor.Tensor
	}{
		{"adaptive_avg_pool", small, func() *tensor.Tensor { return tensor.AdaptiveAvgPool(small, 4) }},
		{"concat (two of)", x, func() *tensor.Tensor { return tensor.Concat(x, x) }},
		{"gelu", x, func() *tensor.Tensor { return tensor.Activate(x, tensor.GELU) }},
	}
	for _, s := range simple {
		if err := measure(ctx, d, s.name, s.x, report, nothing{}, func(nothing) *tensor.Tensor { return s.run() }); err != nil {
			return err
		}
	}
	return nil
}

func benchLevel(ctx context.Context, d *tensor.Device, size, dim, heads int, report func(Timing)) error {
	x := noisy(d, 1, size, size, dim)
	defer x.Release()
	hidden := int(float64(dim) * 2.66)
	gamma := tensor.NewParameter(d, reference.Uniform("gamma", dim))
	beta := tensor.NewParameter(d, reference.Uniform("beta", dim))
	defer gamma.Release()
	defer beta.Release()
	norm := tensor.LinearSpec{In: dim, Norm: tensor.WithBias, Gamma: gamma, Beta: beta}
	qkv, in := norm, norm
	qkv.Out, qkv.OutParts = 3*dim, 3*heads
	in.Out, in.OutParts = 2*hidden, 2

	if err := measure(ctx, d, "linear, LayerNorm folded (qkv)", x, report, packed(d, qkv), func(l *tensor.Linear) *tensor.Tensor {
		return l.Apply(x, tensor.Fused{})
	}); err != nil {
		return err
	}
	depthwise := func(channels, parts int) *tensor.Depthwise {
		w := tensor.NewParameter(d, reference.Uniform("taps", channels*9))
		defer w.Release()
		return tensor.NewDepthwise(d, channels, parts, w, nil)
	}
	weight := tensor.NewParameter(d, reference.Uniform("out", dim*dim))
	temperature := tensor.NewParameter(d, reference.Uniform("temperature", heads))
	defer weight.Release()
	defer temperature.Release()
	attention := &tensor.Attention{Heads: heads, QKV: packed(d, qkv), Depth: depthwise(3*dim, 3*heads), Temperature: temperature, Out: weight}
	if err := measure(ctx, d, "mdta (whole branch)", x, report, attention, func(a *tensor.Attention) *tensor.Tensor {
		return a.Apply(x, false)
	}); err != nil {
		return err
	}
	ffn := &tensor.FeedForward{In: packed(d, in), Depth: depthwise(2*hidden, 2), Out: packed(d, tensor.LinearSpec{Out: dim, In: hidden})}
	return measure(ctx, d, "feedforward (whole branch)", x, report, ffn, func(f *tensor.FeedForward) *tensor.Tensor {
		return f.Apply(x)
	})
}

type nothing struct{}

func (nothing) Release() {}

func noisy(d *tensor.Device, shape ...int) *tensor.Tensor {
	n := 1
	for _, size := range shape {
		n *= size
	}
	return tensor.From(d, reference.Uniform("bench", n), shape...)
}

// packed packs random weights.
func packed(d *tensor.Device, s tensor.LinearSpec) *tensor.Linear {
	n := s.Out * s.In
	if s.Conv {
		n *= 9
	}
	s.Weight = tensor.NewParameter(d, reference.Uniform("weight", n))
	defer s.Weight.Release()
	return tensor.NewLinear(d, s)
}

// measure calls run until a third of a second has passed, after two calls that
// compile kernels and fill the pool, and releases what it ran on.
func measure[T interface{ Release() }](ctx context.Context, d *tensor.Device, name string, x *tensor.Tensor, report func(Timing), subject T, run func(T) *tensor.Tensor) error {
	defer subject.Release()
	for range 2 {
		run(subject).Release()
	}
	if err := d.Wait(ctx); err != nil {
		return err
	}
	before, start, calls := d.Stats(), time.Now(), 0
	for batch := 1; time.Since(start) < time.Second/3; batch *= 2 {
		for range batch {
			run(subject).Release()
		}
		if err := d.Wait(ctx); err != nil {
			return err
		}
		calls += batch
	}
	elapsed, after := time.Since(start).Seconds(), d.Stats()
	n := float64(calls)
	report(Timing{
		Name: name, Shape: fmt.Sprint(x.Shape()), Seconds: elapsed / n,
		Flops: (after.Work - before.Work) / n, Bytes: (after.Bytes - before.Bytes) / n,
		Dispatches: float64(after.Dispatches-before.Dispatches) / n,
	})
	return nil
}

// Network times the whole of a released configuration, with made-up
// weights, on a photo: decoding and encoding apart, all that deblur does. It
// returns the median of runs after one that warms up.
func Network(ctx context.Context, o hidiff.Options, name string, c hidiff.Config, width, height, runs int) (Timing, hidiff.Plan, error) {
	weights := hidiff.FillWeights(c, func(net, key string, shape []int) []float32 { return reference.Fill(name, net, key, shape) })
	m, err := hidiff.NewModel(ctx, weights, o)
	if err != nil {
		return Timing{}, hidiff.Plan{}, err
	}
	defer m.Close()
	p := &photo.Photo{Width: width, Height: height, Channels: 3, Max: 255, Pix: make([]uint16, width*height*3)}
	for i, v := range reference.Uniform("photo", len(p.Pix)) {
		p.Pix[i] = uint16(128 + 100*v)
	}
	plan, err := m.Plan(ctx, width, height, hidiff.RestoreOptions{})
	if err != nil {
		return Timing{}, plan, err
	}
	var seconds []float64
	var before wgpu.Stats
	for range runs + 1 {
		before = m.Device().Stats()
		start := time.Now()
		if _, err := m.Restore(ctx, p, hidiff.RestoreOptions{}); err != nil {
			return Timing{}, plan, err
		}
		seconds = append(seconds, time.Since(start).Seconds())
	}
	after := m.Device().Stats()
	return Timing{
		Name: name, Shape: fmt.Sprintf("%dx%d", width, height), Seconds: median(seconds[1:]),
		Flops: after.Work - before.Work, Bytes: after.Bytes - before.Bytes, Dispatches: float64(after.Dispatches - before.Dispatches),
	}, plan, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// iteration makes one iteration of a stage of a configuration, with made-up weights, on
// crops of size pixels: forward, backward and the optimizer's step.
func iteration(d *tensor.Device, name string, c hidiff.Config, stage, crops, size int) (iterate func(i int) error, release func(), err error) {
	l1 := tensor.Loss{Type: tensor.L1Loss, Weight: 1}
	fill := func(net, key string, shape []int) []float32 { return reference.Fill(name, net, key, shape) }
	training, err := hidiff.NewTraining(d, c, hidiff.FillWeights(c, fill).Nets, hidiff.TrainingOptions{Stage: stage, Pixel: l1, PixelDiff: l1})
	if err != nil {
		return nil, nil, err
	}
	steps := trainer.NewStepper(training, options.TrainOptions{
		OptimTotal: options.OptimOptions{Type: options.AdamW, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8}, ClipGradNorm: 0.01,
	})
	lq, gt := noisy(d, crops, size, size, 3), noisy(d, crops, size, size, 3)
	iterate = func(i int) error {
		return steps.Step(i+1, 1e-6, func(int) (trainer.Batch, error) {
			return trainer.Batch{LQ: lq.Share(), GT: gt.Share(), Seed: uint64(i)}, nil
		})
	}
	return iterate, func() {
		lq.Release()
		gt.Release()
		steps.Release()
	}, nil
}

// Training times an iteration of a stage of a released configuration. It returns the
// median of runs after two that warm up, and the peak of the device's memory.
func Training(ctx context.Context, d *tensor.Device, name string, c hidiff.Config, stage, crops, size, runs int) (t Timing, peak int64, err error) {
	defer tensor.Catch(&err)
	iterate, release, err := iteration(d, name, c, stage, crops, size)
	if err != nil {
		return t, 0, err
	}
	defer release()
	var seconds []float64
	var before wgpu.Stats
	for i := range runs + 2 {
		before = d.Stats()
		start := time.Now()
		if err := iterate(i); err != nil {
			return t, 0, err
		}
		if err := d.Wait(ctx); err != nil {
			return t, 0, err
		}
		seconds = append(seconds, time.Since(start).Seconds())
	}
	after := d.Stats()
	return Timing{
		Name: fmt.Sprintf("%s, stage %d", name, stage), Shape: fmt.Sprintf("%dx%dx%d", crops, size, size), Seconds: median(seconds[2:]),
		Flops: after.Work - before.Work, Bytes: after.Bytes - before.Bytes, Dispatches: float64(after.Dispatches - before.Dispatches),
	}, after.Peak, nil
}

// Kernels runs networks once after a run that warms up, and returns what each kernel took by
// the device's clock, slowest first. Stage 0 restores a photo, 1 and 2 train on crops of width
// pixels. The device must have been opened with wgpu.Options.Profile.
func Kernels(ctx context.Context, d *tensor.Device, c hidiff.Config, stage, count, width, height int) (timings []wgpu.Timing, err error) {
	defer tensor.Catch(&err)
	var run func(i int) error
	if stage > 0 {
		iterate, release, err := iteration(d, "kernels", c, stage, count, width)
		if err != nil {
			return nil, err
		}
		defer release()
		run = iterate
	} else {
		fill := func(net, key string, shape []int) []float32 { return reference.Fill("kernels", net, key, shape) }
		n, err := hidiff.NewNetworks(ctx, d, c, hidiff.FillWeights(c, fill).Nets)
		if err != nil {
			return nil, err
		}
		defer n.Release()
		lq, noise := noisy(d, count, height, width, 3), noisy(d, count, c.G.Group*c.G.Group, 4*c.G.EmbedDim)
		defer lq.Release()
		defer noise.Release()
		run = func(int) error {
			condition := n.Condition(lq)
			prior := n.Sample(noise, condition)
			n.Transform(lq, prior).Release()
			prior.Release()
			condition.Release()
			return nil
		}
	}
	for i := range 2 {
		if _, err := d.Profile(ctx); err != nil { // forget what there was
			return nil, err
		}
		if err := run(i); err != nil {
			return nil, err
		}
	}
	return d.Profile(ctx)
}
