package ref

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Tensors are an operator's inputs, or their gradients, by name.
type Tensors = map[string]*Array

// Attrs are an operator's numeric attributes by name.
type Attrs = map[string]float64

// Op is one operator: its names as in the fixtures' metadata, and its two functions.
type Op struct {
	Name     string
	Inputs   []string // inputs that must be given
	Optional []string // inputs that may be absent
	Attrs    []string // attributes that must be given

	// Forward returns the output. It panics with an [*Error] on misuse, as Backward does.
	Forward func(in Tensors, attrs Attrs) *Array
	// Backward returns the gradient of every input given, for gradOut = ∂loss/∂out.
	Backward func(in Tensors, gradOut *Array, attrs Attrs) Tensors
}

// Lookup returns the operator of that name from [Ops].
func Lookup(name string) (Op, bool) {
	i, ok := slices.BinarySearchFunc(Ops, name, func(op Op, name string) int { return strings.Compare(op.Name, name) })
	if !ok {
		return Op{}, false
	}
	return Ops[i], true
}

// Ops lists every operator, sorted by name.
var Ops = checked([]Op{
	{
		Name: "adaptive_avg_pool", Inputs: names{"x"}, Attrs: names{"out"},
		Forward: func(in Tensors, at Attrs) *Array {
			return AdaptiveAvgPool(in["x"], integer("adaptive_avg_pool", at, "out"))
		},
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			return Tensors{"x": AdaptiveAvgPoolBackward(in["x"], g, integer("adaptive_avg_pool", at, "out"))}
		},
	},
	{
		Name: "add", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return Add(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := AddBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "charbonnier_loss", Inputs: names{"a", "b"}, Attrs: names{"eps"},
		Forward: func(in Tensors, at Attrs) *Array { return CharbonnierLoss(in["a"], in["b"], at["eps"]) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			da, db := CharbonnierLossBackward(in["a"], in["b"], g, at["eps"])
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "clamp", Inputs: names{"x"}, Attrs: names{"lo", "hi"},
		Forward: func(in Tensors, at Attrs) *Array { return Clamp(in["x"], at["lo"], at["hi"]) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			return Tensors{"x": ClampBackward(in["x"], g, at["lo"], at["hi"])}
		},
	},
	{
		Name: "concat_channel", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return ConcatChannel(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := ConcatChannelBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "conv1x1", Inputs: names{"x", "w"}, Optional: names{"b"},
		Forward: func(in Tensors, _ Attrs) *Array { return Conv1x1(in["x"], in["w"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			dx, dw, db := Conv1x1Backward(in["x"], in["w"], in["b"], g)
			return Tensors{"x": dx, "w": dw, "b": db}
		},
	},
	{
		Name: "conv3x3", Inputs: names{"x", "w"}, Optional: names{"b"},
		Forward: func(in Tensors, _ Attrs) *Array { return Conv3x3(in["x"], in["w"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			dx, dw, db := Conv3x3Backward(in["x"], in["w"], in["b"], g)
			return Tensors{"x": dx, "w": dw, "b": db}
		},
	},
	{
		Name: "dwconv3x3", Inputs: names{"x", "w"}, Optional: names{"b"},
		Forward: func(in Tensors, _ Attrs) *Array { return DWConv3x3(in["x"], in["w"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			dx, dw, db := DWConv3x3Backward(in["x"], in["w"], in["b"], g)
			return Tensors{"x": dx, "w": dw, "b": db}
		},
	},
	elementwise("gelu", gelu, geluSlope),
	{
		Name: "gelu_gate", Inputs: names{"x"},
		Forward: func(in Tensors, _ Attrs) *Array { return GELUGate(in["x"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			return Tensors{"x": GELUGateBackward(in["x"], g)}
		},
	},
	{
		Name: "him", Inputs: names{"q", "k", "v"}, Attrs: names{"heads"},
		Forward: func(in Tensors, at Attrs) *Array { return HIM(in["q"], in["k"], in["v"], integer("him", at, "heads")) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			dq, dk, dv := HIMBackward(in["q"], in["k"], in["v"], g, integer("him", at, "heads"))
			return Tensors{"q": dq, "k": dk, "v": dv}
		},
	},
	{
		Name: "l1_loss", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return L1Loss(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := L1LossBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "l2_normalize", Inputs: names{"x"}, Attrs: names{"eps"},
		Forward: func(in Tensors, at Attrs) *Array { return L2Normalize(in["x"], at["eps"]) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			return Tensors{"x": L2NormalizeBackward(in["x"], g, at["eps"])}
		},
	},
	{
		Name: "layernorm_channel", Inputs: names{"x", "w", "b"}, Attrs: names{"eps"},
		Forward: func(in Tensors, at Attrs) *Array { return LayerNormChannel(in["x"], in["w"], in["b"], at["eps"]) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			dx, dw, db := LayerNormChannelBackward(in["x"], in["w"], in["b"], g, at["eps"])
			return Tensors{"x": dx, "w": dw, "b": db}
		},
	},
	{
		Name: "layernorm_channel_biasfree", Inputs: names{"x", "w"}, Attrs: names{"eps"},
		Forward: func(in Tensors, at Attrs) *Array { return LayerNormChannelBiasFree(in["x"], in["w"], at["eps"]) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			dx, dw := LayerNormChannelBiasFreeBackward(in["x"], in["w"], g, at["eps"])
			return Tensors{"x": dx, "w": dw}
		},
	},
	{
		Name: "layernorm_last", Inputs: names{"x", "w", "b"}, Attrs: names{"eps"},
		Forward: func(in Tensors, at Attrs) *Array { return LayerNormLast(in["x"], in["w"], in["b"], at["eps"]) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			dx, dw, db := LayerNormLastBackward(in["x"], in["w"], in["b"], g, at["eps"])
			return Tensors{"x": dx, "w": dw, "b": db}
		},
	},
	{
		Name: "leaky_relu", Inputs: names{"x"}, Attrs: names{"slope"},
		Forward: func(in Tensors, at Attrs) *Array { return LeakyReLU(in["x"], at["slope"]) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			return Tensors{"x": LeakyReLUBackward(in["x"], g, at["slope"])}
		},
	},
	{
		Name: "linear", Inputs: names{"x", "w"}, Optional: names{"b"},
		Forward: func(in Tensors, _ Attrs) *Array { return Linear(in["x"], in["w"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			dx, dw, db := LinearBackward(in["x"], in["w"], in["b"], g)
			return Tensors{"x": dx, "w": dw, "b": db}
		},
	},
	{
		Name: "matmul_nn", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return MatMulNN(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := MatMulNNBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "matmul_nt", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return MatMulNT(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := MatMulNTBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "matmul_tn", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return MatMulTN(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := MatMulTNBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "mdta", Inputs: names{"q", "k", "v", "temperature"}, Attrs: names{"heads"},
		Forward: func(in Tensors, at Attrs) *Array {
			return MDTA(in["q"], in["k"], in["v"], in["temperature"], integer("mdta", at, "heads"))
		},
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			dq, dk, dv, dtemp := MDTABackward(in["q"], in["k"], in["v"], in["temperature"], g, integer("mdta", at, "heads"))
			return Tensors{"q": dq, "k": dk, "v": dv, "temperature": dtemp}
		},
	},
	{
		Name: "mean", Inputs: names{"x"},
		Forward: func(in Tensors, _ Attrs) *Array { return Mean(in["x"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			return Tensors{"x": MeanBackward(in["x"], g)}
		},
	},
	{
		Name: "mse_loss", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return MSELoss(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := MSELossBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "mul", Inputs: names{"a", "b"},
		Forward: func(in Tensors, _ Attrs) *Array { return Mul(in["a"], in["b"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			da, db := MulBackward(in["a"], in["b"], g)
			return Tensors{"a": da, "b": db}
		},
	},
	{
		Name: "pixel_shuffle", Inputs: names{"x"}, Attrs: names{"r"},
		Forward: func(in Tensors, at Attrs) *Array { return PixelShuffle(in["x"], integer("pixel_shuffle", at, "r")) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			return Tensors{"x": PixelShuffleBackward(in["x"], g, integer("pixel_shuffle", at, "r"))}
		},
	},
	{
		Name: "pixel_unshuffle", Inputs: names{"x"}, Attrs: names{"r"},
		Forward: func(in Tensors, at Attrs) *Array { return PixelUnshuffle(in["x"], integer("pixel_unshuffle", at, "r")) },
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			return Tensors{"x": PixelUnshuffleBackward(in["x"], g, integer("pixel_unshuffle", at, "r"))}
		},
	},
	{
		Name: "reflect_pad_right_bottom", Inputs: names{"x"}, Attrs: names{"right", "bottom"},
		Forward: func(in Tensors, at Attrs) *Array {
			return ReflectPadRightBottom(in["x"], integer("reflect_pad_right_bottom", at, "right"), integer("reflect_pad_right_bottom", at, "bottom"))
		},
		Backward: func(in Tensors, g *Array, at Attrs) Tensors {
			return Tensors{"x": ReflectPadRightBottomBackward(in["x"], g, integer("reflect_pad_right_bottom", at, "right"), integer("reflect_pad_right_bottom", at, "bottom"))}
		},
	},
	{
		Name: "scale_shift_channel", Inputs: names{"x", "k", "s"},
		Forward: func(in Tensors, _ Attrs) *Array { return ScaleShiftChannel(in["x"], in["k"], in["s"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			dx, dk, ds := ScaleShiftChannelBackward(in["x"], in["k"], in["s"], g)
			return Tensors{"x": dx, "k": dk, "s": ds}
		},
	},
	{
		Name: "softmax", Inputs: names{"x"},
		Forward: func(in Tensors, _ Attrs) *Array { return Softmax(in["x"]) },
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			return Tensors{"x": SoftmaxBackward(in["x"], g)}
		},
	},
})

type names = []string

// checked makes each operator refuse missing and unknown names before it runs, and
// drop the gradients of inputs that were not given.
func checked(ops []Op) []Op {
	for i := range ops {
		op := ops[i]
		ops[i].Forward = func(in Tensors, attrs Attrs) *Array {
			op.check(in, attrs)
			return op.Forward(in, attrs)
		}
		ops[i].Backward = func(in Tensors, gradOut *Array, attrs Attrs) Tensors {
			op.check(in, attrs)
			grads := op.Backward(in, gradOut, attrs)
			for name, g := range grads {
				if g == nil {
					delete(grads, name)
				}
			}
			return grads
		}
	}
	return ops
}

func (op Op) check(in Tensors, attrs Attrs) {
	for _, name := range op.Inputs {
		if in[name] == nil {
			panic(&Error{op.Name, name, "missing", fmt.Sprintf("inputs %v", op.Inputs)})
		}
	}
	for name := range in {
		if !slices.Contains(op.Inputs, name) && !slices.Contains(op.Optional, name) {
			panic(&Error{op.Name, name, "unknown", fmt.Sprintf("inputs %v, perhaps %v", op.Inputs, op.Optional)})
		}
	}
	for _, name := range op.Attrs {
		if _, ok := attrs[name]; !ok {
			panic(&Error{op.Name, name, "missing", fmt.Sprintf("attributes %v", op.Attrs)})
		}
	}
}

// integer returns an attribute that counts something.
func integer(op string, attrs Attrs, name string) int {
	v := attrs[name]
	if v != math.Trunc(v) || math.Abs(v) > maxElements {
		panic(&Error{op, name, fmt.Sprint(v), "a whole number"})
	}
	return int(v)
}

// elementwise is an operator that applies f, whose derivative is slope, to every element.
func elementwise(name string, f, slope func(x float64) float64) Op {
	return Op{
		Name: name, Inputs: names{"x"},
		Forward: func(in Tensors, _ Attrs) *Array {
			expectSome(name, "x", in["x"], 0)
			return apply(in["x"], f)
		},
		Backward: func(in Tensors, g *Array, _ Attrs) Tensors {
			expectSome(name, "x", in["x"], 0)
			expect(name, "gradOut", g, in["x"].Shape...)
			return Tensors{"x": zip(in["x"], g, func(x, g float64) float64 { return g * slope(x) })}
		},
	}
}
