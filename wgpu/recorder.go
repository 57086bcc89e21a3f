package wgpu

import (
	"context"
	"fmt"

	gpu "github.com/oliverbestmann/webgpu/wgpu"
)

// View is a range of a buffer, bound to a kernel. Offset must be a multiple of
// [Limits].Alignment.
type View struct {
	Buffer       *Buffer
	Offset, Size int64 // bytes
}

// Whole views all of b.
func Whole(b *Buffer) View { return View{b, 0, b.size} }

// Dispatch is one kernel call.
type Dispatch struct {
	Kernel *Kernel
	Params []byte    // the uniform block, at most 256 bytes
	Views  []View    // bindings 1, 2, …
	Groups [3]uint32 // workgroups per axis; a call with none is dropped
	Work   float64   // rough floating-point operations, and
	Bytes  float64   // bytes moved: they bound what one submit takes
	Label  string    // for the profile and for errors; the kernel's if empty
}

// MaxWork is what one dispatch, and what one submit should compute, in floating-point
// operations: some tenths of a second at most, for the watchdogs of weak GPUs and for the
// user's Ctrl-C.
const MaxWork = 40e9

const (
	paramStride  = 256
	maxRecorded  = 256 // dispatches per submit
	maxInFlight  = 3   // submits
	maxCopyBytes = 256 << 20
)

// recorder collects dispatches into one compute pass per submit. All parameter
// blocks of a submit travel in one upload, reached by dynamic offset, so bind
// groups depend on buffers alone and can be cached.
type recorder struct {
	params   *gpu.Buffer
	host     [maxRecorded * paramStride]byte
	n        int
	work     float64 // recorded so far
	bytes    float64
	maxWork  float64 // per submit
	maxBytes float64
	copied   int64
	encoder  *gpu.CommandEncoder
	pass     *gpu.ComputePassEncoder
	inFlight []gpu.SubmissionIndex
}

func (r *recorder) init(d *Device) (err error) {
	r.maxWork, r.maxBytes = MaxWork, 1e10
	if d.adapter.Software {
		r.maxWork, r.maxBytes = 2e9, 5e8
	}
	r.params, err = d.dev.TryCreateBuffer(&gpu.BufferDescriptor{
		Label: "params", Size: maxRecorded * paramStride, Usage: gpu.BufferUsageUniform | gpu.BufferUsageCopyDst,
	})
	return err
}

func (r *recorder) release() {
	if r.params != nil {
		r.params.Release()
	}
}

// open makes sure an encoder exists.
func (r *recorder) open(d *Device) bool {
	if d.failure() != nil {
		return false
	}
	if r.encoder == nil {
		var err error
		if r.encoder, err = d.dev.TryCreateCommandEncoder(&gpu.CommandEncoderDescriptor{Label: "hidiff"}); err != nil {
			d.fail(err)
			return false
		}
	}
	return true
}

func (r *recorder) endPass(d *Device) {
	if r.pass != nil {
		d.fail(r.pass.TryEnd())
		r.pass.Release()
		r.pass = nil
	}
}

// Dispatch issues one kernel call. Misuse (a released buffer, a range outside
// the buffer, too many groups) panics; GPU failures stick to the device.
func (d *Device) Dispatch(c Dispatch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.Groups[0] == 0 || c.Groups[1] == 0 || c.Groups[2] == 0 {
		return
	}
	d.check(c)
	d.stats.Work += c.Work
	d.stats.MostWork = max(d.stats.MostWork, c.Work)
	d.stats.Bytes += c.Bytes
	if d.dry {
		d.stats.Dispatches++
		return
	}
	r := &d.rec
	if r.n == maxRecorded || (r.n > 0 && (r.work+c.Work > r.maxWork || r.bytes+c.Bytes > r.maxBytes)) {
		r.submit(d)
	}
	if !r.open(d) {
		return
	}
	group, err := d.bindGroup(c.Kernel, c.Views)
	if err != nil {
		d.fail(fmt.Errorf("bind %s: %w", c.Kernel.spec.Label, err))
		return
	}
	if d.prof != nil {
		r.endPass(d)
		r.pass = d.prof.begin(r.encoder, c)
	} else if r.pass == nil {
		r.pass = r.encoder.BeginComputePass(&gpu.ComputePassDescriptor{Label: "hidiff"})
	}
	r.pass.SetPipeline(c.Kernel.pipeline)
	r.pass.SetBindGroup(0, group, []uint32{uint32(r.n * paramStride)})
	r.pass.DispatchWorkgroups(c.Groups[0], c.Groups[1], c.Groups[2])
	slot := r.host[r.n*paramStride : (r.n+1)*paramStride]
	clear(slot[copy(slot, c.Params):])
	r.n++
	r.work += c.Work
	r.bytes += c.Bytes
	d.stats.Dispatches++
	if d.prof != nil && d.prof.full() {
		r.submit(d)
	}
}

