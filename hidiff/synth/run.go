package synth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"

	"golang.org/x/sync/errgroup"
)

// Source is a sharp photo.
type Source struct {
	Path string
	Name string // a relative path with slashes, which names its pairs and seeds them
}

// RunOptions say what to make of which photos, and where.
type RunOptions struct {
	Options
	Sources  []Source
	PerPhoto int    // pairs of each; 0 is 1
	Output   string // a folder, which [Run] makes
	Workers  int    // 0: as many as there are processors
	// Report, unless nil, hears of every pair. It is called by one goroutine at a time.
	Report func(Event)
}

// EventKind is what became of pairs.
type EventKind string

// Kinds of events.
const (
	Done    EventKind = "done"
	Skipped EventKind = "skipped" // made by an earlier run
	Flat    EventKind = "flat"    // left out: see ErrFlat
	Failed  EventKind = "error"

	// Unmanaged is told beside what becomes of the pairs: the colours of the photo are off, as [photo.Info] says.
	Unmanaged EventKind = "warning"
)

// Event is what became of one pair, or of all that are left of a photo.
type Event struct {
	Kind   EventKind
	Source Source
	Pairs  int   // how many
	Pair   *Pair // what was made, without its photos
	Err    error // of Failed
}

// Run makes pairs of all photos in the folders input and target below Output, as PNG files of equal
// names, and lists them in manifest.jsonl, one [Pair] a line. Which pair is made depends on no other, nor on the number of
// workers.
//
// A second run makes what is missing. Options other than those the folder was made with are refused, but for Sources,
// PerPhoto and Workers. However a run ends, there are no halves of files, and when it is cancelled no halves of pairs.
//
// Photos that cannot be used are reported, and the others go on. Run's own errors are ctx's, and those of the folder.
func Run(ctx context.Context, o RunOptions) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	o.PerPhoto = max(o.PerPhoto, 1)
	out, err := openFolder(o.Output, o.Options)
	if err != nil {
		return err
	}
	r := &runner{RunOptions: o, out: out}
	r.refuse()
	g, working := errgroup.WithContext(ctx)
	g.SetLimit(o.Workers)
	r.plan(working, func(t task) { g.Go(func() error { return r.make(working, t) }) })
	err = g.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return errors.Join(err, out.close())
}

type runner struct {
	RunOptions
	out    *folder
	report sync.Mutex
}

func (r *runner) tell(e Event) {
	if r.Report == nil {
		return
	}
	r.report.Lock()
	defer r.report.Unlock()
	r.Report(e)
}

// refuse reports the photos whose pairs could not be told apart from another photo's, or not be written, and drops them.
func (r *runner) refuse() {
	var outputs atomicfile.Checker
	seen := map[string]string{}
	r.Sources = slices.DeleteFunc(slices.Clone(r.Sources), func(s Source) bool {
		name := strings.TrimSuffix(s.Name, path.Ext(s.Name))
		last := Pair{Name: pairName(s.Name, r.PerPhoto-1)}
		err := outputs.Check(last.file(r.out.dir, "target"))
		if other, ok := seen[name]; ok {
			err = fmt.Errorf("%s and %s would both become %s: make pairs of %s in another folder", other, s.Path, pairName(s.Name, 0), s.Path)
		}
		if err != nil {
			r.tell(Event{Kind: Failed, Source: s, Pairs: r.PerPhoto, Err: err})
			return true
		}
		seen[name] = s.Path
		return false
	})
}

// task is a pair to make.
type task struct {
	*opened
	index int
}

// opened is a photo, read when the first of its pairs is made and dropped with the last task.
type opened struct {
	Source
	bytes int64
	left  int // pairs to make
	once  sync.Once
	photo *photo.Photo
}

// plan begins the pairs that are to be made, photo by photo.
func (r *runner) plan(ctx context.Context, begin func(task)) {
	for _, source := range r.Sources {
		info, err := os.Stat(source.Path)
		if err != nil {
			r.tell(Event{Kind: Failed, Source: source, Pairs: r.PerPhoto, Err: err})
			continue
		}
		var missing []int
		for i := range r.PerPhoto {
			pair, made := r.out.has(pairName(source.Name, i))
			if made && (pair.SourceBytes != info.Size() || pair.Source != source.Name) {
				err = fmt.Errorf("%s: %s was made from another photo of this name: make its pairs in another folder", source.Path, pair.Name)
			}
			if !made {
				missing = append(missing, i)
			}
		}
		if err != nil {
			r.tell(Event{Kind: Failed, Source: source, Pairs: r.PerPhoto, Err: err})
			continue
		}
		if skipped := r.PerPhoto - len(missing); skipped > 0 {
			r.tell(Event{Kind: Skipped, Source: source, Pairs: skipped})
		}
		from := &opened{Source: source, bytes: info.Size(), left: len(missing)}
		for _, i := range missing {
			if ctx.Err() != nil {
				return
			}
			begin(task{from, i})
		}
	}
}

// open reads the photo. If it cannot be used, that is told once.
func (r *runner) open(p *opened) *photo.Photo {
	p.once.Do(func() {
		read, err := photo.Open(p.Path)
		if err == nil && read.Unmanaged {
			r.tell(Event{Kind: Unmanaged, Source: p.Source})
		}
		if err == nil {
			if _, err = r.downscale(read.Width, read.Height); err != nil {
				err = fmt.Errorf("%s: %w", p.Path, err)
			}
		}
		if err != nil {
			r.tell(Event{Kind: Failed, Source: p.Source, Pairs: p.left, Err: err})
			return
		}
		p.photo = read
	})
	return p.photo
}

// make makes a pair. Its errors are those of the folder.
func (r *runner) make(ctx context.Context, t task) error {
	if ctx.Err() != nil {
		return nil
	}
	sharp := r.open(t.opened)
	if sharp == nil {
		return nil
	}
	pair, err := r.Make(ctx, sharp, t.Name, t.index)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, ErrFlat):
		r.tell(Event{Kind: Flat, Source: t.Source, Pairs: 1})
		return nil
	case err != nil:
		r.tell(Event{Kind: Failed, Source: t.Source, Pairs: 1, Err: fmt.Errorf("%s: %w", t.Path, err)})
		return nil
	}
	pair.SourceBytes = t.bytes
	if err := r.out.add(pair); err != nil {
		return err
	}
	pair.Input, pair.Target = nil, nil
	r.tell(Event{Kind: Done, Source: t.Source, Pairs: 1, Pair: pair})
	return nil
}

// save writes both photos of a pair below a folder, or none.
func (p *Pair) save(dir string) error {
	target, input := p.file(dir, "target"), p.file(dir, "input")
	for _, path := range []string{target, input} {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
	}
	if err := photo.Save(target, p.Target, photo.EncodeOptions{}); err != nil {
		return err
	}
	if err := photo.Save(input, p.Input, photo.EncodeOptions{}); err != nil {
		os.Remove(target)
		return err
	}
	return nil
}

func (p *Pair) file(dir, kind string) string {
	return filepath.Join(dir, kind, filepath.FromSlash(p.Name)+".png")
}
