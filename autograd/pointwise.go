package autograd

import "hidiff/tensor"

// Add is [tensor.Add].
func Add(a, b *Variable) *Variable {
	return record("add", tensor.Add(a.Tensor, b.Tensor), nil, func(*node) func(*tensor.Tensor) {
		return func(dy *tensor.Tensor) {
			a.add(dy.Share())
			b.add(dy.Share())
		}
	}, a, b)
}

// Mul is [tensor.Mul].
func Mul(a, b *Variable) *Variable {
	return record("mul", tensor.Mul(a.Tensor, b.Tensor), nil, func(n *node) func(*tensor.Tensor) {
		at, bt := n.save(a.Tensor), n.save(b.Tensor)
		return func(dy *tensor.Tensor) {
			if a.needed() {
				a.add(tensor.Mul(dy, bt))
			}
			if b.needed() {
				b.add(tensor.Mul(dy, at))
			}
		}
	}, a, b)
}

// Clamp is [tensor.Clamp].
func Clamp(x *Variable, lo, hi float32) *Variable {
	return record("clamp", tensor.Clamp(x.Tensor, lo, hi), nil, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(tensor.ClampBackward(xt, dy, lo, hi)) }
	}, x)
}

// Activate is [tensor.Activate].
func Activate(x *Variable, act tensor.Activation) *Variable {
	return record("activate", tensor.Activate(x.Tensor, act), nil, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(tensor.ActivateBackward(xt, dy, act)) }
	}, x)
}

// GELUGate is [tensor.GELUGate].
func GELUGate(x *Variable) *Variable {
	return record("gelu_gate", tensor.GELUGate(x.Tensor), nil, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(tensor.GELUGateBackward(xt, dy)) }
	}, x)
}

// ScaleShift is [tensor.ScaleShift].
func ScaleShift(x, k, s *Variable) *Variable {
	return record("scale_shift", tensor.ScaleShift(x.Tensor, k.Tensor, s.Tensor), nil, func(n *node) func(*tensor.Tensor) {
		xt, kt := n.save(x.Tensor), n.save(k.Tensor)
		return func(dy *tensor.Tensor) {
			dx, dk, ds := tensor.ScaleShiftBackward(xt, kt, dy)
			x.add(dx)
			k.add(dk)
			s.add(ds)
		}
	}, x, k, s)
}

// Blend is a*x + b*y.
func Blend(x, y *Variable, a, b float32) *Variable {
	return record("blend", tensor.Blend(x.Tensor, y.Tensor, a, b), nil, func(*node) func(*tensor.Tensor) {
		return func(dy *tensor.Tensor) {
			if x.needed() {
				x.add(tensor.Blend(dy, dy, a, 0))
			}
			if y.needed() {
				y.add(tensor.Blend(dy, dy, b, 0))
			}
		}
	}, x, y)
}
