package tensor

import (
	"fmt"

	"hidiff/wgpu"
)

// Apply convolves each channel of images x [N, H, W, C] by itself, with zero
// padding 1. PyTorch: F.conv2d(x, w, b, padding=1, groups=C).
func (w *Depthwise) Apply(x *Tensor) *Tensor {
	y := newWhole(x.d, x.parts, x.shape...)
	eachBand(x, bandCost{widths: []int{x.width(), x.width()}, halo: 1}, func(b band) {
		xb, yb := x.rowsOf(b, 1), y.target(b)
		w.convolve(xb, yb, b, "plain")
		xb.Release()
		y.commit(b, yb)
	})
	return y
}

// convolve runs an entry point of dwconv3x3.wgsl on a band; x holds the rows
// around it too.
func (w *Depthwise) convolve(x, y *Tensor, b band, entry string) {
	d := x.d
	if x.Channels() != w.channels || x.parts != w.parts {
		panic(&ShapeError{"dwconv3x3", "x", fmt.Sprintf("[N, H, W, %d] in %d parts", w.channels, w.parts), x.shape})
	}
	xv, x0 := x.view()
	yv, y0 := y.view()
	columns := x.shape[2]
	rows := b.images * (b.y1 - b.y0)
	top, _ := b.halo(1)
	first := b.image*b.height + b.y0
	// Rows fold into a second axis where one cannot hold all workgroups.
	perRow := ceilDiv(columns, 4) * y.width() / 4
	stride := min(rows, max(1, 65535*64/perRow))
	d.run(call{
		kernel: d.kernel("dwconv3x3", entry, nil),
		params: []any{b.height, columns, first, rows, first - top, x.width() / 4, x0, y0, stride},
		views:  []wgpu.View{xv, w.taps.whole(), yv},
		groups: [3]int{ceilDiv(perRow*stride, 64), ceilDiv(rows, stride), 1},
		work:   18 * float64(rows*columns) * float64(x.width()),
	})
}
