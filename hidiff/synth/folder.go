package synth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"hidiff/internal/atomicfile"
	"hidiff/internal/lock"
	"hidiff/internal/textfile"
)

// version is that of the pairs: it changes whenever the same options would give others. A repair of pairs that were broken
// is no reason to refuse a folder of good ones.
const version = 1

const (
	optionsFile  = "synth.json"
	manifestFile = "manifest.jsonl"
)

// folder is where pairs go: input and target, the options that they were made with, and the list of pairs.
type folder struct {
	dir   string
	mu    sync.Mutex
	pairs map[string]Pair // by name
	list  *os.File        // open at its end
	lock  *lock.Lock
}

// settings is the file of options.
type settings struct {
	Version int `json:"version"`
	Options
}

// openFolder makes a folder, or opens one that was made with the same options, and keeps other runs out.
func openFolder(dir string, o Options) (*folder, error) {
	f := &folder{dir: dir, pairs: map[string]Pair{}}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	var err error
	f.lock, err = lock.Acquire(f.path(".lock"))
	if held := new(lock.HeldError); errors.As(err, &held) {
		err = fmt.Errorf("%s is %w: wait for that to end, or give another folder", dir, held)
	}
	if err != nil {
		return nil, err
	}
	if err := f.open(o); err != nil {
		f.lock.Release()
		return nil, err
	}
	return f, nil
}

func (f *folder) open(o Options) error {
	wanted, err := json.Marshal(settings{version, o})
	if err != nil {
		return err
	}
	found, err := textfile.Read(f.path(optionsFile))
	switch {
	case err == nil:
		err = sameOptions(f.dir, found, wanted)
	case errors.Is(err, fs.ErrNotExist):
		if err = f.unused(); err == nil {
			err = atomicfile.WriteBytes(f.path(optionsFile), append(wanted, '\n'))
		}
	}
	if err == nil {
		err = f.read()
	}
	if err == nil {
		err = f.write() // without what a killed run left
	}
	if err == nil {
		f.list, err = os.OpenFile(f.path(manifestFile), os.O_WRONLY|os.O_APPEND, 0)
	}
	return err
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// unused makes sure that nobody else's pairs lie in the folder.
func (f *folder) unused() error {
	for _, name := range []string{"input", "target", manifestFile} {
		if _, err := os.Lstat(f.path(name)); err == nil {
			return fmt.Errorf("%s exists, but no %s beside it that says how it was made: give another folder", f.path(name), optionsFile)
		}
	}
	return nil
}

// sameOptions compares options as they are written.
func sameOptions(dir string, found, wanted []byte) error {
	// What is not in the file came later, and was as by default.
	made := settings{Options: Defaults()}
	if err := json.Unmarshal(found, &made); err != nil {
		return fmt.Errorf("%s is damaged (%w): give another folder", filepath.Join(dir, optionsFile), err)
	}
	found, err := json.Marshal(made)
	if err != nil {
		return err
	}
	var before, now map[string]json.RawMessage
	if err := json.Unmarshal(found, &before); err != nil {
		return err
	}
	if err := json.Unmarshal(wanted, &now); err != nil {
		return err
	}
	if string(before["version"]) != string(now["version"]) {
		return fmt.Errorf("%s was made by another version of the program: give another folder", dir)
	}
	var differ []string
	for name, value := range now {
		if !bytes.Equal(value, before[name]) {
			differ = append(differ, fmt.Sprintf("%s %s, not %s", name, strings.Trim(string(before[name]), `"`), strings.Trim(string(value), `"`)))
		}
	}
	if differ == nil {
		return nil
	}
	slices.Sort(differ)
	return fmt.Errorf("%s was made with %s: give the same options, or another folder", dir, strings.Join(differ, "; "))
}

// read lists the pairs that are there, both photos of them. The end of a line that a killed run did not finish is passed over.
func (f *folder) read() error {
	text, err := textfile.Read(f.path(manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := bytes.Split(text, []byte{'\n'})
	for i, line := range lines[:len(lines)-1] {
		var p Pair
		if err := json.Unmarshal(line, &p); err != nil || !filepath.IsLocal(filepath.FromSlash(p.Name)) {
			return fmt.Errorf("%s: line %d describes no pair: remove it, and the pair is made again", f.path(manifestFile), i+1)
		}
		if isFile(p.file(f.dir, "input")) && isFile(p.file(f.dir, "target")) {
			f.pairs[p.Name] = p
		}
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// has returns a pair that an earlier run made.
func (f *folder) has(name string) (Pair, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pairs[name]
	return p, ok
}

// add saves a pair, then lists it.
func (f *folder) add(p *Pair) error {
	line, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := p.save(f.dir); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	described := *p
	described.Input, described.Target = nil, nil
	f.pairs[p.Name] = described
	_, err = f.list.Write(append(line, '\n'))
	return err
}

// write writes the list anew, in the order of names.
func (f *folder) write() error {
	names := make([]string, 0, len(f.pairs))
	for name := range f.pairs {
		names = append(names, name)
	}
	slices.Sort(names)
	var text bytes.Buffer
	for _, name := range names {
		line, err := json.Marshal(f.pairs[name])
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	return atomicfile.WriteBytes(f.path(manifestFile), text.Bytes())
}

func (f *folder) close() error {
	defer f.lock.Release()
	return errors.Join(f.list.Close(), f.write())
}
