package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/autograd"
	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/photo"
	"hidiff/internal/block"
	"hidiff/internal/diffusion"
	"hidiff/internal/ref"
	"hidiff/internal/reference"
	"hidiff/tensor"
)

func (r *runner) fixture(path string) error {
	f, err := openFixture(path)
	if err != nil {
		return err
	}
	r.kind = string(f.Kind)
	switch f.Kind {
	case kindOp:
		diffs, err := runOp(r.ctx, r.d, f)
		for _, what := range slices.Sorted(maps.Keys(diffs)) {
			r.result(what, diffs[what], toleranceOf(what, opTolerance), nil)
		}
		return err
	case kindOptim:
		return r.optim(f)
	case kindClipGradNorm:
		return r.clip(f)
	case kindModule:
		return r.module(f)
	case kindNetwork:
		return r.network(f)
	case kindEndToEnd:
		return r.endToEnd(f)
	case kindTraining:
		return r.training(f)
	}
	return fmt.Errorf("%w: %s", errUnknownKind, f.Kind)
}

// compareWith checks a tensor on the device against the fixture's.
func (r *runner) compareWith(f *fixture, key string, got *tensor.Tensor, tolerance float64) {
	want, err := f.Tensor(key)
	if err != nil {
		r.result(key, Diff{}, tolerance, err)
		return
	}
	r.compare(key, got, ref.From(want.Data, want.Shape...), tolerance)
}

// toleranceOf is wider for gradients: they pass through more sums.
func toleranceOf(what string, forward float64) float64 {
	if what == "out" {
		return forward
	}
	return gradientTolerance
}

