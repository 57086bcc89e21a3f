package autograd

import "hidiff/tensor"

// Mean is [tensor.Mean].
func Mean(x *Variable) *Variable {
	return record("mean", tensor.Mean(x.Tensor), nil, func(n *node) func(*tensor.Tensor) {
		xt := n.save(x.Tensor)
		return func(dy *tensor.Tensor) { x.add(tensor.MeanBackward(xt, dy)) }
	}, x)
}

// Loss is [tensor.Loss.Apply].
func Loss(l tensor.Loss, a, b *Variable) *Variable {
	return record("loss", l.Apply(a.Tensor, b.Tensor), nil, func(n *node) func(*tensor.Tensor) {
		at, bt := n.save(a.Tensor), n.save(b.Tensor)
		return func(dy *tensor.Tensor) {
			if a.needed() {
				a.add(l.Backward(at, bt, dy))
			}
			if b.needed() {
				b.add(l.Backward(bt, at, dy))
			}
		}
	}, a, b)
}
