package tensor

import "fmt"

var shuffleShader = newShader[shuffleParams, none]("shuffle")

type shuffleParams struct {
	Width, R, Channels, Xs, Ys, At, Count, Total, X0, Y0, Second, Ss, S0 int
}

// PixelShuffle moves channels into space: images x [N, H, W, C·r²] become
// [N, H·r, W·r, C], channel c·r² + i·r + j going to row i and column j of the
// pixel's square. PyTorch: F.pixel_shuffle.
func PixelShuffle(x *Tensor, r int) *Tensor {
	expect(len(x.shape) == 4 && x.parts == 1 && r > 0 && x.Channels()%(r*r) == 0, "pixel_shuffle", "x",
		fmt.Sprintf("[N, H, W, C·%d²]", r), x)
	n, h, w := x.geometry()
	c := x.Channels() / (r * r)
	y := newWhole(x.d, 1, n, h*r, w*r, c)
	eachBand(x, bandCost{widths: []int{x.width(), r * r * y.width()}}, func(b band) {
		yb := b.scaled(h*r, h)
		xs, ys := x.rowsOf(b, 0), y.target(yb)
		xv, x0 := xs.view()
		yv, y0 := ys.view()
		total := ys.rows() * ys.width()
		shuffleShader.run(x.d, "shuffle", none{}, shuffleParams{
			Width: w, R: r, Channels: c, Xs: x.width(), Ys: y.width(), Total: total, X0: 4 * x0, Y0: 4 * y0,
		}, call{
			views:  views(xv, yv),
			groups: spread(ceilDiv(total, 64)),
		})
		xs.Release()
		y.commit(yb, ys)
	})
	return y
}

// PixelUnshuffle joins images xs [N, H·r, W·r, Ci] along their channels and
// moves space into channels: [N, H, W, ΣCi·r²], the inverse of [PixelShuffle].
// PyTorch: F.pixel_unshuffle(torch.cat(xs, 1), r).
func PixelUnshuffle(r int, xs ...*Tensor) *Tensor {
	first := joinable("pixel_unshuffle", xs)
	expect(len(first.shape) == 4 && r > 0 && first.shape[1]%r == 0 && first.shape[2]%r == 0, "pixel_unshuffle", "x",
		fmt.Sprintf("[N, H, W, C] with H and W multiples of %d", r), first)
	return unshuffle(r, xs)
}

// joinable checks that xs can be joined along the last axis, and returns the
// first of them.
func joinable(op string, xs []*Tensor) *Tensor {
	if len(xs) == 0 {
		panic(&ShapeError{op, "xs", "at least one tensor", nil})
	}
	for _, x := range xs {
		same := fmt.Sprint(withChannels(x, 0)) == fmt.Sprint(withChannels(xs[0], 0)) && x.parts == 1
		expect(same, op, "x", fmt.Sprintf("%v but for the last axis, in one part", xs[0].shape), x)
	}
	return xs[0]
}

// unshuffle takes two inputs at a time.
func unshuffle(r int, xs []*Tensor) *Tensor {
	d := xs[0].d
	shape := withChannels(xs[0], 0)
	if r > 1 {
		shape[1], shape[2] = shape[1]/r, shape[2]/r
	}
	cost := bandCost{}
	for _, x := range xs {
		shape[len(shape)-1] += x.Channels() * r * r
		cost.widths = append(cost.widths, r*r*x.width())
	}
	y := newLike(xs[0], 1, shape)
	cost.widths = append(cost.widths, y.width())
	_, h, w := y.geometry()
	eachBand(y, cost, func(b band) {
		xb, ys := b.scaled(h*r, h), y.target(b)
		yv, y0 := ys.view()
		for i, at := 0, 0; i < len(xs); i += 2 {
			first := xs[i].rowsOf(xb, 0)
			second, channels := first.Share(), 0
			if i+1 < len(xs) {
				second.Release()
				second = xs[i+1].rowsOf(xb, 0)
				channels = second.Channels()
			}
			count := (first.Channels() + channels) * r * r
			if i+2 >= len(xs) {
				count = y.width() - at // and the padding
			}
			xv, x0 := first.view()
			sv, s0 := second.view()
			total := ys.rows() * count
			shuffleShader.run(d, "unshuffle", none{}, shuffleParams{
				Width: w, R: r, Channels: first.Channels(), Xs: first.width(), Ys: y.width(), At: at, Count: count, Total: total,
				X0: 4 * x0, Y0: 4 * y0, Second: channels, Ss: second.width(), S0: 4 * s0,
			}, call{
				views:  views(xv, sv, yv),
				groups: spread(ceilDiv(total, 64)),
			})
			first.Release()
			second.Release()
			at += count
		}
		y.commit(b, ys)
	})
	return y
}
