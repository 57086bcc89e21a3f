package conformance

import (
	"hidiff/conformance/ref"
	"hidiff/tensor"
)

// The rows of the operators that are fused with the LayerNorm in front of them, with
// the prior's modulation k, s [B,C] where there is one, and with the residual. Inputs
// are x, k, s, prior, and parameters by their keys: norm1.body is the LayerNorm, of the
// BiasFree kind where its bias is absent. attrs: heads.

func runMDTA(b *bench) Tensor {
	heads := b.integer("heads")
	if b.err != nil {
		return Tensor{}
	}
	a := tensor.Attention{
		Heads: heads,
		QKV:   b.linearOf("qkv.weight", "qkv.bias", b.normalised(tensor.LinearSpec{OutParts: 3 * heads})),
		Depth: b.depthwise("qkv_dwconv.weight", "qkv_dwconv.bias", 3*heads), Temperature: b.parameter("temperature"),
		Out: b.parameter("project_out.weight"), OutBias: b.parameter("project_out.bias"),
	}
	return b.nchw(a.Apply(b.image("x"), b.attrs["in_place"] != 0))
}

func refMDTA(p ref.Params, attrs ref.Attrs) *ref.Array {
	return ref.Add(p["x"], p.Attention(refNormalised(p), nil, int(attrs["heads"])))
}

func runFeedForward(b *bench) Tensor {
	f := tensor.FeedForward{
		In:    b.linearOf("project_in.weight", "project_in.bias", b.normalised(tensor.LinearSpec{OutParts: 2})),
		Depth: b.depthwise("dwconv.weight", "dwconv.bias", 2),
		Out:   b.linearOf("project_out.weight", "project_out.bias", tensor.LinearSpec{}),
	}
	return b.nchw(f.Apply(b.image("x")))
}

func refFeedForward(p ref.Params, _ ref.Attrs) *ref.Array {
	return ref.Add(p["x"], p.FeedForward(refNormalised(p), nil))
}

func runHIM(b *bench) Tensor {
	heads := b.integer("heads")
	if b.err != nil {
		return Tensor{}
	}
	norm := b.normalised(tensor.LinearSpec{})
	m := tensor.HIM{
		Heads: heads, Norm: norm.Norm, Gamma: norm.Gamma, Beta: norm.Beta,
		Query: b.parameter("q.weight"), QBias: b.parameter("q.bias"), Proj: b.parameter("proj.weight"), ProjBias: b.parameter("proj.bias"),
	}
	kv := b.linearOf("kv.weight", "kv.bias", tensor.LinearSpec{
		OutParts: 2 * heads, Norm: norm.Norm, Gamma: b.parameter("norm2.body.weight"), Beta: b.parameter("norm2.body.bias"),
	})
	return b.nchw(m.Apply(b.image("x"), b.keep(kv.Apply(b.rows("prior"), tensor.Fused{})), 0))
}

func refHIM(p ref.Params, attrs ref.Attrs) *ref.Array {
	return p.HIM(p["x"], p["prior"], int(attrs["heads"]))
}

// normalised adds the LayerNorm norm1.body and the modulation to a spec.
func (b *bench) normalised(s tensor.LinearSpec) tensor.LinearSpec {
	s.Norm, s.Gamma, s.Beta = tensor.WithBias, b.parameter("norm1.body.weight"), b.parameter("norm1.body.bias")
	if s.Beta == nil {
		s.Norm = tensor.BiasFree
	}
	if k, ok := b.in["k"]; ok {
		n, c := k.Shape[0], k.Shape[1]
		var both []float32
		for i := range n {
			both = append(append(both, k.Data[i*c:(i+1)*c]...), b.in["s"].Data[i*c:(i+1)*c]...)
		}
		s.Modulation, s.ShiftAt = b.keep(tensor.FromParts(b.d, both, 2, n, 2*c)), (c+3)/4*4
	}
	return s
}

func refNormalised(p ref.Params) *ref.Array {
	x := p.LayerNorm("norm1.body", p["x"])
	if p["k"] == nil {
		return x
	}
	return ref.ScaleShiftChannel(x, p["k"], p["s"])
}
