package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// The values of File.Format.
const (
	formatZip         = "pth-zip"
	formatLegacy      = "pth-legacy"
	formatSafetensors = "safetensors"
)

// File is what a weights file holds.
type File struct {
	Path string
	// Format is "pth-zip", "pth-legacy" or "safetensors".
	Format string
	// Groups are the state_dicts of the file, with names as they are there. In a .pth
	// file they go by their key ("params", "params_ema"), keys of dicts in dicts joined by
	// dots, or "" for a state_dict on its own; in safetensors by network ("net_g",
	// "net_le_dm") where names start with one, else "".
	Groups map[string]*StateDict
	// Unread are the values in dicts of a .pth file that this package does not read, by
	// their path of keys.
	Unread map[string]Opaque
	// Metadata is the __metadata__ of safetensors; nil for .pth.
	Metadata map[string]string
}

// Open reads a .pth or safetensors file; the content decides which, not the
// name. It fails, naming the file, where that is neither, damaged, or holds no
// weights, and where ctx ends while it reads.
func Open(ctx context.Context, path string) (*File, error) {
	var file *File
	err := withFile(path, func(r io.ReaderAt, size int64) (err error) {
		file, err = Read(untilDone{ctx, r}, size, path)
		return err
	})
	return file, err
}

// untilDone reads until its context ends.
type untilDone struct {
	ctx context.Context
	io.ReaderAt
}

func (r untilDone) ReadAt(p []byte, at int64) (n int, err error) {
	const most = 1 << 20 // bytes between two looks
	for {
		if err := r.ctx.Err(); err != nil {
			return n, err
		}
		some, err := r.ReaderAt.ReadAt(p[n:min(len(p), n+most)], at+int64(n))
		if n += some; n == len(p) || err != nil {
			return n, err
		}
	}
}

// Read is Open on size bytes of r; name stands for the path in File and errors.
func Read(r io.ReaderAt, size int64, name string) (*File, error) {
	file := &File{Path: name, Groups: map[string]*StateDict{}, Unread: map[string]Opaque{}}
	var err error
	if file.Format, err = sniff(r, size); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if file.Format == formatSafetensors {
		file.Groups, file.Metadata, err = readSafetensors(r, size)
	} else {
		var value any
		if value, err = readTorch(r, size, file.Format); err == nil {
			err = file.collect("", value)
		}
		if err == nil && len(file.Groups) == 0 {
			err = file.nothing(value)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return file, nil
}

// LoadPickle reads any file of torch.save, such as a training state, as Go
// values: see the package comment for the mapping. Names are kept as they are.
func LoadPickle(path string) (any, error) {
	var value any
	err := withFile(path, func(r io.ReaderAt, size int64) error {
		format, err := sniff(r, size)
		if err == nil && format == formatSafetensors {
			err = errors.New("a safetensors file where one of torch.save is needed")
		}
		if err == nil {
			value, err = readTorch(r, size, format)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	return value, err
}

// withFile calls read on the regular file at path.
func withFile(path string, read func(r io.ReaderAt, size int64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err // names the path
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a file", path)
	}
	return read(f, info.Size())
}

// sniff finds a file's format by its first bytes.
func sniff(r io.ReaderAt, size int64) (string, error) {
	head := make([]byte, min(size, 64))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return "", err
	}
	text := bytes.ToLower(bytes.TrimSpace(head))
	switch {
	case size == 0:
		return "", errors.New("the file is empty (failed download?)")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return formatZip, nil
	case isLegacy(head):
		return formatLegacy, nil
	case len(head) > 8 && head[8] == '{' && binary.LittleEndian.Uint64(head) <= maxHeader:
		return formatSafetensors, nil
	case bytes.HasPrefix(text, []byte("<!doctype")), bytes.HasPrefix(text, []byte("<html")):
		return "", errors.New("a web page, not weights: download the file itself")
	case bytes.HasPrefix(text, []byte("version https://git-lfs")):
		return "", errors.New("a Git LFS pointer, not the weights: fetch the file with git lfs pull")
	}
	return "", errors.New("neither a .pth file of torch.save nor safetensors")
}

// readTorch reads either format of torch.save.
func readTorch(r io.ReaderAt, size int64, format string) (any, error) {
	if format == formatZip {
		return readZip(r, size)
	}
	data := make([]byte, size)
	if n, err := r.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	return readLegacy(data)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
