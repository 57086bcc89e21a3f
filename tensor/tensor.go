package tensor

import (
	"context"
	"fmt"
	"slices"
	"unsafe"

	"hidiff/wgpu"
)

// Tensor is a dense float32 array with the channels last. It owns a share of
// its memory and must be released once.
type Tensor struct {
	d      *Device
	shape  []int
	parts  int // the last axis is this many equal parts, each padded to a multiple of 4
	mem    *memory
	offset int64 // bytes into mem
}

// memory is a block shared by a tensor and the views into it: on the device,
// or in host memory where [Execution].Offload says so.
type memory struct {
	buffer *wgpu.Buffer
	host   []float32
	users  int
}

// New returns a tensor with undefined content.
func New(d *Device, shape ...int) *Tensor { return newParts(d, 1, shape...) }

// newParts returns a tensor whose last axis is stored as equal parts, each
// padded to a multiple of four.
func newParts(d *Device, parts int, shape ...int) *Tensor {
	t := layout(d, parts, shape)
	b, err := d.Alloc(fmt.Sprint(shape), t.bytes())
	if err != nil {
		panic(gpuError{err})
	}
	t.mem = &memory{buffer: b, users: 1}
	return t
}

func layout(d *Device, parts int, shape []int) *Tensor {
	for _, n := range shape {
		if n <= 0 {
			panic(&ShapeError{"tensor", "shape", "positive sizes", shape})
		}
	}
	if c := shape[len(shape)-1]; c%parts != 0 {
		panic(&ShapeError{"tensor", "shape", fmt.Sprintf("a last axis divisible into %d parts", parts), shape})
	}
	return &Tensor{d: d, shape: slices.Clone(shape), parts: parts}
}

// newWhole is New for a feature map of an image, which lives in host memory
// where [Execution].Offload says so.
func newWhole(d *Device, parts int, shape ...int) *Tensor {
	if !d.execute.Offload {
		return newParts(d, parts, shape...)
	}
	t := layout(d, parts, shape)
	t.mem = &memory{users: 1}
	if !d.Dry() {
		t.mem.host = make([]float32, t.rows()*t.width())
	}
	return t
}

// From returns a tensor with the values given, row-major, without padding. Images live in host
// memory where [Execution].Offload says so.
func From(d *Device, values []float32, shape ...int) *Tensor {
	return FromParts(d, values, 1, shape...)
}

// FromParts is From for a last axis in parts.
func FromParts(d *Device, values []float32, parts int, shape ...int) *Tensor {
	create := newParts
	if len(shape) == 4 {
		create = newWhole
	}
	t := create(d, parts, shape...)
	if n := t.Len(); n != len(values) {
		t.Release()
		panic(&ShapeError{"tensor.From", "values", fmt.Sprintf("%d values", n), []int{len(values)}})
	}
	if d.Dry() {
		return t
	}
	stored := values
	if t.width() != t.Channels() {
		stored = make([]float32, t.rows()*t.width())
		each, padded := t.Channels()/parts, t.width()/parts
		for i := range t.rows() * parts {
			copy(stored[i*padded:], values[i*each:(i+1)*each])
		}
	}
	if t.mem.buffer == nil {
		copy(t.mem.host, stored)
		return t
	}
	d.Upload(t.mem.buffer, 0, asBytes(stored))
	return t
}

// FromNCHW returns an image tensor [N, H, W, C] from PyTorch's layout.
func FromNCHW(d *Device, values []float32, n, c, h, w int) *Tensor {
	if len(values) != n*c*h*w {
		panic(&ShapeError{"tensor.FromNCHW", "values", fmt.Sprintf("%d values", n*c*h*w), []int{len(values)}})
	}
	out := make([]float32, len(values))
	for i := range n {
		for ch := range c {
			plane := values[(i*c+ch)*h*w:][:h*w]
			for p, v := range plane {
				out[(i*h*w+p)*c+ch] = v
			}
		}
	}
	return From(d, out, n, h, w, c)
}

// Floats waits for the tensor and returns its values, row-major, without
// padding.
func (t *Tensor) Floats(ctx context.Context) ([]float32, error) {
	stored := make([]float32, t.rows()*t.width())
	if t.mem.host != nil {
		copy(stored, t.mem.host[t.offset/4:])
	} else if err := t.d.Read(ctx, t.mem.buffer, t.offset, asBytes(stored)); err != nil {
		return nil, err
	}
	if t.width() == t.Channels() {
		return stored, nil
	}
	out := make([]float32, 0, t.Len())
	each, padded := t.Channels()/t.parts, t.width()/t.parts
	for i := range t.rows() * t.parts {
		out = append(out, stored[i*padded:][:each]...)
	}
	return out, nil
}

