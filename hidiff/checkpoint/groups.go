package checkpoint

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds on what state_dicts a file may have: nobody nests them deeper, or keeps more of them.
const (
	longestPath = 1000
	mostGroups  = 1000
)

// collect adds the state_dicts in a value of torch.save to Groups: the tensors of every dict, however
// deep, under its path of keys. Lists and keys that are no text are passed over: there optimizers keep theirs.
func (f *File) collect(path string, value any) error {
	switch v := value.(type) {
	case Opaque:
		if len(f.Unread) < mostGroups {
			f.Unread[path] = v
		}
	case *StateDict:
		f.Groups[path] = v
	case *Dict:
		state := NewStateDict()
		for key, member := range v.All() {
			name, isName := key.(string)
			array, isArray := member.(*Array)
			switch {
			case !isName:
			case isArray:
				state.Set(name, array)
			case len(path)+len(name) < longestPath:
				if err := f.collect(joinPath(path, name), member); err != nil {
					return err
				}
			}
		}
		if state.Len() > 0 {
			f.Groups[path] = state
		}
	}
	if len(f.Groups) > mostGroups {
		return fmt.Errorf("holds more than %d state_dicts", mostGroups)
	}
	return nil
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// nothing explains why a value of torch.save has no state_dict.
func (f *File) nothing(value any) error {
	if made, ok := value.(Opaque); ok {
		return fmt.Errorf("holds no state_dict, but what %.100q makes, and nothing in a file is run: save the state_dict alone", string(made))
	}
	dict, ok := value.(*Dict)
	if !ok {
		return fmt.Errorf("holds a %T, not a state_dict", value)
	}
	var keys []string
	for _, key := range dict.Keys()[:min(dict.Len(), 8)] {
		text := fmt.Sprintf("%.40q", fmt.Sprint(key))
		if made, ok := f.Unread[fmt.Sprint(key)]; ok {
			text += fmt.Sprintf(" (what %.100q would make; nothing in a file is run)", string(made))
		}
		keys = append(keys, text)
	}
	return fmt.Errorf("holds no weights (a training state?): its keys are %s", strings.Join(keys, ", "))
}

// Under returns the names of the groups at a key: of that name, or with it in their path.
func (f *File) Under(paramKey string) (groups []string) {
	for _, name := range sortedKeys(f.Groups) {
		if strings.Contains("."+name+".", "."+paramKey+".") {
			groups = append(groups, name)
		}
	}
	return groups
}

// Weights returns one state_dict of the file, [StateDict.Unwrapped]. A key is a group's name or a part of
// its path. An empty key means "params", else "params_ema", else the bare state_dict, else the only one there is.
func (f *File) Weights(paramKey string) (*StateDict, error) {
	keys := []string{paramKey}
	if paramKey == "" {
		keys = []string{"params", "params_ema"}
	}
	all := sortedKeys(f.Groups)
	choice := all
	for _, key := range keys {
		if under := f.Under(key); len(under) > 0 {
			choice = under
			break
		} else if paramKey != "" {
			return nil, fmt.Errorf("%s: no weights under %q: it holds %s", f.Path, paramKey, describe(all))
		}
	}
	name := ""
	switch {
	case len(choice) == 1:
		name = choice[0]
	case paramKey != "" || f.Groups[""] == nil:
		return nil, fmt.Errorf("%s: say which of its weights to use: it holds %s", f.Path, describe(choice))
	}
	state, err := f.Groups[name].Unwrapped()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return state, nil
}

func describe(groups []string) string {
	if len(groups) == 0 {
		return "none"
	}
	var words []string
	for _, g := range groups[:min(len(groups), 8)] {
		word := fmt.Sprintf("%.100q", g)
		if g == "" {
			word = "a bare state_dict (key \"\")"
		}
		words = append(words, word)
	}
	if len(groups) > len(words) {
		words = append(words, "…")
	}
	return strings.Join(words, ", ")
}

// wrappers are what PyTorch calls the module that it wraps: DataParallel and its kin, torch.compile,
// FSDP, and activation checkpointing.
var wrappers = []string{"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}

// Unwrapped returns the state_dict without the parts that PyTorch's wrappers put into names, wherever
// they stand: "module." and "_orig_mod." among them. It fails where two names become one.
func (s *StateDict) Unwrapped() (*StateDict, error) {
	out, changed := NewStateDict(), false
	for key, array := range s.All() {
		parts := strings.Split(key, ".")
		short := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return slices.Contains(wrappers, part) }), ".")
		if _, twice := out.Get(short); twice {
			return nil, fmt.Errorf("parameter %q is there twice, with and without what wrappers such as \"module.\" add", short)
		}
		out.Set(short, array)
		changed = changed || short != key
	}
	if !changed {
		return s, nil
	}
	return out, nil
}
