package conformance

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/autograd"
	"hidiff/hidiff"
	"hidiff/internal/ref"
	"hidiff/internal/reference"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
	"hidiff/tensor"
)

// bandMode is a way to cut an image into bands: under a bound on temporaries, perhaps
// with images in host memory.
type bandMode struct {
	name    string
	scratch int64
	offload bool
}

var (
	someRows   = []bandMode{{"bands", 40_000, false}, {"offload, bands", 40_000, true}}
	singleRows = []bandMode{{"single rows", 1, false}, {"offload, single rows", 1, true}}
)

// bandTolerance is for sums that cross bands: their order is another one.
const bandTolerance = 2e-6

// inBands runs f whole, then in the modes given, and compares; exact demands the same bits.
// Operators without temporaries are cut only where images live in host memory.
func inBands(t *testing.T, d *tensor.Device, modes []bandMode, exact, temporaries bool, f func(d *tensor.Device) map[string]array) {
	t.Helper()
	whole := d.With(tensor.Execution{})
	want := f(whole)
	require.Equal(t, 1, whole.MostBands())
	for _, m := range modes {
		d := d.With(tensor.Execution{Scratch: m.scratch, Offload: m.offload})
		got := f(d)
		if temporaries || m.offload {
			require.Greater(t, d.MostBands(), 4, m.name)
		}
		for name, w := range want {
			g := got[name]
			if exact {
				require.Equal(t, w, g, "%s %s", m.name, name)
			}
			diff, err := compare(g.Data, w.Data, g.Shape, w.Shape)
			require.NoError(t, err, "%s %s", m.name, name)
			require.NoError(t, diff.within(bandTolerance), "%s %s", m.name, name)
		}
	}
}

func TestBandsChangeNothing(t *testing.T) {
	d := testgpu.Open(t)
	conv := func(shuffle int, c tensor.Conv) func(*bench) output {
		return func(b *bench) output {
			x := b.image("x")
			var residual *autograd.Variable
			if c.Store == tensor.Plain {
				residual = b.image("residual")
			}
			return b.nchw(autograd.Conv3x3(b.linear(tensor.LinearSpec{Conv: true, Shuffle: shuffle}), x, c, residual))
		}
	}
	image, weight := []int{2, 20, 48, 22}, map[string][]int{"w": {12, 20, 3, 3}, "b": {12}}
	with := func(more map[string][]int) map[string][]int {
		out := map[string][]int{"x": image}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	table := func(name string) func(*bench) output {
		o, ok := lookupOperator(name)
		require.True(t, ok)
		return o.run
	}
	shapes := func(op string) (c opCase) { // two images of 20 channels, larger than in the sweep
		c = fusedCases(op, []int{20})[0]
		c.shapes["x"] = image
		return c
	}
	for _, c := range []struct {
		name               string
		run                func(*bench) output
		shapes             map[string][]int
		attrs              ref.Attrs
		exact, temporaries bool
	}{
		{"mdta", table("mdta"), shapes("mdta").shapes, ref.Attrs{"heads": 2}, false, true},
		{"mdta in place", table("mdta"), shapes("mdta").shapes, ref.Attrs{"heads": 2, "in_place": 1}, false, true},
		{"feedforward", table("feedforward"), shapes("feedforward").shapes, nil, true, true},
		{"him", table("him"), shapes("him").shapes, ref.Attrs{"heads": 2}, true, false},
		{"conv3x3", conv(0, tensor.Conv{Act: tensor.GELU}), with(map[string][]int{"w": {12, 20, 3, 3}, "b": {12}, "residual": {2, 12, 48, 22}}), nil, true, false},
		{"conv3x3 shuffled", conv(2, tensor.Conv{Store: tensor.Shuffled}), with(weight), nil, true, false},
		{"conv3x3 unshuffled", conv(0, tensor.Conv{Store: tensor.Unshuffled}), with(weight), nil, true, false},
		{"dwconv3x3", table("dwconv3x3"), with(map[string][]int{"w": {20, 1, 3, 3}, "b": {20}}), nil, true, false},
		{"conv1x1", table("conv1x1"), with(map[string][]int{"w": {33, 20, 1, 1}}), nil, true, false},
		{"concat", table("concat_channel"), map[string][]int{"a": image, "b": {2, 7, 48, 22}}, nil, true, false},
		{"pool", table("adaptive_avg_pool"), with(nil), ref.Attrs{"out": 5}, true, false},
		{"gelu_gate", table("gelu_gate"), with(nil), nil, true, false},
		{"pixel_shuffle", table("pixel_shuffle"), with(nil), ref.Attrs{"r": 2}, true, false},
		{"pixel_unshuffle", table("pixel_unshuffle"), with(nil), ref.Attrs{"r": 2}, true, false},
		{"layernorm", table("layernorm_channel_biasfree"), with(map[string][]int{"w": {20}}), nil, true, false},
		{"scale_shift", table("scale_shift_channel"), with(map[string][]int{"k": {2, 20}, "s": {2, 20}}), nil, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := opCase{shapes: c.shapes}.inputs(c.name)
			inBands(t, d, append(someRows, singleRows...), c.exact, c.temporaries, func(d *tensor.Device) map[string]array {
				y, err := operator{Name: c.name, run: c.run}.Run(t.Context(), d, in, c.attrs)
				require.NoError(t, err)
				return map[string]array{"out": y}
			})
		})
	}
}

func TestNetworkInBands(t *testing.T) {
	testenv.Long(t)
	d := testgpu.Open(t)
	for name, c := range map[string]hidiff.Config{"gopro": hidiff.GoPro(), "realblur": hidiff.RealBlur()} {
		t.Run(name, func(t *testing.T) {
			c := smallConfig(c)
			n, err := build(d, c, func(net, key string, shape []int) []float32 { return reference.Fill("bands", net, key, shape) })
			require.NoError(t, err)
			defer n.Release()
			random := func(name string, shape ...int) array { return array{shape, reference.Uniform(name, elementsOf(shape))} }
			lq, gt, noise := random("lq", 1, 3, 64, 48), random("gt", 1, 3, 64, 48), random("noise", 1, 16, 32)
			inBands(t, d, someRows, false, true, func(d *tensor.Device) map[string]array {
				out := map[string]array{}
				for what, x := range stages(d, n, lq, gt, noise) {
					out[what], err = download(t.Context(), x)
					require.NoError(t, err)
				}
				return out
			})
		})
	}
}

// Whatever kernel is chosen for matrix products, results are right.
func TestLinearVariants(t *testing.T) {
	testenv.Long(t)
	d := testgpu.Open(t)
	for _, variant := range []string{"rows", "tiled", "direct", "windowed", "few"} {
		d := d.With(tensor.Execution{Variant: variant})
		for _, name := range []string{"conv1x1", "linear", "feedforward", "mdta"} {
			t.Run(fmt.Sprint(variant, " ", name), func(t *testing.T) {
				o, ok := lookupOperator(name)
				require.True(t, ok)
				diff, err := o.sweep(t.Context(), d, allWidths)
				require.NoError(t, err)
				t.Logf("%.1e", diff.MaxRel)
			})
		}
		t.Run(variant+" network", func(t *testing.T) {
			networkResults(t, newRunner(t.Context(), d, nil, "network", variant), smallConfig(hidiff.GoPro()), photoSize{2, 16, 24})
		})
	}
}