// NCHW waits for an image tensor and returns its values in PyTorch's layout.
func (t *Tensor) NCHW(ctx context.Context) ([]float32, error) {
	values, err := t.Floats(ctx)
	if err != nil {
		return nil, err
	}
	n, c := t.shape[0], t.Channels()
	hw := t.rows() / n
	out := make([]float32, len(values))
	for i := range n {
		for p := range hw {
			for ch := range c {
				out[(i*c+ch)*hw+p] = values[(i*hw+p)*c+ch]
			}
		}
	}
	return out, nil
}

// Shape returns the sizes of the axes, channels last.
func (t *Tensor) Shape() []int { return slices.Clone(t.shape) }

// Channels returns the size of the last axis.
func (t *Tensor) Channels() int { return t.shape[len(t.shape)-1] }

// Len returns the number of values, without padding.
func (t *Tensor) Len() int { return t.rows() * t.Channels() }

// Release gives the tensor's share of its memory back. The device may still be
// working on it: memory is reused in stream order.
func (t *Tensor) Release() {
	if t == nil || t.mem == nil {
		return
	}
	m := t.mem
	t.mem = nil
	if m.users--; m.users > 0 {
		return
	}
	if m.buffer != nil {
		m.buffer.Release()
	}
	m.host = nil
}

// Reshape returns a view of t with another shape and the same last axis.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	v := layout(t.d, t.parts, shape)
	if v.rows() != t.rows() || v.Channels() != t.Channels() {
		panic(&ShapeError{"reshape", "shape", fmt.Sprintf("the size of %v and its last axis", t.shape), shape})
	}
	v.mem, v.offset = t.mem, t.offset
	v.mem.users++
	return v
}

// Share returns another owner of the same memory.
func (t *Tensor) Share() *Tensor {
	v := *t
	v.mem.users++
	return &v
}

// Image returns a view of image i alone.
func (t *Tensor) Image(i int) *Tensor {
	shape := slices.Clone(t.shape)
	shape[0] = 1
	v := layout(t.d, t.parts, shape)
	v.mem, v.offset = t.mem, t.offset+int64(i)*v.bytes()
	v.mem.users++
	return v
}

func (t *Tensor) rows() int {
	n := 1
	for _, s := range t.shape[:len(t.shape)-1] {
		n *= s
	}
	return n
}

// width is the stored size of the last axis.
func (t *Tensor) width() int { return t.parts * pad4(t.Channels()/t.parts) }

func (t *Tensor) bytes() int64 { return 4 * int64(t.rows()) * int64(t.width()) }

// view binds the tensor. Bindings start at multiples of the device's
// alignment, so the kernel gets the rest as an offset in vec4.
func (t *Tensor) view() (wgpu.View, int) {
	if t.mem.buffer == nil {
		panic(fmt.Sprintf("tensor: %v lives in host memory", t.shape))
	}
	align := t.d.Limits().Alignment
	start := t.offset / align * align
	return wgpu.View{Buffer: t.mem.buffer, Offset: start, Size: t.bytes() + t.offset - start}, int(t.offset-start) / 16
}

// whole binds a tensor that starts at an aligned offset.
func (t *Tensor) whole() wgpu.View {
	v, offset := t.view()
	if offset != 0 {
		panic(fmt.Sprintf("tensor: %v at unaligned offset", t.shape))
	}
	return v
}

func asBytes(f []float32) []byte {
	if len(f) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&f[0])), 4*len(f))
}

// Clone returns a copy.
func (t *Tensor) Clone() *Tensor {
	c := newParts(t.d, t.parts, t.shape...)
	t.d.Copy(c.mem.buffer, 0, t.mem.buffer, t.offset, t.bytes())
	return c
}

// CopyFrom takes over the values of u, which has t's shape and parts.
func (t *Tensor) CopyFrom(u *Tensor) {
	expect(slices.Equal(t.shape, u.shape) && t.parts == u.parts, "copy", "u", fmt.Sprint(t.shape), u)
	t.d.Copy(t.mem.buffer, t.offset, u.mem.buffer, u.offset, t.bytes())
}

// Device returns the device the tensor belongs to.
func (t *Tensor) Device() *Device { return t.d }

// ZerosLike returns a tensor of t's shape and parts that holds zeros.
func (t *Tensor) ZerosLike() *Tensor {
	z := newParts(t.d, t.parts, t.shape...)
	z.Zero()
	return z
}

// Zero clears the tensor.
func (t *Tensor) Zero() { t.d.Clear(t.mem.buffer, t.offset, t.bytes()) }

// Shared says that others own the memory, too.
func (t *Tensor) Shared() bool { return t.mem.users > 1 }

// Set uploads new values, row-major, into a tensor without padding.
func (t *Tensor) Set(values []float32) {
	if len(values) != t.Len() || t.width() != t.Channels() {
		panic(&ShapeError{"tensor.Set", "values", fmt.Sprintf("%d values, and no padding", t.Len()), []int{len(values)}})
	}
	if !t.d.Dry() {
		t.d.Upload(t.mem.buffer, t.offset, asBytes(values))
	}
}
