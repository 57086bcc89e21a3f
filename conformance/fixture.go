// Package conformance holds hidiff to the released PyTorch code: reference outputs
// (testdata, described in its README.md), a float64 CPU reference of every primitive
// (package ref), and the means to compare with them.
//
// A [Fixture] says in its own metadata what it is a reference of, so that a test can
// run any file of a [Kind]; [FillParam] makes the weights that fixtures do not store;
// [Compare] says how far a result is from its reference, and refuses what it cannot
// compare. [RunDir] holds a device to a folder of fixtures, [SelfTest] to package ref,
// without any file.
package conformance

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
)

// Kind says what a fixture is a reference of.
type Kind string

const (
	KindOp           Kind = "op"             // one operator: in.*, out, grad_out, grad.*
	KindModule       Kind = "module"         // one module: as an operator, and param.*, param_grad.*
	KindNetwork      Kind = "network"        // all networks: lq, gt, s1.*, s2.*, schedule.*
	KindEndToEnd     Kind = "end_to_end"     // photo to photo: noise, prior, out, and two PNG files
	KindTraining     Kind = "training"       // iterations: iter1.lq, iter1.param.net_g.…
	KindOptim        Kind = "optim"          // steps of an optimizer: p0, g0, p1, …
	KindClipGradNorm Kind = "clip_grad_norm" // g0, …, norm, clipped0, …
)

// Errors that [OpenFixture] and [Fixture.Tensor] wrap.
var (
	ErrUnknownKind = errors.New("unknown kind of fixture")
	ErrNoTensor    = errors.New("no such tensor")
)

// Tensor is a row-major float32 array in PyTorch's layout.
type Tensor struct {
	Shape []int
	Data  []float32
}

// Fixture is one reference file. Fields below Tensors are set for the kinds named.
type Fixture struct {
	Path    string
	Kind    Kind
	Tensors map[string]Tensor

	Op    string             // op: the operator's name, as in package ref
	Attrs map[string]float64 // op

	Module  string // module: the released code's class, e.g. TransformerBlock
	Options []byte // and the arguments of its constructor, JSON

	Config     hidiff.Config // network, end_to_end, training
	FillPrefix string        // network, end_to_end, training: the prefix of FillParam

	Picks map[string][]int // network: which 16 elements s1.gradsum.* samples, by net and key

	OutputWeightScale float64 // end_to_end: net_g's output.weight is filled, then multiplied by this

	Train   options.TrainOptions // training
	Trained []string             // training: the networks that are optimised, in the optimizer's order
}

// OpenFixture reads a safetensors fixture and decodes its metadata. A file whose
// metadata and tensor names belong to no [Kind] is an [ErrUnknownKind]; an option that
// this package does not know is an error too, as it would otherwise be ignored.
func OpenFixture(path string) (*Fixture, error) {
	tensors, metadata, err := readTensors(path)
	if err != nil {
		return nil, err
	}
	f := &Fixture{Path: path, Tensors: tensors}
	if f.Kind, err = kindOf(metadata, tensors); err == nil {
		err = f.decode(metadata)
	}
	if err != nil {
		return nil, fmt.Errorf("fixture %s: %w", path, err)
	}
	return f, nil
}

// Tensor returns the tensor of that name, or an [ErrNoTensor].
func (f *Fixture) Tensor(name string) (Tensor, error) {
	t, ok := f.Tensors[name]
	if !ok {
		return Tensor{}, fmt.Errorf("fixture %s: %w: %s", f.Path, ErrNoTensor, name)
	}
	return t, nil
}

// Under returns the tensors whose names begin with prefix, by the rest of their names:
// Under("param.") gives a module's parameters by key.
func (f *Fixture) Under(prefix string) map[string]Tensor {
	out := map[string]Tensor{}
	for name, t := range f.Tensors {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			out[rest] = t
		}
	}
	return out
}

// Photos returns the paths of an end_to_end fixture's blurred photo and of the photo
// expected of it, both PNG.
func (f *Fixture) Photos() (input, expected string) {
	stem := strings.TrimSuffix(f.Path, filepath.Ext(f.Path))
	return stem + ".png", stem + "_expected.png"
}

// kindOf goes by metadata, and by tensor names where metadata says too little.
func kindOf(metadata map[string]string, tensors map[string]Tensor) (Kind, error) {
	inMetadata := func(key string) bool { _, ok := metadata[key]; return ok }
	holds := func(names ...string) bool {
		for _, name := range names {
			if _, ok := tensors[name]; !ok {
				return false
			}
		}
		return true
	}
	switch {
	case inMetadata("op"):
		return KindOp, nil
	case inMetadata("module"):
		return KindModule, nil
	case inMetadata("train"):
		return KindTraining, nil
	case inMetadata("config") && holds("lq", "gt"):
		return KindNetwork, nil
	case inMetadata("config") && holds("noise", "prior", "out"):
		return KindEndToEnd, nil
	case holds("p0", "g0", "p1"):
		return KindOptim, nil
	case holds("g0", "norm", "clipped0"):
		return KindClipGradNorm, nil
	}
	return "", fmt.Errorf("%w: neither its metadata (op, module, train or config) nor its tensors tell", ErrUnknownKind)
}

// readTensors reads a file's tensors by name, and its metadata.
func readTensors(path string) (map[string]Tensor, map[string]string, error) {
	file, err := checkpoint.Open(path)
	if err != nil {
		return nil, nil, err
	}
	tensors := map[string]Tensor{}
	for group, state := range file.Groups {
		for key, array := range state.All() {
			if group != "" { // checkpoint takes "net_x." for the name of a network
				key = group + "." + key
			}
			tensors[key] = Tensor{array.Shape, array.Float32s()}
		}
	}
	return tensors, file.Metadata, nil
}

// Testdata returns the path of a file in this package's testdata directory, for tests
// that run where this repository's sources are.
func Testdata(elem ...string) string {
	dir := ""
	if _, source, _, ok := runtime.Caller(0); ok && filepath.IsAbs(source) { // not so under -trimpath
		dir = filepath.Dir(source)
	}
	return filepath.Join(append([]string{dir, "testdata"}, elem...)...)
}
