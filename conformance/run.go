package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/photo"
	"hidiff/tensor"
)

// How far a float32 result may be from its float64 reference, relative to the
// reference's largest value.
const (
	OpTolerance      = 1e-5
	ModuleTolerance  = 1e-5
	NetworkTolerance = 1e-4
)

// Result is the outcome of one check.
type Result struct {
	Name      string // what was checked, such as "modules/him_biasfree.safetensors out"
	Kind      string
	Err       error // nil if it passed
	Diff      Diff  // how far off, where numbers were compared
	Tolerance float64
	Seconds   float64
}

// RunDir checks the device against every fixture below dir and reports one
// result per comparison. A file of a kind it does not know is a failure. The
// error tells how many checks failed.
func RunDir(ctx context.Context, d *tensor.Device, dir string, report func(Result)) error {
	total, failed := 0, 0
	count := func(r Result) {
		total++
		if r.Err != nil {
			failed++
		}
		report(r)
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || belongsToOther(path) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		r := runner{ctx: ctx, d: d, name: filepath.ToSlash(name), report: count, start: time.Now()}
		r.file(path)
		return nil
	})
	switch {
	case err != nil:
		return err
	case total == 0:
		return fmt.Errorf("%s holds no fixtures", dir)
	case failed > 0:
		return fmt.Errorf("%d of %d checks failed", failed, total)
	}
	return nil
}

// belongsToOther says that a file is documentation, or part of a fixture that
// another file names.
func belongsToOther(path string) bool {
	stem, isPhoto := strings.CutSuffix(path, ".png")
	if isPhoto {
		_, err := os.Stat(strings.TrimSuffix(stem, "_expected") + ".safetensors")
		return err == nil
	}
	return strings.EqualFold(filepath.Base(path), "README.md")
}

// runner checks one fixture.
type runner struct {
	ctx    context.Context
	d      *tensor.Device
	name   string
	kind   string
	report func(Result)
	start  time.Time
}

func (r *runner) result(what string, diff Diff, tolerance float64, err error) {
	if err == nil && tolerance > 0 {
		err = diff.Within(tolerance)
	}
	r.report(Result{
		Name: strings.TrimSpace(r.name + " " + what), Kind: r.kind, Err: err, Diff: diff, Tolerance: tolerance,
		Seconds: time.Since(r.start).Seconds(),
	})
	r.start = time.Now()
}

func (r *runner) file(path string) {
	var err error
	switch ext := filepath.Ext(path); {
	case ext == ".safetensors":
		err = r.fixture(path)
	case ext == ".pth":
		r.kind = "checkpoint"
		err = r.checkpoint(path)
	case filepath.Base(path) == "parameters.json":
		r.kind = "parameters"
		err = r.parameters(path)
	default:
		err = fmt.Errorf("%w: %s", ErrUnknownKind, path)
	}
	if err != nil {
		r.result("", Diff{}, 0, err)
	}
}

func (r *runner) fixture(path string) (err error) {
	f, err := OpenFixture(path)
	if err != nil {
		return err
	}
	r.kind = string(f.Kind)
	defer tensor.Catch(&err)
	switch f.Kind {
	case KindOp, KindOptim, KindClipGradNorm:
		diff, err := RunOp(r.ctx, r.d, f)
		r.result("", diff, OpTolerance, err)
		return nil
	case KindModule:
		return r.module(f)
	case KindNetwork:
		return r.network(f)
	case KindEndToEnd:
		return r.endToEnd(f)
	}
	return fmt.Errorf("%w: %s", ErrUnknownKind, f.Kind)
}

// compare checks a tensor against the one the fixture holds under key, in
// PyTorch's layout.
func (r *runner) compare(f *Fixture, key string, got *tensor.Tensor, tolerance float64) {
	want, err := f.Tensor(key)
	if err != nil {
		r.result(key, Diff{}, tolerance, err)
		return
	}
	values, shape := []float32(nil), got.Shape()
	if len(shape) == 4 {
		values, err = got.NCHW(r.ctx)
		shape = []int{shape[0], shape[3], shape[1], shape[2]}
	} else {
		values, err = got.Floats(r.ctx)
	}
	var diff Diff
	if err == nil {
		diff, err = Compare(values, want.Data, shape, want.Shape)
	}
	r.result(key, diff, tolerance, err)
}

// upload puts a fixture's tensor on the device: four axes are an image.
func upload(d *tensor.Device, t Tensor) *tensor.Tensor {
	if s := t.Shape; len(s) == 4 {
		return tensor.FromNCHW(d, t.Data, s[0], s[1], s[2], s[3])
	}
	return tensor.From(d, t.Data, t.Shape...)
}

func stateDict(tensors map[string]Tensor) *checkpoint.StateDict {
	s := checkpoint.NewStateDict()
	for key, t := range tensors {
		s.Set(key, checkpoint.NewArray(t.Shape, t.Data))
	}
	return s
}

func (r *runner) module(f *Fixture) error {
	in := map[string]*tensor.Tensor{}
	for name, t := range f.Under("in.") {
		in[name] = upload(r.d, t)
		defer in[name].Release()
	}
	out, err := hidiff.Module(r.d, f.Module, f.Options, stateDict(f.Under("param.")), in)
	if err != nil {
		return err
	}
	defer out.Release()
	r.compare(f, "out", out, ModuleTolerance)
	return nil
}

