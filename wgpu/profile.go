package wgpu

import (
	"context"
	"encoding/binary"
	"sort"
	"time"

	gpu "github.com/oliverbestmann/webgpu/wgpu"
)

// Timing sums the dispatches of one label.
type Timing struct {
	Label string
	Calls int
	Time  time.Duration // on the device
	Work  float64       // floating-point operations, as the callers estimated
	Bytes float64
}

const maxQueries = 128 // dispatches timed per submit

// profiler gives every dispatch its own pass with a timestamp at both ends.
type profiler struct {
	set      *gpu.QuerySet
	resolved *gpu.Buffer
	staging  *gpu.Buffer
	period   float64 // nanoseconds per tick
	pending  []Dispatch
	total    map[string]*Timing
}

func newProfiler(d *Device) (*profiler, error) {
	p := &profiler{period: float64(d.queue.GetTimestampPeriod()), total: map[string]*Timing{}}
	var err error
	if p.set, err = d.dev.TryCreateQuerySet(&gpu.QuerySetDescriptor{Label: "profile", Type: gpu.QueryTypeTimestamp, Count: 2 * maxQueries}); err != nil {
		return nil, err
	}
	const size = 2 * maxQueries * gpu.QuerySize
	if p.resolved, err = d.dev.TryCreateBuffer(&gpu.BufferDescriptor{Label: "profile", Size: size, Usage: gpu.BufferUsageQueryResolve | gpu.BufferUsageCopySrc}); err != nil {
		return nil, err
	}
	p.staging, err = d.dev.TryCreateBuffer(&gpu.BufferDescriptor{Label: "profile", Size: size, Usage: gpu.BufferUsageMapRead | gpu.BufferUsageCopyDst})
	return p, err
}

func (p *profiler) release() {
	p.set.Release()
	p.resolved.Release()
	p.staging.Release()
}

func (p *profiler) begin(e *gpu.CommandEncoder, c Dispatch) *gpu.ComputePassEncoder {
	i := uint32(2 * len(p.pending))
	if c.Label == "" {
		c.Label = c.Kernel.spec.Label
	}
	p.pending = append(p.pending, Dispatch{Label: c.Label, Work: c.Work, Bytes: c.Bytes})
	return e.BeginComputePass(&gpu.ComputePassDescriptor{Label: c.Label, TimestampWrites: &gpu.PassTimestampWrites{
		QuerySet: p.set, BeginningOfPassWriteIndex: i, EndOfPassWriteIndex: i + 1,
	}})
}

func (p *profiler) full() bool { return len(p.pending) == maxQueries }

func (p *profiler) resolve(e *gpu.CommandEncoder) error {
	n := uint32(2 * len(p.pending))
	if n == 0 {
		return nil
	}
	if err := e.TryResolveQuerySet(p.set, 0, n, p.resolved, 0); err != nil {
		return err
	}
	return e.TryCopyBufferToBuffer(p.resolved, 0, p.staging, 0, uint64(n)*gpu.QuerySize)
}

// collect waits for the submit just made: a profile costs speed, not truth.
func (p *profiler) collect(d *Device) error {
	if len(p.pending) == 0 {
		return nil
	}
	done := make(chan gpu.MapAsyncStatus, 1)
	n := 2 * len(p.pending) * gpu.QuerySize
	if err := p.staging.TryMapAsync(gpu.MapModeRead, 0, uint64(n), func(s gpu.MapAsyncStatus) { done <- s }); err != nil {
		return err
	}
	for len(done) == 0 {
		d.dev.Poll(true, nil)
	}
	raw := p.staging.GetMappedRange(0, uint(n))
	for i, c := range p.pending {
		begin, end := binary.LittleEndian.Uint64(raw[16*i:]), binary.LittleEndian.Uint64(raw[16*i+8:])
		t := p.total[c.Label]
		if t == nil {
			t = &Timing{Label: c.Label}
			p.total[c.Label] = t
		}
		t.Calls++
		t.Time += time.Duration(float64(end-begin) * p.period)
		t.Work += c.Work
		t.Bytes += c.Bytes
	}
	p.pending = p.pending[:0]
	return p.staging.TryUnmap()
}

// Profile waits for all work and returns the timings since the last call,
// slowest first; nil where the device was not opened with Options.Profile or
// cannot take timestamps.
func (d *Device) Profile(ctx context.Context) ([]Timing, error) {
	if err := d.Wait(ctx); err != nil || d.prof == nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Timing
	for _, t := range d.prof.total {
		out = append(out, *t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Time > out[j].Time })
	d.prof.total = map[string]*Timing{}
	return out, nil
}
