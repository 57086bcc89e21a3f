package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unsafe"

	"hidiff/shaders"
	"hidiff/wgpu"
)

// shader is a file of package shaders and what its kernels are called with. P
// mirrors its struct Params and C the constants declared right behind it, field
// by field: see [wgslName] and [fieldsOf]. The tests compare both languages.
//
// A number of C that is zero leaves what the shader declares.
type shader[P any, C comparable] struct {
	name              string
	params, constants []field
}

// none is for shaders without constants to specialise.
type none struct{}

// declared are all shaders, for the tests.
var declared = map[string]declaration{}

type declaration struct{ params, constants reflect.Type }

func newShader[P any, C comparable](name string) *shader[P, C] {
	params, constants := reflect.TypeFor[P](), reflect.TypeFor[C]()
	declared[name] = declaration{params, constants}
	return &shader[P, C]{name, fieldsOf(params), fieldsOf(constants)}
}

// field is a field of a Go struct and where its value lies.
type field struct {
	name   string
	offset uintptr
	kind   reflect.Kind
}

// fieldsOf lists the fields of a struct that stands for WGSL: int and bool are
// u32, float32 is f32, and an enumeration, a uint32 with a name, is an alias of
// u32 with the same name.
func fieldsOf(t reflect.Type) (fields []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		switch k := f.Type.Kind(); k {
		case reflect.Int, reflect.Bool, reflect.Float32, reflect.Uint32:
			fields = append(fields, field{f.Name, f.Offset, k})
		default:
			panic(fmt.Sprintf("tensor: %v.%s is of type %v", t, f.Name, f.Type))
		}
	}
	return fields
}

// wgslName is a Go name in WGSL: OutPart is out_part, QBias q_bias, MSELoss
// mse_loss. Constants are in capitals there.
func wgslName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		upper := func(j int) bool { return j < len(name) && unicode.IsUpper(rune(name[j])) }
		lower := func(j int) bool { return j < len(name) && unicode.IsLower(rune(name[j])) }
		if i > 0 && upper(i) && (!upper(i-1) || lower(i+1)) {
			b.WriteByte('_')
		}
		b.WriteByte(name[i])
	}
	return strings.ToLower(b.String())
}

// call is one dispatch but for its kernel and parameters.
type call struct {
	views  []wgpu.View // bindings 1, 2, …
	groups [3]int
	work   float64 // floating-point operations
	bytes  float64 // moved; 0 for all that is bound
}

// run dispatches an entry point of the shader, specialised with c.
func (s *shader[P, C]) run(d *Device, entry string, c C, params P, to call) {
	if d.execute.Before != nil {
		d.execute.Before()
	}
	if to.bytes == 0 {
		for i, v := range to.views {
			if !slices.Contains(to.views[:i], v) { // what is bound again is not read
				to.bytes += float64(v.Size)
			}
		}
	}
	k := d.kernels
	k.mu.Lock()
	defer k.mu.Unlock()
	k.block = s.pack(k.block[:0], unsafe.Pointer(&params))
	d.Dispatch(wgpu.Dispatch{
		Kernel: s.kernel(d, entry, c), Params: k.block, Views: to.views, Work: to.work, Bytes: to.bytes,
		Groups: [3]uint32{uint32(to.groups[0]), uint32(to.groups[1]), uint32(to.groups[2])},
	})
}

// pack appends the P at p as the shader reads it.
func (s *shader[P, C]) pack(block []byte, p unsafe.Pointer) []byte {
	for _, f := range s.params {
		at := unsafe.Add(p, f.offset)
		var word uint32
		switch f.kind {
		case reflect.Int:
			n := *(*int)(at)
			if n < 0 || int64(n) > math.MaxUint32 {
				panic(fmt.Sprintf("tensor: %s: parameter %s is %d", s.name, f.name, n))
			}
			word = uint32(n)
		case reflect.Bool:
			if *(*bool)(at) {
				word = 1
			}
		case reflect.Float32, reflect.Uint32:
			word = *(*uint32)(at)
		}
		block = binary.LittleEndian.AppendUint32(block, word)
	}
	return block
}

// kernels are those compiled so far, and room for a dispatch's parameters.
type kernels struct {
	mu       sync.Mutex
	compiled map[any]any // of a *shader[P, C], map[special[C]]*wgpu.Kernel
	block    []byte
}

// special is an entry point with its constants.
type special[C comparable] struct {
	entry     string
	constants C
}

// kernel returns an entry point, specialised and compiled. Every dispatch asks,
// so finding one that is there formats and allocates nothing. The caller holds
// the mutex.
func (s *shader[P, C]) kernel(d *Device, entry string, c C) *wgpu.Kernel {
	all, _ := d.kernels.compiled[s].(map[special[C]]*wgpu.Kernel)
	if k, ok := all[special[C]{entry, c}]; ok {
		return k
	}
	label, constants := s.name+"/"+entry, shaders.Constants{}
	for i, f := range s.constants {
		if v := reflect.ValueOf(c).Field(i); !v.IsZero() {
			name := strings.ToUpper(wgslName(f.name))
			constants[name] = plain(v)
			label += fmt.Sprintf(" %s=%v", name, constants[name])
		}
	}
	p, err := shaders.Load(s.name, entry, constants)
	if err != nil {
		panic(err) // a bug in an operator, caught by its first test
	}
	spec := wgpu.KernelSpec{Label: label, Code: p.Code, EntryPoint: p.EntryPoint}
	for _, b := range p.Bindings[1:] {
		spec.Bindings = append(spec.Bindings, []wgpu.Access{wgpu.Uniform, wgpu.Read, wgpu.ReadWrite}[b.Access])
	}
	k, err := d.Kernel(spec)
	if err != nil {
		panic(gpuError{err})
	}
	if d.kernels.compiled == nil {
		d.kernels.compiled = map[any]any{}
	}
	if all == nil {
		all = map[special[C]]*wgpu.Kernel{}
		d.kernels.compiled[s] = all
	}
	all[special[C]{entry, c}] = k
	return k
}

// plain returns a constant as package shaders takes it.
func plain(v reflect.Value) any {
	if v.CanUint() {
		return int(v.Uint())
	}
	return v.Interface()
}
