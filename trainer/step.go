package trainer

import (
	"context"

	"hidiff/autograd"
	"hidiff/hidiff/options"
	"hidiff/tensor"
	"hidiff/trainer/internal/experiment"
)

// Stepper makes the steps of a training: forward and backward over batches, the optimizer, and
// packing anew. It owns its model. Methods panic as package tensor does.
type Stepper struct {
	model     Model
	optimizer *optimizer
	tape      autograd.Tape
	batches   int                // of a step
	losses    [][]*tensor.Tensor // of the last step, by batch
}

// Batch is what a step is made of: see [Model.Loss].
type Batch struct {
	LQ, GT *tensor.Tensor
	Seed   uint64
}

// NewStepper returns a stepper with the optimizer that the options describe.
func NewStepper(m Model, o options.TrainOptions) *Stepper {
	return &Stepper{model: m, batches: max(o.Accumulate, 1), optimizer: newOptimizer(m.Parameters(), o.OptimTotal, o.ClipGradNorm, o.EMADecay)}
}

// Step makes step number 1, 2, …: it adds up the gradients of train.accumulate batches, and has
// the optimizer go by their mean. It releases what next returns.
func (s *Stepper) Step(number int, lr float64, next func(part int) (Batch, error)) error {
	s.releaseLosses()
	for part := range s.batches {
		b, err := next(part)
		if err != nil {
			return err
		}
		losses := s.model.Loss(&s.tape, b.LQ, b.GT, b.Seed)
		var values []*tensor.Tensor
		for _, l := range losses {
			values = append(values, l.Share())
		}
		s.losses = append(s.losses, values)
		s.tape.Backward(1/float32(s.batches), losses...)
		for _, l := range losses {
			l.Release()
		}
		b.LQ.Release()
		b.GT.Release()
	}
	s.optimizer.step(number, lr)
	s.model.Repack()
	return nil
}

// Losses waits for the losses of the last step, in the order of [Model.LossNames], each the mean
// over its batches.
func (s *Stepper) Losses(ctx context.Context) ([]float64, error) {
	means := make([]float64, len(s.model.LossNames()))
	for _, part := range s.losses {
		for i, l := range part {
			v, err := l.Floats(ctx)
			if err != nil {
				return nil, err
			}
			means[i] += float64(v[0]) / float64(len(s.losses))
		}
	}
	return means, nil
}

// GradNorm waits for the norm of the last step's gradients, before clipping.
func (s *Stepper) GradNorm(ctx context.Context) (float64, error) {
	v, err := s.optimizer.norm.Floats(ctx)
	if err != nil {
		return 0, err
	}
	return float64(v[0]), nil
}

// Load takes parameters and moments from a training state, ours or PyTorch's, and the networks
// saved with it, and returns its iteration.
func (s *Stepper) Load(statePath string) (iter int, err error) {
	c, err := experiment.Load(statePath, s.optimizer.describe())
	if err != nil {
		return 0, err
	}
	s.restore(c)
	return c.Iter, nil
}

func (s *Stepper) restore(c *experiment.Checkpoint) {
	s.optimizer.restore(c.Params)
	s.model.Repack()
}

func (s *Stepper) releaseLosses() {
	for _, part := range s.losses {
		for _, l := range part {
			l.Release()
		}
	}
	s.losses = s.losses[:0]
}

// Release frees the model, too.
func (s *Stepper) Release() {
	s.releaseLosses()
	s.tape.Reset()
	s.optimizer.release()
	s.model.Release()
}
