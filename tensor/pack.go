package tensor

import (
	"fmt"

	"hidiff/wgpu"
)

var packShader = newShader[packParams, packConstants]("pack")

type packParams struct {
	Outputs, Inputs, In0, Row, OutPart, OutPad, InPart, InPad, N, K, Shuffle, Taps, Scale0, Shift0, Ms, First, NAll int
}

type packConstants struct {
	Gamma, Beta, Modulated, Biased, Transposed bool
	Depth                                      int
}

// Norm is a kind of LayerNorm over the channels.
type Norm uint32

// The kinds of LayerNorm.
const (
	NoNorm   Norm = iota
	WithBias      // (x - mean) / sqrt(var + eps) * weight + bias
	BiasFree      // x / sqrt(var + eps) * weight, the variance still about the mean
)

// LayerNormEps is the eps of every LayerNorm in HI-Diff.
const LayerNormEps = 1e-5

// LinearSpec describes a linear map and what is folded into it. The shape is
// PyTorch's [Out, In], or [Out, In, 3, 3] for a convolution.
type LinearSpec struct {
	Out, In           int
	OutParts, InParts int        // how stored channels are grouped; 0 means 1
	Weight            *Parameter // Out*In values, times 9 for a convolution
	Bias              *Parameter // Out values, or nil
	Norm              Norm       // LayerNorm of the input
	Gamma, Beta       *Parameter // its weight and bias, In values
	Modulation        *Tensor    // [N, ...]: x*k1 + k2 after the LayerNorm, per image; nil for none
	ScaleAt, ShiftAt  int        // where k1 and k2 start in the stored rows of Modulation
	From              int        // first column of Weight used, when In is a slice of its row
	Row               int        // columns of Weight; 0 means In
	Conv              bool       // 3x3
	Shuffle           int        // r if a pixel shuffle by r follows

	transposed bool // Weight is that of the map this one is the transpose of, [In, Out]
}

// Linear is a linear map packed for the device: see linear.wgsl.
type Linear struct {
	d        *Device
	out, in  int
	n, k     int // stored sizes
	depth    int // inputs of a part, where panels.wgsl has parts; else 0
	outParts int
	inParts  int
	norm     Norm
	images   int // sets of weights, one per image; 1 if shared
	shuffle  int
	panels   *memory
	epilogue *memory

	specs []LinearSpec // of the map, or of those stacked in it
	at    []int        // first output of each
	back  []*Linear    // their transposes, once a backward needed them
	base  *Linear      // what Modulated was called on, whose transposes serve
}

// NewLinear packs a linear map. The parameters can be released afterwards.
func NewLinear(d *Device, s LinearSpec) *Linear {
	l := layOut(d, s)
	l.specs, l.at = []LinearSpec{s}, []int{0}
	l.allocate()
	l.Repack()
	return l
}

// NewLinearStack packs several maps of the same input into one. Its outputs
// stand side by side in one part, map i's from at[i] on, as stored.
func NewLinearStack(d *Device, specs []LinearSpec) (l *Linear, at []int) {
	all := layOut(d, specs[0])
	n := 0
	for _, s := range specs {
		at = append(at, n)
		n += ceilDiv(layOut(d, s).n, 16) * 16
	}
	all.out, all.n, all.outParts = n, n, 1
	all.specs, all.at = specs, at
	all.allocate()
	all.Repack()
	return all, at
}

// NewModulatedLinear plans a map whose modulation is known only image by image:
// [Linear.Modulated] packs it. spec.Modulation stays nil.
func NewModulatedLinear(d *Device, s LinearSpec) *Linear {
	l := layOut(d, s)
	l.specs, l.at = []LinearSpec{s}, []int{0}
	return l
}

// ModulateAt says where k1 and k2 start in the stored rows of the modulations
// that follow.
func (l *Linear) ModulateAt(scale, shift int) { l.specs[0].ScaleAt, l.specs[0].ShiftAt = scale, shift }

