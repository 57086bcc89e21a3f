package wgpu

import (
	"context"
	"encoding/binary"
)

// lanesCode tells the size of the subgroup that runs it. The binding does not
// hand on what the adapter says of it.
const lanesCode = `
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read_write> size: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) lanes: u32) {
	size[lane] = lanes + params.x;
}`

// findLanes has code tell the size of subgroups, where software has any. Nobody
// needs to know it: a driver that fails at this goes without.
func (d *Device) findLanes(code string) {
	d.features.Lanes = 0
	if !d.adapter.Software || !d.features.Subgroups {
		return
	}
	lanes, err := d.lanes(code)
	if err != nil {
		d.log.Warn("subgroups of unknown size", "adapter", d.adapter.String(), "error", err)
		d.err = nil
	}
	d.features.Lanes = lanes
	d.trim(d.stats.Pooled)
	d.stats = Stats{}
}

// lanes returns the size of subgroups, 0 where it differs.
func (d *Device) lanes(code string) (int, error) {
	k, err := d.Kernel(KernelSpec{Label: "lanes", Code: code, EntryPoint: "main", Bindings: []Access{ReadWrite}})
	if err != nil {
		return 0, err
	}
	b, err := d.Alloc("lanes", 4*64)
	if err != nil {
		return 0, err
	}
	defer b.Release()
	d.Dispatch(Dispatch{Kernel: k, Params: make([]byte, 16), Views: []View{Whole(b)}, Groups: [3]uint32{1, 1, 1}})
	raw := make([]byte, 4*64)
	if err := d.Read(context.Background(), b, 0, raw); err != nil {
		return 0, err
	}
	first := binary.LittleEndian.Uint32(raw)
	for i := 4; i < len(raw); i += 4 {
		if binary.LittleEndian.Uint32(raw[i:]) != first {
			return 0, nil
		}
	}
	return int(first), nil
}
