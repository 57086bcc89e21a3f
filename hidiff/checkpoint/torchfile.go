package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readZip reads the format of torch.save since PyTorch 1.6: a zip archive of
// <name>/data.pkl and <name>/data/<key> for each storage, all uncompressed.
func readZip(r io.ReaderAt, size int64) (any, error) {
	z, err := zip.NewReader(r, size)
	if errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: its table of contents is missing", errTruncated)
	}
	if err != nil {
		return nil, err
	}
	a := archive{entries: map[string]*zip.File{}, left: uint64(size)}
	for _, f := range z.File {
		root, name, _ := strings.Cut(f.Name, "/")
		if name == "data.pkl" {
			if a.root != "" {
				return nil, errors.New("damaged archive: it holds data.pkl twice")
			}
			a.root = root + "/"
		}
		if a.entries[f.Name] != nil {
			return nil, fmt.Errorf("damaged archive: two entries are named %q", f.Name)
		}
		a.entries[f.Name] = f
	}
	switch {
	case a.root == "":
		return nil, errors.New("a zip archive without data.pkl: unpack it if it holds weights files, torch.save did not write it")
	case a.entries[a.root+"constants.pkl"] != nil:
		return nil, errors.New("a TorchScript program: save its state_dict with torch.save instead")
	}
	if a.entries[a.root+"byteorder"] != nil {
		order, err := a.read("byteorder")
		if err != nil {
			return nil, err
		}
		if string(order) != "little" {
			return nil, errBigEndian
		}
	}
	pickle, err := a.read("data.pkl")
	if err != nil {
		return nil, err
	}
	raw, storages, _, err := unpickle(pickle)
	if err != nil {
		return nil, err
	}
	for key, s := range storages.All() {
		if s.data, err = a.read("data/" + key); err != nil {
			return nil, err
		}
		if len(s.data)/s.dtype.size() != s.count || len(s.data)%s.dtype.size() != 0 {
			return nil, fmt.Errorf("damaged archive: storage %q has %d bytes instead of %d elements of %s", key, len(s.data), s.count, s.dtype)
		}
	}
	return resolve(raw, size)
}

var errBigEndian = errors.New("written on a big-endian machine: save it again on a little-endian one")

// archive is an opened zip file. No entry may be compressed, and together they
// may not hold more than the file, so overlapping entries cannot multiply it.
type archive struct {
	root    string
	entries map[string]*zip.File
	left    uint64
}

// read returns an entry's bytes, checked against their CRC.
func (a *archive) read(name string) ([]byte, error) {
	f := a.entries[a.root+name]
	if f == nil {
		return nil, fmt.Errorf("damaged archive: %q is missing", a.root+name)
	}
	if f.Method != zip.Store {
		return nil, fmt.Errorf("%q is compressed, as torch.save never does: unpack the archive and zip it again without compression", f.Name)
	}
	if f.UncompressedSize64 > a.left || f.UncompressedSize64 != f.CompressedSize64 {
		return nil, fmt.Errorf("damaged archive: %q claims more bytes than the file has", f.Name)
	}
	a.left -= f.UncompressedSize64
	entry, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("damaged archive: %q: %w", f.Name, err)
	}
	defer entry.Close()
	data := make([]byte, f.UncompressedSize64)
	if _, err = io.ReadFull(entry, data); err == nil {
		_, err = io.Copy(io.Discard, entry) // the CRC is compared at the end
	}
	if err != nil {
		return nil, fmt.Errorf("damaged archive: %q: %w", f.Name, err)
	}
	return data, nil
}

// legacyMagic is the pickle of PyTorch's magic number 0x1950a86a20f9469cfc6c.
var legacyMagic = []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")

// readLegacy reads the format before PyTorch 1.6: pickles of a magic number, the
// protocol, the writer's system, the object and the list of storage keys; then
// each storage as an int64 count and its elements.
func readLegacy(data []byte) (any, error) {
	rest := data[len(legacyMagic):]
	next := func() (any, *orderedMap[string, *storage], error) {
		v, storages, n, err := unpickle(rest)
		rest = rest[n:]
		return v, storages, err
	}
	protocol, _, err := next()
	if err != nil {
		return nil, err
	}
	if protocol != int64(1001) {
		return nil, fmt.Errorf("unknown version %v of the legacy format", protocol)
	}
	system, _, err := next()
	if err != nil {
		return nil, err
	}
	if m, ok := system.(*mapping); !ok {
		return nil, errors.New("damaged file: no description of the writing machine")
	} else if little, _ := m.dict.Get("little_endian"); little != true {
		return nil, errBigEndian
	}
	raw, storages, err := next()
	if err != nil {
		return nil, err
	}
	keys, _, err := next()
	if err != nil {
		return nil, err
	}
	if list, ok := keys.(*sequence); !ok || list.tuple {
		return nil, errors.New("damaged file: no list of storages")
	} else if err := fillStorages(rest, list.items, storages); err != nil {
		return nil, err
	}
	return resolve(raw, int64(len(data)))
}

// fillStorages hands the storages, in the order of keys, their part of data.
func fillStorages(data []byte, keys []any, storages *orderedMap[string, *storage]) error {
	filled := 0
	for _, k := range keys {
		key, _ := k.(string)
		s, ok := storages.Get(key)
		if !ok || s.data != nil {
			return fmt.Errorf("damaged file: storage %.100q is unknown or there twice", fmt.Sprint(k))
		}
		if len(data) < 8 {
			return fmt.Errorf("%w: storage %q is missing", errTruncated, key)
		}
		count := int64(binary.LittleEndian.Uint64(data))
		data = data[8:]
		if count != int64(s.count) {
			return fmt.Errorf("damaged file: storage %q has %d elements instead of %d", key, count, s.count)
		}
		if s.count > len(data)/s.dtype.size() {
			return fmt.Errorf("%w: storage %q needs %d elements of %s", errTruncated, key, s.count, s.dtype)
		}
		n := s.count * s.dtype.size()
		s.data, data = data[:n:n], data[n:]
		filled++
	}
	if filled != storages.Len() {
		return fmt.Errorf("damaged file: %d of %d storages are missing", storages.Len()-filled, storages.Len())
	}
	return nil
}

// isLegacy reports whether a file that starts with head is in the legacy format.
func isLegacy(head []byte) bool { return bytes.HasPrefix(head, legacyMagic) }
