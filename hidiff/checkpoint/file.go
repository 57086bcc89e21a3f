package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// The values of File.Format.
const (
	formatZip         = "pth-zip"
	formatLegacy      = "pth-legacy"
	formatSafetensors = "safetensors"
)

// File is what a weights file holds.
type File struct {
	Path string
	// Format is "pth-zip", "pth-legacy" or "safetensors".
	Format string
	// Groups are the state_dicts of the file. In a .pth file they go by their key
	// ("params", "params_ema"), or "" for a state_dict on its own; in safetensors
	// by network ("net_g", "net_le_dm") where names start with one, else "".
	// A leading "module." (DataParallel's) is cut from parameter names.
	Groups map[string]*StateDict
	// Metadata is the __metadata__ of safetensors; nil for .pth.
	Metadata map[string]string
}

// Open reads a .pth or safetensors file; the content decides which, not the
// name. It fails, naming the file, where that is neither, damaged, holds no
// weights, or asks to run code.
func Open(path string) (*File, error) {
	var file *File
	err := withFile(path, func(r io.ReaderAt, size int64) (err error) {
		file, err = Read(r, size, path)
		return err
	})
	return file, err
}

// Read is Open on size bytes of r; name stands for the path in File and errors.
func Read(r io.ReaderAt, size int64, name string) (*File, error) {
	file := &File{Path: name}
	var err error
	if file.Format, err = sniff(r, size); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if file.Format == formatSafetensors {
		file.Groups, file.Metadata, err = readSafetensors(r, size)
	} else {
		var value any
		if value, err = readTorch(r, size, file.Format); err == nil {
			file.Groups, err = groupsOf(value)
		}
	}
	for _, group := range sortedKeys(file.Groups) {
		if err == nil {
			file.Groups[group], err = withoutModule(file.Groups[group])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return file, nil
}

// LoadPickle reads any file of torch.save, such as a training state, as Go
// values: see the package comment for the mapping. Names are kept as they are.
func LoadPickle(path string) (any, error) {
	var value any
	err := withFile(path, func(r io.ReaderAt, size int64) error {
		format, err := sniff(r, size)
		if err == nil && format == formatSafetensors {
			err = errors.New("a safetensors file where one of torch.save is needed")
		}
		if err == nil {
			value, err = readTorch(r, size, format)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	return value, err
}

// Weights returns one state_dict of the file. An empty key means "params", else
// "params_ema", else the bare state_dict, else the only one there is.
func (f *File) Weights(paramKey string) (*StateDict, error) {
	names := sortedKeys(f.Groups)
	if paramKey != "" {
		if state, ok := f.Groups[paramKey]; ok {
			return state, nil
		}
		return nil, fmt.Errorf("%s: no weights under %q: it holds %s", f.Path, paramKey, describe(names))
	}
	for _, name := range []string{"params", "params_ema", ""} {
		if state, ok := f.Groups[name]; ok {
			return state, nil
		}
	}
	if len(names) == 1 {
		return f.Groups[names[0]], nil
	}
	return nil, fmt.Errorf("%s: say which of its weights to use: it holds %s", f.Path, describe(names))
}

func describe(groups []string) string {
	if len(groups) == 0 {
		return "none"
	}
	words := make([]string, len(groups))
	for i, g := range groups {
		words[i] = fmt.Sprintf("%q", g)
		if g == "" {
			words[i] = "a bare state_dict (key \"\")"
		}
	}
	return strings.Join(words, ", ")
}

// withFile calls read on the regular file at path.
func withFile(path string, read func(r io.ReaderAt, size int64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err // names the path
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a file", path)
	}
	return read(f, info.Size())
}

// sniff finds a file's format by its first bytes.
func sniff(r io.ReaderAt, size int64) (string, error) {
	head := make([]byte, min(size, 64))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return "", err
	}
	text := bytes.ToLower(bytes.TrimSpace(head))
	switch {
	case size == 0:
		return "", errors.New("the file is empty (failed download?)")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return formatZip, nil
	case isLegacy(head):
		return formatLegacy, nil
	case len(head) > 8 && head[8] == '{' && binary.LittleEndian.Uint64(head) <= maxHeader:
		return formatSafetensors, nil
	case bytes.HasPrefix(text, []byte("<!doctype")), bytes.HasPrefix(text, []byte("<html")):
		return "", errors.New("a web page, not weights: download the file itself")
	case bytes.HasPrefix(text, []byte("version https://git-lfs")):
		return "", errors.New("a Git LFS pointer, not the weights: fetch the file with git lfs pull")
	}
	return "", errors.New("neither a .pth file of torch.save nor safetensors")
}

// readTorch reads either format of torch.save.
func readTorch(r io.ReaderAt, size int64, format string) (any, error) {
	if format == formatZip {
		return readZip(r, size)
	}
	data := make([]byte, size)
	if n, err := r.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	return readLegacy(data)
}

// groupsOf finds the state_dicts in a value of torch.save. Writers that collect
// parameters themselves use a plain dict.
func groupsOf(value any) (map[string]*StateDict, error) {
	if state, ok := asStateDict(value); ok {
		return map[string]*StateDict{"": state}, nil
	}
	dict, ok := value.(*Dict)
	if !ok {
		return nil, fmt.Errorf("holds a %T, not a state_dict", value)
	}
	groups := map[string]*StateDict{}
	var keys []string
	for key, member := range dict.All() {
		keys = append(keys, fmt.Sprintf("%.40q", fmt.Sprint(key)))
		name, isName := key.(string)
		if state, ok := asStateDict(member); ok && isName {
			groups[name] = state
		}
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("holds no weights (a training state?): its keys are %s", strings.Join(keys[:min(len(keys), 8)], ", "))
	}
	return groups, nil
}

func asStateDict(value any) (*StateDict, bool) {
	switch v := value.(type) {
	case *StateDict:
		return v, true
	case *Dict:
		if v.Len() > 0 {
			return stateDict(v)
		}
	}
	return nil, false
}

// withoutModule cuts the prefix that DataParallel puts before parameter names.
func withoutModule(state *StateDict) (*StateDict, error) {
	out := NewStateDict()
	for key, array := range state.All() {
		short := strings.TrimPrefix(key, "module.")
		if _, twice := out.Get(short); twice {
			return nil, fmt.Errorf("parameter %q is there twice, with and without \"module.\"", short)
		}
		out.Set(short, array)
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
