package tensor

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"hidiff/internal/ref"
	"hidiff/wgpu"

	"github.com/stretchr/testify/require"
)

// feedForward packs the parameters of a reference by their keys, k and s [N,
// C] being its modulation.
func feedForward(d *Device, p ref.Params, parameter func(*Device, *ref.Array) *Parameter) *FeedForward {
	hidden, dim := p["project_out.weight"].Shape[1], p["project_out.weight"].Shape[0]
	get := func(key string) *Parameter {
		if p[key] == nil {
			return nil
		}
		return parameter(d, p[key])
	}
	in := LinearSpec{
		Out: 2 * hidden, In: dim, OutParts: 2, Weight: get("project_in.weight"), Bias: get("project_in.bias"),
		Norm: WithBias, Gamma: get("norm.weight"), Beta: get("norm.bias"),
	}
	if in.Beta == nil {
		in.Norm = BiasFree
	}
	if p["k"] != nil {
		in.Modulation, in.ShiftAt = modulation(d, p), pad4(dim)
	}
	return &FeedForward{
		In:    NewLinear(d, in),
		Depth: NewDepthwise(d, 2*hidden, 2, get("dwconv.weight"), get("dwconv.bias")),
		Out:   NewLinear(d, LinearSpec{Out: dim, In: hidden, Weight: get("project_out.weight"), Bias: get("project_out.bias")}),
	}
}

// modulation uploads k and s side by side.
func modulation(d *Device, p ref.Params) *Tensor {
	both := ref.ConcatChannel(onePixel(p["k"]), onePixel(p["s"]))
	return FromParts(d, both.Float32(), 2, both.Shape[0], both.Shape[1])
}

func onePixel(a *ref.Array) *ref.Array { return a.Reshape(a.Shape[0], a.Shape[1], 1, 1) }

func frozenParameter(d *Device, a *ref.Array) *Parameter { return NewParameter(d, a.Float32()) }

// keys in the order of FeedForward.Parameters.
var feedForwardKeys = []string{
	"project_in.weight", "project_in.bias", "norm.weight", "norm.bias", "dwconv.weight", "dwconv.bias",
	"project_out.weight", "project_out.bias", "", "",
}

func feedForwardReference(in ref.Params) *ref.Array {
	n := in.LayerNorm("norm", in["x"])
	if in["k"] != nil {
		n = ref.ScaleShiftChannel(n, in["k"], in["s"])
	}
	return ref.Add(in["x"], in.FeedForward(n, nil))
}

func feedForwardInputs(images, dim, hidden, h, w int, biased, norm, modulated bool) ref.Params {
	p := ref.Params{}
	add := func(name string, shape ...int) { p[name] = randomArray(name, shape...) }
	add("x", images, dim, h, w)
	add("g", images, dim, h, w)
	add("norm.weight", dim)
	add("project_in.weight", 2*hidden, dim, 1, 1)
	add("dwconv.weight", 2*hidden, 1, 3, 3)
	add("project_out.weight", dim, hidden, 1, 1)
	if norm {
		add("norm.bias", dim)
	}
	if biased {
		add("project_in.bias", 2*hidden)
		add("dwconv.bias", 2*hidden)
		add("project_out.bias", dim)
	}
	if modulated {
		add("k", images, dim)
		add("s", images, dim)
	}
	return p
}

func TestFeedForwardBackward(t *testing.T) {
	d := openDevice(t)
	for name, p := range map[string]ref.Params{
		"with biases":    feedForwardInputs(2, 5, 7, 7, 4, true, true, false),
		"without biases": feedForwardInputs(1, 6, 5, 8, 2, false, true, false),
		"BiasFree":       feedForwardInputs(2, 3, 5, 7, 3, false, false, false),
		"modulated":      feedForwardInputs(2, 5, 3, 7, 3, true, true, true),
	} {
		t.Run(name, func(t *testing.T) {
			var names []string
			for key := range p {
				if key != "g" {
					names = append(names, key)
				}
			}
			want := numericGradients(feedForwardReference, p, p["g"], names...)
			x, g := imageOf(d, p["x"]), imageOf(d, p["g"])
			h, w := x.shape[1], x.shape[2]
			for _, rows := range []int{0, 1, 2, h - 4} { // of a band, between halos; 0 is all at once, the last a whole image
				t.Run(fmt.Sprint(rows, " rows"), func(t *testing.T) {
					f := feedForward(d, p, trainable)
					defer f.Release()
					var dm *Tensor
					if p["k"] != nil {
						dm = newParts(d, 2, x.shape[0], 2*x.Channels())
						dm.Zero()
					}
					e := Execution{}
					if rows > 0 {
						e.Scratch = int64(4 * 3 * f.In.n * w * (rows + 4))
					}
					d := d.With(e)
					for times := 1; times <= 2; times++ {
						poisoned(d, x, newParts(d, 2, x.shape[0], h, w, f.In.out), New(d, x.shape[0], h, w, f.Out.in))
						dx := f.Backward(x.on(d), g.on(d), dm)
						requireGradient(t, "x", dx, want["x"], 1e-5)
						requirePadding(t, dx)
						for i, q := range f.Parameters() {
							if q != nil {
								requireGradient(t, feedForwardKeys[i], q.Grad, scaled(want[feedForwardKeys[i]], times), 1e-5)
							}
						}
						if dm != nil {
							both := ref.ConcatChannel(onePixel(want["k"]), onePixel(want["s"]))
							requireGradient(t, "modulation", dm, scaled(both.Reshape(both.Shape[0], both.Shape[1]), times), 1e-5)
						}
						dx.Release()
					}
					if rows == 1 || rows == 2 {
						require.GreaterOrEqual(t, d.MostBands(), h/rows)
					}
				})
			}
			frozen := feedForward(d, p, frozenParameter)
			requireGradient(t, "x of a frozen network", frozen.Backward(x, g, nil), want["x"], 1e-5)
		})
	}
}

