//go:build lmdb

package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// checkLMDB compares a database's file with what its meta pages say. LMDB does not: it maps the file into
// memory, and to read what was cut off ends the process with SIGBUS. The layout is that of 64-bit machines (lmdb.h
// 0.9 and mdb.c: MDB_page, MDB_meta): two meta pages, of which the one of the later transaction counts.
func checkLMDB(path string) error {
	if strconv.IntSize != 64 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := uint64(info.Size())
	if size == 0 {
		return errors.New("data.mdb is empty")
	}
	first, firstErr := readMeta(f, 0)
	second, secondErr := readMeta(f, 4096) // the usual page, where the first meta page does not tell
	if firstErr == nil {
		second, secondErr = readMeta(f, int64(first.pageSize))
	}
	switch {
	case firstErr == errVersion:
		return nil // LMDB tells
	case firstErr != nil && secondErr != nil:
		return errors.New("data.mdb is no LMDB, or both of its meta pages are damaged or cut off")
	case firstErr != nil:
		return fmt.Errorf("the first meta page of data.mdb is %w", firstErr)
	case secondErr != nil:
		return fmt.Errorf("the second meta page of data.mdb is %w", secondErr)
	}
	last := first
	if second.transaction > first.transaction {
		last = second
	}
	if pages := size / last.pageSize; pages <= last.lastPage {
		return fmt.Errorf("data.mdb is cut off: it has %d of %d pages", pages, last.lastPage+1)
	}
	return nil
}

// lmdbMeta is what a meta page tells.
type lmdbMeta struct{ pageSize, lastPage, transaction uint64 }

var (
	errCutOff  = errors.New("cut off")
	errDamaged = errors.New("damaged")
	errVersion = errors.New("of another version")
)

func readMeta(r io.ReaderAt, at int64) (m lmdbMeta, err error) {
	const (
		flags, magic, version                  = 10, 16, 20 // flags: of the page's header
		pageSize, lastPage, transaction, bytes = 40, 136, 144, 152
		isMeta, magicNumber, known             = 0x08, 0xBEEFC0DE, 1
	)
	page := make([]byte, bytes)
	if _, err := r.ReadAt(page, at); errors.Is(err, io.EOF) {
		return m, errCutOff
	} else if err != nil {
		return m, err
	}
	order := binary.NativeEndian
	m = lmdbMeta{uint64(order.Uint32(page[pageSize:])), order.Uint64(page[lastPage:]), order.Uint64(page[transaction:])}
	const smallest, largest = 256, 1 << 16
	if order.Uint16(page[flags:])&isMeta == 0 || order.Uint32(page[magic:]) != magicNumber ||
		m.pageSize < smallest || m.pageSize > largest || m.pageSize&(m.pageSize-1) != 0 {
		return m, errDamaged
	}
	if order.Uint32(page[version:]) != known {
		return m, errVersion
	}
	return m, nil
}
