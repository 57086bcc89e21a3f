package wgpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	gpu "github.com/oliverbestmann/webgpu/wgpu"
)

// Options choose and configure a device. The zero value takes the first
// adapter and as much memory as it gives.
type Options struct {
	GPU     string       // index or part of a name; empty takes the first of [Adapters]
	Memory  int64        // budget for buffers in bytes; 0 means no budget
	Profile bool         // time every dispatch, where the adapter can; see [Device.Profile]
	Logger  *slog.Logger // nil is silent
}

// Limits are the device's, raised to what the adapter offers. With the environment
// variable HIDIFF_LIMITS=default they are WebGPU's defaults, which every device has.
type Limits struct {
	Binding           int64 // largest storage binding, bytes
	UniformBinding    int64 // largest uniform binding, bytes
	Buffer            int64 // largest buffer, bytes
	StorageBuffers    int   // per kernel
	WorkgroupStorage  int   // bytes
	Invocations       int   // per workgroup
	WorkgroupsPerAxis int
	Alignment         int64 // of binding offsets, bytes
}

// Stats counts what a device has done since it was opened.
type Stats struct {
	Live, Pooled, Peak int64 // bytes: in use, kept for reuse, and the most that live and pooled ever came to
	Allocations        int64 // buffers created (reuse from the pool does not count)
	Dispatches         int64
	Work, Bytes        float64 // as the dispatches estimate them: floating-point operations, bytes moved
	MostWork           float64 // of one dispatch
	Submits            int64
	Reads              int64
}

// Device is an open GPU: one in-order stream of work. Its methods may be
// called from any goroutine.
type Device struct {
	adapter  Adapter
	limits   Limits
	features Features
	log      *slog.Logger

	// mu guards everything below and every call into the binding: error scopes
	// are per device, and goroutines would pick up each other's errors.
	mu      sync.Mutex
	dev     *gpu.Device
	queue   *gpu.Queue
	raw     *gpu.Adapter
	err     error
	closed  bool
	dry     bool
	budget  int64
	stats   Stats
	pool    pool
	kernels map[kernelKey]*Kernel
	groups  map[groupKey]*boundGroup
	rec     recorder
	prof    *profiler

	lost *loss
}

// loss is what the loss callback sets. It is apart from the device, which the binding
// would keep alive for ever with its callback, and has a mutex of its own, because the
// callback arrives inside device calls.
type loss struct {
	mu  sync.Mutex
	err error
}

// Features are optional abilities of the adapter.
type Features struct {
	Timestamps bool // per-dispatch timing
	F16        bool // 16-bit floats in shaders
	Subgroups  bool
	Lanes      int // of a subgroup, where software has subgroups that are all the same size; else 0
}