func (d *Device) check(c Dispatch) {
	k := c.Kernel
	if len(c.Views) != len(k.spec.Bindings) {
		panic(fmt.Sprintf("wgpu: %s: %d views for %d bindings", k.spec.Label, len(c.Views), len(k.spec.Bindings)))
	}
	if len(c.Params) > paramStride {
		panic(fmt.Sprintf("wgpu: %s: parameter block of %d bytes, at most %d", k.spec.Label, len(c.Params), paramStride))
	}
	for i, v := range c.Views {
		limit := d.limits.Binding
		if k.spec.Bindings[i] == Uniform {
			limit = d.limits.UniformBinding
		}
		switch {
		case v.Buffer.dev != d:
			panic(fmt.Sprintf("wgpu: %s: binding %d: the buffer belongs to another device", k.spec.Label, i+1))
		case !v.Buffer.live:
			panic(fmt.Sprintf("wgpu: %s: binding %d: buffer used after release", k.spec.Label, i+1))
		case v.Offset < 0 || v.Size <= 0 || v.Offset+v.Size > v.Buffer.size:
			panic(fmt.Sprintf("wgpu: %s: binding %d: range %d+%d outside buffer of %d bytes", k.spec.Label, i+1, v.Offset, v.Size, v.Buffer.size))
		case v.Offset%d.limits.Alignment != 0 || v.Size%4 != 0:
			panic(fmt.Sprintf("wgpu: %s: binding %d: range %d+%d not aligned", k.spec.Label, i+1, v.Offset, v.Size))
		case v.Size > limit:
			panic(fmt.Sprintf("wgpu: %s: binding %d: %d bytes, the adapter binds at most %d", k.spec.Label, i+1, v.Size, limit))
		}
	}
	for _, g := range c.Groups {
		if int(g) > d.limits.WorkgroupsPerAxis {
			panic(fmt.Sprintf("wgpu: %s: %v workgroups, at most %d per axis", k.spec.Label, c.Groups, d.limits.WorkgroupsPerAxis))
		}
	}
}

// Copy copies n bytes between two different buffers.
func (d *Device) Copy(dst *Buffer, dstOffset int64, src *Buffer, srcOffset, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n == 0 || d.dry || !d.rec.open(d) {
		return
	}
	d.rec.endPass(d)
	d.fail(d.rec.encoder.TryCopyBufferToBuffer(src.raw, uint64(srcOffset), dst.raw, uint64(dstOffset), uint64(n)))
	d.rec.n = max(d.rec.n, 1)
}

// Clear sets n bytes of b to zero.
func (d *Device) Clear(b *Buffer, offset, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n == 0 || d.dry || !d.rec.open(d) {
		return
	}
	d.rec.endPass(d)
	d.fail(d.rec.encoder.TryClearBuffer(b.raw, uint64(offset), uint64(n)))
	d.rec.n = max(d.rec.n, 1)
}

// Upload writes data (a multiple of 4 bytes) into b, after all work issued
// before.
func (d *Device) Upload(b *Buffer, offset int64, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dry {
		return
	}
	// Queue writes overtake recorded commands, which may use b in an earlier
	// life, so those go first.
	d.rec.submit(d)
	for len(data) > 0 && d.failure() == nil {
		n := min(len(data), maxCopyBytes)
		d.fail(d.queue.TryWriteBuffer(b.raw, uint64(offset), data[:n]))
		d.rec.copied += int64(n)
		if d.rec.copied >= maxCopyBytes { // staging memory is freed only by finished work
			d.rec.copied = 0
			d.queue.Submit()
			d.dev.Poll(true, nil)
		}
		data, offset = data[n:], offset+int64(n)
	}
}

