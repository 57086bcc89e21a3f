package prepare

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/internal/folder"
)

// pair is a blurry photo and its sharp partner: two files, and the name they share, which is their path
// below scene and folder without extension, in one word.
type pair struct{ name, input, target string }

// pairs pairs the photos by name, in order. What does not pair up is left out, and a problem; what is not read is counted.
func (f Folders) pairs() ([]pair, []Problem, folder.Kinds, error) {
	passedOver := folder.Kinds{}
	inputs, problems, err := f.photos(f.input, passedOver)
	if err != nil {
		return nil, nil, nil, err
	}
	targets, more, err := f.photos(f.target, passedOver)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(inputs)+len(targets) == 0 {
		return nil, nil, nil, fmt.Errorf("the folders %s and %s hold no photo%s", f.Input(), f.Target(), passedOver.Unread())
	}
	problems = append(problems, more...)
	if more, err = f.strangers(passedOver); err != nil {
		return nil, nil, nil, err
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
	return pairs, problems, passedOver, nil
}

// read reads a folder. What is passed over is added.
func read(dir string, passedOver folder.Kinds) ([]string, error) {
	c, err := folder.Read(dir, folder.Options{})
	if err != nil {
		return nil, err
	}
	passedOver.Add(c.PassedOver)
	return c.Photos, c.Err()
}

// photos maps names to the photos of one side.
func (f Folders) photos(side string, passedOver folder.Kinds) (map[string]string, []Problem, error) {
	found := map[string]string{}
	var problems []Problem
	add := func(root, scene string) error {
		files, err := read(root, passedOver)
		for _, file := range files {
			at := filepath.Join(root, filepath.FromSlash(file))
			name := strings.ReplaceAll(path.Join(scene, strings.TrimSuffix(file, path.Ext(file))), "/", "-")
			if other, ok := found[name]; ok {
				problems = append(problems, Problem{Name, []string{other, at}, other + " and " + at})
				continue
			}
			found[name] = at
		}
		return err
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
func (f Folders) strangers(passedOver folder.Kinds) (problems []Problem, err error) {
	for _, scene := range f.scenes {
		dir := filepath.Join(f.root, scene)
		if exists(filepath.Join(dir, f.input)) || exists(filepath.Join(dir, f.target)) {
			continue
		}
		photos, err := read(dir, passedOver)
		if err != nil {
			return nil, err
		}
		if len(photos) > 0 {
			problems = append(problems, Problem{Missing, []string{dir}, fmt.Sprintf("%s has %d photos, but neither %s nor %s", dir, len(photos), f.input, f.target)})
		}
	}
	return problems, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