// filled builds the fixture's networks from their names.
func (r *runner) filled(f *Fixture, nets ...hidiff.Network) (*hidiff.Networks, error) {
	states := map[hidiff.Network]*checkpoint.StateDict{}
	for _, net := range nets {
		s := checkpoint.NewStateDict()
		for _, p := range f.Config.Parameters(net) {
			values := FillParam(f.FillPrefix, string(net), p.Name, p.Shape)
			if net == hidiff.NetG && p.Name == "output.weight" && f.OutputWeightScale != 0 {
				for i := range values {
					values[i] = float32(float64(values[i]) * f.OutputWeightScale)
				}
			}
			s.Set(p.Name, checkpoint.NewArray(p.Shape, values))
		}
		states[net] = s
	}
	return hidiff.NewNetworks(r.d, f.Config, states)
}

func (r *runner) network(f *Fixture) error {
	n, err := r.filled(f, hidiff.NetG, hidiff.NetLE, hidiff.NetLEDM, hidiff.NetD)
	if err != nil {
		return err
	}
	defer n.Release()
	if err := r.schedule(f); err != nil {
		return err
	}
	get := func(key string) *tensor.Tensor {
		t, err := f.Tensor(key)
		if err != nil {
			tensor.Abort(err)
		}
		return upload(r.d, t)
	}
	lq, gt, noise := get("lq"), get("gt"), get("s2.noise")
	defer lq.Release()
	defer gt.Release()
	defer noise.Release()
	check := func(key string, t *tensor.Tensor) *tensor.Tensor {
		r.compare(f, key, t, NetworkTolerance)
		return t
	}
	oracle := check("s1.prior", n.Oracle(lq, gt))
	check("s1.out", n.Restore(lq, oracle)).Release()
	condition := check("s2.condition", n.Condition(lq))
	prior := check("s2.prior", n.Sample(noise, condition))
	check("s2.out", n.Restore(lq, prior)).Release()
	oracle.Release()
	condition.Release()
	prior.Release()
	return nil
}

func (r *runner) schedule(f *Fixture) error {
	s, err := hidiff.NewSchedule(f.Config.Diffusion)
	if err != nil {
		return err
	}
	for name, got := range map[string][]float32{
		"betas": s.Betas, "alphas_cumprod": s.AlphasCumprod, "alphas_cumprod_prev": s.AlphasCumprodPrev,
		"sqrt_alphas_cumprod": s.SqrtAlphasCumprod, "sqrt_one_minus_alphas_cumprod": s.SqrtOneMinusAlphasCumprod,
		"log_one_minus_alphas_cumprod": s.LogOneMinusAlphasCumprod, "sqrt_recip_alphas_cumprod": s.SqrtRecipAlphasCumprod,
		"sqrt_recipm1_alphas_cumprod": s.SqrtRecipm1AlphasCumprod, "posterior_variance": s.PosteriorVariance,
		"posterior_log_variance_clipped": s.PosteriorLogVarianceClipped,
		"posterior_mean_coef1":           s.PosteriorMeanCoef1, "posterior_mean_coef2": s.PosteriorMeanCoef2,
	} {
		want, err := f.Tensor("schedule." + name)
		if errors.Is(err, ErrNoTensor) {
			continue // not every file holds every buffer
		}
		diff, err := Compare(got, want.Data, []int{len(got)}, want.Shape)
		r.result("schedule."+name, diff, 1e-6, err)
	}
	return nil
}

func (r *runner) endToEnd(f *Fixture) error {
	n, err := r.filled(f, hidiff.NetG, hidiff.NetLEDM, hidiff.NetD)
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
	r.compare(f, "prior", prior, NetworkTolerance)
	out := n.Restore(lq, prior)
	defer out.Release()
	pixels, err := out.Pixels(r.ctx, in.Max, in.Width, in.Height, in.Channels)
	if err != nil {
		return err
	}
	r.result("expected.png", Diff{}, 0, samePixels(pixels, want.Pix))
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

// checkpoint loads a weights file. One whose name begins with bad_ must be
// refused, by the reader or by the comparison with its network's parameters.
func (r *runner) checkpoint(path string) error {
	err := loadable(path)
	if strings.HasPrefix(filepath.Base(path), "bad_") {
		if err == nil {
			return errors.New("accepted, but it is bad")
		}
		err = nil
	}
	r.result("", Diff{}, 0, err)
	return nil
}

func loadable(path string) error {
	file, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	state, err := file.Weights("")
	if err != nil {
		return err
	}
	_, config, err := hidiff.Recognize(state)
	if err != nil {
		return err
	}
	return hidiff.Check(config.(interface{ Parameters() []hidiff.ParameterSpec }).Parameters(), state)
}

// parameters checks the networks' parameter names and shapes of the
// configurations this project knows by name.
func (r *runner) parameters(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var listed map[string]map[hidiff.Network][][]any
	if err := json.Unmarshal(raw, &listed); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for name, nets := range listed {
		for net, rows := range nets {
			state := checkpoint.NewStateDict()
			var keys []string
			for _, row := range rows {
				var shape []int
				for _, n := range row[1].([]any) {
					shape = append(shape, int(n.(float64)))
				}
				keys = append(keys, row[0].(string))
				state.Set(keys[len(keys)-1], checkpoint.NewArray(shape, make([]float32, elementsOf(shape))))
			}
			r.result(name+" "+string(net), Diff{}, 0, sameParameters(state, keys))
		}
	}
	return nil
}

func elementsOf(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// sameParameters checks that what Recognize makes of a state dict has the
// parameters it came with, in order.
func sameParameters(state *checkpoint.StateDict, keys []string) error {
	_, config, err := hidiff.Recognize(state)
	if err != nil {
		return err
	}
	specs := config.(interface{ Parameters() []hidiff.ParameterSpec }).Parameters()
	if err := hidiff.Check(specs, state); err != nil {
		return err
	}
	for i, p := range specs {
		if p.Name != keys[i] {
			return fmt.Errorf("parameter %d is %s, want %s", i, p.Name, keys[i])
		}
	}
	return nil
}
