package tensor

import (
	"errors"
	"fmt"
	"sync"

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
	kernels map[any]any // of a *shader[P, C], map[special[C]]*wgpu.Kernel
	block   []byte      // the parameters of the dispatch being issued
}

// Open opens the adapter that o names.
func Open(o wgpu.Options) (*Device, error) {
	d, err := wgpu.Open(o)
	if err != nil {
		return nil, err
	}
	return &Device{Device: d, kernels: map[any]any{}}, nil
}

// DryRun returns a device that only counts; see [wgpu.Device.DryRun].
func (d *Device) DryRun(budget int64) *Device {
	return &Device{Device: d.Device.DryRun(budget), kernels: map[any]any{}}
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

func ceilDiv(a, b int) int { return (a + b - 1) / b }
func pad4(n int) int       { return (n + 3) &^ 3 }
