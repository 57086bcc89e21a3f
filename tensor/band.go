package tensor

import (
	"context"

	"hidiff/wgpu"
)

// band is a run of rows of a batch of images: whole images, or some rows of
// one. Either is one contiguous range.
type band struct {
	image, images int
	y0, y1        int // rows of each image
	height        int // of the whole images
}

// bandCost says what a band of an operator takes on the device, in stored
// channels per pixel.
type bandCost struct {
	widths  []int // of every tensor bound as a whole band: none may exceed the largest binding
	scratch int   // of all temporaries together: they may not exceed [Execution].Scratch
	halo    int   // extra rows on either side
	step    int   // bands start at multiples of it; 0 means 1
	work    int   // floating-point operations of the largest dispatch, where there are many
}

// maxPixels keeps workgroup counts, of 128 pixels at least, within 65,535 per axis.
const maxPixels = 65_535 * 128

// eachBand cuts t's rows into bands that fit the device and calls f for each,
// top to bottom. Tensors that are not images count as one row per image.
func eachBand(t *Tensor, cost bandCost, f func(band)) {
	d := t.d
	n, h, w := t.geometry()
	bands := 0
	call := f
	f = func(b band) { bands++; call(b) }
	defer func() {
		d.kernels.mu.Lock()
		defer d.kernels.mu.Unlock()
		d.bands = max(d.bands, bands)
	}()
	limit, whole := maxPixels, true
	for _, width := range cost.widths {
		// A part may begin between aligned offsets, and is bound from the one before.
		limit = min(limit, int((d.Limits().Binding-d.Limits().Alignment)/int64(4*width)))
		whole = whole && int64(n*h*w)*int64(4*width) <= d.Limits().Binding
	}
	whole = whole && n*h*w <= maxPixels
	if cost.work > 0 {
		most := int(wgpu.MaxWork / float64(cost.work))
		limit = min(limit, most)
		whole = whole && n*h*w <= most
	}
	if d.execute.Scratch > 0 && cost.scratch > 0 {
		limit = min(limit, int(d.execute.Scratch/int64(4*cost.scratch)))
		whole = whole && n*h*w <= limit
	}
	if d.execute.Offload {
		// Bands of a host tensor are temporaries themselves.
		total := cost.scratch
		for _, width := range cost.widths {
			total += width
		}
		if d.execute.Scratch > 0 {
			limit = min(limit, int(d.execute.Scratch/int64(4*total)))
			whole = whole && n*h*w <= limit
		}
	}
	if whole {
		f(band{0, n, 0, h, h})
		return
	}
	for i := range n {
		if h*w <= limit {
			f(band{i, 1, 0, h, h})
			continue
		}
		// Equal bands, so that their buffers are reused.
		rows := max(limit/w-2*cost.halo, 1)
		step := max(cost.step, 1)
		rows = ceilDiv(ceilDiv(h, ceilDiv(h, rows)), step) * step
		for y := 0; y < h; y += rows {
			f(band{i, 1, y, min(y+rows, h), h})
		}
	}
}

// geometry returns images, rows and columns; what is no image has one row.
func (t *Tensor) geometry() (n, h, w int) {
	if len(t.shape) == 4 {
		return t.shape[0], t.shape[1], t.shape[2]
	}
	return 1, 1, t.rows()
}

// halo returns how many rows the band has above and below, at most n.
func (b band) halo(n int) (top, bottom int) {
	return min(n, b.y0), min(n, b.height-b.y1)
}

// rowsOf returns the band's rows of t with up to halo rows around them: a view,
// or a copy on the device where t lives in host memory. Release it.
func (t *Tensor) rowsOf(b band, halo int) *Tensor {
	top, bottom := b.halo(halo)
	v := t.slice(b, b.y0-top, b.y1+bottom)
	if t.mem.buffer != nil {
		return v
	}
	c := newParts(t.d, t.parts, v.shape...)
	if !t.d.Dry() {
		t.d.Upload(c.mem.buffer, 0, asBytes(t.mem.host[v.offset/4:][:v.rows()*v.width()]))
	}
	v.Release()
	return c
}

// target returns where the band of an output goes; commit completes it.
func (t *Tensor) target(b band) *Tensor {
	v := t.slice(b, b.y0, b.y1)
	if t.mem.buffer != nil {
		return v
	}
	v.Release()
	return newParts(t.d, t.parts, v.shape...)
}

// commit stores a finished band, and releases it.
func (t *Tensor) commit(b band, done *Tensor) {
	if t.mem.buffer == nil && !t.d.Dry() {
		v := t.slice(b, b.y0, b.y1)
		raw := asBytes(t.mem.host[v.offset/4:][:v.rows()*v.width()])
		err := t.d.Read(context.Background(), done.mem.buffer, done.offset, raw)
		v.Release()
		if err != nil {
			panic(gpuError{err})
		}
	}
	done.Release()
}

// slice views rows y0 to y1 of the band's images.
func (t *Tensor) slice(b band, y0, y1 int) *Tensor {
	_, h, w := t.geometry()
	shape := []int{b.images, y1 - y0, w, t.Channels()}
	if len(t.shape) != 4 {
		shape = append([]int{}, t.shape...)
	}
	v := layout(t.d, t.parts, shape)
	v.mem, v.offset = t.mem, t.offset+4*int64((b.image*h+y0)*w)*int64(t.width())
	v.mem.users++
	return v
}
