// Package folder finds the photos in folders, and counts what looks like a picture or a film there but is none that
// is read from folders.
package folder

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
)

// Options say where to look. The zero value is everywhere.
type Options struct {
	Flat bool                                  // leave out subfolders
	Skip func(path string, isFolder bool) bool // leave this file or subfolder out; may be nil
}

// Contents are what a folder holds.
type Contents struct {
	Photos     []string // their paths below the folder, with slashes, in order
	PassedOver Kinds
	Failed     []*fs.PathError // of subfolders that cannot be read
}

// Read looks through a folder and its subfolders. What is hidden is left out. Links are followed, but not back into the
// folders above. The error is about the folder itself.
func Read(root string, o Options) (*Contents, error) {
	c := &Contents{PassedOver: Kinds{}}
	above, err := Enter(root, nil)
	if err != nil {
		return nil, err
	}
	if err := c.read(root, "", above, o); err != nil {
		return nil, err
	}
	slices.Sort(c.Photos)
	return c, nil
}

// read adds what the folder dir below root holds.
func (c *Contents) read(root, dir string, above []fs.FileInfo, o Options) error {
	at := func(name string) string { return filepath.Join(root, filepath.FromSlash(path.Join(dir, name))) }
	skip := func(name string, isFolder bool) bool { return o.Skip != nil && o.Skip(at(name), isFolder) }
	files, folders, err := List(at(""))
	if err != nil {
		return err
	}
	for _, name := range files {
		if skip(name, false) {
			continue
		}
		if _, ok := photo.FormatOf(name); ok {
			c.Photos = append(c.Photos, path.Join(dir, name))
		} else {
			c.PassedOver.Look(at(name))
		}
	}
	for _, name := range folders {
		if o.Flat || skip(name, true) {
			continue
		}
		inside, err := Enter(at(name), above)
		if err == nil && inside != nil {
			err = c.read(root, path.Join(dir, name), inside, o)
		}
		if err != nil {
			c.Failed = append(c.Failed, &fs.PathError{Op: "read", Path: at(name), Err: cause(err)})
		}
	}
	return nil
}

// cause is a system's error without its path.
func cause(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}

// Err is the first failure.
func (c *Contents) Err() error {
	if len(c.Failed) == 0 {
		return nil
	}
	return c.Failed[0]
}

// List returns the files and the folders in a folder, sorted. Links count as what they lead to, and as files where they
// lead nowhere: reading these fails then, and says so. What is hidden is left out.
func List(dir string) (files, folders []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		mode := e.Type()
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if mode&fs.ModeSymlink != 0 {
			if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
				mode = info.Mode()
			} else {
				mode = 0
			}
		}
		switch {
		case mode.IsDir():
			folders = append(folders, e.Name())
		case mode.IsRegular():
			files = append(files, e.Name())
		}
	}
	return files, folders, nil
}

// Enter adds a folder to those above. It returns nil if the folder is among them: links can go round.
func Enter(dir string, above []fs.FileInfo) ([]fs.FileInfo, error) {
	here, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		return nil, fmt.Errorf("%s: there is no such folder", dir)
	case err != nil:
		return nil, err
	case !here.IsDir():
		return nil, fmt.Errorf("%s is a file: give a folder", dir)
	case slices.ContainsFunc(above, func(i fs.FileInfo) bool { return os.SameFile(i, here) }):
		return nil, nil
	}
	return append(slices.Clip(above), here), nil
}
