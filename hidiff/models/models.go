// Package models finds models by name: those that are built into the program, and those in
// the user's folder of models, where [Pull] puts more.
package models

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"hidiff/hidiff"
	"hidiff/internal/suggest"
)

// Default is the name of the model to use where none is named. It is built in.
const Default = "small"

// Keys of the metadata of safetensors that [List] shows.
const (
	DescriptionKey = "hidiff.description" // what the model is and what it learnt from, in a line
	LicenseKey     = "hidiff.license"     // an SPDX identifier
)

//go:embed *.safetensors
var embedded embed.FS

var builtIn fs.FS = embedded // but in tests

// Model is a model that has a name.
type Model struct {
	Name        string `json:"name"`
	BuiltIn     bool   `json:"built_in"`
	Path        string `json:"path,omitempty"` // a file or a folder; "" if built in
	Bytes       int64  `json:"bytes"`          // of its files
	Parameters  int    `json:"parameters,omitempty"`
	Hash        string `json:"hash,omitempty"` // [hidiff.Weights.Hash]
	Description string `json:"description,omitempty"`
	License     string `json:"license,omitempty"`
	Problem     string `json:"problem,omitempty"` // why it cannot be used; "" if it can
}

// Folder returns where models lie that are not built in: $HIDIFF_MODELS, else hidiff/models in
// the user's cache folder. It may not exist. A model there is a file NAME.safetensors or
// NAME.pth, or a folder NAME of the files of its networks. Names have letters, digits, - and _.
func Folder() (string, error) {
	if dir := os.Getenv("HIDIFF_MODELS"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder for models: name one in the environment variable HIDIFF_MODELS (%w)", err)
	}
	return filepath.Join(dir, "hidiff", "models"), nil
}

// Release is a model that HI-Diff's authors released. Theirs are downloaded by hand: they lie
// where a program gets web pages.
type Release struct {
	Name  string `json:"name"`  // here
	Title string `json:"title"` // there
}

// Released returns the models that HI-Diff's authors released.
func Released() []Release {
	return []Release{{"gopro", "HI-Diff-GoPro"}, {"realblur_r", "HI-Diff-RealBlur-R"}, {"realblur_j", "HI-Diff-RealBlur-J"}}
}

// Instructions say how to put the model into a folder of models.
func (r Release) Instructions(folder string) string {
	return fmt.Sprintf("download %s from https://github.com/zhengchen1999/HI-Diff#models, and put its net_g.pth, net_le_dm.pth and net_d.pth into %s",
		r.Title, filepath.Join(folder, r.Name))
}

// List returns the models that are built in, and those in the user's folder. It reads all of them,
// and says of each that cannot be used why. Where there is no folder, or it cannot be read, List
// returns that error beside the models that are built in.
func List(ctx context.Context) ([]Model, error) {
	all, err := places()
	for i := range all {
		all[i].read(ctx)
	}
	return all, errors.Join(ctx.Err(), err)
}

// Load loads a model. Each argument is a file, a folder, or a name: what exists is a path, and so is
// what has a separator or a dot; paths are those of [hidiff.LoadWeights]. Without arguments it is
// the built-in [Default]. Load fails where [hidiff.LoadWeights] does, and, saying where to look, where there is no
// model of a name.
func Load(ctx context.Context, o hidiff.LoadOptions, args ...string) (*hidiff.Weights, error) {
	if len(args) == 0 {
		return readBuiltIn(o, Default)
	}
	paths := make([]string, len(args))
	for i, arg := range args {
		m, err := find(arg)
		if err != nil {
			return nil, err
		}
		if m.BuiltIn && len(args) > 1 {
			return nil, fmt.Errorf("the built-in model %s is whole: give it alone", m.Name)
		}
		if m.BuiltIn {
			return readBuiltIn(o, m.Name)
		}
		paths[i] = m.Path
	}
	return hidiff.LoadWeights(ctx, o, paths...)
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	extensions  = []string{".safetensors", ".pth"}
)

// find finds the model that an argument names, or the path that it is.
func find(arg string) (Model, error) {
	if _, err := os.Stat(arg); err == nil || !namePattern.MatchString(arg) {
		return Model{Path: arg}, nil
	}
	all, err := places()
	var names []string
	for _, m := range all {
		switch {
		case m.Name != arg:
			names = append(names, m.Name)
		case m.Problem != "":
			return Model{}, fmt.Errorf("%s: %s", m.Path, m.Problem)
		default:
			return m, nil
		}
	}
	if err != nil {
		return Model{}, fmt.Errorf("there is no file and no built-in model %q%s; %w", arg, suggest.Text(arg, names), err)
	}
	folder, err := Folder()
	if err != nil {
		return Model{}, err
	}
	for _, r := range Released() {
		if r.Name == arg {
			return Model{}, fmt.Errorf("%s is not in your folder of models yet: %s", arg, r.Instructions(folder))
		}
		names = append(names, r.Name)
	}
	return Model{}, fmt.Errorf("there is no file and no model %q%s; models lie in %s, and 'hidiff models' lists them", arg, suggest.Text(arg, names), folder)
}

