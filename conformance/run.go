package conformance

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hidiff/internal/ref"
	"hidiff/tensor"
)

// How far a float32 result may be from its float64 reference, relative to the
// reference's largest value.
const (
	opTolerance       = 1e-5
	moduleTolerance   = 1e-5
	networkTolerance  = 1e-4
	gradientTolerance = 2e-5
	scheduleTolerance = 1e-6

	networkGradientTolerance = 1e-3 // PyTorch's own float32 reaches 2e-4

	// At odd sizes, gradients of a single value may be what is left of larger ones.
	oddGradientTolerance = 1e-4
)

// Result is the outcome of one check.
type Result struct {
	Name      string // what was checked, such as "modules/him_biasfree.safetensors out"
	Kind      string // such as "op" or "module"
	Err       error  // nil if it passed
	Diff      Diff   // how far off, where numbers were compared
	Tolerance float64
	Seconds   float64
}

// RunDir checks the device against every fixture below dir and reports one
// result per comparison. A file of a kind it does not know is a failure. The
// error tells how many checks failed.
func RunDir(ctx context.Context, d *tensor.Device, dir string, report func(Result)) error {
	t := tally{report: report}
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
		r := newRunner(ctx, d, &t, "file", filepath.ToSlash(name))
		r.guard(func() error { return r.file(path) })
		return nil
	})
	if err == nil && t.total == 0 {
		return fmt.Errorf("%s holds no fixtures", dir)
	}
	return t.failure("checks of "+dir, err)
}

// belongsToOther says that a file is documentation, or part of a fixture that
// another file names.
func belongsToOther(path string) bool {
	stem, isPhoto := strings.CutSuffix(path, ".png")
	if isPhoto {
		_, err := os.Stat(strings.TrimSuffix(stem, "_expected") + ".safetensors")
		_, scored := os.Stat(filepath.Join(filepath.Dir(path), "metrics.json"))
		return err == nil || scored == nil
	}
	return strings.EqualFold(filepath.Base(path), "README.md")
}

// tally counts results on their way to the caller.
type tally struct {
	report        func(Result)
	total, failed int
}

func (t *tally) add(r Result) {
	t.total++
	if r.Err != nil {
		t.failed++
	}
	t.report(r)
}

// failure returns err, or else an error that says how many of the checks failed, if any did.
func (t *tally) failure(checks string, err error) error {
	if err == nil && t.failed > 0 {
		err = fmt.Errorf("%d of %d %s failed", t.failed, t.total, checks)
	}
	return err
}

// runner makes one subject's checks.
type runner struct {
	ctx        context.Context
	d          *tensor.Device
	results    *tally
	kind, name string
	start      time.Time
}

func newRunner(ctx context.Context, d *tensor.Device, results *tally, kind, name string) *runner {
	return &runner{ctx: ctx, d: d, results: results, kind: kind, name: name, start: time.Now()}
}

func (r *runner) result(what string, diff Diff, tolerance float64, err error) {
	if err == nil && tolerance > 0 {
		err = diff.within(tolerance)
	}
	r.results.add(Result{
		Name: strings.TrimSpace(r.name + " " + what), Kind: r.kind, Err: err, Diff: diff, Tolerance: tolerance,
		Seconds: time.Since(r.start).Seconds(),
	})
	r.start = time.Now()
}

// guard runs f and makes its error a failed result, as it does whatever f panics
// with: one broken operator must not keep the others from being checked.
func (r *runner) guard(f func() error) {
	if err := caught(f); err != nil {
		r.result("", Diff{}, 0, err)
	}
}

func caught(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	defer tensor.Catch(&err)
	return f()
}

// compare checks a tensor on the device, an image if it has four axes, against
// values in PyTorch's layout.
func (r *runner) compare(what string, got *tensor.Tensor, want *ref.Array, tolerance float64) {
	values, err := download(r.ctx, got)
	var diff Diff
	if err == nil {
		diff, err = compare(values.Data, want.Data, values.Shape, want.Shape)
	}
	r.result(what, diff, tolerance, err)
}

// upload puts values on the device: four axes are an image.
func upload(d *tensor.Device, t array) *tensor.Tensor {
	if s := t.Shape; len(s) == 4 {
		return tensor.FromNCHW(d, t.Data, s[0], s[1], s[2], s[3])
	}
	return tensor.From(d, t.Data, t.Shape...)
}

// download is the inverse of upload.
func download(ctx context.Context, t *tensor.Tensor) (array, error) {
	s := t.Shape()
	if len(s) == 4 {
		values, err := t.NCHW(ctx)
		return array{[]int{s[0], s[3], s[1], s[2]}, values}, err
	}
	values, err := t.Floats(ctx)
	return array{s, values}, err
}
