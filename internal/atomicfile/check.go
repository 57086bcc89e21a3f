package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Checker finds out before the work which files could not be written after it. It tries every folder once, and leaves
// nothing behind. The zero value is ready.
type Checker struct {
	folders map[string]error
}

// Check returns the error that [Create] would, if the missing ones of the folders above the file were made first.
func (c *Checker) Check(path string) error {
	final, _, err := target(path)
	if err != nil {
		return failed(path, err)
	}
	dir := filepath.Dir(final)
	for _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir); _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	// A name that is too long is not noticed below a folder that is missing.
	missing, err := filepath.Rel(dir, final)
	if err != nil {
		return failed(path, err)
	}
	for name := range strings.SplitSeq(missing, string(filepath.Separator)) {
		if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, syscall.ENAMETOOLONG) {
			return failed(path, err)
		}
	}
	if _, tried := c.folders[dir]; !tried {
		if c.folders == nil {
			c.folders = map[string]error{}
		}
		c.folders[dir] = try(dir)
	}
	if err := c.folders[dir]; err != nil {
		return failed(path, err)
	}
	return nil
}

// try makes a file in a folder for a moment.
func try(dir string) error {
	f, err := temporary(dir)
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}
