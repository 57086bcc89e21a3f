package ref

import "math"

// The three losses are means over all elements of a function of a − b; each
// returns shape [1], and its derivative with respect to b is minus that to a.

// L1Loss returns mean |a − b|. PyTorch: F.l1_loss.
func L1Loss(a, b *Array) *Array { return loss("l1_loss", a, b, math.Abs) }

// L1LossBackward uses the sign of a − b, zero where they are equal.
func L1LossBackward(a, b, gradOut *Array) (da, db *Array) {
	return lossBackward("l1_loss", a, b, gradOut, func(d float64) float64 {
		switch {
		case d > 0:
			return 1
		case d < 0:
			return -1
		}
		return 0
	})
}

// MSELoss returns mean (a − b)². PyTorch: F.mse_loss.
func MSELoss(a, b *Array) *Array {
	return loss("mse_loss", a, b, func(d float64) float64 { return d * d })
}

// MSELossBackward uses the derivative 2(a − b).
func MSELossBackward(a, b, gradOut *Array) (da, db *Array) {
	return lossBackward("mse_loss", a, b, gradOut, func(d float64) float64 { return 2 * d })
}

// CharbonnierLoss returns mean √((a − b)² + eps). BasicSR: CharbonnierLoss.
func CharbonnierLoss(a, b *Array, eps float64) *Array {
	return loss("charbonnier_loss", a, b, func(d float64) float64 { return math.Sqrt(d*d + eps) })
}

// CharbonnierLossBackward uses the derivative (a − b)/√((a − b)² + eps).
func CharbonnierLossBackward(a, b, gradOut *Array, eps float64) (da, db *Array) {
	return lossBackward("charbonnier_loss", a, b, gradOut, func(d float64) float64 { return d / math.Sqrt(d*d+eps) })
}

func loss(op string, a, b *Array, f func(d float64) float64) *Array {
	expectPair(op, a, b)
	return Mean(zip(a, b, func(a, b float64) float64 { return f(a - b) }))
}

func lossBackward(op string, a, b, gradOut *Array, slope func(d float64) float64) (da, db *Array) {
	expectPair(op, a, b)
	expect(op, "gradOut", gradOut, 1)
	g := gradOut.Data[0] / float64(len(a.Data))
	da = zip(a, b, func(a, b float64) float64 { return g * slope(a-b) })
	db = zip(a, b, func(a, b float64) float64 { return -g * slope(a-b) })
	return da, db
}
