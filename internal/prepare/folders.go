package prepare

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/internal/folder"
)

// known are the names under which datasets keep their blurry and their sharp photos, in any case.
var known = []struct {
	input, target string
	crops         bool // made by cutting up a dataset
}{
	{"input", "target", false},            // the release, Restormer, HIDE
	{"blur", "sharp", false},              // GoPro as its authors publish it
	{"blurry", "sharp", false},            //
	{"lq", "gt", false},                   // BasicSR
	{"input_crops", "target_crops", true}, // the release's script and option files; its README calls them input and target
	{"blur_crops", "sharp_crops", true},   // NAFNet
}

// parts are names of folders that divide a dataset or hold a whole one: never scenes of a film.
var parts = []string{"train", "val", "test", "crop", "GoPro", "GOPRO_Large", "HIDE", "RealBlur_J", "RealBlur_R"}

// Names returns the known names: "input and target", and so on.
func Names() (names []string) {
	for _, k := range known {
		names = append(names, k.input+" and "+k.target)
	}
	return names
}

// called lists the known names for messages.
func called() string {
	names := Names()
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + ", or " + names[last]
}

// Folders are where one dataset lies: root/input and root/target, or root/scene/input and
// root/scene/target of several scenes.
type Folders struct {
	root          string
	scenes        []string // nil without scenes
	input, target string
	crops         bool
	others        []string // folders beside input and target
}

// TwoFolders are a dataset whose folders are known.
func TwoFolders(input, target string) Folders { return Folders{input: input, target: target} }

// Input is the folder of blurry photos, with * for the scenes.
func (f Folders) Input() string { return f.path(f.input) }

// Target is the folder of sharp photos, with * for the scenes.
func (f Folders) Target() string { return f.path(f.target) }

func (f Folders) path(name string) string {
	if f.scenes == nil {
		return filepath.Join(f.root, name)
	}
	return filepath.Join(f.root, "*", name)
}

// Find finds the datasets in a folder and its subfolders by the known names.
func Find(dir string) ([]Folders, error) {
	found, err := find(dir, nil)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s holds no pair of folders called %s: rename yours, or give both", dir, called())
	}
	return found, err
}

func find(dir string, above []fs.FileInfo) ([]Folders, error) {
	above, err := folder.Enter(dir, above)
	if err != nil || above == nil {
		return nil, err
	}
	f, ok, err := at(dir)
	if err != nil || ok {
		return []Folders{f}, err
	}
	_, folders, err := folder.List(dir)
	if err != nil {
		return nil, err
	}
	var found []Folders
	for _, name := range folders {
		below, err := find(filepath.Join(dir, name), above)
		if err != nil {
			return nil, err
		}
		found = append(found, below...)
	}
	return found, nil
}

// at returns the dataset that a folder is, if it is one.
func at(dir string) (Folders, bool, error) {
	f, ok, err := match(dir)
	if err != nil || ok {
		return f, ok, err
	}
	_, folders, err := folder.List(dir)
	if err != nil {
		return f, false, err
	}
	for _, name := range folders {
		if slices.ContainsFunc(parts, func(part string) bool { return strings.EqualFold(part, name) }) {
			return f, false, nil
		}
	}
	for _, name := range folders {
		f, ok, err := match(filepath.Join(dir, name))
		if err != nil {
			return f, false, err
		}
		if ok { // all the others are scenes, then: what they lack is missed when photos are paired
			f.root, f.scenes = dir, folders
			return f, true, nil
		}
	}
	return f, false, nil
}

// match looks for a pair of known names in a folder.
func match(dir string) (Folders, bool, error) {
	_, folders, err := folder.List(dir)
	if err != nil {
		return Folders{}, false, err
	}
	var f Folders
	for _, k := range known {
		input, target := pick(folders, k.input), pick(folders, k.target)
		if input == "" || target == "" {
			continue
		}
		if f.root != "" {
			return f, false, fmt.Errorf("%s holds both %s and %s, and %s and %s: move one pair elsewhere", dir, f.input, f.target, input, target)
		}
		f = Folders{root: dir, input: input, target: target, crops: k.crops}
	}
	for _, name := range folders {
		if name != f.input && name != f.target {
			f.others = append(f.others, name)
		}
	}
	return f, f.root != "", nil
}

// pick returns the folder of this name, else one that differs only in case, else "".
func pick(folders []string, name string) string {
	if slices.Contains(folders, name) {
		return name
	}
	i := slices.IndexFunc(folders, func(f string) bool { return strings.EqualFold(f, name) })
	if i < 0 {
		return ""
	}
	return folders[i]
}

// resolve finds a path below dir whatever the case of its names, and returns "" if there is none.
func resolve(dir, path string) string {
	for name := range strings.SplitSeq(path, "/") {
		if name == "." || name == ".." {
			dir = filepath.Join(dir, name)
			continue
		}
		_, folders, err := folder.List(dir)
		if name = pick(folders, name); err != nil || name == "" {
			return ""
		}
		dir = filepath.Join(dir, name)
	}
	return dir
}
