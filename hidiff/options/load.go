package options

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hidiff/internal/suggest"
	"hidiff/internal/textfile"
)

// maxOptionFile bounds what is read of a file that is no option file.
const maxOptionFile = 1 << 20

// Setting sets an option in place of what a file says.
type Setting struct {
	Option string // section:key=value, as BasicSR's force_yml has it
	From   string // what messages call the setting; Option where empty
}

// Load reads an option file, or a preset by its name (see [Presets]; ./GoPro is a file in any
// case), and puts the settings in. The error tells all mistakes, a line each, with file and line.
func Load(nameOrPath string, settings []Setting) (*Options, error) {
	if text, ok := Preset(nameOrPath); ok {
		return Parse(nameOrPath, text, settings)
	}
	f, err := os.Open(nameOrPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(nameOrPath)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxOptionFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxOptionFile {
		return nil, fmt.Errorf("%s is no option file: it is larger than %d bytes", nameOrPath, maxOptionFile)
	}
	return Parse(nameOrPath, data, settings)
}

// Parse is [Load] for text that is already read. Messages call it file.
func Parse(file string, data []byte, settings []Setting) (*Options, error) {
	data, err := textfile.Decode(file, data)
	if err != nil {
		return nil, err
	}
	r := newOptionReader(file, settings)
	root := r.tree(data)
	if root == nil {
		return nil, r.err()
	}
	o := defaultOptions()
	o.File = file
	for section, key := range o.networks() {
		section.where = file + ": " + key
	}
	r.options(root, o)
	if err := r.err(); err != nil {
		return nil, err
	}
	o.Warnings = texts(r.warnings)
	return o, nil
}

// missing is the error of an option file that is not there; it names what is near.
func missing(path string) error {
	dir := filepath.Dir(path)
	word := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	names := Presets()
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".yml" || ext == ".yaml" {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	stem := func(name string) string { return strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)) }
	hint := "there are the presets " + strings.Join(Presets(), ", ")
	if found := suggest.Nearest(word, names, stem); len(found) > 0 {
		hint = "did you mean " + strings.Join(found, " or ") + "?"
	}
	if err != nil && dir != "." {
		return fmt.Errorf("there is no folder %s with an option file %s: %s", dir, filepath.Base(path), hint)
	}
	return fmt.Errorf("there is no option file or preset %s: %s", path, hint)
}

// suggestion is ": did you mean x?" or, where nothing is near, all that there is.
func suggestion(word string, among []string) string {
	return cmp.Or(suggest.Text(word, among), ": there are "+strings.Join(among, ", "))
}
