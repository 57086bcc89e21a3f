package tensor

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"hidiff/internal/ref"
	"hidiff/wgpu"

	"github.com/stretchr/testify/require"
)

// attentionKeys are in the order of Attention.Parameters.
var attentionKeys = []string{
	"qkv.weight", "qkv.bias", "norm.weight", "norm.bias", "qkv_dwconv.weight", "qkv_dwconv.bias",
	"temperature", "project_out.weight", "project_out.bias",
}

// attention packs the parameters of a reference by their keys, k and s [N, C]
// being its modulation; a parameter that frozen names has no gradient.
func attention(d *Device, p ref.Params, frozen func(key string) bool) *Attention {
	heads, dim := len(p["temperature"].Data), p["x"].Shape[1]
	get := func(key string) *Parameter {
		switch {
		case p[key] == nil:
			return nil
		case frozen(key):
			return frozenParameter(d, p[key])
		}
		return trainable(d, p[key])
	}
	qkv := LinearSpec{
		Out: 3 * dim, In: dim, OutParts: 3 * heads, Weight: get("qkv.weight"), Bias: get("qkv.bias"),
		Norm: WithBias, Gamma: get("norm.weight"), Beta: get("norm.bias"),
	}
	if qkv.Beta == nil {
		qkv.Norm = BiasFree
	}
	if p["k"] != nil {
		qkv.Modulation, qkv.ShiftAt = modulation(d, p), pad4(dim)
	}
	return &Attention{
		Heads: heads, QKV: NewLinear(d, qkv),
		Depth:       NewDepthwise(d, 3*dim, 3*heads, get("qkv_dwconv.weight"), get("qkv_dwconv.bias")),
		Temperature: get("temperature"), Out: get("project_out.weight"), OutBias: get("project_out.bias"),
	}
}

func noneFrozen(string) bool { return false }

func attentionReference(p ref.Params) *ref.Array {
	n := p.LayerNorm("norm", p["x"])
	if p["k"] != nil {
		n = ref.ScaleShiftChannel(n, p["k"], p["s"])
	}
	return ref.Add(p["x"], p.Attention(n, nil, len(p["temperature"].Data)))
}

// attentionGradients are those of Σ g·attentionReference, by the chain rule.
func attentionGradients(p ref.Params) ref.Params {
	heads, s := len(p["temperature"].Data), p["x"].Shape
	out := ref.Params{}
	n := p.LayerNorm("norm", p["x"])
	m := n
	if p["k"] != nil {
		m = ref.ScaleShiftChannel(n, p["k"], p["s"])
	}
	h := ref.Conv1x1(m, p["qkv.weight"], p["qkv.bias"])
	u := ref.DWConv3x3(h, p["qkv_dwconv.weight"], p["qkv_dwconv.bias"])
	one, two := ref.New(s...), ref.New(s[0], 2*s[1], s[2], s[3])
	q, kv := ref.ConcatChannelBackward(one, two, u) // which splits
	k, v := ref.ConcatChannelBackward(one, one, kv)
	core := ref.MDTA(q, k, v, p["temperature"], heads)

	var dcore, dq, dk, dv, dh, dm *ref.Array
	dcore, out["project_out.weight"], out["project_out.bias"] = ref.Conv1x1Backward(core, p["project_out.weight"], p["project_out.bias"], p["g"])
	dq, dk, dv, out["temperature"] = ref.MDTABackward(q, k, v, p["temperature"], dcore, heads)
	du := ref.ConcatChannel(dq, ref.ConcatChannel(dk, dv))
	dh, out["qkv_dwconv.weight"], out["qkv_dwconv.bias"] = ref.DWConv3x3Backward(h, p["qkv_dwconv.weight"], p["qkv_dwconv.bias"], du)
	dm, out["qkv.weight"], out["qkv.bias"] = ref.Conv1x1Backward(m, p["qkv.weight"], p["qkv.bias"], dh)
	dn := dm
	if p["k"] != nil {
		dn, out["k"], out["s"] = ref.ScaleShiftChannelBackward(n, p["k"], p["s"], dm)
	}
	var dx *ref.Array
	if p["norm.bias"] == nil {
		dx, out["norm.weight"] = ref.LayerNormChannelBiasFreeBackward(p["x"], p["norm.weight"], dn, LayerNormEps)
	} else {
		dx, out["norm.weight"], out["norm.bias"] = ref.LayerNormChannelBackward(p["x"], p["norm.weight"], p["norm.bias"], dn, LayerNormEps)
	}
	out["x"] = ref.Add(p["g"], dx)
	return out
}

