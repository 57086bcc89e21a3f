package options

import (
	"errors"
	"fmt"

	"hidiff/tensor"
)

// The losses and reductions by BasicSR's names.
var (
	lossTypes  = map[string]tensor.LossType{"L1Loss": tensor.L1Loss, "MSELoss": tensor.MSELoss, "CharbonnierLoss": tensor.CharbonnierLoss}
	reductions = map[string]tensor.Reduction{"mean": tensor.MeanOf, "sum": tensor.SumOf}
)

// charbonnierEps is BasicSR's.
const charbonnierEps = 1e-12

// Loss returns the loss that the options describe.
func (l *LossOptions) Loss() (tensor.Loss, error) {
	if l == nil {
		return tensor.Loss{}, errors.New("the options name no loss: see train.pixel_opt and train.pixel_diff_opt")
	}
	kind, ok := lossTypes[l.Type]
	reduction, known := reductions[l.Reduction]
	if !ok || !known {
		return tensor.Loss{}, fmt.Errorf("there is no loss %s with reduction %s", l.Type, l.Reduction)
	}
	eps := l.Eps
	if kind == tensor.CharbonnierLoss && eps == 0 {
		eps = charbonnierEps
	}
	return tensor.Loss{Type: kind, Reduction: reduction, Weight: l.LossWeight, Eps: eps}, nil
}
