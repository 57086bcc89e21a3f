package autograd

import (
	"context"
	"fmt"
	"math"
	"slices"

	"hidiff/tensor"
)

// Variable is a tensor that came about by operators of this package. Release it
// like a tensor: a tape keeps what it needs by itself.
type Variable struct {
	*tensor.Tensor
	tape *Tape
	slot *slot // nil if nothing that is trained comes before it
}

// slot is where the gradient of a variable is summed.
type slot struct{ grad *tensor.Tensor }

// Constant returns a variable without a tape: operators on it compute, and
// record nothing.
func Constant(t *tensor.Tensor) *Variable { return &Variable{Tensor: t} }

// Keep returns the same variable for another owner.
func (v *Variable) Keep() *Variable { return &Variable{Tensor: v.Share(), tape: v.tape, slot: v.slot} }

// Tape records operators, to compute gradients by going back through them. A
// tape is used by one goroutine, for one Backward; then Reset.
type Tape struct {
	// Checkpointing makes [Checkpoint] forget what its function computed, and
	// compute it again in Backward: less memory, the same bits.
	Checkpointing bool

	// DetectAnomaly looks for NaN and infinity in every result and gradient.
	// The first operator to produce one panics with an [AnomalyError]. It
	// waits for the device after every operator.
	DetectAnomaly bool

	nodes []*node
}

// AnomalyError names the first operator that made something not finite.
type AnomalyError struct {
	Op        string // such as "linear net_g.output.weight"
	Backward  bool
	Index     int     // of the first such value, as stored
	Value     float32 // NaN or an infinity
	Parameter string  // whose gradient it is, if it is one's
}

func (e *AnomalyError) Error() string {
	what := "the result"
	if e.Backward {
		what = "the gradient"
	}
	if e.Parameter != "" {
		what += " of " + e.Parameter
	}
	return fmt.Sprintf("%s computed %v in %s (value %d)", e.Op, e.Value, what, e.Index)
}

// node is a recorded operator.
type node struct {
	op       string
	out      *slot // nil if backward needs no gradient
	inputs   []*slot
	params   []*tensor.Parameter
	saved    []*tensor.Tensor
	backward func(dy *tensor.Tensor)
}

// save keeps a tensor until the node's backward has run.
func (n *node) save(t *tensor.Tensor) *tensor.Tensor {
	s := t.Share()
	n.saved = append(n.saved, s)
	return s
}

// Input returns a variable on the tape whose own gradient nobody wants, such as
// a photo.
func (t *Tape) Input(x *tensor.Tensor) *Variable { return &Variable{Tensor: x, tape: t} }

// Leaf returns a variable on the tape whose gradient [Variable.Grad] gives.
func (t *Tape) Leaf(x *tensor.Tensor) *Variable { return &Variable{Tensor: x, tape: t, slot: &slot{}} }

// Grad returns the gradient of a [Tape.Leaf] after Backward, nil if it is zero.
// The caller releases it.
func (v *Variable) Grad() *tensor.Tensor {
	g := v.slot.grad
	v.slot.grad = nil
	return g
}

// tapeOf returns the tape that one of the variables is on, or nil.
func tapeOf(inputs []*Variable) *Tape {
	for _, v := range inputs {
		if v != nil && v.tape != nil {
			return v.tape
		}
	}
	return nil
}

// record makes y a variable. If a gradient has to go back through the operator,
// because of an input or a parameter, rule is called to save what that takes
// and to return the way back: it is given the gradient of y, adds to the
// gradients of parameters, and to those of inputs by [Variable.add].
func record(op string, y *tensor.Tensor, params []*tensor.Parameter, rule func(n *node) func(dy *tensor.Tensor), inputs ...*Variable) *Variable {
	tape := tapeOf(inputs)
	v := &Variable{Tensor: y, tape: tape}
	if tape == nil {
		return v
	}
	needed := slices.ContainsFunc(inputs, (*Variable).needed) ||
		slices.ContainsFunc(params, func(p *tensor.Parameter) bool { return p != nil && p.Grad != nil })
	n := &node{op: op, params: params}
	if needed {
		v.slot = &slot{}
		n.out = v.slot
		for _, x := range inputs {
			if x.needed() {
				n.inputs = append(n.inputs, x.slot)
			}
		}
		n.backward = rule(n)
		tape.nodes = append(tape.nodes, n)
	}
	if tape.DetectAnomaly {
		n.examine(y, false, "")
	}
	return v
}