// attentionInputs are random; temperatures between 1 and 3 make maps that are
// neither flat nor saturated.
func attentionInputs(images, dim, heads, h, w int, biased, norm, modulated bool) ref.Params {
	p := ref.Params{}
	add := func(name string, shape ...int) { p[name] = randomArray(name, shape...) }
	add("x", images, dim, h, w)
	add("g", images, dim, h, w)
	add("norm.weight", dim)
	add("qkv.weight", 3*dim, dim, 1, 1)
	add("qkv_dwconv.weight", 3*dim, 1, 3, 3)
	add("temperature", heads, 1, 1)
	for i := range p["temperature"].Data {
		p["temperature"].Data[i] += 2
	}
	add("project_out.weight", dim, dim, 1, 1)
	if norm {
		add("norm.bias", dim)
	}
	if biased {
		add("qkv.bias", 3*dim)
		add("qkv_dwconv.bias", 3*dim)
		add("project_out.bias", dim)
	}
	if modulated {
		add("k", images, dim)
		add("s", images, dim)
	}
	return p
}

// The chain rule above, against differences of the released code's formula.
func TestAttentionReference(t *testing.T) {
	for _, c := range []struct {
		dim, heads              int
		biased, norm, modulated bool
	}{{3, 1, true, true, true}, {4, 2, false, false, true}, {4, 2, true, true, false}} {
		p := attentionInputs(2, c.dim, c.heads, 3, 4, c.biased, c.norm, c.modulated)
		var names []string
		for key := range p {
			if key != "g" {
				names = append(names, key)
			}
		}
		got := attentionGradients(p)
		for key, want := range numericGradients(attentionReference, p, p["g"], names...) {
			for i, v := range want.Data {
				require.Less(t, max(v-got[key].Data[i], got[key].Data[i]-v), 1e-6, "%v %s %d", c, key, i)
			}
		}
	}
}

// requireAttention runs a.Apply and a.Backward on poisoned memory and compares
// with times the gradients wanted.
func requireAttention(t *testing.T, d *Device, a *Attention, p, want ref.Params, dm *Tensor, times int) {
	t.Helper()
	const tolerance = 1e-5
	x, g := imageOf(d, p["x"]), imageOf(d, p["g"])
	defer x.Release()
	defer g.Release()
	n, h, w := x.geometry()
	c := pad4(x.Channels() / a.Heads)
	poisoned(d, x, x, newParts(d, 3*a.Heads, n, h, w, a.QKV.out), New(d, n, a.Heads, c+2, c), New(d, n, a.Heads, c, c),
		New(d, 2, n, a.Heads, c+2, c), New(d, 2, n, a.Heads, c, c), New(d, n, a.Heads, 2*c+x.width(), c))
	y := a.Apply(x, false)
	requireGradient(t, "forward", y, attentionReference(p), tolerance)
	requirePadding(t, y)
	y.Release()
	dx := a.Backward(x, g, dm)
	defer dx.Release()
	requireGradient(t, "x", dx, want["x"], tolerance)
	requirePadding(t, dx)
	for i, q := range a.Parameters() {
		if q != nil && q.Grad != nil {
			requireGradient(t, attentionKeys[i], q.Grad, scaled(want[attentionKeys[i]], times), tolerance)
		}
	}
	if dm != nil {
		both := ref.ConcatChannel(onePixel(want["k"]), onePixel(want["s"]))
		requireGradient(t, "modulation", dm, scaled(both.Reshape(both.Shape[0], both.Shape[1]), times), tolerance)
		requirePadding(t, dm)
	}
}

func TestAttentionBackward(t *testing.T) {
	d := openDevice(t)
	for _, c := range []struct {
		images, dim, heads, h, w int
		biased, norm, modulated  bool
	}{
		{1, 5, 1, 1, 1, true, true, false},
		{2, 6, 2, 5, 37, true, true, true},
		{3, 6, 3, 33, 7, false, false, false},
		{1, 24, 8, 33, 7, true, false, true},
		{2, 12, 3, 5, 37, false, true, true},
		{2, 32, 2, 5, 7, true, true, true},    // whole eights of channels
		{1, 96, 1, 67, 3, true, true, false},  // and more than one block and strip of them
		{2, 131, 1, 9, 10, true, true, false}, // more than one block of the Gram matrix, and copy of attention
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			p := attentionInputs(c.images, c.dim, c.heads, c.h, c.w, c.biased, c.norm, c.modulated)
			want := attentionGradients(p)
			for _, rows := range []int{0, 1, 2, 7} { // of a band, between halos; 0 is all at once
				if rows > 1 && rows+4 >= c.h {
					continue
				}
				t.Run(fmt.Sprint(rows, " rows"), func(t *testing.T) {
					a := attention(d, p, noneFrozen)
					defer a.Release()
					scratch := int64(4 * 3 * a.QKV.n * c.w * (rows + 4))
					if rows < 2 {
						scratch = int64(rows) // which is too little for more than a row
					}
					d := d.With(Execution{Scratch: scratch})
					var dm *Tensor
					if c.modulated {
						dm = newParts(d, 2, c.images, 2*c.dim)
						dm.Zero()
					}
					for times := 1; times <= 2; times++ {
						requireAttention(t, d, a, p, want, dm, times)
					}
					if rows > 0 {
						require.GreaterOrEqual(t, d.MostBands(), c.h/rows)
					}
				})
			}
		})
	}
}

