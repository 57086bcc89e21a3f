// Package conformance holds hidiff to the released PyTorch code: reference outputs
// (testdata, described in its README.md), a float64 CPU reference of every primitive
// (package ref), and the means to compare with them.
//
// [RunDir] holds a device to a folder of fixtures, each of which says in its own metadata
// what it is a reference of; [SelfTest] holds it to package ref, without any file.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
)

// kind says what a fixture is a reference of.
type kind string

const (
	kindOp           kind = "op"             // one operator: in.*, out, grad_out, grad.*
	kindModule       kind = "module"         // one module: as an operator, and param.*, param_grad.*
	kindNetwork      kind = "network"        // all networks: lq, gt, s1.*, s2.*, schedule.*
	kindEndToEnd     kind = "end_to_end"     // photo to photo: noise, prior, out, and two PNG files
	kindTraining     kind = "training"       // iterations: iter1.lq, iter1.param.net_g.…
	kindOptim        kind = "optim"          // steps of an optimizer: p0, g0, p1, …
	kindClipGradNorm kind = "clip_grad_norm" // g0, …, norm, clipped0, …
)

// Errors that openFixture and fixture.Tensor wrap.
var (
	errUnknownKind = errors.New("unknown kind of fixture")
	errNoTensor    = errors.New("no such tensor")
)

// array is a row-major float32 array in PyTorch's layout.
type array struct {
	Shape []int
	Data  []float32
}

// fixture is one reference file. Fields below Tensors are set for the kinds named.
type fixture struct {
	Path    string
	Kind    kind
	Tensors map[string]array

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

// openFixture reads a safetensors fixture and decodes its metadata. A file whose
// metadata and tensor names belong to no kind is an errUnknownKind; an option that
// this package does not know is an error too, as it would otherwise be ignored.
func openFixture(path string) (*fixture, error) {
	tensors, metadata, err := readTensors(path)
	if err != nil {
		return nil, err
	}
	f := &fixture{Path: path, Tensors: tensors}
	if f.Kind, err = kindOf(metadata, tensors); err == nil {
		err = f.decode(metadata)
	}
	if err != nil {
		return nil, fmt.Errorf("fixture %s: %w", path, err)
	}
	return f, nil
}

// array returns the tensor of that name, or an errNoTensor.
func (f *fixture) Tensor(name string) (array, error) {
	t, ok := f.Tensors[name]
	if !ok {
		return array{}, fmt.Errorf("fixture %s: %w: %s", f.Path, errNoTensor, name)
	}
	return t, nil
}

// Under returns the tensors whose names begin with prefix, by the rest of their names:
// Under("param.") gives a module's parameters by key.
func (f *fixture) Under(prefix string) map[string]array {
	out := map[string]array{}
	for name, t := range f.Tensors {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			out[rest] = t
		}
	}
	return out
}

// Photos returns the paths of an end_to_end fixture's blurred photo and of the photo
// expected of it, both PNG.
func (f *fixture) Photos() (input, expected string) {
	stem := strings.TrimSuffix(f.Path, filepath.Ext(f.Path))
	return stem + ".png", stem + "_expected.png"
}

// kindOf goes by metadata, and by tensor names where metadata says too little.
func kindOf(metadata map[string]string, tensors map[string]array) (kind, error) {
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
		return kindOp, nil
	case inMetadata("module"):
		return kindModule, nil
	case inMetadata("train"):
		return kindTraining, nil
	case inMetadata("config") && holds("lq", "gt"):
		return kindNetwork, nil
	case inMetadata("config") && holds("noise", "prior", "out"):
		return kindEndToEnd, nil
	case holds("p0", "g0", "p1"):
		return kindOptim, nil
	case holds("g0", "norm", "clipped0"):
		return kindClipGradNorm, nil
	}
	return "", fmt.Errorf("%w: neither its metadata (op, module, train or config) nor its tensors tell", errUnknownKind)
}

// readTensors reads a file's tensors by name, and its metadata.
func readTensors(path string) (map[string]array, map[string]string, error) {
	file, err := checkpoint.Open(context.Background(), path)
	if err != nil {
		return nil, nil, err
	}
	tensors := map[string]array{}
	for group, state := range file.Groups {
		for key, a := range state.All() {
			if group != "" { // checkpoint takes "net_x." for the name of a network
				key = group + "." + key
			}
			tensors[key] = array{a.Shape, a.Float32s()}
		}
	}
	return tensors, file.Metadata, nil
}
