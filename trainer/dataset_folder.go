package trainer

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
)

// source holds encoded photos. Its files are relative paths, or the keys of a database.
type source interface {
	// list maps the names of all photos, relative paths with slashes and without extension, to files.
	list() (map[string]string, error)
	// read appends up to limit bytes of a file to buf. Errors name the file. Any number of goroutines may read.
	read(file string, buf []byte, limit int64) ([]byte, error)
	// path is what messages call a file.
	path(file string) string
	Close() error
}

const wholeFile = math.MaxInt64

// openSource opens a folder of photos, or a folder that is an LMDB.
func openSource(root string) (source, error) {
	info, err := os.Stat(root)
	switch {
	case os.IsNotExist(err):
		return nil, fmt.Errorf("there is no folder %s: correct the path or make the dataset first", root)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is a file; give the folder with the photos", root)
	}
	_, err = os.Stat(filepath.Join(root, "data.mdb"))
	if err == nil || strings.EqualFold(filepath.Ext(filepath.Clean(root)), ".lmdb") {
		return openLMDB(root)
	}
	return folder(root), nil
}

// folder is a folder of photos and its subfolders.
type folder string

func (f folder) path(file string) string { return filepath.Join(string(f), filepath.FromSlash(file)) }

func (f folder) Close() error { return nil }

func (f folder) list() (map[string]string, error) {
	found := map[string]string{}
	if err := f.walk("", nil, found); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("the folder %s holds no photo", string(f))
	}
	return found, nil
}

// walk adds the photos of a subfolder and of those below it to found. Links are followed, but not back
// into the folders above; hidden files are left out.
func (f folder) walk(dir string, above []fs.FileInfo, found map[string]string) error {
	here, err := os.Stat(f.path(dir))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(above, func(i fs.FileInfo) bool { return os.SameFile(i, here) }) {
		return nil
	}
	above = append(slices.Clip(above), here)
	entries, err := os.ReadDir(f.path(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := path.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := os.Stat(f.path(file))
			isDir = err == nil && info.IsDir()
		}
		name, isPhoto := photoName(file)
		switch {
		case isDir:
			if err := f.walk(file, above, found); err != nil {
				return err
			}
		case isPhoto && found[name] != "":
			return fmt.Errorf("%s holds both %s and %s: photos are paired by name without extension, so remove one", string(f), found[name], file)
		case isPhoto:
			found[name] = file
		}
	}
	return nil
}

// photoName is a file's path without its extension, if that is a photo's.
func photoName(file string) (name string, isPhoto bool) {
	if _, ok := photo.FormatOf(file); !ok {
		return file, false
	}
	return strings.TrimSuffix(file, path.Ext(file)), true
}

func (f folder) read(file string, buf []byte, limit int64) ([]byte, error) {
	r, err := os.Open(f.path(file))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return nil, err
	}
	n := int(min(info.Size(), limit))
	buf = slices.Grow(buf, n)
	if _, err := io.ReadFull(r, buf[len(buf):len(buf)+n]); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(file), err)
	}
	return buf[:len(buf)+n], nil
}
