package conformance

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/ref"
	"hidiff/internal/reference"
)

// refTolerance is for float64 results beside float64 references stored as float32: what
// is left is the rounding of the stored inputs and outputs.
const refTolerance = 1e-6

func arrayOf(t *testing.T, f *fixture, name string) *ref.Array {
	t.Helper()
	x, err := f.Tensor(name)
	require.NoError(t, err)
	return ref.From(x.Data, x.Shape...)
}

// requireClose compares one result of package ref with the fixture's tensor name.
func requireClose(t *testing.T, f *fixture, name string, got *ref.Array) {
	t.Helper()
	want, err := f.Tensor(name)
	require.NoError(t, err)
	require.NotNil(t, got, name)
	d, err := compare(got.Data, want.Data, got.Shape, want.Shape)
	require.NoError(t, err, name)
	require.NoError(t, d.within(refTolerance), name)
}

// requireAllClose compares a set of results with all the fixture's tensors under prefix.
func requireAllClose(t *testing.T, f *fixture, prefix string, got ref.Tensors) {
	t.Helper()
	require.Len(t, f.Under(prefix), len(got))
	for name, x := range got {
		requireClose(t, f, prefix+name, x)
	}
}

func TestRefOps(t *testing.T) {
	tested := map[string]bool{"him": true, "mdta": true} // the cores of modules: TestRefAttention, TestRefHIM
	for _, f := range fixtures(t, "ops") {
		if f.Kind != kindOp {
			continue
		}
		tested[f.Op] = true
		t.Run(filepath.Base(f.Path), func(t *testing.T) {
			op, ok := ref.Lookup(f.Op)
			require.True(t, ok, "no reference of %s", f.Op)
			in := arrays(f.Under("in."))
			requireClose(t, f, "out", op.Forward(in, f.Attrs))
			requireAllClose(t, f, "grad.", op.Backward(in, arrayOf(t, f, "grad_out"), f.Attrs))
		})
	}
	for _, op := range ref.Ops {
		require.True(t, tested[op.Name], "no fixture of %s", op.Name)
	}
}

func TestRefAdam(t *testing.T) {
	for name, decoupled := range map[string]bool{"optim_adam": false, "optim_adamw": true} {
		t.Run(name, func(t *testing.T) {
			f, err := openFixture(reference.Testdata("ops", name+".safetensors"))
			require.NoError(t, err)
			s := f.adamOptions()
			require.Equal(t, decoupled, s.Decoupled)
			o := ref.Adam{LR: s.LR, Beta1: s.Beta1, Beta2: s.Beta2, Eps: s.Eps, WeightDecay: s.WeightDecay, Decoupled: decoupled}
			p := arrayOf(t, f, "p0")
			m, v := ref.New(p.Shape...), ref.New(p.Shape...)
			for step := 1; step <= 6; step++ {
				o.Step(step, p, arrayOf(t, f, fmt.Sprintf("g%d", step-1)), m, v)
				requireClose(t, f, fmt.Sprintf("p%d", step), p)
			}
		})
	}
}

func TestRefClipGradNorm(t *testing.T) {
	f, err := openFixture(reference.Testdata("ops", "clip_grad_norm.safetensors"))
	require.NoError(t, err)
	grads := []*ref.Array{arrayOf(t, f, "g0"), arrayOf(t, f, "g1"), arrayOf(t, f, "g2")}
	norm, clipped := ref.ClipGradNorm(grads, 0.01)
	requireClose(t, f, "norm", ref.From([]float64{norm}, 1))
	for i, g := range clipped {
		requireClose(t, f, fmt.Sprintf("clipped%d", i), g)
	}
}

// The whole attention module around ref.MDTA: 1×1, depthwise 3×3, core, 1×1.
func TestRefAttention(t *testing.T) {
	for _, name := range []string{"attention", "attention_bias_1head"} {
		t.Run(name, func(t *testing.T) {
			f, err := openFixture(reference.Testdata("modules", name+".safetensors"))
			require.NoError(t, err)
			x, p, heads := arrayOf(t, f, "in.x"), arrays(f.Under("param.")), numHeads(t, f)

			wide := ref.Conv1x1(x, p["qkv.weight"], p["qkv.bias"])
			qkv := ref.DWConv3x3(wide, p["qkv_dwconv.weight"], p["qkv_dwconv.bias"])
			kv := ref.New(x.Shape[0], 2*x.Shape[1], x.Shape[2], x.Shape[3])
			q, kv := ref.ConcatChannelBackward(x, kv, qkv)
			k, v := ref.ConcatChannelBackward(x, x, kv)
			core := ref.MDTA(q, k, v, p["temperature"], heads)
			requireClose(t, f, "out", ref.Conv1x1(core, p["project_out.weight"], p["project_out.bias"]))

			g := ref.Tensors{}
			dcore, dw, db := ref.Conv1x1Backward(core, p["project_out.weight"], p["project_out.bias"], arrayOf(t, f, "grad_out"))
			g["project_out.weight"], g["project_out.bias"] = dw, db
			dq, dk, dv, dtemperature := ref.MDTABackward(q, k, v, p["temperature"], dcore, heads)
			g["temperature"] = dtemperature
			dqkv := ref.ConcatChannel(dq, ref.ConcatChannel(dk, dv))
			dwide, dw, db := ref.DWConv3x3Backward(wide, p["qkv_dwconv.weight"], p["qkv_dwconv.bias"], dqkv)
			g["qkv_dwconv.weight"], g["qkv_dwconv.bias"] = dw, db
			dx, dw, db := ref.Conv1x1Backward(x, p["qkv.weight"], p["qkv.bias"], dwide)
			g["qkv.weight"], g["qkv.bias"] = dw, db

			requireClose(t, f, "grad.x", dx)
			requireAllClose(t, f, "param_grad.", given(g))
		})
	}
}

