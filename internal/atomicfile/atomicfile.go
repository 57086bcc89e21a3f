// Package atomicfile writes files that appear complete or not at all: under a short temporary name in the same
// folder, so that every name works that the file system allows, then synced and renamed.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// File is a file on its way to its place.
type File struct {
	path, final string // as given, and what it leads to
	file        *os.File
}

// Create begins a file that [File.Commit] puts in its place. An existing file is replaced then, and its permissions are
// kept where the file system can; a new one gets those that the umask leaves. Of a symbolic link, what it leads to
// is replaced. Folders and devices are refused. This package's errors begin with the path.
func Create(path string) (*File, error) {
	final, mode, err := target(path)
	if err != nil {
		return nil, failed(path, err)
	}
	f, err := temporary(filepath.Dir(final))
	if err != nil {
		return nil, failed(path, err)
	}
	if mode != 0 {
		_ = f.Chmod(mode)
	}
	return &File{path, final, f}, nil
}

// target returns what path leads to, and the permissions of the file there, 0 if there is none.
func target(path string) (final string, mode fs.FileMode, err error) {
	final = path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		final = real
	}
	info, err := os.Stat(final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return final, 0, nil
	case err != nil:
		return "", 0, err
	case info.IsDir():
		return "", 0, errors.New("this is a folder; give a file name")
	case !info.Mode().IsRegular(): // renaming onto a device would replace the device
		return "", 0, errors.New("this is not an ordinary file")
	}
	return final, info.Mode().Perm(), nil
}

// temporary makes a file. Not os.CreateTemp: its files are private, while these should follow the umask.
func temporary(dir string) (*os.File, error) {
	for {
		name := filepath.Join(dir, fmt.Sprintf(".hidiff-%08x.tmp", rand.Uint32()))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// failed names the path, and not the temporary file.
func failed(path string, err error) error {
	if wrapped := new(fs.PathError); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if wrapped := new(os.LinkError); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	remedy := ""
	if errors.Is(err, syscall.ENAMETOOLONG) {
		remedy = ": choose a shorter name"
	}
	return fmt.Errorf("%s: cannot write: %w%s", path, err, remedy)
}

// Name is the temporary file, which other programs may write.
func (f *File) Name() string { return f.file.Name() }

// Commit gives the file its name, when all of it is on the disk.
func (f *File) Commit() error {
	err := f.file.Sync()
	if closing := f.file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.file.Name(), f.final)
	}
	if err != nil {
		f.Discard()
		return failed(f.path, err)
	}
	return nil
}

// Discard removes a file that was not committed; to one that was it does nothing.
func (f *File) Discard() {
	f.file.Close()
	os.Remove(f.file.Name())
}

// Write writes a file through a function, whose errors are passed on.
func Write(path string, write func(w io.Writer) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Discard()
	buffered := bufio.NewWriterSize(f.file, 1<<20)
	if err = write(buffered); err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return failed(path, err)
	}
	return f.Commit()
}

// WriteBytes writes a file of these bytes.
func WriteBytes(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
