package tensor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// himCase is a HIM of odd sizes. Other modules' keys and values lie before and
// behind ours in kv.
type himCase struct {
	n, h, w, tokens, dim, heads int
	norm                        Norm
	qBias                       bool
}

const foreign = 4 // channels of others on either side of ours

func (c himCase) String() string {
	return fmt.Sprintf("%dx%dx%d tokens %d dim %d heads %d norm %d bias %v", c.n, c.h, c.w, c.tokens, c.dim, c.heads, c.norm, c.qBias)
}

// inputs are x, g and dx [N, H·W, dim], k and v [N, tokens, dim], and parameters.
func (c himCase) inputs() ref.Params {
	in := ref.Params{}
	add := func(name string, shape ...int) { in[name] = randomArray(name+c.String(), shape...) }
	add("x", c.n, c.h*c.w, c.dim)
	add("g", c.n, c.h*c.w, c.dim)
	add("k", c.n, c.tokens, c.dim)
	add("v", c.n, c.tokens, c.dim)
	add("gamma", c.dim)
	add("q", c.dim, c.dim)
	add("proj", c.dim, c.dim)
	add("projbias", c.dim)
	if c.norm == WithBias {
		add("beta", c.dim)
	}
	if c.qBias {
		add("qbias", c.dim)
	}
	return in
}

func (c himCase) normalised(in ref.Params) *ref.Array {
	x := in["x"].Reshape(c.n*c.h*c.w, c.dim, 1, 1)
	if c.norm == BiasFree {
		x = ref.LayerNormChannelBiasFree(x, in["gamma"], LayerNormEps)
	} else {
		x = ref.LayerNormChannel(x, in["gamma"], in["beta"], LayerNormEps)
	}
	return x.Reshape(in["x"].Shape...)
}

func (c himCase) forward(in ref.Params) *ref.Array {
	q := ref.Linear(c.normalised(in), in["q"], in["qbias"])
	return ref.Add(in["x"], ref.Linear(ref.HIM(q, in["k"], in["v"], c.heads), in["proj"], in["projbias"]))
}

func (c himCase) gradients(in ref.Params) ref.Params {
	out := ref.Params{}
	normal := c.normalised(in)
	q := ref.Linear(normal, in["q"], in["qbias"])
	var d *ref.Array
	d, out["proj"], out["projbias"] = ref.LinearBackward(ref.HIM(q, in["k"], in["v"], c.heads), in["proj"], in["projbias"], in["g"])
	d, out["k"], out["v"] = ref.HIMBackward(q, in["k"], in["v"], d, c.heads)
	d, out["q"], out["qbias"] = ref.LinearBackward(normal, in["q"], in["qbias"], d)
	x, d := in["x"].Reshape(c.n*c.h*c.w, c.dim, 1, 1), d.Reshape(c.n*c.h*c.w, c.dim, 1, 1)
	if c.norm == BiasFree {
		d, out["gamma"] = ref.LayerNormChannelBiasFreeBackward(x, in["gamma"], d, LayerNormEps)
	} else {
		d, out["gamma"], out["beta"] = ref.LayerNormChannelBackward(x, in["gamma"], in["beta"], d, LayerNormEps)
	}
	out["x"] = ref.Add(in["g"], d.Reshape(in["g"].Shape...))
	return out
}

// rowsOfKV puts k and v where HIM expects them among other values.
func (c himCase) rowsOfKV(k, v, others *ref.Array) []float32 {
	out := others.Float32()
	row, each := len(out)/(c.n*c.tokens), c.dim/c.heads
	for r := range c.n * c.tokens {
		for i := range c.dim {
			at := r*row + foreign + i/each*pad4(each) + i%each
			out[at] = float32(k.Data[r*c.dim+i])
			out[at+c.heads*pad4(each)] = float32(v.Data[r*c.dim+i])
		}
	}
	return out
}

// himGradients holds what Backward gave.
type himGradients struct {
	module *HIM
	dx, kv *Tensor
}

func (c himCase) upload(d *Device, in ref.Params) (m *HIM, x, kv, dy, dkv *Tensor) {
	m = &HIM{
		Heads: c.heads, Norm: c.norm, Gamma: trainable(d, in["gamma"]), Beta: trainable(d, in["beta"]),
		Query: trainable(d, in["q"]), QBias: trainable(d, in["qbias"]), Proj: trainable(d, in["proj"]), ProjBias: trainable(d, in["projbias"]),
	}
	row := 2*foreign + 2*c.heads*pad4(c.dim/c.heads)
	others := randomArray("others", c.n, c.tokens, row)
	x, dy = From(d, in["x"].Float32(), c.n, c.h, c.w, c.dim), From(d, in["g"].Float32(), c.n, c.h, c.w, c.dim)
	kv, dkv = From(d, c.rowsOfKV(in["k"], in["v"], others), others.Shape...), From(d, others.Float32(), others.Shape...)
	return m, x, kv, dy, dkv
}

// backward runs on poisoned memory.
func (c himCase) backward(d *Device, in ref.Params) himGradients {
	m, x, kv, dy, dkv := c.upload(d, in)
	all := c.heads * pad4(c.tokens)
	poisoned(d, x, x, New(d, c.n, x.width()+2, all), New(d, c.n, all), New(d, c.n, c.h, c.w, all))
	return himGradients{m, m.Backward(x, kv, foreign, dy, dkv), dkv}
}