// The whole HIM module around ref.HIM: norms, projections, core, projection, residual.
func TestRefHIM(t *testing.T) {
	for _, name := range []string{"him_1head_16", "him_4head_4"} {
		t.Run(name, func(t *testing.T) {
			const eps = 1e-5
			f, err := openFixture(reference.Testdata("modules", name+".safetensors"))
			require.NoError(t, err)
			x, prior, p, heads := arrayOf(t, f, "in.x"), arrayOf(t, f, "in.prior"), arrays(f.Under("param.")), numHeads(t, f)
			h, w := x.Shape[2], x.Shape[3]
			tokens := toTokens(x)

			xn := ref.LayerNormLast(tokens, p["norm1.body.weight"], p["norm1.body.bias"], eps)
			zn := ref.LayerNormLast(prior, p["norm2.body.weight"], p["norm2.body.bias"], eps)
			q := ref.Linear(xn, p["q.weight"], nil)
			k, v := halveLast(ref.Linear(zn, p["kv.weight"], nil))
			core := ref.HIM(q, k, v, heads)
			requireClose(t, f, "out", ref.Add(x, toImage(ref.Linear(core, p["proj.weight"], p["proj.bias"]), h, w)))

			g := ref.Tensors{}
			gradOut := arrayOf(t, f, "grad_out")
			dcore, dw, db := ref.LinearBackward(core, p["proj.weight"], p["proj.bias"], toTokens(gradOut))
			g["proj.weight"], g["proj.bias"] = dw, db
			dq, dk, dv := ref.HIMBackward(q, k, v, dcore, heads)
			dzn, dw, _ := ref.LinearBackward(zn, p["kv.weight"], nil, joinLast(dk, dv))
			g["kv.weight"] = dw
			dxn, dw, _ := ref.LinearBackward(xn, p["q.weight"], nil, dq)
			g["q.weight"] = dw
			dprior, dw, db := ref.LayerNormLastBackward(prior, p["norm2.body.weight"], p["norm2.body.bias"], dzn, eps)
			g["norm2.body.weight"], g["norm2.body.bias"] = dw, db
			dtokens, dw, db := ref.LayerNormLastBackward(tokens, p["norm1.body.weight"], p["norm1.body.bias"], dxn, eps)
			g["norm1.body.weight"], g["norm1.body.bias"] = dw, db

			requireClose(t, f, "grad.x", ref.Add(gradOut, toImage(dtokens, h, w)))
			requireClose(t, f, "grad.prior", dprior)
			requireAllClose(t, f, "param_grad.", g)
		})
	}
}

// given drops the gradients of biases that the module does not have.
func given(grads ref.Tensors) ref.Tensors {
	for name, g := range grads {
		if g == nil {
			delete(grads, name)
		}
	}
	return grads
}

// identity returns the n×n identity matrix once per image.
func identity(images, n int) *ref.Array {
	out := ref.New(images, n, n)
	for i := range images * n {
		out.Data[i*n+i%n] = 1
	}
	return out
}

// toTokens turns [B,C,H,W] into [B,H·W,C].
func toTokens(x *ref.Array) *ref.Array {
	b, c, n := x.Shape[0], x.Shape[1], x.Shape[2]*x.Shape[3]
	return ref.MatMulTN(x.Reshape(b, c, n), identity(b, c))
}

// toImage inverts toTokens.
func toImage(x *ref.Array, h, w int) *ref.Array {
	b, n, c := x.Shape[0], x.Shape[1], x.Shape[2]
	return ref.MatMulTN(x, identity(b, n)).Reshape(b, c, h, w)
}

// halveLast splits [B,N,2C] into two [B,N,C].
func halveLast(x *ref.Array) (first, second *ref.Array) {
	b, n, c := x.Shape[0], x.Shape[1], x.Shape[2]/2
	half := ref.New(b*n, c, 1, 1)
	first, second = ref.ConcatChannelBackward(half, half, x.Reshape(b*n, 2*c, 1, 1))
	return first.Reshape(b, n, c), second.Reshape(b, n, c)
}

// joinLast inverts halveLast.
func joinLast(first, second *ref.Array) *ref.Array {
	b, n, c := first.Shape[0], first.Shape[1], first.Shape[2]
	return ref.ConcatChannel(first.Reshape(b*n, c, 1, 1), second.Reshape(b*n, c, 1, 1)).Reshape(b, n, 2*c)
}

// A reference that is a little wrong must not pass for right.
func TestRefOpsFindFaults(t *testing.T) {
	f, err := openFixture(reference.Testdata("ops", "layernorm_channel.safetensors"))
	require.NoError(t, err)
	op, _ := ref.Lookup(f.Op)
	want, err := f.Tensor("out")
	require.NoError(t, err)
	for _, eps := range []float64{0, 2e-5, math.NaN()} { // the right one is 1e-5
		out := op.Forward(arrays(f.Under("in.")), map[string]float64{"eps": eps})
		d, err := compare(out.Data, want.Data, out.Shape, want.Shape)
		require.False(t, err == nil && d.within(refTolerance) == nil, "eps %g passes", eps)
	}
}

// numHeads reads the one option that the reference needs of a module.
func numHeads(t *testing.T, f *fixture) int {
	t.Helper()
	var options struct {
		NumHeads int `json:"num_heads"`
	}
	require.NoError(t, json.Unmarshal(f.Options, &options))
	return options.NumHeads
}
