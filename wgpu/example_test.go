package wgpu_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"testing"

	"hidiff/internal/testgpu"
	"hidiff/wgpu"
)

func TestMain(m *testing.M) { testgpu.Main(m) }

// Doubles four numbers on the first adapter.
func Example() {
	d, err := wgpu.Open(wgpu.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	double, err := d.Kernel(wgpu.KernelSpec{
		Label: "double", EntryPoint: "main", Bindings: []wgpu.Access{wgpu.ReadWrite},
		Code: `
			@group(0) @binding(0) var<uniform> count: u32;
			@group(0) @binding(1) var<storage, read_write> x: array<u32>;
			@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
				if (id.x < count) { x[id.x] *= 2u; }
			}`,
	})
	if err != nil {
		log.Fatal(err)
	}
	x, err := d.Alloc("x", 16)
	if err != nil {
		log.Fatal(err)
	}
	defer x.Release()
	d.Upload(x, 0, []byte{1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0})
	d.Dispatch(wgpu.Dispatch{Kernel: double, Params: []byte{4, 0, 0, 0}, Views: []wgpu.View{wgpu.Whole(x)}, Groups: [3]uint32{1, 1, 1}})

	raw := make([]byte, 16)
	if err := d.Read(context.Background(), x, 0, raw); err != nil { // waits
		log.Fatal(err)
	}
	out := make([]uint32, 4)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	fmt.Println(out)
	// Output: [2 4 6 8]
}
