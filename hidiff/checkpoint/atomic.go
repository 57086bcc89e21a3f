package checkpoint

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// writeAtomic writes a file under a temporary name beside path and renames it
// when all of it is on disk. On failure an older file at path is untouched and
// nothing else remains.
func writeAtomic(path string, write func(w io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s: cannot write weights: it is a directory", path)
	}
	temp := fmt.Sprintf("%s.%016x.tmp", path, rand.Uint64())
	// Not os.CreateTemp: its files are private whatever the umask says.
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("%s: cannot write weights: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(temp)
			err = fmt.Errorf("%s: cannot write weights: %w", path, err)
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err = write(buffered); err != nil {
		return err
	}
	if err = buffered.Flush(); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