func (c himCase) require(t *testing.T, got himGradients, want ref.Params, tolerance float64) {
	t.Helper()
	requireGradient(t, "x", got.dx, want["x"], tolerance)
	for name, p := range map[string]*Parameter{
		"gamma": got.module.Gamma, "beta": got.module.Beta, "q": got.module.Query, "qbias": got.module.QBias,
		"proj": got.module.Proj, "projbias": got.module.ProjBias,
	} {
		if want[name] == nil {
			require.Nil(t, p, name)
			continue
		}
		requireGradient(t, name, p.Grad, want[name], tolerance)
	}
	others := randomArray("others", got.kv.shape...)
	values, err := got.kv.Floats(context.Background())
	require.NoError(t, err)
	marked := c.rowsOfKV(ref.New(c.n, c.tokens, c.dim), ref.New(c.n, c.tokens, c.dim), others)
	dkv := ref.New(others.Shape...)
	for i, v := range c.rowsOfKV(want["k"], want["v"], ref.New(others.Shape...)) {
		if marked[i] != 0 {
			require.Equal(t, float32(others.Data[i]), values[i], "dkv of others at %d", i)
		}
		dkv.Data[i] = float64(v)
		values[i] -= float32(others.Data[i])
	}
	requireGradient(t, "kv", From(got.dx.d, values, others.Shape...), dkv, tolerance)
}

func TestHIMReference(t *testing.T) {
	for _, c := range []himCase{
		{2, 2, 3, 3, 6, 2, WithBias, true},
		{1, 3, 2, 4, 5, 1, BiasFree, false},
	} {
		in := c.inputs()
		want := c.gradients(in)
		for name, numeric := range numericGradients(c.forward, in, in["g"], "x", "k", "v", "gamma", "q", "proj", "projbias") {
			for i, v := range numeric.Data {
				require.InDelta(t, v, want[name].Data[i], 1e-7, "%s at %d", name, i)
			}
		}
	}
}

func TestHIMBackward(t *testing.T) {
	d := openDevice(t)
	for _, c := range []himCase{
		{1, 1, 1, 1, 3, 1, WithBias, true},
		{2, 5, 37, 16, 12, 4, WithBias, true},
		{3, 5, 7, 4, 20, 2, WithBias, false},
		{1, 5, 37, 3, 5, 1, BiasFree, false},
		{2, 3, 9, 16, 63, 1, BiasFree, true},
		{1, 9, 13, 16, 65, 1, WithBias, false},
		{3, 4, 3, 3, 20, 4, BiasFree, false},
		{2, 1, 1, 4, 12, 2, BiasFree, true},
	} {
		t.Run(c.String(), func(t *testing.T) {
			in := c.inputs()
			want := c.gradients(in)
			if !c.qBias {
				delete(want, "qbias")
			}
			got := c.backward(d, in)
			if c.tokens == 1 { // attention to one token is constant: nothing reaches the scores
				for _, name := range []string{"gamma", "beta", "q", "qbias"} {
					delete(want, name)
				}
				got.module.Gamma, got.module.Beta, got.module.Query, got.module.QBias = nil, nil, nil, nil
			}
			c.require(t, got, want, 1e-5)
			requireNoPadding(t, got.dx)
		})
	}
}

func TestHIMBackwardInBands(t *testing.T) {
	d := openDevice(t)
	c := himCase{2, 11, 13, 4, 20, 2, WithBias, true}
	in := c.inputs()
	want := c.gradients(in)
	for _, scratch := range []int64{1, 10_000, 40_000} {
		d := d.With(Execution{Scratch: scratch})
		c.require(t, c.backward(d, in), want, 1e-5)
		require.Greater(t, d.MostBands(), 1)
	}
}

func TestHIMBackwardAdds(t *testing.T) {
	d := openDevice(t)
	for _, c := range []himCase{{2, 4, 5, 4, 12, 2, WithBias, true}, {2, 4, 5, 3, 7, 1, BiasFree, false}} {
		m, x, kv, dy, dkv := c.upload(d, c.inputs())
		dkv.Zero()
		backward := func() *Tensor { return m.Backward(x, kv, foreign, dy, dkv) }
		first := backward()
		once := stored(t, dkv)
		requireTwice(t, m.Parameters(), backward, first)
		for i, v := range stored(t, dkv) {
			require.Equal(t, 3*once[i], v, "three times in all")
		}
		require.Equal(t, stored(t, first), stored(t, m.Backward(x, kv, foreign, dy, nil)), "no gradient of kv wanted")
	}
}

func BenchmarkHIMBackward(b *testing.B) {
	d := openDevice(b)
	c := himCase{1, 128, 128, 16, 96, 1, WithBias, false}
	m, x, kv, dy, dkv := c.upload(d, c.inputs())
	ctx := context.Background()
	measure := func(f func()) time.Duration {
		start := time.Now()
		f()
		require.NoError(b, d.Wait(ctx))
		return time.Since(start)
	}
	forward, backward := time.Hour, time.Hour // the shortest
	for b.Loop() {
		forward = min(forward, measure(func() { m.Apply(x, kv, foreign).Release() }))
		backward = min(backward, measure(func() { m.Backward(x, kv, foreign, dy, dkv).Release() }))
	}
	b.ReportMetric(forward.Seconds()*1e3, "ms-forward")
	b.ReportMetric(backward.Seconds()*1e3, "ms-backward")
	b.ReportMetric(backward.Seconds()/forward.Seconds(), "ratio")
}
