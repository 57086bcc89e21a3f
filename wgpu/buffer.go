package wgpu

import (
	gpu "github.com/oliverbestmann/webgpu/wgpu"
)

// Buffer is a block of device memory from the device's pool.
type Buffer struct {
	dev    *Device
	id     uint64
	size   int64
	raw    *gpu.Buffer
	live   bool
	born   uint64                   // when it was last handed out
	groups map[*boundGroup]struct{} // cached bind groups that name this buffer
}

const bufferUsage = gpu.BufferUsageStorage | gpu.BufferUsageUniform | gpu.BufferUsageCopySrc | gpu.BufferUsageCopyDst

// pool keeps released buffers by exact size: shapes repeat, so a steady state
// creates nothing.
type pool struct {
	free   map[int64][]*Buffer
	all    map[*Buffer]struct{}
	nextID uint64
	births uint64
}

// roundSize rounds up to 256 bytes: every size is then a valid binding and
// copy size, and near-equal shapes share buffers.
func roundSize(n int64) int64 { return max((n+255)&^255, 256) }

// Alloc returns a buffer of at least size bytes with undefined content. It
// fails with a [*MemoryError] where size does not fit the budget, the device's
// limit or its memory, and with the device's failure if there is one.
func (d *Device) Alloc(label string, size int64) (*Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failure(); err != nil {
		return nil, err
	}
	size = roundSize(size)
	if list := d.pool.free[size]; len(list) > 0 {
		b := list[len(list)-1]
		d.pool.free[size] = list[:len(list)-1]
		b.live, b.born = true, d.pool.birth()
		d.stats.Pooled -= size
		d.stats.Live += size
		return b, nil
	}
	refusal := &MemoryError{Label: label, Size: size, InUse: d.stats.Live, Budget: d.budget}
	if d.budget > 0 && d.stats.Live+d.stats.Pooled+size > d.budget {
		d.trim(d.stats.Live + d.stats.Pooled + size - d.budget)
		if d.stats.Live+size > d.budget {
			return nil, refusal
		}
	}
	refusal.Budget = 0
	if size > d.limits.Buffer {
		return nil, refusal
	}
	raw, err := d.createBuffer(label, size)
	if err != nil && isOutOfMemory(err) {
		d.trim(1 << 62)
		if raw, err = d.createBuffer(label, size); err != nil {
			return nil, refusal
		}
	}
	if err != nil {
		d.fail(err)
		return nil, err
	}
	d.pool.nextID++
	b := &Buffer{dev: d, id: d.pool.nextID, size: size, raw: raw, live: true, born: d.pool.birth()}
	if d.pool.all == nil {
		d.pool.all = map[*Buffer]struct{}{}
		d.pool.free = map[int64][]*Buffer{}
	}
	d.pool.all[b] = struct{}{}
	d.stats.Live += size
	d.stats.Allocations++
	d.stats.Peak = max(d.stats.Peak, d.stats.Live+d.stats.Pooled)
	return b, nil
}

func (d *Device) createBuffer(label string, size int64) (*gpu.Buffer, error) {
	if d.dry {
		return nil, nil
	}
	return d.dev.TryCreateBuffer(&gpu.BufferDescriptor{Label: label, Size: uint64(size), Usage: bufferUsage})
}

func (p *pool) birth() uint64 {
	p.births++
	return p.births
}

// Mark returns a point in time for [Device.ReleaseSince].
func (d *Device) Mark() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pool.births
}

// ReleaseSince releases every buffer handed out after mark: what an operation
// that failed half-way left behind.
func (d *Device) ReleaseSince(mark uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for b := range d.pool.all {
		if b.live && b.born > mark {
			d.release(b)
		}
	}
}

// Release returns b to the pool. Work already issued may still use it: the
// stream is in order, so whoever gets it next comes later.
func (b *Buffer) Release() {
	d := b.dev
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release(b)
}

func (d *Device) release(b *Buffer) {
	if !b.live || d.closed {
		return
	}
	b.live = false
	d.stats.Live -= b.size
	d.stats.Pooled += b.size
	d.pool.free[b.size] = append(d.pool.free[b.size], b)
}

// Trim destroys the pooled buffers nobody uses.
func (d *Device) Trim() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trim(1 << 62)
}

// trim destroys pooled buffers, largest first, until need bytes are free.
// Recorded work may still name them, so it is submitted first; the driver
// keeps a destroyed buffer's memory until submitted work is done with it.
func (d *Device) trim(need int64) {
	d.rec.submit(d)
	for need > 0 {
		var largest int64
		for size, list := range d.pool.free {
			if len(list) > 0 {
				largest = max(largest, size)
			}
		}
		if largest == 0 {
			break
		}
		list := d.pool.free[largest]
		d.destroy(list[len(list)-1])
		d.pool.free[largest] = list[:len(list)-1]
		need -= largest
	}
	if d.failure() == nil && !d.dry {
		d.dev.Poll(true, nil) // memory comes back only when the work is done
	}
}

func (d *Device) destroy(b *Buffer) {
	for g := range b.groups {
		g.raw.Release()
		delete(d.groups, g.key)
		for _, named := range g.buffers {
			delete(named.groups, g)
		}
	}
	if !d.dry {
		b.raw.Release()
	}
	d.stats.Pooled -= b.size
	delete(d.pool.all, b)
}

func (p *pool) destroyAll() {
	for b := range p.all {
		b.raw.Release()
	}
	p.all, p.free = nil, nil
}
