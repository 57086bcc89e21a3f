package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hidiff/internal/atomicfile"
)

// maxHeader is the format's own limit on the JSON header.
const maxHeader = 100_000_000

// networkPrefix marks the first part of a name as that of a network.
const networkPrefix = "net_"

// entry is one tensor of a safetensors header; offsets count bytes of the data.
type entry struct {
	name       string
	dtype      DType
	shape      []int
	begin, end int
}

// readSafetensors reads an 8-byte header length, a JSON header and the data. A
// group keeps its tensors in the order of their data, since the order of a JSON
// object means nothing.
func readSafetensors(r io.ReaderAt, size int64) (map[string]*StateDict, map[string]string, error) {
	var length [8]byte
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, nil, err
	}
	n := int64(binary.LittleEndian.Uint64(length[:])) // sniff compared it to maxHeader
	if n > size-8 {
		return nil, nil, fmt.Errorf("%w: its header has %d of %d bytes", errTruncated, size-8, n)
	}
	header := make([]byte, n)
	if read, err := r.ReadAt(header, 8); read < len(header) {
		return nil, nil, err
	}
	entries, metadata, err := parseHeader(header)
	if err != nil {
		return nil, nil, fmt.Errorf("damaged safetensors header: %w", err)
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	next := 0
	for _, e := range entries {
		if err := e.check(next); err != nil {
			return nil, nil, fmt.Errorf("damaged safetensors header: %.100q: %w", e.name, err)
		}
		next = e.end
	}
	switch have := size - 8 - n; {
	case int64(next) > have:
		return nil, nil, fmt.Errorf("%w: it has %d of %d bytes of data", errTruncated, have, next)
	case int64(next) < have:
		return nil, nil, fmt.Errorf("damaged safetensors file: %d bytes after the last tensor", have-int64(next))
	}
	data := make([]byte, next)
	if read, err := r.ReadAt(data, 8+n); read < len(data) {
		return nil, nil, err
	}
	groups := map[string]*StateDict{}
	for _, e := range entries {
		group, key := splitName(e.name)
		if groups[group] == nil {
			groups[group] = NewStateDict()
		}
		groups[group].Set(key, &Array{Shape: e.shape, DType: e.dtype, Data: data[e.begin:e.end:e.end]})
	}
	if len(groups) == 0 {
		groups[""] = NewStateDict()
	}
	return groups, metadata, nil
}

// check reports whether e is what follows at byte begin of the data.
func (e entry) check(begin int) error {
	n, err := elements(e.shape)
	switch {
	case e.dtype.size() == 0:
		return fmt.Errorf("type %.20q is not supported", string(e.dtype))
	case err != nil:
		return err
	case e.begin != begin:
		return fmt.Errorf("its data starts at %d instead of %d", e.begin, begin)
	case e.end < e.begin || e.end-e.begin != n*e.dtype.size():
		return fmt.Errorf("its data has %d bytes instead of those of shape %v", e.end-e.begin, e.shape)
	}
	return nil
}

// splitName cuts "net_g.conv.weight" into network and parameter. Other names are
// parameters of the unnamed network.
func splitName(name string) (group, key string) {
	first, rest, ok := strings.Cut(name, ".")
	if ok && strings.HasPrefix(first, networkPrefix) {
		return first, rest
	}
	return "", name
}

// parseHeader decodes the JSON by hand, as encoding/json lets the last of two
// equal keys win.
func parseHeader(header []byte) (entries []entry, metadata map[string]string, err error) {
	if !utf8.Valid(header) {
		return nil, nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(header))
	dec.UseNumber()
	err = object(dec, func(name string) error {
		if name == "__metadata__" {
			metadata = map[string]string{}
			return object(dec, func(key string) error {
				text, err := dec.Token()
				if err != nil {
					return err
				}
				value, ok := text.(string)
				if !ok {
					return fmt.Errorf("%.100q is not a string", key)
				}
				metadata[key] = value
				return nil
			})
		}
		e := entry{name: name, begin: -1, end: -1}
		err := object(dec, func(field string) (err error) {
			switch field {
			case "dtype":
				return dec.Decode(&e.dtype)
			case "shape":
				e.shape, err = numbers(dec)
				return err
			case "data_offsets":
				offsets, err := numbers(dec)
				if err == nil && len(offsets) != 2 {
					err = errors.New("data_offsets are not two numbers")
				}
				if err == nil {
					e.begin, e.end = offsets[0], offsets[1]
				}
				return err
			}
			return fmt.Errorf("unknown field %.100q", field)
		})
		if err == nil && (e.dtype == "" || e.shape == nil || e.begin < 0) {
			err = errors.New("dtype, shape or data_offsets is missing")
		}
		entries = append(entries, e)
		return err
	})
	if err == nil && len(bytes.TrimLeft(header[dec.InputOffset():], " ")) != 0 {
		err = errors.New("text after its end")
	}
	return entries, metadata, err
}