// Parameters are frozen one by one, and all.
func TestAttentionBackwardFrozen(t *testing.T) {
	d := openDevice(t)
	p := attentionInputs(2, 6, 2, 5, 4, true, true, true)
	want := attentionGradients(p)
	for _, key := range append(attentionKeys, "all") {
		a := attention(d, p, func(k string) bool { return k == key || key == "all" })
		requireAttention(t, d, a, p, want, nil, 1)
		a.Release()
	}
}

// Where q or k is nothing but zeros its norm is clamped: attention is flat, and
// no gradient passes the norm.
func TestAttentionBackwardOfZeroNorms(t *testing.T) {
	d := openDevice(t)
	p := attentionInputs(1, 6, 2, 5, 4, false, true, false)
	clear(p["qkv_dwconv.weight"].Data[:9*2]) // channels 0 and 1 of q
	clear(p["qkv_dwconv.weight"].Data[9*8 : 9*9])
	a := attention(d, p, func(key string) bool { return key == "qkv_dwconv.weight" })
	defer a.Release()
	requireAttention(t, d, a, p, attentionGradients(p), nil, 1)
}

func TestAttentionBackwardRepeats(t *testing.T) {
	d := openDevice(t)
	p := attentionInputs(2, 66, 3, 24, 40, true, true, true)
	x, g := imageOf(d, p["x"]), imageOf(d, p["g"])
	run := func() (out [][]float32) {
		a := attention(d, p, noneFrozen)
		dm := newParts(d, 2, 2, 2*66)
		dm.Zero()
		out = append(out, stored(t, a.Backward(x, g, dm)), stored(t, dm))
		for _, q := range a.Parameters() {
			out = append(out, stored(t, q.Grad))
		}
		return out
	}
	require.Equal(t, run(), run())
}

func BenchmarkAttentionBackward(b *testing.B) {
	d := openWith(b, wgpu.Options{Profile: os.Getenv("PROFILE") != ""})
	for _, c := range []struct{ dim, heads, size int }{{96, 1, 128}, {384, 8, 16}} {
		b.Run(fmt.Sprint(c.dim, " channels"), func(b *testing.B) {
			p := attentionInputs(1, c.dim, c.heads, c.size, c.size, false, true, false)
			a := attention(d, p, noneFrozen)
			defer a.Release()
			x, g := imageOf(d, p["x"]), imageOf(d, p["g"])
			measure := func(what string, run func() *Tensor) float64 {
				run().Release()
				_, err := d.Profile(context.Background())
				require.NoError(b, err)
				best := time.Hour
				const runs = 5
				for range runs {
					start := time.Now()
					run().Release()
					require.NoError(b, d.Wait(context.Background()))
					best = min(best, time.Since(start))
				}
				timings, err := d.Profile(context.Background())
				require.NoError(b, err)
				slices.SortFunc(timings, func(s, t wgpu.Timing) int { return cmp.Compare(t.Time, s.Time) })
				for _, s := range timings {
					b.Logf("%s %-45s %8.2f ms %3d calls %8.1f GFLOP/s", what, s.Label, s.Time.Seconds()*1000/runs, s.Calls/runs, s.Work/s.Time.Seconds()/1e9)
				}
				return best.Seconds() * 1000
			}
			forward := measure("forward", func() *Tensor { return a.Apply(x, false) })
			backward := measure("backward", func() *Tensor { return a.Backward(x, g, nil) })
			for b.Loop() {
			}
			b.ReportMetric(forward, "ms/forward")
			b.ReportMetric(backward, "ms/backward")
			b.ReportMetric(backward/forward, "backward/forward")
		})
	}
}
