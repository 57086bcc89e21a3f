package tensor

// Activation is a pointwise non-linearity. The zero value is none.
type Activation struct {
	kind  actKind
	slope float32
}

type actKind uint32

const (
	actNone actKind = iota
	actGELU
	actLeaky
)

// GELU is the exact (erf) GELU.
var GELU = Activation{kind: actGELU}

// LeakyReLU returns max(x, 0) + slope*min(x, 0).
func LeakyReLU(slope float32) Activation { return Activation{actLeaky, slope} }

// Activate returns act(x). PyTorch: F.gelu, F.leaky_relu.
func Activate(x *Tensor, act Activation) *Tensor {
	return pointwise("activate", x, x, pointwiseCall{op: opActivate, act: act})
}

// ActivateBackward returns the gradient of x for y = Activate(x, act) under dy.
func ActivateBackward(x, dy *Tensor, act Activation) *Tensor {
	return pointwise("activate", x, dy, pointwiseCall{op: opActivateGradient, act: act})
}