// numbers reads a JSON array of integers that are not negative.
func numbers(dec *json.Decoder) ([]int, error) {
	out := []int{}
	if open, err := dec.Token(); err != nil || open != json.Delim('[') {
		return nil, cmp.Or(err, errors.New("a list of numbers is missing"))
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		number, _ := token.(json.Number)
		n, err := strconv.Atoi(string(number))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%.40q is not a size", fmt.Sprint(token))
		}
		out = append(out, n)
	}
	_, err := dec.Token()
	return out, err
}

// object walks a JSON object whose values member reads, and refuses a key that
// is there twice.
func object(dec *json.Decoder, member func(key string) error) error {
	if open, err := dec.Token(); err != nil {
		return jsonError(err)
	} else if open != json.Delim('{') {
		return errors.New("an object is missing")
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		key, ok := token.(string)
		if !ok || seen[key] {
			return fmt.Errorf("key %.100q is there twice", key)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return fmt.Errorf("%.100q: %w", key, jsonError(err))
		}
	}
	_, err := dec.Token()
	return jsonError(err)
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// WriteSafetensors writes one or several networks to one file. The names of
// group "" are written as they are, those of others, which must be called
// net_something, behind a prefix such as "net_g."; Open undoes it. Metadata may
// be nil. Groups are sorted, parameters keep their order, and equal input gives
// equal bytes.
//
// The write is atomic: after any error an older file at path is unchanged.
func WriteSafetensors(path string, groups map[string]*StateDict, metadata map[string]string) error {
	return atomicfile.Write(path, func(w io.Writer) error { return writeSafetensors(w, groups, metadata) })
}

func writeSafetensors(w io.Writer, groups map[string]*StateDict, metadata map[string]string) error {
	var header bytes.Buffer
	var arrays []*Array
	separator := byte('{')
	// member writes the start of a key's value.
	member := func(key string, value any) error {
		header.WriteByte(separator)
		separator = ','
		k, err := json.Marshal(key)
		if err == nil && !utf8.ValidString(key) {
			err = fmt.Errorf("%q is not UTF-8", key)
		}
		if err != nil {
			return err
		}
		v, err := json.Marshal(value)
		header.Write(k)
		header.WriteByte(':')
		header.Write(v)
		return err
	}
	if len(metadata) > 0 {
		if err := member("__metadata__", metadata); err != nil {
			return err
		}
	}
	offset := 0
	for _, group := range sortedKeys(groups) {
		for key, a := range groups[group].All() {
			name := key
			if group != "" {
				name = group + "." + key
			}
			if g, k := splitName(name); g != group || k != key || name == "__metadata__" {
				return fmt.Errorf("parameter %q of group %q would be read back as %q of %q: groups are named %s…", key, group, k, g, networkPrefix)
			}
			if a == nil {
				return fmt.Errorf("%s: a nil *Array cannot be written", name)
			}
			if err := a.check(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			end := offset + len(a.Data)
			err := member(name, struct {
				DType   DType  `json:"dtype"`
				Shape   []int  `json:"shape"`
				Offsets [2]int `json:"data_offsets"`
			}{a.DType, append([]int{}, a.Shape...), [2]int{offset, end}})
			if err != nil {
				return err
			}
			offset = end
			arrays = append(arrays, a)
		}
	}
	if separator == '{' {
		header.WriteByte('{')
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 { // keeps the data aligned
		header.WriteByte(' ')
	}
	if header.Len() > maxHeader {
		return fmt.Errorf("a header of %d bytes is too long", header.Len())
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))); err != nil {
		return err
	}
	if _, err := w.Write(header.Bytes()); err != nil {
		return err
	}
	for _, a := range arrays {
		if _, err := w.Write(a.Data); err != nil {
			return err
		}
	}
	return nil
}
