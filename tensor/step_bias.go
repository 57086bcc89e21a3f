package tensor

import (
	"fmt"

	"hidiff/wgpu"
)

var stepBiasShader = newShader[stepBiasParams, stepBiasConstants]("step_bias")

type stepBiasParams struct {
	Outputs, Row, Begin, Columns, Steps, Stride int
	First, Factor                               float32
}

type stepBiasConstants struct{ Learned bool }

// StepBias is what the time adds to the denoiser's first layer, as a bias for
// each of the sampler's steps: at step t,
// (t + First) * Factor * TimeMLP * the sum of Columns columns of Weight.
type StepBias struct {
	Weight        *Parameter // [Out, Row]
	Out, Row      int
	From, Columns int        // the columns that see the time
	TimeMLP       *Parameter // [1], or nil for 1
	First, Factor float32

	steps []*Parameter
	bias  *Tensor // of all steps
	grad  *Tensor // nil if Weight is frozen
}

// Steps computes the biases of n steps. Bias t is Steps(n)[t], [Out]; it is
// the StepBias's own, and so is its gradient.
func (b *StepBias) Steps(n int) []*Parameter {
	d := b.Weight.d
	stride := slot(d, b.Out)
	b.bias = New(d, n*stride)
	b.bias.Zero()
	if b.Weight.Grad != nil {
		b.grad = New(d, n*stride)
		b.grad.Zero()
	}
	for t := range n {
		p := &Parameter{Tensor: b.bias.flat(t*stride, b.Out), Name: fmt.Sprintf("time of step %d", t)}
		if b.grad != nil {
			p.Grad = b.grad.flat(t*stride, b.Out)
		}
		b.steps = append(b.steps, p)
	}
	b.Repack()
	return b.steps
}

// Repack computes the biases again after the parameters changed.
func (b *StepBias) Repack() {
	b.run("step_bias", b.bias.whole())
}

// Backward turns the gradients of the steps' biases into those of Weight and
// TimeMLP, and clears them.
func (b *StepBias) Backward() {
	if b.grad == nil {
		return
	}
	views := []wgpu.View{b.grad.whole(), b.Weight.Grad.whole()}
	if b.TimeMLP != nil {
		views = append(views, b.TimeMLP.Grad.whole())
	} else {
		unused := New(b.Weight.d, 1)
		defer unused.Release()
		views = append(views, unused.whole())
	}
	b.run("step_bias_gradient", views...)
	b.grad.Zero()
}

func (b *StepBias) run(entry string, rest ...wgpu.View) {
	d := b.Weight.d
	time := b.Weight.whole()
	if b.TimeMLP != nil {
		time = b.TimeMLP.whole()
	}
	groups := 1
	if entry == "step_bias" {
		groups = ceilDiv(b.Out, 64)
	}
	stepBiasShader.run(d, entry, stepBiasConstants{Learned: b.TimeMLP != nil}, stepBiasParams{
		Outputs: b.Out, Row: b.Row, Begin: b.From, Columns: b.Columns, Steps: len(b.steps), Stride: slot(d, b.Out),
		First: b.First, Factor: b.Factor,
	}, call{
		views:  append([]wgpu.View{b.Weight.whole(), time}, rest...),
		groups: [3]int{groups, 1, 1},
	})
}

// Release frees the biases; the parameters are the caller's.
func (b *StepBias) Release() {
	for _, p := range b.steps {
		p.Release()
		if p.Grad != nil {
			p.Grad.Release()
		}
	}
	b.bias.Release()
	b.grad.Release()
}
