package autograd

import "hidiff/tensor"

// ReflectPad is [tensor.ReflectPad].
func ReflectPad(x *Variable, right, bottom int) *Variable {
	return record("reflect_pad", tensor.ReflectPad(x.Tensor, right, bottom), nil, func(*node) func(*tensor.Tensor) {
		return func(dy *tensor.Tensor) { x.add(tensor.ReflectPadBackward(dy, right, bottom)) }
	}, x)
}