// needed says that somebody wants the variable's gradient.
func (v *Variable) needed() bool { return v != nil && v.slot != nil }

// add adds g to the variable's gradient, and consumes it.
func (v *Variable) add(g *tensor.Tensor) {
	switch {
	case g == nil:
	case v.slot == nil:
		g.Release()
	case v.slot.grad == nil:
		v.slot.grad = g
	default:
		v.slot.grad = tensor.Accumulate(v.slot.grad, g)
	}
}

// gradient returns the variable's gradient for a rule that adds to parts of it:
// like, with zeros where nothing has been added yet. It is nil if nobody
// wants it.
func (v *Variable) gradient(like *tensor.Tensor) *tensor.Tensor {
	if !v.needed() {
		return nil
	}
	if v.slot.grad == nil {
		v.slot.grad = like.ZerosLike()
	}
	return v.slot.grad
}

// Backward computes the gradients of the sum of losses, each of shape [1],
// times scale: it adds them to those of parameters, and leaves those of leaves
// to Grad. What the tape recorded is released.
func (t *Tape) Backward(scale float32, losses ...*Variable) {
	for _, l := range losses {
		if l.needed() {
			l.add(tensor.From(l.Device(), []float32{scale}, 1))
		}
	}
	t.run()
}

// BackwardFrom computes the gradients of any one result, for its gradient dy,
// which it consumes.
func (t *Tape) BackwardFrom(y *Variable, dy *tensor.Tensor) {
	y.add(dy)
	t.run()
}

// run goes back through the nodes.
func (t *Tape) run() {
	for i := len(t.nodes) - 1; i >= 0; i-- {
		n := t.nodes[i]
		var dy *tensor.Tensor
		if n.out != nil {
			dy, n.out.grad = n.out.grad, nil
		}
		if dy != nil || n.out == nil {
			n.backward(dy)
			dy.Release()
			if t.DetectAnomaly {
				n.examineGradients()
			}
		}
		n.release()
		t.nodes[i] = nil
	}
	t.nodes = t.nodes[:0]
}

func (n *node) release() {
	for _, s := range n.saved {
		s.Release()
	}
	n.saved = nil
}

// Reset forgets what was recorded, as after a failure.
func (t *Tape) Reset() {
	for _, n := range t.nodes {
		if n == nil { // its backward has run
			continue
		}
		n.release()
		if n.out != nil {
			n.out.grad.Release()
			n.out.grad = nil
		}
	}
	t.nodes = t.nodes[:0]
}

func (n *node) examineGradients() {
	for _, s := range n.inputs {
		if s.grad != nil {
			n.examine(s.grad, true, "")
		}
	}
	for _, p := range n.params {
		if p != nil && p.Grad != nil {
			n.examine(p.Grad, true, p.Name)
		}
	}
}

// examine panics if t holds a value that is not finite.
func (n *node) examine(t *tensor.Tensor, backward bool, parameter string) {
	values, err := t.Floats(context.Background())
	if err != nil {
		tensor.Abort(err)
	}
	for i, v := range values {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			op := n.op
			for _, p := range n.params {
				if p != nil && p.Name != "" {
					op += " " + p.Name
					break
				}
			}
			tensor.Abort(&AnomalyError{Op: op, Backward: backward, Index: i, Value: v, Parameter: parameter})
		}
	}
}
