// Package lock keeps two runs out of one place: a file is locked for as long as one of them runs. The system
// unlocks it when a process ends, however it ends, so that none is ever stale.
package lock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/gofrs/flock"
)

// Lock is held until Release, or until the process ends.
type Lock struct{ file *flock.Flock } // nil where the file system has no locks

// HeldError says that another run holds a lock, of this process or of another.
type HeldError struct {
	Holder string // in words: which process, and on which host
}

func (e *HeldError) Error() string { return "in use by " + e.Holder }

// Acquire locks a file, which it makes, and whose folder must exist. It does not wait: where another run has the
// lock, the error is a [HeldError]. Over NFS it holds between hosts. Where a file system has no locks at all, it
// keeps nobody out, for it is not worth refusing to work there.
func Acquire(path string) (*Lock, error) {
	for {
		f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o666))
		locked, err := f.TryLock()
		switch {
		case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.ENOLCK):
			os.Remove(path)
			return &Lock{}, nil
		case err != nil:
			return nil, err
		case !locked:
			return nil, &HeldError{holder(path)}
		}
		mine, err := f.Stat()
		there, gone := os.Stat(path)
		if err == nil && gone == nil && os.SameFile(mine, there) {
			return &Lock{f}, sign(path)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		// Its last holder removed the file before it was locked here: again, with a new one.
	}
}

// Release unlocks, and removes the file. It may be called again, and for nil.
func (l *Lock) Release() {
	if l == nil || l.file == nil {
		return
	}
	os.Remove(l.file.Path()) // Windows removes no open files: there it stays, which hurts nobody
	l.file.Close()
	l.file = nil
}

// textAt is where the holder's words are: Windows lets nobody read the byte that is locked, the first.
const textAt = 1

func sign(path string) error {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("process %d on %s", os.Getpid(), host)
	_, err = f.WriteAt([]byte(text), textAt)
	return errors.Join(err, f.Truncate(int64(textAt+len(text))), f.Close())
}

// holder reads what sign wrote.
func holder(path string) string {
	const longest = 300
	f, err := os.Open(path)
	if err != nil {
		return "another process"
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, textAt, longest))
	if err != nil || len(text) == 0 {
		return "another process"
	}
	return string(text)
}
