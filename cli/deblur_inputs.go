package cli

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"hidiff/hidiff/photo"
	"hidiff/hidiff/video"
	"hidiff/internal/folder"
)

// stdio is the name of standard input and output on the command line.
const stdio = "-"

// job is one photo or video on its way.
type job struct {
	input, output string // paths, or stdio
	name          string // the path below the folder it was found in, else the base name, "" for stdio; seeds its noise, a video's for all frames
	format        photo.Format
	data          []byte // of standard input, once read
	info          photo.Info
	video         *video.Info // once probed; nil for photos
	skip          bool        // the output exists
	err           error       // found before the work began
}

// label names the photo or video in messages.
func (j *job) label() string {
	if j.input == stdio {
		return "standard input"
	}
	return j.input
}

// pixels counts all there is to restore.
func (j *job) pixels() int64 {
	return int64(j.info.Width) * int64(j.info.Height) * int64(max(j.frames(), 1))
}

// jobs finds the photos, decides where each result goes, and counts what is passed over. Photos that are not there, and
// those whose results would overwrite a photo, become jobs that have failed.
func (o *deblurOptions) jobs() ([]*job, folder.Kinds, error) {
	f := newFinder(o.Recursive)
	if o.Output == "" {
		f.ownSuffix = o.Suffix
	} else if o.Output != stdio {
		f.outputRoot = identity(o.Output)
	}
	for _, arg := range o.Inputs {
		if err := f.add(arg); err != nil {
			return nil, nil, err
		}
	}
	intoFile := o.Output == stdio
	if info, err := os.Stat(o.Output); o.Output != "" && !intoFile {
		exists := err == nil && info.IsDir()
		intoFile = !exists && !os.IsPathSeparator(o.Output[len(o.Output)-1]) && !f.several
	}
	if intoFile && len(f.jobs) != 1 {
		return nil, nil, usagef("%d photos cannot go into one output: give a folder with -o", len(f.jobs))
	}
	for _, j := range f.jobs {
		if j.err != nil {
			continue
		}
		if err := o.place(j, intoFile); err != nil {
			return nil, nil, err
		}
	}
	return f.jobs, f.passedOver, refuseOverwrites(f.jobs)
}

// place sets a job's output and format.
func (o *deblurOptions) place(j *job, intoFile bool) error {
	if j.isVideo() {
		return o.placeVideo(j, intoFile)
	}
	j.format = o.Format
	if o.Output == stdio || (o.Output == "" && j.input == stdio) {
		j.output = stdio // in the input's format, known when its header is read
		return nil
	}
	if intoFile {
		named, ok := photo.FormatOf(o.Output)
		switch {
		case !ok && o.Format == "":
			return usagef("-o %s has the extension of no image format: use .png, .jpg, .tif, .webp or .bmp, or end it with / for a folder", o.Output)
		case ok && o.Format != "" && named != o.Format:
			return usagef("-o %s and -f %s differ: leave out -f, or change the extension", o.Output, o.Format)
		case ok:
			j.format = named
		}
		j.output = o.Output
		return nil
	}
	if j.input == stdio {
		return usagef("where should the photo from standard input go? Give a file with -o, or - for standard output")
	}
	ext := filepath.Ext(j.input)
	kept, ok := photo.FormatOf(ext)
	if j.format == "" {
		if j.format = kept; !ok || kept == photo.BMP {
			j.format = photo.PNG
		}
	}
	if kept != j.format {
		ext = j.format.Extension()
	}
	j.output = o.outputPath(j, ext)
	return nil
}

// outputPath is where a job's result goes, beside the input or into a folder.
func (o *deblurOptions) outputPath(j *job, ext string) string {
	dir, base := filepath.Dir(j.input), filepath.Base(j.input)
	if o.Output != "" {
		dir = filepath.Join(o.Output, filepath.Dir(filepath.FromSlash(j.name)))
	}
	return filepath.Join(dir, strings.TrimSuffix(base, filepath.Ext(base))+o.Suffix+ext)
}

// refuseOverwrites makes sure that no result replaces an input or another result. If nothing is left to do then, the
// command line is wrong.
func refuseOverwrites(jobs []*job) error {
	inputs, outputs := map[string]string{}, map[string]string{}
	for _, j := range jobs {
		if j.input != stdio {
			inputs[identity(j.input)] = j.input
		}
	}
	var refused error
	left := false
	for _, j := range jobs {
		if j.output == stdio || j.err != nil {
			left = left || j.err == nil
			continue
		}
		at := identity(j.output)
		overwritten, ok := inputs[at]
		if !ok && sameFile(j.input, j.output) { // on file systems that ignore case, or through hard links
			overwritten, ok = j.input, true
		}
		other, taken := outputs[at]
		switch {
		case ok:
			j.err = usagef("%s: the result would overwrite the input %s: choose another -o or --suffix", j.label(), overwritten)
		case taken:
			j.err = usagef("%s and %s would both become %s: deblur %s into another folder", other, j.label(), j.output, j.label())
		default:
			outputs[at], left = j.label(), true
			continue
		}
		j.output, refused = "", cmp.Or(refused, j.err)
	}
	if left {
		return nil
	}
	return refused
}

