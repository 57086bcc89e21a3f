package hidiff

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"hidiff/hidiff/checkpoint"
)

// deepest bounds how many wrappers a network is looked for in.
const deepest = 16

// found are the networks in a file: for each, its state_dicts by their paths, of keys and of
// parts of names.
type found struct {
	all  *checkpoint.File
	nets map[Network]*checkpoint.File
}

// findNetworks finds the networks in a file, in whatever they are wrapped: a name is a path, and a network lies
// where what begins with a path goes on as a network's parameters do. What lies beside networks, such as the
// network of a loss, is passed over. It fails, and says what there is, where there is none.
func findNetworks(file *checkpoint.File) (*found, error) {
	empty := func() *checkpoint.File {
		return &checkpoint.File{Path: file.Path, Groups: map[string]*checkpoint.StateDict{}}
	}
	f := &found{all: empty(), nets: map[Network]*checkpoint.File{}}
	groups := slices.Sorted(maps.Keys(file.Groups))
	for _, group := range groups {
		err := eachNetwork(group, file.Groups[group], deepest, func(path string, sd *checkpoint.StateDict) error {
			sd, err := sd.Unwrapped()
			if err != nil {
				return fmt.Errorf("%s: %w", file.Path, err)
			}
			net := (&traits{sd: sd}).network()
			if f.nets[net] == nil {
				f.nets[net] = empty()
			}
			f.nets[net].Groups[path], f.all.Groups[path] = sd, sd
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	switch {
	case len(f.nets) > 0:
		return f, nil
	case len(groups) == 1:
		_, _, err := Recognize(file.Groups[groups[0]])
		return nil, fmt.Errorf("%s: %w", file.Path, err)
	}
	var words []string
	for _, group := range groups {
		words = append(words, fmt.Sprintf("%q (%s)", group, summary(file.Groups[group])))
	}
	return nil, fmt.Errorf("%s: none of HI-Diff's networks is in it; it holds %s", file.Path, firstOf(words, 5))
}

// eachNetwork visits the networks below a path, at most so many wrappers deeper.
func eachNetwork(path string, sd *checkpoint.StateDict, depth int, visit func(path string, sd *checkpoint.StateDict) error) error {
	if (&traits{sd: sd}).network() != "" {
		return visit(path, sd)
	}
	if depth == 0 {
		return nil
	}
	var firsts []string
	below := map[string]*checkpoint.StateDict{}
	for name, array := range sd.All() {
		first, rest, ok := strings.Cut(name, ".")
		if !ok {
			continue
		}
		if below[first] == nil {
			firsts, below[first] = append(firsts, first), checkpoint.NewStateDict()
		}
		below[first].Set(rest, array)
	}
	for _, first := range firsts {
		if err := eachNetwork(strings.TrimPrefix(path+"."+first, "."), below[first], depth-1, visit); err != nil {
			return err
		}
	}
	return nil
}

// weights returns one network, nil where the file has none of it. A key chooses where it is there several times.
func (f *found) weights(net Network, paramKey string) (*checkpoint.StateDict, error) {
	if paramKey != "" && len(f.all.Under(paramKey)) == 0 {
		return f.all.Weights(paramKey) // says what there is
	}
	file := f.nets[net]
	if file == nil {
		return nil, nil
	}
	if len(file.Under(paramKey)) == 0 {
		paramKey = ""
	}
	return file.Weights(paramKey)
}

// FindNetwork returns the parameters of one network of a file, in whatever they are wrapped there: containers of
// trainers, other networks' names beside them, and what PyTorch's wrappers add to names. paramKey chooses where the
// file has it several times; see [LoadOptions]. It fails, and says what the file has, where that is not among it.
func FindNetwork(file *checkpoint.File, net Network, paramKey string) (*checkpoint.StateDict, error) {
	f, err := findNetworks(file)
	if err != nil {
		return nil, err
	}
	sd, err := f.weights(net, paramKey)
	if sd == nil && err == nil {
		var names []string
		for _, net := range allNetworks {
			if f.nets[net] != nil {
				names = append(names, string(net))
			}
		}
		err = fmt.Errorf("%s: holds %s, not %s", file.Path, strings.Join(names, ", "), net)
	}
	return sd, err
}

// unread says what of a file was passed over: it may be what a network lacks.
func unread(file *checkpoint.File) string {
	var words []string
	for _, path := range slices.Sorted(maps.Keys(file.Unread)) {
		words = append(words, fmt.Sprintf("%s (what %q makes)", path, string(file.Unread[path])))
	}
	if words == nil {
		return ""
	}
	return "; passed over was what is no plain tensor: " + firstOf(words, 5)
}
