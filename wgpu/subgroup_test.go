package wgpu

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// llvmpipe tells its vectors' size in its name: "llvmpipe (LLVM 15.0.6, 256 bits)".
func TestLanes(t *testing.T) {
	d := open(t, Options{})
	if !d.Adapter().Software {
		require.Zero(t, d.Features().Lanes)
		t.Skip("no software adapter")
	}
	require.Equal(t, Stats{}, d.Stats(), "the device has done nothing yet")
	if bits := regexp.MustCompile(`llvmpipe.* (\d+) bits`).FindStringSubmatch(d.Adapter().Name); bits != nil {
		require.Equal(t, bits[1], fmt.Sprint(32*d.Features().Lanes))
	}
}

// Where subgroups are missing or do not work, all else does.
func TestLanesAreOptional(t *testing.T) {
	d := open(t, Options{})
	if !d.Features().Subgroups || !d.Adapter().Software {
		t.Skip("no software adapter with subgroups")
	}
	lanes := d.Features().Lanes
	kernels := len(d.kernels)
	d.findLanes("this is not WGSL")
	require.Zero(t, d.Features().Lanes)
	require.Equal(t, kernels, len(d.kernels))
	require.NoError(t, d.Err())
	d.findLanes(lanesCode)
	require.Equal(t, lanes, d.Features().Lanes)
	d.features.Subgroups = false
	d.findLanes(lanesCode)
	require.Zero(t, d.Features().Lanes)
	require.Equal(t, []uint32{7}, read(t, d, filled(t, d, 7), 1))
}