func sameFile(a, b string) bool {
	first, err1 := os.Stat(a)
	second, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(first, second)
}

// identity is the absolute path without symbolic links, as far as it exists.
func identity(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return filepath.Clean(path)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	parent := filepath.Dir(abs)
	if parent == abs {
		return abs
	}
	return filepath.Join(identity(parent), filepath.Base(abs))
}

// finder collects photos, each once.
type finder struct {
	recursive  bool
	outputRoot string // not to be searched: results
	ownSuffix  string // of results that earlier runs left beside the inputs
	jobs       []*job
	seen       map[string]bool
	matches    int  // also of photos seen before
	several    bool // a folder or a pattern was given, or more than one file
	passedOver folder.Kinds
}

func newFinder(recursive bool) *finder {
	return &finder{recursive: recursive, seen: map[string]bool{}, passedOver: folder.Kinds{}}
}

func (f *finder) add(arg string) error {
	if arg == stdio {
		if f.seen[stdio] {
			return usagef("standard input can be read only once")
		}
		f.found(stdio, "")
		return nil
	}
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		f.several = true
		f.folder(arg)
		return nil
	case err == nil:
		f.found(arg, filepath.Base(arg))
		return nil
	case strings.ContainsAny(arg, "*?["):
		f.several = true
		return f.pattern(arg)
	}
	f.failed(arg, notFound(arg, err))
	return nil
}

func (f *finder) failed(path string, err error) {
	f.matches++
	f.jobs = append(f.jobs, &job{input: path, err: err})
	f.several = f.several || len(f.jobs) > 1
}

func (f *finder) found(path, name string) {
	f.matches++
	key := stdio
	if path != stdio {
		key = identity(path)
	}
	if f.seen[key] {
		return
	}
	f.seen[key] = true
	f.jobs = append(f.jobs, &job{input: path, name: name})
	f.several = f.several || len(f.jobs) > 1
}

// pattern adds what a pattern that the shell did not expand matches.
func (f *finder) pattern(pattern string) error {
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return usagef("%s is no valid pattern", pattern)
	}
	before, unread := f.matches, folder.Kinds{}
	for _, path := range matches {
		info, err := os.Stat(path)
		switch {
		case err != nil || f.isResult(path):
		case info.IsDir() && f.recursive:
			f.folder(path)
		case info.IsDir():
		case isPhoto(path) || video.Known(path):
			f.found(path, filepath.Base(path))
		default:
			unread.Look(path)
		}
	}
	f.passedOver.Add(unread)
	if f.matches == before {
		f.failed(pattern, fmt.Errorf("%s: no photo or video%s matches", pattern, unread.Unread()))
	}
	return nil
}

// folder adds the photos of a folder. Hidden files are left out, and so are videos, as they take long: they
// are to be meant.
func (f *finder) folder(root string) {
	before := f.matches
	found, err := folder.Read(root, folder.Options{Flat: !f.recursive, Skip: func(path string, isFolder bool) bool {
		return isFolder && identity(path) == f.outputRoot || !isFolder && f.isResult(path)
	}})
	if err != nil {
		f.failed(root, err)
		return
	}
	for _, name := range found.Photos {
		f.found(filepath.Join(root, filepath.FromSlash(name)), name)
	}
	for _, failure := range found.Failed {
		f.failed(failure.Path, failure)
	}
	f.passedOver.Add(found.PassedOver)
	if f.matches > before {
		return
	}
	hint, films := "", false
	maps.DeleteFunc(found.PassedOver, func(kind string, _ int) bool { // these are read, but not from folders
		films = films || video.Known(kind)
		return video.Known(kind)
	})
	switch {
	case films:
		hint = fmt.Sprintf(", and videos in folders are passed over: name them, or a pattern such as '%s'", filepath.Join(root, "*.mp4"))
	case !f.recursive:
		hint = " (its subfolders are searched with -r)"
	}
	f.failed(root, fmt.Errorf("%s: the folder holds no photo%s%s", root, found.PassedOver.Unread(), hint))
}

func isPhoto(path string) bool {
	_, ok := photo.FormatOf(path)
	return ok
}

// isResult reports whether an earlier run wrote this file beside its input.
func (f *finder) isResult(path string) bool {
	stem := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	return f.ownSuffix != "" && strings.HasSuffix(stem, f.ownSuffix)
}