// places is [List] without reading any. A name that is there twice is a problem of those in the folder.
func places() ([]Model, error) {
	all, err := builtIns()
	if err != nil {
		return nil, err
	}
	folder, err := Folder()
	if err != nil {
		return all, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return all, unreadable(err)
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		name, isFile := trimExtension(e.Name())
		info, err := os.Stat(path) // of what a link leads to
		if err != nil || info.IsDir() == isFile || !namePattern.MatchString(name) {
			continue
		}
		m := Model{Name: name, Path: path}
		if i := slices.IndexFunc(all, func(m Model) bool { return m.Name == name }); i >= 0 && all[i].BuiltIn {
			m.Problem = fmt.Sprintf("a built-in model is called %s, too: rename this one", name)
		} else if i >= 0 {
			m.Problem = fmt.Sprintf("%s is called %s, too: rename one", all[i].Path, name)
			all[i].Problem = fmt.Sprintf("%s is called %s, too: rename one", path, name)
		}
		all = append(all, m)
	}
	return all, nil
}

func unreadable(err error) error { return fmt.Errorf("the folder of models cannot be read: %w", err) }

// trimExtension cuts the extension of weights, if there is one.
func trimExtension(file string) (name string, cut bool) {
	for _, ext := range extensions {
		if name, cut = strings.CutSuffix(file, ext); cut {
			return name, true
		}
	}
	return file, false
}

func builtIns() ([]Model, error) {
	files, err := fs.Glob(builtIn, "*.safetensors")
	if err != nil {
		return nil, err
	}
	all := make([]Model, len(files))
	for i, file := range files {
		name, _ := trimExtension(file)
		all[i] = Model{Name: name, BuiltIn: true}
	}
	return all, nil
}

func readBuiltIn(o hidiff.LoadOptions, name string) (*hidiff.Weights, error) {
	data, err := fs.ReadFile(builtIn, name+".safetensors")
	if err != nil {
		return nil, err
	}
	return hidiff.ReadWeights(o, "built-in model "+name, data)
}

// read completes a model with what its files say.
func (m *Model) read(ctx context.Context) {
	m.Bytes = m.size()
	if m.Problem != "" {
		return
	}
	load := func() (*hidiff.Weights, error) { return hidiff.LoadWeights(ctx, hidiff.LoadOptions{}, m.Path) }
	if m.BuiltIn {
		load = func() (*hidiff.Weights, error) { return readBuiltIn(hidiff.LoadOptions{}, m.Name) }
	}
	w, err := load()
	if err != nil {
		m.Problem = err.Error()
		return
	}
	d := Describe(w)
	m.Parameters, m.Hash, m.Description, m.License = d.Parameters, d.Hash, d.Description, d.License
}

// Describe says of weights what is not about where they lie.
func Describe(w *hidiff.Weights) (m Model) {
	for net, state := range w.Nets {
		if net == hidiff.NetLE {
			continue // deblurring does not use it
		}
		for _, array := range state.All() {
			m.Parameters += array.Len()
		}
	}
	m.Hash, m.Description, m.License = w.Hash(), w.Metadata[DescriptionKey], w.Metadata[LicenseKey]
	if m.Description != "" {
		return m
	}
	switch w.Config {
	case hidiff.GoPro():
		m.Description = "configured as HI-Diff-GoPro"
	case hidiff.RealBlur():
		m.Description = "configured as HI-Diff-RealBlur-R and -J"
	}
	return m
}

// size returns the bytes of a model's files, as far as they can be read.
func (m *Model) size() (total int64) {
	files, root := os.DirFS(filepath.Dir(m.Path)), filepath.Base(m.Path)
	if m.BuiltIn {
		files, root = builtIn, m.Name+".safetensors"
	}
	_ = fs.WalkDir(files, root, func(path string, _ fs.DirEntry, _ error) error {
		if info, err := fs.Stat(files, path); err == nil && !info.IsDir() {
			total += info.Size()
		}
		return nil
	})
	return total
}
