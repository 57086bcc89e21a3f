package tensor

import (
	"errors"
	"fmt"

	"hidiff/wgpu"
)

// Device runs operators: an open GPU with its compiled kernels, and how
// operators are to run on it.
type Device struct {
	*wgpu.Device
	kernels *kernels
	execute Execution
	bands   int // see MostBands; guarded by kernels.mu
}

// Execution says how operators run. The zero value suits most.
type Execution struct {
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
	// "windowed" or "few", or "rows" of linear_rows.wgsl, where it can serve,
	// for maps packed from then on; empty chooses by adapter and rows.
	Variant string
}

// Open opens the adapter that o names.
func Open(o wgpu.Options) (*Device, error) {
	d, err := wgpu.Open(o)
	if err != nil {
		return nil, err
	}
	return &Device{Device: d, kernels: &kernels{}}, nil
}

// DryRun returns a device that only counts; see [wgpu.Device.DryRun].
func (d *Device) DryRun(budget int64) *Device {
	return &Device{Device: d.Device.DryRun(budget), kernels: &kernels{}}
}

// With returns the same device, memory and kernels with operators to run as e
// says: those whose input was made on what With returns, and so the operators
// that take their results. Weights may come from either.
func (d *Device) With(e Execution) *Device {
	return &Device{Device: d.Device, kernels: d.kernels, execute: e}
}

// MostBands returns the largest number of bands that an operator was cut into
// since Open, DryRun or With returned d.
func (d *Device) MostBands() int {
	d.kernels.mu.Lock()
	defer d.kernels.mu.Unlock()
	return d.bands
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
