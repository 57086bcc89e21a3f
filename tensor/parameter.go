package tensor

import "fmt"

// Parameter is a learned array as PyTorch stores it, flat and unpadded.
type Parameter struct {
	*Tensor
	Name string  // its key, for messages; may be empty
	Grad *Tensor // where backward adds its gradient, flat; nil if it is frozen
}

// NewParameter uploads a frozen parameter.
func NewParameter(d *Device, values []float32) *Parameter {
	return &Parameter{Tensor: From(d, values, 1, len(values))}
}

// ParameterSpec names a parameter and gives its first values, row-major.
type ParameterSpec struct {
	Name   string
	Shape  []int // PyTorch's
	Values []float32
}

// Parameters are learned arrays side by side in one flat buffer, and their
// gradients in another, so that an optimizer needs one dispatch for all.
type Parameters struct {
	Values, Grads *Tensor // flat, of one size; what lies between parameters is zero
	specs         []ParameterSpec
	at            []int // where each begins
	list          []*Parameter
}

// NewParameters uploads parameters that can be trained. Their gradients are
// zero. The specs' values are not kept.
func NewParameters(d *Device, specs []ParameterSpec) *Parameters {
	p := &Parameters{}
	n := 0
	for _, s := range specs {
		p.at = append(p.at, n)
		n += slot(d, s.len())
		p.specs = append(p.specs, ParameterSpec{Name: s.Name, Shape: s.Shape})
	}
	if most := d.Limits().Binding / 4; int64(n) > most {
		panic(gpuError{fmt.Errorf("%d parameters cannot be trained on this GPU, which binds %d at most: make the network smaller", n, most)})
	}
	flat := make([]float32, n)
	for i, s := range specs {
		if len(s.Values) != s.len() {
			panic(&ShapeError{"parameters", s.Name, fmt.Sprintf("%v values", s.Shape), []int{len(s.Values)}})
		}
		copy(flat[p.at[i]:], s.Values)
	}
	p.Values, p.Grads = From(d, flat, n), New(d, n)
	p.ZeroGrad()
	for i, s := range specs {
		p.list = append(p.list, &Parameter{Tensor: p.Values.flat(p.at[i], s.len()), Name: s.Name, Grad: p.Grads.flat(p.at[i], s.len())})
	}
	return p
}

// slot is the room a parameter takes: kernels bind from aligned offsets on.
func slot(d *Device, n int) int {
	align := int(d.Limits().Alignment / 4)
	return ceilDiv(n, align) * align
}

func (s ParameterSpec) len() int {
	n := 1
	for _, size := range s.Shape {
		n *= size
	}
	return n
}

// flat views n values of a flat tensor, as one row.
func (t *Tensor) flat(at, n int) *Tensor {
	v := layout(t.d, 1, []int{1, n})
	v.mem, v.offset = t.mem, t.offset+4*int64(at)
	v.mem.users++
	return v
}

// All returns the parameters in the order of their specs.
func (p *Parameters) All() []*Parameter { return p.list }

// Count returns how many values are learned.
func (p *Parameters) Count() (n int) {
	for _, s := range p.specs {
		n += s.len()
	}
	return n
}

// Spec returns the name and shape of parameter i, without values.
func (p *Parameters) Spec(i int) ParameterSpec { return p.specs[i] }

// Slice returns the values of parameter i out of those of a whole flat tensor
// laid out like p.Values.
func (p *Parameters) Slice(flat []float32, i int) []float32 {
	return flat[p.at[i]:][:p.specs[i].len()]
}

// ZeroGrad clears all gradients.
func (p *Parameters) ZeroGrad() { p.Grads.Zero() }

// Release frees the parameters and their gradients.
func (p *Parameters) Release() {
	for _, x := range p.list {
		x.Release()
		x.Grad.Release()
	}
	p.Values.Release()
	p.Grads.Release()
}

// expect panics with a ShapeError unless p has n values.
func (p *Parameter) expect(op, arg string, n int) {
	switch {
	case p == nil:
		expect(false, op, arg, fmt.Sprintf("%d values", n), nil)
	case p.Len() != n:
		expect(false, op, arg, fmt.Sprintf("%d values", n), p.Tensor)
	}
}

// Parameters returns what the map was packed from; entries may be nil.
func (l *Linear) Parameters() (all []*Parameter) {
	for _, s := range l.specs {
		all = append(all, s.Weight, s.Bias, s.Gamma, s.Beta)
	}
	return all
}

// Parameters returns what the convolution was packed from; entries may be nil.
func (w *Depthwise) Parameters() []*Parameter { return []*Parameter{w.weight, w.bias} }

// Parameters returns all parameters of the attention; entries may be nil.
func (a *Attention) Parameters() []*Parameter {
	return append(append(a.QKV.Parameters(), a.Depth.Parameters()...), a.Temperature, a.Out, a.OutBias)
}

// Parameters returns all parameters of the network; entries may be nil.
func (f *FeedForward) Parameters() []*Parameter {
	return append(append(f.In.Parameters(), f.Depth.Parameters()...), f.Out.Parameters()...)
}

// Parameters returns all parameters of the module; entries may be nil.
func (m *HIM) Parameters() []*Parameter {
	return []*Parameter{m.Gamma, m.Beta, m.Query, m.QBias, m.Proj, m.ProjBias}
}
