package wgpu

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"
	"weak"

	"hidiff/internal/testenv"

	gpu "github.com/oliverbestmann/webgpu/wgpu"
	"github.com/stretchr/testify/require"
)

// open returns a device of the adapter that HIDIFF_GPU names; a test without one ends.
func open(t *testing.T, o Options) *Device {
	t.Helper()
	o.GPU = testenv.GPU()
	d, err := Open(o)
	if none := (*NoAdapterError)(nil); errors.As(err, &none) {
		testenv.Missing(t, "GPU", err)
	}
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

const axpy = `
struct Params { n: u32, k: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
	if (id.x < params.n) { y[id.x] = y[id.x] + params.k * x[id.x]; }
}`

func axpyKernel(t *testing.T, d *Device) *Kernel {
	t.Helper()
	k, err := d.Kernel(KernelSpec{Label: "axpy", Code: axpy, EntryPoint: "main", Bindings: []Access{Read, ReadWrite}})
	require.NoError(t, err)
	return k
}

func u32s(v ...uint32) []byte {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func filled(t *testing.T, d *Device, v ...uint32) *Buffer {
	t.Helper()
	b, err := d.Alloc("test", int64(4*len(v)))
	require.NoError(t, err)
	d.Upload(b, 0, u32s(v...))
	return b
}

func read(t *testing.T, d *Device, b *Buffer, n int) []uint32 {
	t.Helper()
	raw := make([]byte, 4*n)
	require.NoError(t, d.Read(context.Background(), b, 0, raw))
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return out
}

func TestChoose(t *testing.T) {
	infos := []Adapter{{Index: 0, Name: "NVIDIA H200"}, {Index: 1, Name: "llvmpipe (LLVM 15)"}}
	for want, index := range map[string]int{"": 0, "0": 0, "1": 1, "nvidia": 0, "LLVM": 1, "200": 0} {
		i, err := choose(infos, want)
		require.NoError(t, err, want)
		require.Equal(t, index, i, want)
	}
	for _, want := range []string{"2", "-1", "4090", "radeon"} {
		_, err := choose(infos, want)
		require.ErrorContains(t, err, "NVIDIA H200", want)
	}
	_, err := choose(nil, "")
	require.ErrorContains(t, err, "driver")
}

func TestDispatchesRunInOrder(t *testing.T) {
	d := open(t, Options{})
	k := axpyKernel(t, d)
	x, y := filled(t, d, 1, 2, 3), filled(t, d, 10, 20, 30)
	const calls = 3*maxRecorded + 5 // several submits
	for i := range calls {
		d.Dispatch(Dispatch{Kernel: k, Params: u32s(3, uint32(i)), Views: []View{Whole(x), Whole(y)}, Groups: [3]uint32{1, 1, 1}})
	}
	sum := uint32(calls * (calls - 1) / 2)
	require.Equal(t, []uint32{10 + sum, 20 + 2*sum, 30 + 3*sum}, read(t, d, y, 3))
}

func TestUploadWaitsForEarlierWork(t *testing.T) {
	d := open(t, Options{})
	k := axpyKernel(t, d)
	x, y := filled(t, d, 1), filled(t, d, 0)
	d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: []View{Whole(x), Whole(y)}, Groups: [3]uint32{1, 1, 1}})
	d.Upload(x, 0, u32s(100))
	d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: []View{Whole(x), Whole(y)}, Groups: [3]uint32{1, 1, 1}})
	require.Equal(t, []uint32{101}, read(t, d, y, 1))
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	d := open(t, Options{})
	step := func() {
		for _, size := range []int64{1000, 5000, 1000} {
			b, err := d.Alloc("test", size)
			require.NoError(t, err)
			defer b.Release()
		}
	}
	step()
	before := d.Stats()
	for range 10 {
		step()
	}
	require.Equal(t, before.Allocations, d.Stats().Allocations)
	require.Equal(t, int64(0), d.Stats().Live)
}

// What stays, such as weights, must not remember all that it was ever bound with.
func TestDestroyedBuffersAreForgotten(t *testing.T) {
	d := open(t, Options{})
	k := axpyKernel(t, d)
	stays := filled(t, d, 1)
	for range 3 {
		passing := filled(t, d, 0)
		d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: []View{Whole(stays), Whole(passing)}, Groups: [3]uint32{1, 1, 1}})
		require.Len(t, stays.groups, 1)
		require.Len(t, d.groups, 1)
		passing.Release()
		d.Trim()
		require.Empty(t, stays.groups)
		require.Empty(t, d.groups)
	}
}

func TestBudget(t *testing.T) {
	d := open(t, Options{Memory: 1 << 20})
	a, err := d.Alloc("a", 600<<10)
	require.NoError(t, err)
	_, err = d.Alloc("b", 600<<10)
	var memory *MemoryError
	require.ErrorAs(t, err, &memory)
	require.Equal(t, int64(1<<20), memory.Budget)
	a.Release() // pooled, and given up for another size
	_, err = d.Alloc("b", 700<<10)
	require.NoError(t, err)
	require.NoError(t, d.Err(), "a refused allocation must leave the device usable")
	require.LessOrEqual(t, d.Stats().Peak, int64(1<<20))
}