// Modulated returns l with a modulation [N, ...] folded in, one set of weights
// for each image. Release it before l.
func (l *Linear) Modulated(m *Tensor) *Linear {
	s := l.specs[0]
	s.Modulation = m
	p := NewLinear(m.d, s)
	p.base = l
	return p
}

// Repack packs the parameters again after they changed.
func (l *Linear) Repack() {
	for i, s := range l.specs {
		if l.panels != nil {
			l.pack(s, l.at[i])
		}
	}
	for _, t := range l.back {
		if t != nil {
			t.Repack()
		}
	}
}

// transpose returns the map of gradients of map i: dy [..., Out] → dx [..., In],
// without what is folded in. A convolution's pixel shuffle is left to the
// caller: dy has the convolution's own channels.
func (l *Linear) transpose(i int) *Linear {
	if l.base != nil {
		return l.base.transpose(i)
	}
	if l.back == nil {
		l.back = make([]*Linear, len(l.specs))
	}
	if l.back[i] == nil {
		s := l.specs[i]
		t := LinearSpec{
			Out: s.In, In: s.Out, OutParts: s.InParts, InParts: s.OutParts,
			Weight: s.Weight, From: s.From, Row: max(s.Row, s.In), Conv: s.Conv, transposed: true,
		}
		l.back[i] = NewLinear(l.d, t)
	}
	return l.back[i]
}

// layOut works out how s is stored.
func layOut(d *Device, s LinearSpec) *Linear {
	l := &Linear{
		d: d, out: s.Out, in: s.In, outParts: max(s.OutParts, 1), inParts: max(s.InParts, 1),
		norm: s.Norm, images: 1, shuffle: max(s.Shuffle, 1),
	}
	if s.Modulation != nil {
		l.images = s.Modulation.shape[0]
	}
	if r := l.shuffle * l.shuffle; r > 1 {
		l.outParts = r // sub-pixel by sub-pixel, each padded
	}
	l.n = l.outParts * pad4(s.Out/l.outParts)
	l.k = l.inParts * pad4(s.In/l.inParts) * s.taps()
	return l
}

func (s LinearSpec) taps() int {
	if s.Conv {
		return 9
	}
	return 1
}

// pack fills the outputs from first on with s.
func (l *Linear) pack(s LinearSpec, first int) {
	own := layOut(l.d, s)
	row, outer := max(s.Row, s.In)*s.taps(), s.Out
	if s.transposed {
		row, outer = s.Row*s.taps(), s.In
	}
	if got := s.Weight.Len(); got != outer*row {
		panic(&ShapeError{"linear", "weight", fmt.Sprintf("%d x %d values", outer, row), []int{got}})
	}
	optional := func(p *Parameter) wgpu.View {
		if p == nil {
			return s.Weight.whole()
		}
		return p.whole()
	}
	modulation, modulationRow := s.Weight.whole(), 0
	if s.Modulation != nil {
		modulation, modulationRow = s.Modulation.whole(), s.Modulation.width()
	}
	packShader.run(l.d, "pack", packConstants{
		Gamma: s.Gamma != nil, Beta: s.Beta != nil, Modulated: s.Modulation != nil, Biased: s.Bias != nil, Transposed: s.transposed, Depth: l.depth,
	}, packParams{
		Outputs: s.Out, Inputs: s.In, In0: s.From, Row: row, OutPart: s.Out / own.outParts, OutPad: pad4(s.Out / own.outParts),
		InPart: s.In / own.inParts, InPad: pad4(s.In / own.inParts), N: own.n, K: l.k, Shuffle: l.shuffle * l.shuffle, Taps: s.taps(),
		Scale0: s.ScaleAt, Shift0: s.ShiftAt, Ms: modulationRow, First: first, NAll: l.n,
	}, call{
		views: []wgpu.View{s.Weight.whole(), optional(s.Bias), optional(s.Gamma), optional(s.Beta), modulation,
			wgpu.Whole(l.panels.buffer), wgpu.Whole(l.epilogue.buffer)},
		groups: [3]int{ceilDiv(ceilDiv(own.n, 16)*16, 64), l.images, 1},
	})
}

