//go:build unix

package models

import (
	"errors"
	"os"
	"syscall"
)

// openAlone opens a file to read and write, making it if need be. It returns errBusy while
// another process, or this one, has it open by openAlone.
func openAlone(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	// Some network file systems have no locks: then there is none.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, errBusy
	}
	return f, nil
}
