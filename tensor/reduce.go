package tensor

import (
	"fmt"
	"slices"

	"hidiff/shaders"
)

// Reduction says how a loss becomes one number.
type Reduction int

// The reductions; BasicSR's names.
const (
	MeanOf Reduction = iota // "mean"
	SumOf                   // "sum"
)

// Mean returns the mean of all elements of x, shape [1]. PyTorch: torch.mean.
func Mean(x *Tensor) *Tensor {
	return reduce(x, x, reduction{op: 0, scale: 1 / float64(x.Len())})
}

// L1Loss returns weight times the mean or sum of |a − b|, shape [1].
// PyTorch: F.l1_loss.
func L1Loss(a, b *Tensor, r Reduction, weight float64) *Tensor {
	return loss("l1_loss", a, b, r, weight, reduction{op: 1})
}

// MSELoss returns weight times the mean or sum of (a − b)², shape [1].
// PyTorch: F.mse_loss.
func MSELoss(a, b *Tensor, r Reduction, weight float64) *Tensor {
	return loss("mse_loss", a, b, r, weight, reduction{op: 2})
}

// CharbonnierLoss returns weight times the mean or sum of √((a − b)² + eps),
// shape [1]. BasicSR: CharbonnierLoss.
func CharbonnierLoss(a, b *Tensor, eps float64, r Reduction, weight float64) *Tensor {
	return loss("charbonnier_loss", a, b, r, weight, reduction{op: 3, eps: eps})
}

func loss(op string, a, b *Tensor, r Reduction, weight float64, c reduction) *Tensor {
	expect(slices.Equal(a.shape, b.shape) && a.parts == b.parts, op, "b", fmt.Sprint(a.shape), b)
	c.scale = weight
	if r == MeanOf {
		c.scale /= float64(a.Len())
	}
	return reduce(a, b, c)
}

// reduction is an operator of reduce.wgsl.
type reduction struct {
	op         int
	eps, scale float64
	root       bool
}

// reduce sums in two steps of fixed order: the same bits every time.
func reduce(a, b *Tensor, c reduction) *Tensor {
	d := a.d
	av, a0 := a.view()
	bv, b0 := b.view()
	total := a.rows() * a.width() / 4
	groups := min(ceilDiv(total, 1024), 1024)
	partial := New(d, groups)
	d.run(call{
		kernel: d.kernel("reduce", "part", shaders.Constants{"OP": c.op}),
		params: []any{total, a.Channels() / a.parts, a.width() / a.parts / 4, 256 * groups, a0, b0, float32(c.eps), float32(0)},
		views:  views(av, bv, partial.whole()),
		groups: [3]int{groups, 1, 1},
		work:   4 * float64(a.Len()),
	})
	y := New(d, 1)
	d.run(call{
		kernel: d.kernel("reduce", "total", shaders.Constants{"ROOT": c.root}),
		params: []any{groups, 0, 0, 0, 0, 0, float32(0), float32(c.scale)},
		views:  views(partial.whole(), y.whole()),
		groups: [3]int{1, 1, 1},
	})
	partial.Release()
	return y
}
