package eval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
)

// Options say how to restore.
type Options struct {
	Seeds int    // how often to restore each photo; 0 means once
	Seed  uint64 // the first seed; the others follow it
	// Restore restores the input of a pair. It is called for one photo at a time. nil: photos come restored.
	Restore func(ctx context.Context, p Photos, seed uint64) (*photo.Photo, error)
	Done    func(m *Image) // called after each image, when it is in Dataset.Images
}

// task is an image between two stages.
type task struct {
	image *Image
	Photos
	results []*photo.Photo // by seed; nil where an earlier run has scored it
	fresh   bool           // results[0] is to be saved
	earlier map[Protocol]*Score
}

// Run restores and scores all images: the next photos are decoded, and the last ones scored, while one is
// restored. An image that fails says so in Images and does not stop the others: the error is ctx's.
func (d *Dataset) Run(ctx context.Context, s Source, o Options) error {
	d.Images, d.Complete = nil, false
	next, loaded, restored, done := make(chan int), make(chan *task), make(chan *task), make(chan *Image)
	go func() {
		defer close(next)
		for i := range s.Len() {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var readers, scorers, collector sync.WaitGroup
	pass := func(t *task, err error, to chan *task) {
		switch {
		case err == nil:
			to <- t
		case ctx.Err() == nil:
			t.image.Error = err.Error()
			done <- t.image
		}
	}
	for range 2 {
		readers.Go(func() {
			for i := range next {
				t, err := d.read(s, o, i)
				pass(t, err, loaded)
			}
		})
	}
	go func() {
		readers.Wait()
		close(loaded)
	}()
	for range min(4, runtime.GOMAXPROCS(0)) {
		scorers.Go(func() {
			for t := range restored {
				if err := d.finish(t); err != nil {
					t.image.Error = err.Error()
				}
				done <- t.image
			}
		})
	}
	collector.Go(func() {
		for m := range done {
			d.Images = append(d.Images, m)
			if o.Done != nil {
				o.Done(m)
			}
		}
	})
	for t := range loaded {
		pass(t, o.restore(ctx, t), restored)
	}
	close(restored)
	scorers.Wait()
	close(done)
	collector.Wait()
	slices.SortFunc(d.Images, func(a, b *Image) int { return a.index - b.index })
	if len(d.Images) < s.Len() {
		return ctx.Err()
	}
	d.Complete = true
	return nil
}

// Left is how many photos are still to be restored, once or more.
func (d *Dataset) Left(s Source, o Options) (n int) {
	if o.Restore == nil {
		return 0
	}
	for i := range s.Len() {
		saved, earlier := d.before(s.Name(i), o.Seeds)
		if !saved || o.Seeds > 1 && earlier == nil {
			n++
		}
	}
	return n
}

// before tells whether an earlier run saved the restored photo, and if that run has all scores of all seeds,
// what they are.
func (d *Dataset) before(name string, seeds int) (saved bool, scores map[Protocol]*Score) {
	m := d.Earlier.image(name)
	if m == nil || !m.Saved {
		return false, nil
	}
	if info, err := os.Stat(d.File(name)); err != nil || !info.Mode().IsRegular() {
		return false, nil
	}
	scores = d.usable(m)
	for _, s := range d.Protocols {
		if score := scores[s.Protocol]; score == nil || len(score.PSNR) < seeds || len(score.SSIM) < seeds {
			return true, nil
		}
	}
	return true, scores
}

func (d *Dataset) image(name string) *Image {
	if d == nil {
		return nil
	}
	for _, m := range d.Images {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// File is where an image's restored photo is, as BasicSR names it.
func (d *Dataset) File(name string) string {
	return filepath.Join(d.Folder, filepath.FromSlash(name)+d.Suffix+".png")
}

func (d *Dataset) read(s Source, o Options, i int) (*task, error) {
	t := &task{image: &Image{Name: s.Name(i), index: i}, results: make([]*photo.Photo, max(o.Seeds, 1))}
	var err error
	t.Photos, err = open(s, i)
	if t.Target != nil {
		t.image.Width, t.image.Height = t.Target.Width, t.Target.Height
	}
	if err != nil {
		return t, err
	}
	if t.Restored != nil {
		t.results[0] = t.Restored
		return t, nil
	}
	saved := false
	if saved, t.earlier = d.before(t.image.Name, o.Seeds); saved {
		file := d.File(t.image.Name)
		if t.results[0], err = photo.Open(file); err == nil {
			err = alike(file, t.results[0], t.Target)
		}
		if err != nil {
			return t, fmt.Errorf("%w: delete what was saved, and it will be restored again", err)
		}
		t.image.Saved, t.image.Seconds = true, d.Earlier.image(t.image.Name).Seconds
	}
	return t, nil
}

// open reads a pair, if it can be compared.
func open(s Source, i int) (Photos, error) {
	p, err := s.Photos(i)
	if err != nil {
		return p, err
	}
	if p.Input != nil && p.Input.Channels < p.Target.Channels { // as BasicSR reads it, so that its networks see and make R, G and B
		p.Input = coloured(p.Input)
	}
	return p, errors.Join(alike("the input", p.Input, p.Target), alike("the result", p.Restored, p.Target))
}

// coloured returns a photo as RGB, without what else is with it.
func coloured(p *photo.Photo) *photo.Photo {
	if p.Channels == 3 {
		return p
	}
	out := &photo.Photo{Width: p.Width, Height: p.Height, Channels: 3, Max: p.Max, Pix: make([]uint16, 0, 3*len(p.Pix))}
	for _, v := range p.Pix {
		out.Pix = append(out.Pix, v, v, v)
	}
	return out
}

// alike refuses to compare what a conversion would have to make comparable: it would decide over the score. Whether grey
// may be beside colour is a protocol's own choice.
func alike(what string, p, target *photo.Photo) error {
	switch {
	case p == nil:
		return nil
	case p.Width != target.Width || p.Height != target.Height:
		return fmt.Errorf("%s is %d×%d pixels and the target %d×%d: pair each photo with its own target", what, p.Width, p.Height, target.Width, target.Height)
	case p.Max != target.Max:
		bits := map[uint16]int{255: 8, 65535: 16}
		return fmt.Errorf("%s has %d bits a sample and the target %d: convert one of them", what, bits[p.Max], bits[target.Max])
	}
	return nil
}

// restore makes what results of a task neither came with it nor were scored before.
func (o *Options) restore(ctx context.Context, t *task) error {
	seconds, times := 0.0, 0
	for k := range t.results {
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.results[k] != nil || t.earlier != nil {
			continue
		}
		start := time.Now()
		p, err := o.Restore(ctx, t.Photos, o.Seed+uint64(k))
		if err != nil {
			return err
		}
		seconds, times = seconds+time.Since(start).Seconds(), times+1
		t.results[k] = p
		t.fresh = t.fresh || k == 0
	}
	if times > 0 {
		t.image.Seconds = seconds / float64(times)
	}
	return nil
}

// finish saves and scores.
func (d *Dataset) finish(t *task) error {
	if t.fresh {
		path := d.File(t.image.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := photo.Save(path, t.results[0], photo.EncodeOptions{Format: photo.PNG}); err != nil {
			return err
		}
		t.image.Saved = true
	}
	target, input := eightBits(t.Target), eightBits(t.Input)
	results := make([]*metrics.Image, len(t.results))
	for k, p := range t.results {
		results[k] = eightBits(p)
	}
	t.image.Scores = map[Protocol]*Score{}
	for _, s := range d.Protocols {
		t.image.Scores[s.Protocol] = score(s, results, input, target, t.earlier[s.Protocol])
	}
	if t.Input == nil {
		return nil
	}
	for _, b := range d.Baselines {
		m := eightBits(b.Apply(t.Input))
		for _, s := range d.Protocols {
			out := t.image.Scores[s.Protocol]
			if out.Baselines == nil {
				out.Baselines = map[Method]*Plain{}
			}
			out.Baselines[b.Method] = s.plain(m, target)
		}
	}
	return nil
}

// plain scores one photo.
func (s Scorer) plain(m, target *metrics.Image) *Plain {
	psnr, ssim, err := s.Score(*m, *target)
	if err != nil {
		return &Plain{none, none, err.Error()}
	}
	return &Plain{PSNR: Number(psnr), SSIM: Number(ssim)}
}

// score scores the results of all seeds, taking those that are nil from earlier, and the input, if there is one.
func score(s Scorer, results []*metrics.Image, input, target *metrics.Image, earlier *Score) *Score {
	out := &Score{InputPSNR: none, InputSSIM: none}
	if input != nil {
		p := s.plain(input, target)
		out.InputPSNR, out.InputSSIM, out.InputError = p.PSNR, p.SSIM, p.Error
	}
	for k, result := range results {
		if result == nil {
			out.PSNR, out.SSIM = append(out.PSNR, earlier.PSNR[k]), append(out.SSIM, earlier.SSIM[k])
			continue
		}
		psnr, ssim, err := s.Score(*result, *target)
		if err != nil {
			out.PSNR, out.SSIM, out.Error = nil, nil, err.Error()
			if len(results) > 1 {
				out.Error = fmt.Sprintf("result %d of %d: %v", k+1, len(results), err)
			}
			break
		}
		out.PSNR, out.SSIM = append(out.PSNR, Number(psnr)), append(out.SSIM, Number(ssim))
	}
	return out
}

// eightBits returns a photo as metrics want it, without alpha; nil of nil.
func eightBits(p *photo.Photo) *metrics.Image {
	if p == nil {
		return nil
	}
	m := metrics.FromSamples(p.Pix, p.Max, p.Width, p.Height, p.Channels)
	return &m
}
