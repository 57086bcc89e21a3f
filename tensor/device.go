package tensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"hidiff/shaders"
	"hidiff/wgpu"
)

// Device runs operators: an open GPU with its compiled kernels.
type Device struct {
	*wgpu.Device

	// Scratch bounds the temporary memory of one banded operator, in bytes.
	// Zero means no bound beside the adapter's largest binding.
	Scratch int64

	// Offload keeps whole feature maps of images in host memory, and only
	// bands of them on the device: slower, for photos that fit no other way.
	Offload bool

	// Before is called before every dispatch, if set. It may panic, with
	// [Abort], to end the operator.
	Before func()

	// Variant forces an entry point of linear.wgsl, "tiled", "direct",
	// "windowed" or "few", where it can serve; empty chooses by adapter and
	// rows.
	Variant string

	// MostBands is the largest number of bands an operator was cut into.
	MostBands int

	mu      sync.Mutex
	kernels map[[2]string][]compiled
}

// Open opens the adapter that o names.
func Open(o wgpu.Options) (*Device, error) {
	d, err := wgpu.Open(o)
	if err != nil {
		return nil, err
	}
	return &Device{Device: d, kernels: map[[2]string][]compiled{}}, nil
}

// DryRun returns a device that only counts; see [wgpu.Device.DryRun].
func (d *Device) DryRun(budget int64) *Device {
	return &Device{Device: d.Device.DryRun(budget), kernels: map[[2]string][]compiled{}}
}

// ShapeError says that an operator was given shapes that do not fit.
type ShapeError struct {
	Op, Arg string
	Want    string
	Got     []int
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("%s: %s has shape %v, want %s", e.Op, e.Arg, e.Got, e.Want)
}

// gpuError carries a device failure through a panic.
type gpuError struct{ err error }

// Catch recovers what operators panic with, misuse, lack of memory or a device
// failure, into err. Other panics go on. Use it deferred:
//
//	func f() (err error) {
//		defer tensor.Catch(&err)
func Catch(err *error) {
	switch p := recover().(type) {
	case nil:
	case *ShapeError:
		*err = p
	case gpuError:
		*err = p.err
	default:
		panic(p)
	}
}

// Abort ends the running operator with err, which [Catch] returns.
func Abort(err error) { panic(gpuError{err}) }

// IsOutOfMemory reports whether err is a refused allocation, which smaller
// bands may avoid.
func IsOutOfMemory(err error) bool {
	var memory *wgpu.MemoryError
	return errors.As(err, &memory)
}

// compiled is a kernel and what it was specialised with.
type compiled struct {
	constants shaders.Constants
	kernel    *wgpu.Kernel
}

// kernel returns the entry point of a shader, specialised and compiled. Every
// dispatch asks, so finding one that is there formats nothing.
func (d *Device) kernel(name, entry string, c shaders.Constants) *wgpu.Kernel {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := [2]string{name, entry}
	for _, k := range d.kernels[at] {
		if maps.Equal(k.constants, c) {
			return k.kernel
		}
	}
	var label strings.Builder
	label.WriteString(name + "/" + entry)
	for _, n := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&label, " %s=%v", n, c[n])
	}
	p, err := shaders.Load(name, entry, c)
	if err != nil {
		panic(err) // a bug in an operator, caught by its first test
	}
	spec := wgpu.KernelSpec{Label: label.String(), Code: p.Code, EntryPoint: p.EntryPoint}
	for _, b := range p.Bindings[1:] {
		spec.Bindings = append(spec.Bindings, []wgpu.Access{wgpu.Uniform, wgpu.Read, wgpu.ReadWrite}[b.Access])
	}
	k, err := d.Kernel(spec)
	if err != nil {
		panic(gpuError{err})
	}
	d.kernels[at] = append(d.kernels[at], compiled{maps.Clone(c), k})
	return k
}

// call is one dispatch in the making.
type call struct {
	kernel *wgpu.Kernel
	params []any // int, uint32 or float32, in the order of the shader's Params
	views  []wgpu.View
	groups [3]int
	work   float64 // floating-point operations
}

func (d *Device) run(c call) {
	if d.Before != nil {
		d.Before()
	}
	p := make([]byte, 0, 4*len(c.params))
	for _, v := range c.params {
		switch v := v.(type) {
		case int:
			p = binary.LittleEndian.AppendUint32(p, uint32(v))
		case float32:
			p = binary.LittleEndian.AppendUint32(p, math.Float32bits(v))
		default:
			panic(fmt.Sprintf("tensor: parameter of type %T", v))
		}
	}
	var bytes float64
	for _, v := range c.views {
		bytes += float64(v.Size)
	}
	d.Dispatch(wgpu.Dispatch{
		Kernel: c.kernel, Params: p, Views: c.views, Work: c.work, Bytes: bytes,
		Groups: [3]uint32{uint32(c.groups[0]), uint32(c.groups[1]), uint32(c.groups[2])},
	})
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
func pad4(n int) int       { return (n + 3) &^ 3 }
