package conformance

import (
	"context"
	"fmt"

	"hidiff/hidiff"
	"hidiff/internal/ref"
	"hidiff/internal/reference"
	"hidiff/tensor"
)

// SelfTest checks the device without any file: every operator on odd sizes, then a
// small network of each kind, against package ref. It reports one result per operator
// and per network output; an operator that panics fails, and the rest is checked all
// the same. The error tells how many checks failed.
func SelfTest(ctx context.Context, d *tensor.Device, report func(Result)) error {
	t := tally{report: report}
	for _, o := range operators {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := newRunner(ctx, d, &t, "op", o.Name)
		r.guard(func() error {
			diff, err := o.sweep(ctx, d, selfTestWidths)
			r.result("", diff, opTolerance, err)
			return nil
		})
	}
	for i, c := range []hidiff.Config{smallConfig(hidiff.GoPro()), smallConfig(hidiff.RealBlur())} {
		r := newRunner(ctx, d, &t, "network", []string{"gopro", "realblur"}[i])
		r.guard(func() error { return r.networks(c, photoSize{1, 16, 24}) })
	}
	return t.failure("checks", ctx.Err())
}

// selfTestWidths are few: less than a vector, some vectors, and no multiple of one. Only
// the second has fused operators, with the kernels that the small networks have too:
// on a new machine, compiling kernels is what takes the time.
var selfTestWidths = []int{3, 12, 66}

// smallConfig returns a configuration of c's kind with small networks and few, gentle
// steps: the steps that predict noise amplify rounding, the more the larger β is.
func smallConfig(c hidiff.Config) hidiff.Config {
	c.G.Dim, c.G.NumBlocks, c.G.NumRefinementBlocks, c.G.Heads = 16, [4]int{1, 1, 1, 1}, 1, [4]int{1, 4, 4, 4}
	c.Diffusion.Timesteps, c.Diffusion.LinearEnd = 3, 0.7
	c.G.EmbedDim, c.LE.EmbedDim, c.LE.BlockNum = 8, 8, 1
	if c.D.Type == hidiff.SimpleDenoise {
		c.D.NFeats = 8
	} else {
		c.D.InChannel, c.D.OutChannel, c.D.InnerChannel = 32, 32, 48
	}
	return c
}

// photoSize is a batch of photos.
type photoSize struct{ n, h, w int }

// networks runs both stages of a configuration on random photos, with weights that
// FillParam makes, and compares with package ref.
func (r *runner) networks(c hidiff.Config, s photoSize) error {
	if err := c.Validate(); err != nil {
		return err
	}
	fill := func(net, key string, shape []int) []float32 { return reference.Fill("selftest", net, key, shape) }
	n, err := build(r.d, c, fill)
	if err != nil {
		return err
	}
	defer n.Release()
	photo, prior := []int{s.n, 3, s.h, s.w}, []int{s.n, c.G.Group * c.G.Group, 4 * c.G.EmbedDim}
	random := func(name string, shape []int) array { return array{shape, reference.Uniform(name, elementsOf(shape))} }
	lq, gt, noise := random("lq", photo), random("gt", photo), random("noise", prior)
	want := newFloat64Networks(c, fill).stages(lq, gt, noise)
	for what, got := range stages(r.d, n, lq, gt, noise) {
		r.compare(what, got, want[what], networkTolerance)
	}
	return nil
}

// stages computes what stages on the device do.
func (n float64Networks) stages(lq, gt, noise array) map[string]*ref.Array {
	in := arrays(map[string]array{"lq": lq, "gt": gt, "noise": noise})
	oracle, condition := n.oracle(in["lq"], in["gt"]), n.condition(in["lq"])
	prior := n.sample(in["noise"], condition)
	return map[string]*ref.Array{
		"s1.prior": oracle, "s1.out": n.restore(in["lq"], oracle),
		"s2.condition": condition, "s2.prior": prior, "s2.out": n.restore(in["lq"], prior),
	}
}

func (s photoSize) String() string { return fmt.Sprintf("%dx%dx%d", s.n, s.h, s.w) }