// Open opens the adapter that o names.
func Open(o Options) (*Device, error) {
	raw, infos := enumerate()
	i, err := choose(infos, o.GPU)
	for j, a := range raw {
		if err != nil || j != i {
			a.Release()
		}
	}
	if err != nil {
		return nil, err
	}
	d := &Device{
		adapter: infos[i],
		raw:     raw[i],
		log:     o.Logger,
		budget:  o.Memory,
		lost:    &loss{},
		kernels: map[kernelKey]*Kernel{},
		groups:  map[groupKey]*boundGroup{},
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	limits, err := wantedLimits(d.raw.GetLimits())
	if err == nil {
		err = d.request(o.Profile, limits)
	}
	if err != nil {
		raw[i].Release()
		return nil, fmt.Errorf("open %s: %w", d.adapter.Name, err)
	}
	d.queue = d.dev.GetQueue()
	d.readLimits()
	if err := d.rec.init(d); err != nil {
		d.Close()
		return nil, err
	}
	d.findLanes(lanesCode)
	if o.Profile && d.features.Timestamps {
		if d.prof, err = newProfiler(d); err != nil {
			d.Close()
			return nil, err
		}
	}
	d.log.Info("gpu opened", "adapter", d.adapter.String(), "driver", d.adapter.Driver)
	return d, nil
}

// request asks for the device with all wanted features, dropping one at a
// time what a driver advertises but refuses.
func (d *Device) request(timestamps bool, limits gpu.Limits) error {
	wanted := []gpu.FeatureName{gpu.FeatureNameShaderF16, gpu.NativeFeatureSubgroup}
	if timestamps {
		wanted = append(wanted, gpu.FeatureNameTimestampQuery)
	}
	var features []gpu.FeatureName
	for _, f := range wanted {
		if d.raw.HasFeature(f) {
			features = append(features, f)
		}
	}
	for {
		dev, err := d.raw.RequestDevice(&gpu.DeviceDescriptor{
			Label:              "hidiff",
			RequiredFeatures:   features,
			RequiredLimits:     &limits,
			DeviceLostCallback: d.lost.report,
		})
		if err == nil {
			d.dev = dev
			break
		}
		if len(features) == 0 {
			return err
		}
		features = features[:len(features)-1]
	}
	for _, f := range features {
		switch f {
		case gpu.FeatureNameTimestampQuery:
			d.features.Timestamps = true
		case gpu.FeatureNameShaderF16:
			d.features.F16 = true
		case gpu.NativeFeatureSubgroup:
			d.features.Subgroups = true
		}
	}
	return nil
}

// limitsVariable names the environment variable that keeps devices to what WebGPU promises
// everywhere, so that any machine can test what browsers and phones will do.
const limitsVariable = "HIDIFF_LIMITS"

// wantedLimits starts from the defaults, because copying the adapter's whole
// struct is refused, and raises what compute needs to what the adapter has.
func wantedLimits(a gpu.Limits) (gpu.Limits, error) {
	l := gpu.DefaultLimits()
	switch v := os.Getenv(limitsVariable); v {
	case "":
	case "default":
		return l, nil
	default:
		return l, fmt.Errorf("the environment variable %s is %q: leave it unset for what the GPU has, or set it to default", limitsVariable, v)
	}
	l.MaxBufferSize = a.MaxBufferSize
	l.MaxStorageBufferBindingSize = a.MaxStorageBufferBindingSize
	l.MaxUniformBufferBindingSize = a.MaxUniformBufferBindingSize
	l.MaxStorageBuffersPerShaderStage = a.MaxStorageBuffersPerShaderStage
	l.MaxComputeWorkgroupStorageSize = a.MaxComputeWorkgroupStorageSize
	l.MaxComputeInvocationsPerWorkgroup = a.MaxComputeInvocationsPerWorkgroup
	l.MaxComputeWorkgroupSizeX = a.MaxComputeWorkgroupSizeX
	l.MaxComputeWorkgroupSizeY = a.MaxComputeWorkgroupSizeY
	l.MaxComputeWorkgroupSizeZ = a.MaxComputeWorkgroupSizeZ
	return l, nil
}

func (d *Device) readLimits() {
	l := d.dev.GetLimits()
	d.limits = Limits{
		// A view is addressed with 32-bit indices, so more would be of no use.
		Binding:           int64(min(l.MaxStorageBufferBindingSize, 1<<32-4)),
		UniformBinding:    int64(l.MaxUniformBufferBindingSize),
		Buffer:            int64(min(l.MaxBufferSize, 1<<40)),
		StorageBuffers:    int(l.MaxStorageBuffersPerShaderStage),
		WorkgroupStorage:  int(l.MaxComputeWorkgroupStorageSize),
		Invocations:       int(l.MaxComputeInvocationsPerWorkgroup),
		WorkgroupsPerAxis: int(l.MaxComputeWorkgroupsPerDimension),
		Alignment:         int64(max(l.MinStorageBufferOffsetAlignment, l.MinUniformBufferOffsetAlignment)),
	}
}

func (l *loss) report(reason gpu.DeviceLostReason, message string) {
	if reason == gpu.DeviceLostReasonDestroyed {
		return // our own Close
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("%w: %s", ErrDeviceLost, message)
	}
}

// Adapter returns the adapter this device runs on.
func (d *Device) Adapter() Adapter { return d.adapter }

// Limits returns the device's limits.
func (d *Device) Limits() Limits { return d.limits }

// DryRun returns a device with d's adapter and limits that does nothing but
// count: running a network on it gives the plan of a real run, exactly.
func (d *Device) DryRun(budget int64) *Device {
	return &Device{
		adapter: d.adapter, limits: d.limits, features: d.features, log: d.log, dry: true, budget: budget,
		lost: &loss{}, kernels: map[kernelKey]*Kernel{}, groups: map[groupKey]*boundGroup{},
	}
}

// Dry reports whether the device only counts.
func (d *Device) Dry() bool { return d.dry }

// SetBudget changes the memory budget in bytes; 0 means none.
func (d *Device) SetBudget(budget int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.budget = budget
}

// Features returns what the device can do beyond the minimum.
func (d *Device) Features() Features { return d.features }

// Budget returns the memory budget in bytes; 0 means none.
func (d *Device) Budget() int64 { return d.budget }

// Stats returns a snapshot of the counters.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// ResetPeak starts a new measurement of the peak.
func (d *Device) ResetPeak() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Peak = d.stats.Live + d.stats.Pooled
}