// submit sends what is recorded. The caller holds mu.
func (r *recorder) submit(d *Device) {
	if r.encoder == nil || r.n == 0 {
		return
	}
	r.endPass(d)
	if d.prof != nil {
		d.fail(d.prof.resolve(r.encoder))
	}
	if d.failure() == nil {
		d.fail(d.queue.TryWriteBuffer(r.params, 0, r.host[:r.n*paramStride]))
	}
	cmd, err := r.encoder.TryFinish(&gpu.CommandBufferDescriptor{Label: "hidiff"})
	r.encoder.Release()
	r.encoder, r.n, r.work, r.bytes = nil, 0, 0, 0
	if err != nil {
		d.fail(err)
		return
	}
	defer cmd.Release()
	if d.failure() != nil {
		return
	}
	r.inFlight = append(r.inFlight, d.queue.Submit(cmd))
	d.stats.Submits++
	if len(r.inFlight) > maxInFlight {
		oldest := uint64(r.inFlight[0])
		r.inFlight = append(r.inFlight[:0], r.inFlight[1:]...)
		d.dev.Poll(true, &oldest)
	}
	if d.prof != nil {
		d.fail(d.prof.collect(d))
	}
}

// drop discards what is recorded.
func (r *recorder) drop() {
	if r.pass != nil {
		_ = r.pass.TryEnd()
		r.pass.Release()
		r.pass = nil
	}
	if r.encoder != nil {
		if cmd, err := r.encoder.TryFinish(nil); err == nil {
			cmd.Release()
		}
		r.encoder.Release()
		r.encoder = nil
	}
	r.n = 0
}

// Flush submits everything issued so far without waiting, and returns the
// device's failure if there is one.
func (d *Device) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rec.submit(d)
	return d.failure()
}

// Read copies len(dst) bytes (a multiple of 4) of b to the host, after all
// work issued so far. It returns early when ctx ends.
func (d *Device) Read(ctx context.Context, b *Buffer, offset int64, dst []byte) error {
	return d.readAsync(b, offset, int64(len(dst))).wait(ctx, dst)
}

// readback is a copy to the host under way.
type readback struct {
	dev     *Device
	staging *gpu.Buffer
	size    int64
	done    chan gpu.MapAsyncStatus
	err     error
}

// readAsync starts copying n bytes (a multiple of 4) of b to the host, after
// all work issued so far, and returns at once. wait must be called once.
func (d *Device) readAsync(b *Buffer, offset, n int64) *readback {
	d.mu.Lock()
	defer d.mu.Unlock()
	rb := &readback{dev: d, size: n, done: make(chan gpu.MapAsyncStatus, 1)}
	d.stats.Reads++
	if rb.err = d.failure(); rb.err != nil || d.dry {
		return rb
	}
	rb.staging, rb.err = d.dev.TryCreateBuffer(&gpu.BufferDescriptor{
		Label: "readback", Size: uint64(n), Usage: gpu.BufferUsageMapRead | gpu.BufferUsageCopyDst,
	})
	if rb.err != nil {
		return rb
	}
	if d.rec.open(d) {
		d.rec.endPass(d)
		d.fail(d.rec.encoder.TryCopyBufferToBuffer(b.raw, uint64(offset), rb.staging, 0, uint64(n)))
		d.rec.n = max(d.rec.n, 1)
		d.rec.submit(d)
	}
	if rb.err = d.failure(); rb.err == nil {
		rb.err = rb.staging.TryMapAsync(gpu.MapModeRead, 0, uint64(n), func(s gpu.MapAsyncStatus) { rb.done <- s })
	}
	return rb
}

// wait blocks until the copy is done and stores it in dst.
func (rb *readback) wait(ctx context.Context, dst []byte) error {
	d := rb.dev
	if rb.staging != nil {
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			rb.staging.Release()
		}()
	}
	if rb.err != nil || d.dry {
		return rb.err
	}
	var status gpu.MapAsyncStatus
	err := d.poll(ctx, func() bool {
		select {
		case status = <-rb.done:
			return true
		default:
		}
		d.dev.Poll(false, nil)
		return false
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if status != gpu.MapAsyncStatusSuccess {
		d.fail(fmt.Errorf("read back %s: mapping failed (%v)", FormatBytes(rb.size), status))
		return d.failure()
	}
	copy(dst, rb.staging.GetMappedRange(0, uint(rb.size)))
	return rb.staging.TryUnmap()
}
