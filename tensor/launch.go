package tensor

import (
	"slices"

	"hidiff/wgpu"
)

// expect panics with a ShapeError unless ok. x may be nil: a missing argument.
func expect(ok bool, op, arg, want string, x *Tensor) {
	if ok {
		return
	}
	var got []int
	if x != nil {
		got = x.Shape()
	}
	panic(&ShapeError{op, arg, want, got})
}

// spread lays workgroups out over two axes; number in layout.wgsl counts them
// again.
func spread(groups int) [3]int {
	x := min(groups, 32768)
	return [3]int{x, ceilDiv(groups, x), 1}
}

func views(v ...wgpu.View) []wgpu.View { return v }

// newLike returns an output beside x: in host memory where images go there.
func newLike(x *Tensor, parts int, shape []int) *Tensor {
	if len(shape) == 4 {
		return newWhole(x.d, parts, shape...)
	}
	return newParts(x.d, parts, shape...)
}

// withChannels returns x's shape with another last axis.
func withChannels(x *Tensor, channels int) []int {
	shape := x.Shape()
	shape[len(shape)-1] = channels
	return shape
}

// distinct returns the tensors without repetitions.
func distinct(xs ...*Tensor) []*Tensor {
	var out []*Tensor
	for _, x := range xs {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// eachRows calls f for every band of y with the same rows of the inputs, and
// returns y.
func eachRows(y *Tensor, f func(b band, y *Tensor, in []*Tensor), in ...*Tensor) *Tensor {
	cost := bandCost{widths: []int{y.width()}}
	for _, x := range in {
		cost.widths = append(cost.widths, x.width())
	}
	eachBand(y, cost, func(b band) {
		rows := make([]*Tensor, len(in))
		for i, x := range in {
			rows[i] = x.rowsOf(b, 0)
		}
		yb := y.target(b)
		f(b, yb, rows)
		for _, x := range rows {
			x.Release()
		}
		y.commit(b, yb)
	})
	return y
}