func TestGoroutinesShareADevice(t *testing.T) {
	d := open(t, Options{})
	k := axpyKernel(t, d)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				x, err := d.Alloc("x", 4)
				if err != nil {
					t.Error(err)
					return
				}
				y, err := d.Alloc("y", 4)
				if err != nil {
					t.Error(err)
					return
				}
				d.Upload(x, 0, u32s(uint32(g)))
				d.Upload(y, 0, u32s(uint32(i)))
				d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: []View{Whole(x), Whole(y)}, Groups: [3]uint32{1, 1, 1}})
				raw := make([]byte, 4)
				if err := d.Read(context.Background(), y, 0, raw); err != nil {
					t.Error(err)
					return
				}
				if got := binary.LittleEndian.Uint32(raw); got != uint32(g+i) {
					t.Errorf("got %d, want %d", got, g+i)
				}
				x.Release()
				y.Release()
			}
		})
	}
	wg.Wait()
}

func TestBrokenShaderSticks(t *testing.T) {
	d := open(t, Options{})
	_, err := d.Kernel(KernelSpec{Label: "broken", Code: "this is not WGSL", EntryPoint: "main"})
	require.ErrorContains(t, err, "broken")
	require.Equal(t, err, d.Err())
	require.Error(t, d.Flush())
	_, err = d.Alloc("after", 4)
	require.Error(t, err)
}

func TestMisusePanics(t *testing.T) {
	d := open(t, Options{})
	k := axpyKernel(t, d)
	x := filled(t, d, 1)
	call := func(v ...View) func() {
		return func() {
			d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: v, Groups: [3]uint32{1, 1, 1}})
		}
	}
	require.Panics(t, call(Whole(x)), "too few views")
	require.Panics(t, call(Whole(x), View{x, 0, 1 << 20}), "out of range")
	y := filled(t, d, 1)
	y.Release()
	require.Panics(t, call(Whole(x), Whole(y)), "used after release")
}

func TestProfile(t *testing.T) {
	d := open(t, Options{Profile: true})
	if !d.Features().Timestamps {
		t.Skip("the adapter takes no timestamps")
	}
	k := axpyKernel(t, d)
	x, y := filled(t, d, 1), filled(t, d, 0)
	for range 300 {
		d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: []View{Whole(x), Whole(y)}, Groups: [3]uint32{1, 1, 1}, Work: 2})
	}
	timings, err := d.Profile(context.Background())
	require.NoError(t, err)
	require.Len(t, timings, 1)
	require.Equal(t, 300, timings[0].Calls)
	require.Equal(t, 600.0, timings[0].Work)
	require.Positive(t, timings[0].Time)
	require.Equal(t, []uint32{300}, read(t, d, y, 1))
}

func TestReadHonoursContext(t *testing.T) {
	d := open(t, Options{})
	x := filled(t, d, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := d.Read(ctx, x, 0, make([]byte, 4))
	if err != nil { // a fast device may be done before the first look
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, []uint32{1}, read(t, d, x, 1))
}

func TestLostDevice(t *testing.T) {
	d := open(t, Options{})
	x := filled(t, d, 1)
	d.lost.report(gpu.DeviceLostReasonUnknown, "simulated")
	require.ErrorIs(t, d.Read(context.Background(), x, 0, make([]byte, 4)), ErrDeviceLost)
	require.ErrorIs(t, d.Flush(), ErrDeviceLost)
	_, err := d.Alloc("late", 4)
	require.ErrorIs(t, err, ErrDeviceLost)
}

func TestReleaseSince(t *testing.T) {
	d := open(t, Options{})
	kept := filled(t, d, 1)
	mark := d.Mark()
	lost := filled(t, d, 2)
	d.ReleaseSince(mark)
	require.False(t, lost.live)
	require.Equal(t, []uint32{1}, read(t, d, kept, 1))
}

func TestDryRunCounts(t *testing.T) {
	d := open(t, Options{}).DryRun(1 << 20)
	k := axpyKernel(t, d)
	x, y := filled(t, d, 1), filled(t, d, 0)
	d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: []View{Whole(x), Whole(y)}, Groups: [3]uint32{1, 1, 1}, Work: 7})
	require.Equal(t, []uint32{0}, read(t, d, y, 1), "nothing is computed")
	require.Equal(t, int64(1), d.Stats().Dispatches)
	require.Equal(t, 7.0, d.Stats().Work)
	_, err := d.Alloc("large", 2<<20)
	require.ErrorContains(t, err, "budget")
}

func TestClosedDeviceIsForgotten(t *testing.T) {
	open(t, Options{}) // ends the test where there is none
	device := func() weak.Pointer[Device] {
		d, err := Open(Options{GPU: testenv.GPU()})
		require.NoError(t, err)
		k := axpyKernel(t, d)
		d.Dispatch(Dispatch{Kernel: k, Params: u32s(1, 1), Views: []View{Whole(filled(t, d, 1)), Whole(filled(t, d, 1))}, Groups: [3]uint32{1, 1, 1}})
		require.NoError(t, d.Wait(context.Background()))
		d.Close()
		return weak.Make(d)
	}()
	runtime.GC()
	require.True(t, device.Value() == nil, "a closed device is still referred to")
}

func TestCloseTwice(t *testing.T) {
	d := open(t, Options{})
	filled(t, d, 1)
	d.Close()
	d.Close()
	_, err := d.Alloc("late", 4)
	require.ErrorContains(t, err, "closed")
}

func TestLimitsVariable(t *testing.T) {
	t.Setenv(limitsVariable, "defualt")
	_, err := Open(Options{GPU: testenv.GPU()})
	if none := (*NoAdapterError)(nil); errors.As(err, &none) {
		testenv.Missing(t, "GPU", err)
	}
	require.ErrorContains(t, err, `HIDIFF_LIMITS is "defualt": leave it unset for what the GPU has, or set it to default`)
}