// needed returns tensors of a fixture that must be there.
func (f *fixture) needed(names ...string) ([]array, error) {
	var out []array
	for _, name := range names {
		t, err := f.Tensor(name)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// adamOptions are the settings of the fixtures of kindOptim, whose metadata says
// nothing: PyTorch's, but for lr and weight decay.
func (f *fixture) adamOptions() tensor.AdamOptions {
	return tensor.AdamOptions{
		LR: 2e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 1e-2,
		Decoupled: strings.Contains(filepath.Base(f.Path), "adamw"),
	}
}

// optim makes the fixture's steps one after the other.
func (r *runner) optim(f *fixture) error {
	start, err := f.Tensor("p0")
	if err != nil {
		return err
	}
	n := len(start.Data)
	p := tensor.From(r.d, start.Data, n)
	m, v := tensor.From(r.d, make([]float32, n), n), tensor.From(r.d, make([]float32, n), n)
	defer p.Release()
	defer m.Release()
	defer v.Release()
	o := f.adamOptions()
	for o.Step = 1; ; o.Step++ {
		gradient, ok := f.Tensors[fmt.Sprintf("g%d", o.Step-1)]
		if !ok {
			return nil
		}
		g := tensor.From(r.d, gradient.Data, n)
		tensor.AdamStep(p, g, m, v, o)
		g.Release()
		r.compareWith(f, fmt.Sprintf("p%d", o.Step), p, optimTolerance)
	}
}

// clipLimit is the norm that the fixtures of kindClipGradNorm are clipped to, which
// their metadata does not say: the released options' 0.01.
const clipLimit = 0.01

// optimTolerance is less than an operator's: these are a few multiplications.
const optimTolerance = 1e-6

func (r *runner) clip(f *fixture) error {
	var flat, want []float32
	for i := 0; ; i++ {
		g, ok := f.Tensors[fmt.Sprintf("g%d", i)]
		if !ok {
			break
		}
		clipped, err := f.Tensor(fmt.Sprintf("clipped%d", i))
		if err != nil {
			return err
		}
		flat, want = append(flat, g.Data...), append(want, clipped.Data...)
	}
	g := tensor.From(r.d, flat, 1, len(flat))
	defer g.Release()
	norm := tensor.GradNorm(g)
	defer norm.Release()
	r.compareWith(f, "norm", norm, optimTolerance)
	skipped := tensor.New(r.d, 2)
	defer skipped.Release()
	coefficient := tensor.ClipCoefficient(norm, clipLimit, skipped, 1, false)
	defer coefficient.Release()
	scale, err := coefficient.Floats(r.ctx)
	if err != nil {
		return err
	}
	for i := range flat {
		flat[i] *= scale[0]
	}
	diff, err := compare(flat, want, []int{len(flat)}, []int{len(want)})
	r.result("clipped", diff, optimTolerance, err)
	return nil
}

func stateDict(tensors map[string]array) *checkpoint.StateDict {
	s := checkpoint.NewStateDict()
	for key, t := range tensors {
		s.Set(key, checkpoint.NewArray(t.Shape, t.Data))
	}
	return s
}

func (r *runner) module(f *fixture) error {
	m, err := block.New(r.d, f.Module, f.Options, stateDict(f.Under("param.")))
	if err != nil {
		return err
	}
	defer m.Release()
	tape, in := &autograd.Tape{}, map[string]*autograd.Variable{}
	defer tape.Reset()
	for name, t := range f.Under("in.") {
		in[name] = tape.Leaf(upload(r.d, t))
		defer in[name].Release()
	}
	out := m.Forward(in)
	defer out.Release()
	r.compareWith(f, "out", out.Tensor, moduleTolerance)
	dy, err := f.Tensor("grad_out")
	if err != nil {
		return err
	}
	tape.BackwardFrom(out, upload(r.d, dy))
	for _, name := range slices.Sorted(maps.Keys(f.Under("grad."))) {
		g := in[name].Grad()
		if g == nil {
			r.result("grad."+name, Diff{}, 0, errors.New("there is no gradient"))
			continue
		}
		r.compareWith(f, "grad."+name, g, gradientTolerance)
		g.Release()
	}
	return r.gradients(m.Parameters, func(name string, got []float32) {
		want, err := f.Tensor("param_grad." + name)
		var diff Diff
		if err == nil {
			diff, err = compare(got, want.Data, []int{len(got)}, []int{elementsOf(want.Shape)})
		}
		r.result("param_grad."+name, diff, gradientTolerance, err)
	})
}

// gradients reads the gradients of all parameters and calls f for each.
func (r *runner) gradients(p *tensor.Parameters, f func(name string, got []float32)) error {
	flat, err := p.Grads.Floats(r.ctx)
	if err != nil {
		return err
	}
	for i := range p.All() {
		f(p.Spec(i).Name, p.Slice(flat, i))
	}
	return nil
}

// fill gives the parameters of the fixture's networks.
func (f *fixture) fill(net, key string, shape []int) []float32 {
	values := reference.Fill(f.FillPrefix, net, key, shape)
	if net == string(hidiff.NetG) && key == "output.weight" && f.OutputWeightScale != 0 {
		for i := range values {
			values[i] = float32(float64(values[i]) * f.OutputWeightScale)
		}
	}
	return values
}

// build puts filled networks on the device, if the configuration allows.
func build(d *tensor.Device, c hidiff.Config, fill filling) (*hidiff.Networks, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return hidiff.NewNetworks(context.Background(), d, c, hidiff.FillWeights(c, fill).Nets)
}

func (r *runner) network(f *fixture) error {
	n, err := build(r.d, f.Config, f.fill)
	if err != nil {
		return err
	}
	defer n.Release()
	if err := r.schedule(f); err != nil {
		return err
	}
	in, err := f.needed("lq", "gt", "s2.noise")
	if err != nil {
		return err
	}
	for what, t := range stages(r.d, n, in[0], in[1], in[2]) {
		r.compareWith(f, what, t, networkTolerance)
	}
	return r.networkGradients(f, in[0], in[1])
}

// networkGradients checks stage one's loss and its gradients: all of them under s1.grad.,
// or of each, under s1.gradsum., its norm and the values at the file's picks.
func (r *runner) networkGradients(f *fixture, lq, gt array) error {
	t, err := hidiff.NewTraining(r.d, f.Config, hidiff.FillWeights(f.Config, f.fill).Nets, hidiff.TrainingOptions{
		Stage: 1, Pixel: tensor.Loss{Type: tensor.L1Loss, Weight: 1},
	})
	if err != nil {
		return err
	}
	defer t.Release()
	blurry, sharp := upload(r.d, lq), upload(r.d, gt)
	defer blurry.Release()
	defer sharp.Release()
	tape := &autograd.Tape{Checkpointing: len(f.Picks) > 0} // of the large ones
	loss := t.LossFrom(tape, blurry, sharp, nil)[0]
	defer loss.Release()
	r.compareWith(f, "s1.loss", loss.Tensor, networkTolerance)
	tape.Backward(1, loss)
	whole, sums := f.Under("s1.grad."), f.Under("s1.gradsum.")
	if len(whole)+len(sums) != len(t.Parameters().All()) {
		return fmt.Errorf("the file has gradients of %d parameters, the networks have %d", len(whole)+len(sums), len(t.Parameters().All()))
	}
	return r.gradients(t.Parameters(), func(name string, got []float32) {
		want, ok := whole[name]
		if !ok {
			want, got = sums[name], summary(got, f.Picks[name])
		}
		diff, err := compare(got, want.Data, []int{len(got)}, []int{len(want.Data)})
		r.result("s1.grad."+name, diff, networkGradientTolerance, err)
	})
}

// summary is the norm of a gradient and some of its values.
func summary(g []float32, picks []int) []float32 {
	var sum float64
	for _, v := range g {
		sum += float64(v) * float64(v)
	}
	out := []float32{float32(math.Sqrt(sum))}
	for _, p := range picks {
		out = append(out, g[p])
	}
	return out
}

// stages runs both stages, and yields what they compute by the fixtures' names.
func stages(d *tensor.Device, n *hidiff.Networks, lq, gt, noise array) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		var all []*tensor.Tensor
		keep := func(t *tensor.Tensor) *tensor.Tensor { all = append(all, t); return t }
		defer func() {
			for _, t := range all {
				t.Release()
			}
		}()
		blurred, sharp, x := keep(upload(d, lq)), keep(upload(d, gt)), keep(upload(d, noise))
		oracle := keep(n.Oracle(blurred, sharp))
		if !yield("s1.prior", oracle) || !yield("s1.out", keep(n.Transform(blurred, oracle))) {
			return
		}
		condition := keep(n.Condition(blurred))
		prior := keep(n.Sample(x, condition))
		_ = yield("s2.condition", condition) && yield("s2.prior", prior) && yield("s2.out", keep(n.Transform(blurred, prior)))
	}
}

