package prepare

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
)

// pair is a blurry photo and its sharp partner: two files, and the name they share, which is their path
// below scene and folder without extension, in one word.
type pair struct{ name, input, target string }

// pairs pairs the photos by name, in order. What does not pair up is left out, and a problem.
func (f Folders) pairs() ([]pair, []Problem, error) {
	inputs, problems, err := f.photos(f.input)
	if err != nil {
		return nil, nil, err
	}
	targets, more, err := f.photos(f.target)
	if err != nil {
		return nil, nil, err
	}
	if len(inputs)+len(targets) == 0 {
		return nil, nil, fmt.Errorf("the folders %s and %s hold no photo", f.Input(), f.Target())
	}
	problems = append(problems, more...)
	if more, err = f.strangers(); err != nil {
		return nil, nil, err
	}
	problems = append(problems, more...)
	names := map[string]bool{}
	for name := range inputs {
		names[name] = true
	}
	for name := range targets {
		names[name] = true
	}
	alike := map[string][]string{} // lower case: what becomes it
	for _, name := range slices.Sorted(maps.Keys(names)) {
		alike[strings.ToLower(name)] = append(alike[strings.ToLower(name)], name)
	}
	var pairs []pair
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p := pair{name, inputs[name], targets[name]}
		same := alike[strings.ToLower(name)]
		switch {
		case len(same) > 1 && name == same[0]:
			var files []string
			for _, n := range same {
				files = append(files, slices.DeleteFunc([]string{inputs[n], targets[n]}, func(s string) bool { return s == "" })...)
			}
			problems = append(problems, Problem{Case, files, strings.Join(files, ", ")})
		case len(same) > 1: // told with the first
		case p.target == "":
			problems = append(problems, Problem{Missing, []string{p.input}, p.input + " has no partner in " + f.Target()})
		case p.input == "":
			problems = append(problems, Problem{Missing, []string{p.target}, p.target + " has no partner in " + f.Input()})
		}
		if p.input != "" && p.target != "" {
			pairs = append(pairs, p)
		}
	}
	return pairs, problems, nil
}

// photos maps names to the photos of one side.
func (f Folders) photos(side string) (map[string]string, []Problem, error) {
	found := map[string]string{}
	var problems []Problem
	add := func(root, scene string) error {
		return walk(root, "", nil, func(file string) {
			at := filepath.Join(root, filepath.FromSlash(file))
			name := strings.ReplaceAll(path.Join(scene, strings.TrimSuffix(file, path.Ext(file))), "/", "-")
			if other, ok := found[name]; ok {
				problems = append(problems, Problem{Name, []string{other, at}, other + " and " + at})
				return
			}
			found[name] = at
		})
	}
	if f.scenes == nil {
		err := add(f.path(side), "")
		return found, problems, err
	}
	for _, scene := range f.scenes {
		root := filepath.Join(f.root, scene, side)
		if !exists(root) {
			continue // the partners of its photos are missed
		}
		if err := add(root, scene); err != nil {
			return nil, nil, err
		}
	}
	return found, problems, nil
}

// strangers finds scenes with photos in folders of other names.
func (f Folders) strangers() (problems []Problem, err error) {
	for _, scene := range f.scenes {
		dir := filepath.Join(f.root, scene)
		if exists(filepath.Join(dir, f.input)) || exists(filepath.Join(dir, f.target)) {
			continue
		}
		photos := 0
		if err := walk(dir, "", nil, func(string) { photos++ }); err != nil {
			return nil, err
		}
		if photos > 0 {
			problems = append(problems, Problem{Missing, []string{dir}, fmt.Sprintf("%s has %d photos, but neither %s nor %s", dir, photos, f.input, f.target)})
		}
	}
	return problems, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// walk calls found for every photo in a folder and its subfolders: the paths, with slashes, below dir.
func walk(root, dir string, above []fs.FileInfo, found func(file string)) error {
	here := filepath.Join(root, filepath.FromSlash(dir))
	above, err := enter(here, above)
	if err != nil || above == nil {
		return err
	}
	files, folders, err := list(here)
	if err != nil {
		return err
	}
	for _, name := range files {
		if _, ok := photo.FormatOf(name); ok {
			found(path.Join(dir, name))
		}
	}
	for _, name := range folders {
		if err := walk(root, path.Join(dir, name), above, found); err != nil {
			return err
		}
	}
	return nil
}
