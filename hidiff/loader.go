package hidiff

import (
	"fmt"
	"slices"

	"hidiff/hidiff/checkpoint"
	"hidiff/tensor"
)

// loader gives a network's constructor its parameters and packs its layers. The
// constructors are the only description of the networks: they ask for every
// parameter by its key and shape, in PyTorch's order of registration, and a
// loader without a device only records what they ask for; see [recorded].
type loader struct {
	d      *tensor.Device // nil to record
	prefix string
	param  func(key string, shape []int) *tensor.Parameter
	mine   *owned // what the network keeps
	spent  *owned // what can go when its layers are packed
}

// newLoader uploads the parameters of a frozen network. The state dict has been
// checked against the configuration, so that a missing key is a bug.
func newLoader(d *tensor.Device, state *checkpoint.StateDict, mine *owned) loader {
	l := loader{d: d, mine: mine, spent: &owned{}}
	l.param = func(key string, _ []int) *tensor.Parameter {
		a, ok := state.Get(key)
		if !ok {
			panic("hidiff: no parameter " + key)
		}
		if d.Dry() {
			return tensor.NewParameter(d, make([]float32, a.Len())) // only counted
		}
		return tensor.NewParameter(d, a.Float32s())
	}
	return l
}

// newTrainedLoader takes parameters that are on the device already, and stay.
func newTrainedLoader(d *tensor.Device, trained map[string]*tensor.Parameter, mine *owned) loader {
	return loader{d: d, mine: mine, param: func(key string, _ []int) *tensor.Parameter {
		p, ok := trained[key]
		if !ok {
			panic("hidiff: no parameter " + key)
		}
		return p
	}}
}

// recorded returns the parameters that a constructor asks for.
func recorded(construct func(l loader)) (specs []ParameterSpec) {
	construct(loader{param: func(key string, shape []int) *tensor.Parameter {
		specs = append(specs, ParameterSpec{key, slices.Clone(shape)})
		return nil
	}})
	return specs
}

func (l loader) recording() bool { return l.d == nil }

// at is the loader for the module name below this one.
func (l loader) at(format string, args ...any) loader {
	l.prefix += fmt.Sprintf(format, args...) + "."
	return l
}

// part is the loader for layers that are packed together: what they were packed
// from goes with the done of this part.
func (l loader) part() loader {
	if l.spent != nil {
		l.spent = &owned{}
	}
	return l
}

// done releases what only served packing.
func (l loader) done() {
	if l.spent != nil {
		l.spent.Release()
	}
}

// keeping is a loader whose parameters outlive done.
func (l loader) keeping() loader {
	if l.spent != nil {
		l.spent = l.mine
	}
	return l
}

// get gives a parameter until done.
func (l loader) get(name string, shape ...int) *tensor.Parameter {
	p := l.param(l.prefix+name, shape)
	if l.spent != nil {
		own(l.spent, p)
	}
	return p
}

// getIf is get, or nil where the network has no such parameter.
func (l loader) getIf(has bool, name string, shape ...int) *tensor.Parameter {
	if !has {
		return nil
	}
	return l.get(name, shape...)
}

// linear describes the Linear called name.
func (l loader) linear(name string, out, in int, bias bool) tensor.LinearSpec {
	return l.product(name, out, in, bias)
}

// conv1x1 describes the 1x1 convolution called name.
func (l loader) conv1x1(name string, out, in int, bias bool) tensor.LinearSpec {
	return l.product(name, out, in, bias, 1, 1)
}

// conv3x3 describes the 3x3 convolution called name.
func (l loader) conv3x3(name string, out, in int, bias bool) tensor.LinearSpec {
	s := l.product(name, out, in, bias, 3, 3)
	s.Conv = true
	return s
}

func (l loader) product(name string, out, in int, bias bool, kernel ...int) tensor.LinearSpec {
	return tensor.LinearSpec{
		Out: out, In: in,
		Weight: l.get(name+".weight", append([]int{out, in}, kernel...)...), Bias: l.getIf(bias, name+".bias", out),
	}
}

// norm gives the weight of the LayerNorm called name, and its bias if it has one.
func (l loader) norm(name string, channels int, bias bool) (gamma, beta *tensor.Parameter) {
	return l.get(name+".weight", channels), l.getIf(bias, name+".bias", channels)
}

// depthwise packs the depthwise 3x3 convolution called name.
func (l loader) depthwise(name string, channels, parts int, bias bool) *tensor.Depthwise {
	weight, b := l.get(name+".weight", channels, 1, 3, 3), l.getIf(bias, name+".bias", channels)
	if l.recording() {
		return nil
	}
	return own(l.mine, tensor.NewDepthwise(l.d, channels, parts, weight, b))
}

// pack packs a map.
func (l loader) pack(s tensor.LinearSpec) *tensor.Linear {
	if l.recording() {
		return nil
	}
	return own(l.mine, tensor.NewLinear(l.d, s))
}

// modulated plans a map that is packed for every prior anew, so that its
// parameters must stay: they are to come from keeping.
func (l loader) modulated(s tensor.LinearSpec) *tensor.Linear {
	if l.recording() {
		return nil
	}
	return own(l.mine, tensor.NewModulatedLinear(l.d, s))
}

// stack packs several maps of one input; at says where the outputs of each begin.
func (l loader) stack(specs []tensor.LinearSpec) (linear *tensor.Linear, at []int) {
	if l.recording() || len(specs) == 0 {
		return nil, make([]int, len(specs))
	}
	linear, at = tensor.NewLinearStack(l.d, specs)
	return own(l.mine, linear), at
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