// schedule compares every buffer that the file holds.
func (r *runner) schedule(f *fixture) error {
	s, err := diffusion.NewSchedule(diffusion.Options(f.Config.Diffusion))
	if err != nil {
		return err
	}
	buffers := map[string][]float32{
		"betas": s.Betas, "alphas_cumprod": s.AlphasCumprod, "alphas_cumprod_prev": s.AlphasCumprodPrev,
		"sqrt_alphas_cumprod": s.SqrtAlphasCumprod, "sqrt_one_minus_alphas_cumprod": s.SqrtOneMinusAlphasCumprod,
		"log_one_minus_alphas_cumprod": s.LogOneMinusAlphasCumprod, "sqrt_recip_alphas_cumprod": s.SqrtRecipAlphasCumprod,
		"sqrt_recipm1_alphas_cumprod": s.SqrtRecipm1AlphasCumprod, "posterior_variance": s.PosteriorVariance,
		"posterior_log_variance_clipped": s.PosteriorLogVarianceClipped,
		"posterior_mean_coef1":           s.PosteriorMeanCoef1, "posterior_mean_coef2": s.PosteriorMeanCoef2,
	}
	wanted := f.Under("schedule.")
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		got, want := buffers[name], wanted[name]
		diff, err := compare(got, want.Data, []int{len(got)}, want.Shape)
		r.result("schedule."+name, diff, scheduleTolerance, err)
	}
	return nil
}

func (r *runner) endToEnd(f *fixture) error {
	n, err := build(r.d, f.Config, f.fill)
	if err != nil {
		return err
	}
	defer n.Release()
	input, expected := f.Photos()
	in, err := photo.Open(input)
	if err != nil {
		return err
	}
	want, err := photo.Open(expected)
	if err != nil {
		return err
	}
	noise, err := f.Tensor("noise")
	if err != nil {
		return err
	}
	lq := tensor.FromPixels(r.d, in.Pix, in.Max, in.Width, in.Height, in.Channels, (in.Width+7)/8*8, (in.Height+7)/8*8)
	defer lq.Release()
	x := upload(r.d, noise)
	defer x.Release()
	condition := n.Condition(lq)
	defer condition.Release()
	prior := n.Sample(x, condition)
	defer prior.Release()
	r.compareWith(f, "prior", prior, networkTolerance)
	out := n.Transform(lq, prior)
	defer out.Release()
	if err := r.cropped(f, out, in.Width, in.Height); err != nil {
		return err
	}
	pixels, err := out.Pixels(r.ctx, in.Max, in.Width, in.Height, in.Channels)
	if err != nil {
		return err
	}
	r.result("expected.png", Diff{}, 0, samePixels(pixels, want.Pix))
	return nil
}

// cropped compares the output without its padding.
func (r *runner) cropped(f *fixture, out *tensor.Tensor, width, height int) error {
	want, err := f.Tensor("out")
	if err != nil {
		return err
	}
	padded, err := download(r.ctx, out)
	if err != nil {
		return err
	}
	h, w := padded.Shape[2], padded.Shape[3]
	var values []float32
	for c := range padded.Shape[1] {
		for y := range height {
			values = append(values, padded.Data[(c*h+y)*w:][:width]...)
		}
	}
	diff, err := compare(values, want.Data, []int{1, padded.Shape[1], height, width}, want.Shape)
	r.result("out", diff, networkTolerance, err)
	return nil
}

// samePixels allows one value in a thousand to round the other way.
func samePixels(got, want []uint16) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d samples, want %d", len(got), len(want))
	}
	differ := 0
	for i := range got {
		delta := int(got[i]) - int(want[i])
		if delta != 0 {
			differ++
		}
		if delta < -1 || delta > 1 {
			return fmt.Errorf("sample %d is %d, want %d", i, got[i], want[i])
		}
	}
	if differ*1000 > len(want) {
		return fmt.Errorf("%d of %d samples differ by 1", differ, len(want))
	}
	return nil
}