// window is the size of a uniform binding that linear.wgsl declares.
const window = 65536

// storedK is k as packed.
func (l *Linear) storedK() int {
	if l.depth > 0 {
		return ceilDiv(l.k, l.depth) * l.depth
	}
	return l.k
}

func (l *Linear) panelBytes() int64  { return int64(l.storedK()) * 64 }
func (l *Linear) panelCount() int    { return ceilDiv(l.n, 16) }
func (l *Linear) perWindow() int     { return int(window / l.panelBytes()) }
func (l *Linear) weightBytes() int64 { return int64(l.panelCount()) * l.panelBytes() }

func (l *Linear) allocate() {
	most := mostDepth
	if len(l.specs) > 0 && l.specs[0].Conv {
		most = fourRows
	}
	l.depth = l.d.partDepth(l.k, l.n, most)
	// A window may begin anywhere, and must lie inside the buffer as a whole.
	l.panels = alloc(l.d, "panels", int64(l.images)*l.weightBytes()+window)
	l.epilogue = alloc(l.d, "epilogue", int64(l.images)*2*int64(l.n)*4)
}

func alloc(d *Device, label string, size int64) *memory {
	b, err := d.Alloc(label, size)
	if err != nil {
		panic(gpuError{err})
	}
	return &memory{buffer: b, users: 1}
}

// Release frees the packed weights.
func (l *Linear) Release() {
	if l == nil {
		return
	}
	if l.panels != nil {
		l.panels.buffer.Release()
		l.epilogue.buffer.Release()
	}
	for _, t := range l.back {
		t.Release()
	}
}

// Depthwise is a packed depthwise 3x3 convolution.
type Depthwise struct {
	channels, parts int
	weight, bias    *Parameter
	taps            *Tensor // [10, C]: nine taps, then the bias
	back            *Tensor // the taps of the gradient's convolution, once a backward needed them
}

// NewDepthwise packs weight [C, 1, 3, 3] and bias [C] (or nil) for tensors
// with that many parts.
func NewDepthwise(d *Device, channels, parts int, weight, bias *Parameter) *Depthwise {
	if got := weight.Len(); got != channels*9 {
		panic(&ShapeError{"depthwise", "weight", fmt.Sprintf("%d x 9 values", channels), []int{got}})
	}
	dw := &Depthwise{channels: channels, parts: parts, weight: weight, bias: bias, taps: newParts(d, parts, 10, channels)}
	dw.Repack()
	return dw
}

// Repack packs the parameters again after they changed.
func (w *Depthwise) Repack() {
	w.pack(w.taps, w.bias, false)
	if w.back != nil {
		w.pack(w.back, nil, true)
	}
}

// transpose returns taps for the gradient: turned round, without bias.
func (w *Depthwise) transpose() *Tensor {
	if w.back == nil {
		w.back = newParts(w.taps.d, w.parts, 10, w.channels)
		w.pack(w.back, nil, true)
	}
	return w.back
}

func (w *Depthwise) pack(taps *Tensor, bias *Parameter, turned bool) {
	b := w.weight
	if bias != nil {
		b = bias
	}
	n, each := taps.width(), w.channels/w.parts
	packShader.run(taps.d, "depthwise", packConstants{Biased: bias != nil, Transposed: turned}, packParams{
		Outputs: w.channels, OutPart: each, OutPad: pad4(each), N: n,
	}, call{
		views:  []wgpu.View{w.weight.whole(), b.whole(), taps.whole()},
		groups: [3]int{ceilDiv(n, 64), 1, 1},
	})
}

// Release frees the packed weights.
func (w *Depthwise) Release() {
	if w != nil {
		w.taps.Release()
		w.back.Release()
	}
}
