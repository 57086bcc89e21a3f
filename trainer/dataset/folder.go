package dataset

import (
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
	"hidiff/internal/folder"
)

// source holds encoded photos. Its files are relative paths, or the keys of a database.
type source interface {
	// list maps the names of all photos, relative paths with slashes and without extension, to files, and counts what
	// beside them is of no format that is read.
	list() (map[string]string, folder.Kinds, error)
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
	return photoFolder(root), nil
}

// photoFolder is a folder of photos and its subfolders.
type photoFolder string

func (f photoFolder) path(file string) string {
	return filepath.Join(string(f), filepath.FromSlash(file))
}

func (f photoFolder) Close() error { return nil }

func (f photoFolder) list() (map[string]string, folder.Kinds, error) {
	c, err := folder.Read(string(f), folder.Options{})
	if err == nil {
		err = c.Err()
	}
	if err != nil {
		return nil, nil, err
	}
	if len(c.Photos) == 0 {
		return nil, nil, fmt.Errorf("the folder %s holds no photo%s", string(f), c.PassedOver.Unread())
	}
	found := map[string]string{}
	for _, file := range c.Photos {
		name, _ := photoName(file)
		if found[name] != "" {
			return nil, nil, fmt.Errorf("%s holds both %s and %s: photos are paired by name without extension, so remove one", string(f), found[name], file)
		}
		found[name] = file
	}
	return found, c.PassedOver, nil
}

// photoName is a file's path without its extension, if that is a photo's.
func photoName(file string) (name string, isPhoto bool) {
	if _, ok := photo.FormatOf(file); !ok {
		return file, false
	}
	return strings.TrimSuffix(file, path.Ext(file)), true
}

func (f photoFolder) read(file string, buf []byte, limit int64) ([]byte, error) {
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
