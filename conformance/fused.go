package conformance

import (
	"hidiff/autograd"
	"hidiff/internal/ref"
	"hidiff/tensor"
)

// The rows of the operators that are fused with the LayerNorm in front of them, with
// the prior's modulation k, s [B,C] where there is one, and with the residual. Inputs
// are x, k, s, prior, and parameters by their keys: norm1.body is the LayerNorm, of the
// BiasFree kind where its bias is absent. attrs: heads.

func runMDTA(b *bench) output {
	heads := b.integer("heads")
	if b.err != nil {
		return output{}
	}
	modulation, pack := b.modulation()
	a := &tensor.Attention{
		Heads: heads,
		QKV:   b.linearOf("qkv.weight", "qkv.bias", b.normalised(tensor.LinearSpec{OutParts: 3 * heads}), pack),
		Depth: b.depthwise("qkv_dwconv.weight", "qkv_dwconv.bias", 3*heads), Temperature: b.parameter("temperature"),
		Out: b.parameter("project_out.weight"), OutBias: b.parameter("project_out.bias"),
	}
	x := b.image("x")
	if b.attrs["in_place"] == 0 {
		x = x.Keep() // it has another owner, and must not be overwritten
	}
	return b.nchw(autograd.Attention(a, x, modulation))
}

func refMDTA(p ref.Params, attrs ref.Attrs) *ref.Array {
	return ref.Add(p["x"], p.Attention(refNormalised(p), nil, int(attrs["heads"])))
}

func runFeedForward(b *bench) output {
	modulation, pack := b.modulation()
	f := &tensor.FeedForward{
		In:    b.linearOf("project_in.weight", "project_in.bias", b.normalised(tensor.LinearSpec{OutParts: 2}), pack),
		Depth: b.depthwise("dwconv.weight", "dwconv.bias", 2),
		Out:   b.linearOf("project_out.weight", "project_out.bias", tensor.LinearSpec{}, tensor.NewLinear),
	}
	return b.nchw(autograd.FeedForward(f, b.image("x").Keep(), modulation))
}

func refFeedForward(p ref.Params, _ ref.Attrs) *ref.Array {
	return ref.Add(p["x"], p.FeedForward(refNormalised(p), nil))
}

func runHIM(b *bench) output {
	heads := b.integer("heads")
	if b.err != nil {
		return output{}
	}
	norm := b.normalised(tensor.LinearSpec{})
	m := &tensor.HIM{
		Heads: heads, Norm: norm.Norm, Gamma: norm.Gamma, Beta: norm.Beta,
		Query: b.parameter("q.weight"), QBias: b.parameter("q.bias"), Proj: b.parameter("proj.weight"), ProjBias: b.parameter("proj.bias"),
	}
	l := b.linearOf("kv.weight", "kv.bias", tensor.LinearSpec{
		OutParts: 2 * heads, Norm: norm.Norm, Gamma: b.parameter("norm2.body.weight"), Beta: b.parameter("norm2.body.bias"),
	}, tensor.NewLinear)
	kv := autograd.Linear(l, b.rows("prior"), autograd.After{})
	b.keep(kv.Tensor)
	return b.nchw(autograd.HIM(m, b.image("x"), kv, 0))
}

func refHIM(p ref.Params, attrs ref.Attrs) *ref.Array {
	return p.HIM(p["x"], p["prior"], int(attrs["heads"]))
}

// normalised adds the LayerNorm norm1.body, and where the modulation is, to a spec.
func (b *bench) normalised(s tensor.LinearSpec) tensor.LinearSpec {
	s.Norm, s.Gamma, s.Beta = tensor.WithBias, b.parameter("norm1.body.weight"), b.parameter("norm1.body.bias")
	if s.Beta == nil {
		s.Norm = tensor.BiasFree
	}
	if k, ok := b.in["k"]; ok {
		s.ShiftAt = (k.Shape[1] + 3) / 4 * 4
	}
	return s
}

// modulation joins k and s, where the inputs have them, and says how to pack what they
// modulate.
func (b *bench) modulation() (*autograd.Variable, func(*tensor.Device, tensor.LinearSpec) *tensor.Linear) {
	k, ok := b.in["k"]
	if !ok {
		return nil, tensor.NewLinear
	}
	n, c := k.Shape[0], k.Shape[1]
	var both []float32
	for i := range n {
		both = append(append(both, k.Data[i*c:(i+1)*c]...), b.in["s"].Data[i*c:(i+1)*c]...)
	}
	return b.variable("modulation", tensor.FromParts(b.d, both, 2, n, 2*c), false), tensor.NewModulatedLinear
}

// splitModulation turns the gradient of k and s together into those of each.
func (b *bench) splitModulation(grads map[string]array) {
	both, ok := grads["modulation"]
	if !ok {
		return
	}
	delete(grads, "modulation")
	n, c := both.Shape[0], both.Shape[1]/2
	k, s := array{Shape: []int{n, c}}, array{Shape: []int{n, c}}
	for i := range n {
		row := both.Data[2*i*c:][:2*c]
		k.Data, s.Data = append(k.Data, row[:c]...), append(s.Data, row[c:]...)
	}
	grads["k"], grads["s"] = k, s
}

func refNormalised(p ref.Params) *ref.Array {
	x := p.LayerNorm("norm1.body", p["x"])
	if p["k"] == nil {
		return x
	}
	return ref.ScaleShiftChannel(x, p["k"], p["s"])
}
