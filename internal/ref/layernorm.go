package ref

import "math"

// The three LayerNorms share: mean and biased variance of each row of C values, and
// rstd = 1/√(variance + eps). A row is a pixel's channels in [B,C,H,W], or the last
// axis of anything else.

// LayerNormLast returns (x − mean)·rstd·w + b over the last axis of x [...,C], with
// w and b [C]. PyTorch: F.layer_norm.
func LayerNormLast(x, w, b *Array, eps float64) *Array {
	return layerNorm(lastRows("layernorm_last", x), x, w, b, eps)
}

// LayerNormLastBackward is the vector–Jacobian product of [LayerNormLast].
func LayerNormLastBackward(x, w, b, gradOut *Array, eps float64) (dx, dw, db *Array) {
	return layerNormBackward(lastRows("layernorm_last", x), x, w, b, gradOut, eps)
}

// LayerNormChannel is [LayerNormLast] over the channels of x [B,C,H,W].
func LayerNormChannel(x, w, b *Array, eps float64) *Array {
	return layerNorm(channelRows("layernorm_channel", x), x, w, b, eps)
}

// LayerNormChannelBackward is the vector–Jacobian product of [LayerNormChannel].
func LayerNormChannelBackward(x, w, b, gradOut *Array, eps float64) (dx, dw, db *Array) {
	return layerNormBackward(channelRows("layernorm_channel", x), x, w, b, gradOut, eps)
}

// LayerNormChannelBiasFree returns x·rstd·w over the channels of x [B,C,H,W]: the mean
// enters the variance only. Restormer: BiasFree_LayerNorm.
func LayerNormChannelBiasFree(x, w *Array, eps float64) *Array {
	rows := channelRows("layernorm_channel_biasfree", x)
	expect(rows.op, "w", w, rows.c)
	y := New(x.Shape...)
	rows.each(x, eps, func(_, rstd float64, at func(c int) int) {
		for c := range rows.c {
			y.Data[at(c)] = x.Data[at(c)] * rstd * w.Data[c]
		}
	})
	return y
}

// LayerNormChannelBiasFreeBackward is the vector–Jacobian product of
// [LayerNormChannelBiasFree].
func LayerNormChannelBiasFreeBackward(x, w, gradOut *Array, eps float64) (dx, dw *Array) {
	rows := channelRows("layernorm_channel_biasfree", x)
	expect(rows.op, "w", w, rows.c)
	expect(rows.op, "gradOut", gradOut, x.Shape...)
	dx, dw = New(x.Shape...), New(rows.c)
	rows.each(x, eps, func(mean, rstd float64, at func(c int) int) {
		drstd := 0.0
		for c := range rows.c {
			i := at(c)
			drstd += gradOut.Data[i] * w.Data[c] * x.Data[i]
			dw.Data[c] += gradOut.Data[i] * x.Data[i] * rstd
		}
		// ∂rstd/∂x = −rstd³·(x − mean)/C.
		for c := range rows.c {
			i := at(c)
			dx.Data[i] = gradOut.Data[i]*w.Data[c]*rstd - drstd*rstd*rstd*rstd*(x.Data[i]-mean)/float64(rows.c)
		}
	})
	return dx, dw
}

func layerNorm(rows normRows, x, w, b *Array, eps float64) *Array {
	expect(rows.op, "w", w, rows.c)
	expect(rows.op, "b", b, rows.c)
	y := New(x.Shape...)
	rows.each(x, eps, func(mean, rstd float64, at func(c int) int) {
		for c := range rows.c {
			y.Data[at(c)] = (x.Data[at(c)]-mean)*rstd*w.Data[c] + b.Data[c]
		}
	})
	return y
}

// layerNormBackward, with x̂ = (x − mean)·rstd and ĝ = gradOut·w, returns
// dx = rstd·(ĝ − avg(ĝ) − x̂·avg(ĝ·x̂)), dw = Σ gradOut·x̂, db = Σ gradOut.
func layerNormBackward(rows normRows, x, w, b, gradOut *Array, eps float64) (dx, dw, db *Array) {
	expect(rows.op, "w", w, rows.c)
	expect(rows.op, "b", b, rows.c)
	expect(rows.op, "gradOut", gradOut, x.Shape...)
	dx, dw, db = New(x.Shape...), New(rows.c), New(rows.c)
	rows.each(x, eps, func(mean, rstd float64, at func(c int) int) {
		avg, avgAlong := 0.0, 0.0
		for c := range rows.c {
			g, xhat := gradOut.Data[at(c)], (x.Data[at(c)]-mean)*rstd
			dw.Data[c] += g * xhat
			db.Data[c] += g
			avg += g * w.Data[c] / float64(rows.c)
			avgAlong += g * w.Data[c] * xhat / float64(rows.c)
		}
		for c := range rows.c {
			xhat := (x.Data[at(c)] - mean) * rstd
			dx.Data[at(c)] = rstd * (gradOut.Data[at(c)]*w.Data[c] - avg - xhat*avgAlong)
		}
	})
	return dx, dw, db
}

// normRows says where the rows to normalise lie: row r, value c is at
// ((r/inner)·C + c)·inner + r%inner.
type normRows struct {
	op    string
	n, c  int
	inner int // distance between neighbours of a row
}

func lastRows(op string, x *Array) normRows {
	expectSome(op, "x", x, 1)
	n, c := x.last()
	return normRows{op, n, c, 1}
}

func channelRows(op string, x *Array) normRows {
	b, c, h, w := image(op, "x", x)
	return normRows{op, b * h * w, c, h * w}
}

// each visits every row with its statistics; at(c) is the index of its value c.
func (r normRows) each(x *Array, eps float64, visit func(mean, rstd float64, at func(c int) int)) {
	for row := range r.n {
		at := func(c int) int { return (row/r.inner*r.c+c)*r.inner + row%r.inner }
		mean, variance := 0.0, 0.0
		for c := range r.c {
			mean += x.Data[at(c)] / float64(r.c)
		}
		for c := range r.c {
			d := x.Data[at(c)] - mean
			variance += d * d / float64(r.c)
		}
		visit(mean, 1/math.Sqrt(variance+eps), at)
	}
}
