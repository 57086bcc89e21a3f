package hidiff

import (
	"fmt"

	"hidiff/hidiff/checkpoint"
	"hidiff/tensor"
)

// loader gives a network's parameters while its layers are built. It uploads
// them, and done releases what only served packing; those of a network that is
// trained are there already, and stay.
type loader struct {
	d       *tensor.Device
	state   *checkpoint.StateDict
	prefix  string
	uses    *[]*tensor.Parameter
	trained map[string]*tensor.Parameter // by name; nil for a frozen network
}

func newLoader(d *tensor.Device, state *checkpoint.StateDict) loader {
	return loader{d: d, state: state, uses: new([]*tensor.Parameter)}
}

// at is the loader for the module name below this one.
func (l loader) at(format string, args ...any) loader {
	l.prefix += fmt.Sprintf(format, args...) + "."
	return l
}

// values returns a parameter's values. The state dict has been checked against
// the configuration, so a missing one is a bug.
func (l loader) values(name string) []float32 {
	a, ok := l.state.Get(l.prefix + name)
	if !ok {
		panic("hidiff: no parameter " + l.prefix + name)
	}
	if l.d.Dry() {
		return make([]float32, a.Len()) // only counted
	}
	return a.Float32s()
}

func (l loader) has(name string) bool {
	if l.trained != nil {
		return l.trained[l.prefix+name] != nil
	}
	_, ok := l.state.Get(l.prefix + name)
	return ok
}

// param gives a parameter until done.
func (l loader) param(name string) *tensor.Parameter {
	if l.trained != nil {
		return l.trained[l.prefix+name]
	}
	p := tensor.NewParameter(l.d, l.values(name))
	*l.uses = append(*l.uses, p)
	return p
}

// optional is param, or nil where the network has no such parameter.
func (l loader) optional(name string) *tensor.Parameter {
	if !l.has(name) {
		return nil
	}
	return l.param(name)
}

// keep gives a parameter that outlives done; nil where there is none.
func (l loader) keep(name string, owner *owned) *tensor.Parameter {
	if l.trained != nil {
		return l.trained[l.prefix+name]
	}
	if !l.has(name) {
		return nil
	}
	return own(owner, tensor.NewParameter(l.d, l.values(name)))
}

func (l loader) done() {
	for _, p := range *l.uses {
		p.Release()
	}
	*l.uses = nil
}

// owned collects what a network must release.
type owned []interface{ Release() }

func own[T interface{ Release() }](o *owned, v T) T {
	*o = append(*o, v)
	return v
}

// Release frees it all.
func (o *owned) Release() {
	for _, v := range *o {
		v.Release()
	}
	*o = nil
}

// Repack packs again what was packed from parameters.
func (o *owned) Repack() {
	for _, v := range *o {
		if p, ok := v.(interface{ Repack() }); ok {
			p.Repack()
		}
	}
}

// linear describes the Linear or 1x1 convolution called name.
func (l loader) linear(name string, out, in int, s tensor.LinearSpec) tensor.LinearSpec {
	s.Out, s.In = out, in
	s.Weight, s.Bias = l.param(name+".weight"), l.optional(name+".bias")
	return s
}

func (l loader) conv(name string, out, in int) tensor.LinearSpec {
	return l.linear(name, out, in, tensor.LinearSpec{Conv: true})
}
