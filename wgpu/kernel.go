package wgpu

import (
	"fmt"
	"hash/maphash"

	gpu "github.com/oliverbestmann/webgpu/wgpu"
)

// Access says how a kernel uses one of its bindings.
type Access int

// The ways a kernel can use a binding.
const (
	Uniform   Access = iota // var<uniform>
	Read                    // var<storage, read>
	ReadWrite               // var<storage, read_write>
)

// KernelSpec is a compute shader and how it is called. Binding 0 must be the
// uniform parameter block; Bindings[i] is binding i+1.
type KernelSpec struct {
	Label      string
	Code       string // WGSL
	EntryPoint string
	Bindings   []Access
}

// maxBindings is the parameter block plus what WebGPU promises everywhere: 8
// storage buffers, and uniform windows beside them.
const maxBindings = 13

// Kernel is a compiled compute pipeline, owned by its device.
type Kernel struct {
	spec     KernelSpec
	id       uint32
	module   *gpu.ShaderModule
	layout   *gpu.BindGroupLayout
	pipes    *gpu.PipelineLayout
	pipeline *gpu.ComputePipeline
}

type kernelKey struct {
	hash  uint64
	entry string
}

var kernelSeed = maphash.MakeSeed()

// Kernel compiles spec, or returns what an equal spec gave before. A kernel
// that does not compile is a bug in hidiff or a driver; the error carries the
// compiler's message and sticks to the device.
func (d *Device) Kernel(spec KernelSpec) (*Kernel, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failure(); err != nil {
		return nil, err
	}
	key := kernelKey{maphash.String(kernelSeed, spec.Code), spec.EntryPoint}
	if k, ok := d.kernels[key]; ok {
		return k, nil
	}
	k := &Kernel{spec: spec, id: uint32(len(d.kernels) + 1)}
	if d.dry {
		return k, nil
	}
	if err := k.build(d); err != nil {
		k.release()
		err = fmt.Errorf("compile kernel %s: %w", spec.Label, err)
		d.fail(err)
		return nil, err
	}
	d.kernels[key] = k
	return k, nil
}

func (k *Kernel) build(d *Device) (err error) {
	s := k.spec
	if len(s.Bindings)+1 > maxBindings {
		return fmt.Errorf("%d bindings, at most %d", len(s.Bindings), maxBindings-1)
	}
	if k.module, err = d.dev.TryCreateShaderModule(&gpu.ShaderModuleDescriptor{
		Label: s.Label, WGSLSource: &gpu.ShaderSourceWGSL{Code: s.Code},
	}); err != nil {
		return err
	}
	entries := []gpu.BindGroupLayoutEntry{{
		Binding: 0, Visibility: gpu.ShaderStageCompute,
		Buffer: gpu.BufferBindingLayout{Type: gpu.BufferBindingTypeUniform, HasDynamicOffset: true},
	}}
	for i, a := range s.Bindings {
		kind := gpu.BufferBindingTypeReadOnlyStorage
		switch a {
		case ReadWrite:
			kind = gpu.BufferBindingTypeStorage
		case Uniform:
			kind = gpu.BufferBindingTypeUniform
		}
		entries = append(entries, gpu.BindGroupLayoutEntry{
			Binding: uint32(i + 1), Visibility: gpu.ShaderStageCompute,
			Buffer: gpu.BufferBindingLayout{Type: kind},
		})
	}
	if k.layout, err = d.dev.TryCreateBindGroupLayout(&gpu.BindGroupLayoutDescriptor{Label: s.Label, Entries: entries}); err != nil {
		return err
	}
	if k.pipes, err = d.dev.TryCreatePipelineLayout(&gpu.PipelineLayoutDescriptor{
		Label: s.Label, BindGroupLayouts: []*gpu.BindGroupLayout{k.layout},
	}); err != nil {
		return err
	}
	k.pipeline, err = d.dev.TryCreateComputePipeline(&gpu.ComputePipelineDescriptor{
		Label: s.Label, Layout: k.pipes,
		Compute: gpu.ProgrammableStageDescriptor{Module: k.module, EntryPoint: s.EntryPoint},
	})
	return err
}

func (k *Kernel) release() {
	k.pipeline.Release()
	k.pipes.Release()
	k.layout.Release()
	k.module.Release()
}

// groupKey identifies a bind group by kernel and views.
type groupKey struct {
	kernel uint32
	n      uint32
	views  [maxBindings - 1]viewKey
}

type viewKey struct {
	buffer       uint64
	offset, size int64
}

// boundGroup is a cached bind group and what it names.
type boundGroup struct {
	key     groupKey
	raw     *gpu.BindGroup
	buffers []*Buffer
}

// bindGroup returns the cached bind group for these views. The caller holds mu.
func (d *Device) bindGroup(k *Kernel, views []View) (*gpu.BindGroup, error) {
	key := groupKey{kernel: k.id, n: uint32(len(views))}
	for i, v := range views {
		key.views[i] = viewKey{v.Buffer.id, v.Offset, v.Size}
	}
	if g, ok := d.groups[key]; ok {
		return g.raw, nil
	}
	entries := make([]gpu.BindGroupEntry, 0, len(views)+1)
	entries = append(entries, gpu.BindGroupEntry{Binding: 0, Buffer: d.rec.params, Size: paramStride})
	for i, v := range views {
		entries = append(entries, gpu.BindGroupEntry{
			Binding: uint32(i + 1), Buffer: v.Buffer.raw, Offset: uint64(v.Offset), Size: uint64(v.Size),
		})
	}
	g, err := d.dev.TryCreateBindGroup(&gpu.BindGroupDescriptor{Label: k.spec.Label, Layout: k.layout, Entries: entries})
	if err != nil {
		return nil, err
	}
	cached := &boundGroup{key: key, raw: g, buffers: make([]*Buffer, len(views))}
	for i, v := range views {
		if v.Buffer.groups == nil {
			v.Buffer.groups = map[*boundGroup]struct{}{}
		}
		v.Buffer.groups[cached] = struct{}{}
		cached.buffers[i] = v.Buffer
	}
	d.groups[key] = cached
	return g, nil
}
