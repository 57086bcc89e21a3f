package wgpu

import (
	"errors"
	"fmt"
	"strings"
)

// ErrDeviceLost is wrapped by every error that follows the loss of the device:
// a driver reset, an unplugged GPU, or a watchdog. Where wgpu-native notices it
// first, while waiting, there is none: that ends the process.
var ErrDeviceLost = errors.New("the GPU device was lost (driver reset, watchdog or unplugged): try again, with a smaller memory budget if it recurs")

// MemoryError says that an allocation did not fit the budget or the device.
type MemoryError struct {
	Label  string
	Size   int64 // bytes asked for
	InUse  int64 // bytes already held by live buffers
	Budget int64 // the user's budget; 0 if the device itself refused
}

func (e *MemoryError) Error() string {
	if e.Budget > 0 {
		return fmt.Sprintf("GPU memory budget too small: %q needs %s beside %s in use, the budget is %s",
			e.Label, FormatBytes(e.Size), FormatBytes(e.InUse), FormatBytes(e.Budget))
	}
	return fmt.Sprintf("out of GPU memory: %q needs %s beside %s in use", e.Label, FormatBytes(e.Size), FormatBytes(e.InUse))
}

// FormatBytes prints a size the way people write it: "1.5 GiB", "120 MiB".
func FormatBytes(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

func isOutOfMemory(err error) bool {
	s := strings.ToLower(err.Error())
	return strings.Contains(s, "out of memory") || strings.Contains(s, "not enough memory")
}