func TestFeedForwardBackwardRepeats(t *testing.T) {
	d := openDevice(t)
	p := feedForwardInputs(2, 33, 65, 24, 40, true, true, true)
	x, g := imageOf(d, p["x"]), imageOf(d, p["g"])
	run := func() (out [][]float32) {
		f := feedForward(d, p, trainable)
		dm := newParts(d, 2, 2, 66)
		dm.Zero()
		out = append(out, stored(t, f.Backward(x, g, dm)), stored(t, dm))
		for _, q := range f.Parameters() {
			if q != nil {
				out = append(out, stored(t, q.Grad))
			}
		}
		return out
	}
	require.Equal(t, run(), run())
}

func TestGELUGateBackward(t *testing.T) {
	d := openDevice(t)
	for _, c := range []int{1, 3, 5, 63, 65, 127} {
		x, g := randomArray("x", 2, 2*c, 3, 7), randomArray("g", 2, c, 3, 7)
		for i := range x.Data {
			x.Data[i] = float64(float32(4 * x.Data[i])) // tails, too
		}
		xt, gt := inParts(d, x, 2), imageOf(d, g)
		poisoned(d, xt)
		dx := GELUGateBackward(xt, gt)
		requireGradient(t, fmt.Sprint(c), dx, ref.GELUGateBackward(x, g), 1e-5)
		requirePadding(t, dx)
	}
}

// The gate recomputed behind the convolution, and its gradient.
func TestGateBackward(t *testing.T) {
	d := openDevice(t)
	for _, size := range [][3]int{{1, 1, 1}, {1, 1, 9}, {1, 5, 1}, {2, 7, 19}} {
		for _, c := range []int{1, 3, 5, 63, 65, 127} {
			x, g := randomArray("x", size[0], 2*c, size[1], size[2]), randomArray("g", size[0], c, size[1], size[2])
			weight, bias := randomArray("w", 2*c, 1, 3, 3), randomArray("b", 2*c)
			w := NewDepthwise(d, 2*c, 2, frozenParameter(d, weight), frozenParameter(d, bias))
			xt, gt := inParts(d, x, 2), imageOf(d, g)
			poisoned(d, xt, gt)
			gated, du := w.gateBackward(xt, gt, band{0, size[0], 0, size[1], size[1]})
			u := ref.DWConv3x3(x, weight, bias)
			requireGradient(t, fmt.Sprint("gate ", size, c), gated, ref.GELUGate(u), 1e-5)
			requireGradient(t, fmt.Sprint("du ", size, c), du, ref.GELUGateBackward(u, g), 1e-5)
			requirePadding(t, gated)
			requirePadding(t, du)
			w.Release()
		}
	}
}

func BenchmarkFeedForwardBackward(b *testing.B) {
	d := openWith(b, wgpu.Options{Profile: os.Getenv("PROFILE") != ""})
	p := feedForwardInputs(1, 96, 255, 128, 128, false, true, false)
	f := feedForward(d, p, trainable)
	x, g := imageOf(d, p["x"]), imageOf(d, p["g"])
	measure := func(run func() *Tensor) float64 {
		run().Release()
		require.NoError(b, d.Wait(context.Background()))
		best := time.Hour
		for range 5 {
			start := time.Now()
			run().Release()
			require.NoError(b, d.Wait(context.Background()))
			best = min(best, time.Since(start))
		}
		return best.Seconds() * 1000
	}
	forward := measure(func() *Tensor { return f.Apply(x) })
	report := func(what string) { // PROFILE=1 asks for it
		timings, err := d.Profile(context.Background())
		require.NoError(b, err)
		for _, s := range timings {
			if ms := s.Time.Seconds() * 1000 / float64(s.Calls); ms > 1 {
				fmt.Printf("%s: %d x %.1f ms, %.1f GFLOP/s: %s\n", what, s.Calls/6, ms, s.Work/s.Time.Seconds()/1e9, s.Label)
			}
		}
	}
	report("forward")
	backward := measure(func() *Tensor { return f.Backward(x, g, nil) })
	report("backward")
	for b.Loop() {
	}
	b.ReportMetric(forward, "ms/forward")
	b.ReportMetric(backward, "ms/backward")
	b.ReportMetric(backward/forward, "backward/forward")
}
