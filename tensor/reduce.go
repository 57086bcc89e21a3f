package tensor

import (
	"fmt"
	"slices"

	"hidiff/shaders"
)

// MeanBackward returns the gradient of x for y = Mean(x) under dy, shape [1].
func MeanBackward(x, dy *Tensor) *Tensor {
	return reduceBackward(x, x, dy, reduction{op: 0, scale: 1 / float64(x.Len())})
}

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

// LossType is a loss's formula; the numbers are those of reduce.wgsl.
type LossType int

// The losses; BasicSR's names.
const (
	L1Loss          LossType = iota + 1 // |a − b|; PyTorch: F.l1_loss
	MSELoss                             // (a − b)²; PyTorch: F.mse_loss
	CharbonnierLoss                     // √((a − b)² + Eps); BasicSR: CharbonnierLoss
)

// Loss compares tensors of equal shapes.
type Loss struct {
	Type      LossType
	Reduction Reduction
	Weight    float64
	Eps       float64 // CharbonnierLoss only
}

// Apply returns Weight times the mean or sum of the loss of a and b, shape [1].
func (l Loss) Apply(a, b *Tensor) *Tensor {
	l.check(a, b)
	return reduce(a, b, l.reduction(a))
}

// Backward returns the gradient of a for y = l.Apply(a, b) under dy, shape [1].
// Every loss is even in a − b, so that of b is l.Backward(b, a, dy).
func (l Loss) Backward(a, b, dy *Tensor) *Tensor {
	l.check(a, b)
	return reduceBackward(a, b, dy, l.reduction(a))
}

func (l Loss) check(a, b *Tensor) {
	expect(slices.Equal(a.shape, b.shape) && a.parts == b.parts, "loss", "b", fmt.Sprint(a.shape), b)
}

func (l Loss) reduction(a *Tensor) reduction {
	c := reduction{op: int(l.Type), eps: l.Eps, scale: l.Weight}
	if l.Reduction == MeanOf {
		c.scale /= float64(a.Len())
	}
	return c
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

// reduceBackward spreads dy over a.
func reduceBackward(a, b, dy *Tensor, c reduction) *Tensor {
	expect(dy.Len() == 1, "reduce", "dy", "[1]", dy)
	kernel := a.d.kernel("reduce", "spread_gradient", shaders.Constants{"OP": c.op})
	return eachRows(newLike(a, a.parts, a.shape), func(_ band, da *Tensor, in []*Tensor) {
		av, a0 := in[0].view()
		bv, b0 := in[len(in)-1].view()
		dv, d0 := da.view()
		total := da.rows() * da.width() / 4
		a.d.run(call{
			kernel: kernel,
			params: []any{total, a.Channels() / a.parts, a.width() / a.parts / 4, d0, a0, b0, float32(c.eps), float32(c.scale)},
			views:  views(av, bv, dy.whole(), dv),
			groups: spread(ceilDiv(total, 64)),
			work:   4 * float64(da.Len()),
		})
	}, distinct(a, b)...)
}
