package tensor

import (
	"fmt"
	"slices"
)

var reduceShader = newShader[reduceParams, reduceConstants]("reduce")

type reduceParams struct {
	Total, Part, Part4, Stride, A0, B0, Da0 int
	Eps, Scale                              float32
}

type reduceConstants struct {
	Op   LossType
	Root bool
}

// MeanBackward returns the gradient of x for y = Mean(x) under dy, shape [1].
func MeanBackward(x, dy *Tensor) *Tensor {
	return reduceBackward(x, x, dy, reduction{scale: 1 / float64(x.Len())})
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
	return reduce(x, x, reduction{scale: 1 / float64(x.Len())})
}

// LossType is a loss's formula.
type LossType uint32

// The losses, with BasicSR's names, and what else is summed.
const (
	identity        LossType = iota // a
	L1Loss                          // |a − b|; PyTorch: F.l1_loss
	MSELoss                         // (a − b)²; PyTorch: F.mse_loss
	CharbonnierLoss                 // √((a − b)² + Eps); BasicSR: CharbonnierLoss
	square                          // a²
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
	c := reduction{op: l.Type, eps: l.Eps, scale: l.Weight}
	if l.Reduction == MeanOf {
		c.scale /= float64(a.Len())
	}
	return c
}

// reduction is an operator of reduce.wgsl.
type reduction struct {
	op         LossType
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
	reduceShader.run(d, "part", reduceConstants{Op: c.op}, reduceParams{
		Total: total, Part: a.Channels() / a.parts, Part4: a.width() / a.parts / 4, Stride: 256 * groups, A0: a0, B0: b0, Eps: float32(c.eps),
	}, call{
		views:  views(av, bv, partial.whole()),
		groups: [3]int{groups, 1, 1},
		work:   4 * float64(a.Len()),
	})
	y := New(d, 1)
	reduceShader.run(d, "total", reduceConstants{Root: c.root}, reduceParams{Total: groups, Scale: float32(c.scale)}, call{
		views:  views(partial.whole(), y.whole()),
		groups: [3]int{1, 1, 1},
	})
	partial.Release()
	return y
}

// reduceBackward spreads dy over a.
func reduceBackward(a, b, dy *Tensor, c reduction) *Tensor {
	expect(dy.Len() == 1, "reduce", "dy", "[1]", dy)
	return eachRows(newLike(a, a.parts, a.shape), func(_ band, da *Tensor, in []*Tensor) {
		av, a0 := in[0].view()
		bv, b0 := in[len(in)-1].view()
		dv, d0 := da.view()
		total := da.rows() * da.width() / 4
		reduceShader.run(a.d, "spread_gradient", reduceConstants{Op: c.op}, reduceParams{
			Total: total, Part: a.Channels() / a.parts, Part4: a.width() / a.parts / 4, A0: a0, B0: b0, Da0: d0,
			Eps: float32(c.eps), Scale: float32(c.scale),
		}, call{
			views:  views(av, bv, dy.whole(), dv),
			groups: spread(ceilDiv(total, 64)),
			work:   4 * float64(da.Len()),
		})
	}, distinct(a, b)...)
}
