package tensor

var poolShader = newShader[poolParams, none]("pool")

type poolParams struct{ Rows, Width, Out, Channels, Images, X0, Y0, First, Total int }

// AdaptiveAvgPool averages images x [N, H, W, C] over out×out windows and
// returns [N, out, out, C]. Window i of an axis of size S covers floor(i·S/out)
// to ceil((i+1)·S/out)−1; windows overlap where out does not divide S.
// PyTorch: F.adaptive_avg_pool2d.
func AdaptiveAvgPool(x *Tensor, out int) *Tensor {
	expect(len(x.shape) == 4 && out > 0, "adaptive_avg_pool", "x", "[N, H, W, C], and out at least 1", x)
	d, c4 := x.d, x.width()/4
	n, h, w := x.geometry()
	sums := newParts(d, x.parts, n, h, out, x.Channels())
	// A row of x lies within as many columns of sums.
	cost := bandCost{widths: []int{sums.width(), ceilDiv(w, out) * x.width()}}
	eachBand(sums, cost, func(b band) {
		xb, sb := x.rowsOf(b, 0), sums.target(b)
		xv, x0 := xb.view()
		sv, s0 := sb.view()
		rows := b.images * (b.y1 - b.y0)
		poolShader.run(d, "across", none{}, poolParams{Rows: rows, Width: w, Out: out, Channels: c4, X0: x0, Y0: s0}, call{
			views:  views(xv, sv),
			groups: spread(ceilDiv(rows*out*c4, 64)),
			work:   float64(xb.Len()),
		})
		xb.Release()
		sums.commit(b, sb)
	})
	y := newParts(d, x.parts, n, out, out, x.Channels())
	poolShader.run(d, "down", none{}, poolParams{Rows: h, Width: w, Out: out, Channels: c4, Images: n}, call{
		views:  views(sums.whole(), y.whole()),
		groups: spread(ceilDiv(n*out*out*c4, 64)),
		work:   float64(sums.Len()),
	})
	sums.Release()
	return y
}

// AdaptiveAvgPoolBackward returns the gradient of x [N, h, w, C], for dy
// [N, out, out, C] that of y = AdaptiveAvgPool(x, out).
func AdaptiveAvgPoolBackward(dy *Tensor, h, w int) *Tensor {
	expect(len(dy.shape) == 4 && dy.shape[1] == dy.shape[2], "adaptive_avg_pool", "dy", "[N, out, out, C]", dy)
	d, n, out := dy.d, dy.shape[0], dy.shape[1]
	dx := newWhole(d, dy.parts, n, h, w, dy.Channels())
	gv, g0 := dy.view()
	eachBand(dx, bandCost{widths: []int{dx.width()}}, func(b band) {
		xb := dx.target(b)
		xv, x0 := xb.view()
		total := xb.rows() * xb.width() / 4
		poolShader.run(d, "backward", none{}, poolParams{
			Rows: h, Width: w, Out: out, Channels: dx.width() / 4, Images: n, X0: g0, Y0: x0, First: b.image*h + b.y0, Total: total,
		}, call{
			views:  views(gv, xv),
			groups: spread(ceilDiv(total, 64)),
			work:   float64(4 * total),
		})
		dx.commit(b, xb)
	})
	return dx
}
