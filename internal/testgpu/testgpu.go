// Package testgpu opens GPUs for tests of packages above tensor.
package testgpu

import (
	"errors"
	"testing"

	"hidiff/internal/testenv"
	"hidiff/tensor"
	"hidiff/wgpu"

	"github.com/stretchr/testify/require"
)

// Open returns a device of the adapter that HIDIFF_GPU names, for as long as a test runs. Without one, the test ends as
// [testenv.Missing] says.
func Open(t testing.TB) *tensor.Device {
	t.Helper()
	d, err := tensor.Open(wgpu.Options{GPU: testenv.GPU()})
	Opened(t, err)
	t.Cleanup(d.Close)
	return d
}

// Opened ends a test that got err from opening a GPU by itself.
func Opened(t testing.TB, err error) {
	t.Helper()
	if none := (*wgpu.NoAdapterError)(nil); errors.As(err, &none) {
		testenv.Missing(t, "GPU", err)
	}
	require.NoError(t, err)
}

// Need ends a test of what will open a GPU, where there is none.
func Need(t testing.TB) {
	t.Helper()
	if !there() {
		testenv.Missing(t, "GPU", &wgpu.NoAdapterError{})
	}
}

// Main is [testenv.Main] of a package with examples that open a GPU.
func Main(m *testing.M) { testenv.Main(m, "GPU", there()) }

func there() bool { return len(wgpu.Adapters()) > 0 }