// Err returns the failure that stopped the device, if any.
func (d *Device) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure()
}

// failure returns the sticky error. The caller holds mu.
func (d *Device) failure() error {
	if d.err != nil {
		return d.err
	}
	d.lost.mu.Lock()
	defer d.lost.mu.Unlock()
	d.err = d.lost.err
	if d.err == nil && d.closed {
		d.err = fmt.Errorf("device %s is closed", d.adapter.Name)
	}
	return d.err
}

// fail records the first failure. The caller holds mu.
func (d *Device) fail(err error) {
	if err != nil && d.failure() == nil {
		d.err = err
	}
}

// Wait blocks until all work issued so far is done, or ctx ends.
func (d *Device) Wait(ctx context.Context) error {
	if d.dry {
		return ctx.Err()
	}
	done := make(chan struct{})
	d.mu.Lock()
	d.rec.submit(d)
	d.queue.OnSubmittedWorkDone(func(gpu.QueueWorkDoneStatus) { close(done) })
	d.mu.Unlock()
	return d.poll(ctx, func() bool {
		d.dev.Poll(false, nil)
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

// poll drives the device until done reports true. It gives the mutex up
// between polls, so that other goroutines can go on issuing work.
func (d *Device) poll(ctx context.Context, done func() bool) error {
	for spins := 0; ; spins++ {
		d.mu.Lock()
		if err := d.failure(); err != nil {
			d.mu.Unlock()
			return err
		}
		ok := done()
		d.mu.Unlock()
		if ok {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if spins < 50 {
			runtime.Gosched()
		} else {
			time.Sleep(min(time.Duration(spins)*2*time.Microsecond, time.Millisecond))
		}
	}
}

// Close releases everything. Buffers of the device are invalid afterwards.
func (d *Device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	lost := errors.Is(d.failure(), ErrDeviceLost)
	d.closed = true
	if d.dry {
		return
	}
	if d.dev != nil {
		d.rec.drop()
		if !lost {
			d.dev.Poll(true, nil)
		}
	}
	for _, g := range d.groups {
		g.raw.Release()
	}
	for _, k := range d.kernels {
		k.release()
	}
	if d.prof != nil {
		d.prof.release()
	}
	d.rec.release()
	d.pool.destroyAll()
	if d.queue != nil {
		d.queue.Release()
	}
	if d.dev != nil {
		d.dev.Release()
	}
	d.raw.Release()
}
