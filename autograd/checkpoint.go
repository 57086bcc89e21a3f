package autograd

import "hidiff/tensor"

// Checkpoint returns f(xs...), which consumes its arguments. On a tape with
// Checkpointing, only xs are kept for the way back, where f runs again. f must
// depend on nothing but its arguments and parameters, and train something.
// PyTorch: torch.utils.checkpoint.
func Checkpoint(f func(xs ...*Variable) *Variable, xs ...*Variable) *Variable {
	tape := tapeOf(xs)
	if tape == nil || !tape.Checkpointing {
		return f(xs...)
	}
	n := &node{op: "checkpoint", out: &slot{}}
	kept := make([]*tensor.Tensor, len(xs))
	for i, x := range xs {
		kept[i] = n.save(x.Tensor)
		if x.needed() {
			n.inputs = append(n.inputs, x.slot)
		}
	}
	var examining *Tape // nil records nothing
	if tape.DetectAnomaly {
		examining = &Tape{DetectAnomaly: true}
		defer examining.Reset()
	}
	inputs := make([]*Variable, len(xs))
	for i, x := range xs {
		inputs[i] = &Variable{Tensor: x.Tensor.Share(), tape: examining}
	}
	y := f(inputs...)
	for _, x := range xs {
		x.Release()
	}
	n.backward = func(dy *tensor.Tensor) {
		inner := &Tape{DetectAnomaly: tape.DetectAnomaly}
		again := make([]*Variable, len(xs))
		for i, x := range xs {
			again[i] = &Variable{Tensor: kept[i].Share(), tape: inner}
			if x.needed() {
				again[i].slot = &slot{}
			}
		}
		// f consumes its arguments, but their slots stay.
		slots := make([]*slot, len(again))
		for i, v := range again {
			slots[i] = v.slot
		}
		out := f(again...)
		out.add(dy.Share())
		out.Release()
		inner.run()
		for i, x := range xs {
			if slots[i] != nil {
				x.add(slots[i].grad)
			}
		}
	}
	tape.nodes = append(tape.nodes, n)
	return &Variable{Tensor: y.Tensor, tape: tape, slot: n.out}
}
