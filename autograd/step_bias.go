package autograd

import "hidiff/tensor"

// StepBias records that gradients of the biases b.Steps are to go to b's
// parameters, once all that comes after on x's tape has gone back.
func StepBias(b *tensor.StepBias, x *Variable) {
	if x.tape == nil || b.Weight.Grad == nil {
		return
	}
	x.tape.nodes = append(x.tape.nodes, &node{
		op: "step_bias", params: []*tensor.Parameter{b.Weight, b.TimeMLP},
		backward: func(*tensor.Tensor) { b.Backward() },
	})
}
