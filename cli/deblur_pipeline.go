package cli

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

// restorer is what the pipeline needs of [hidiff.Model].
type restorer interface {
	Plan(ctx context.Context, width, height int, o hidiff.RestoreOptions) (hidiff.Plan, error)
	Restore(ctx context.Context, p *photo.Photo, o hidiff.RestoreOptions) (*photo.Photo, error)
	Close()
}

// pipeline decodes the next photos and encodes the last ones while the GPU restores one. No
// queue lies between the stages, so there are never more photos in memory than workers and
// one. Videos pass through restoring alone: there, other programs decode and encode.
type pipeline struct {
	engine   restorer
	options  func(name string) hidiff.RestoreOptions
	encoding photo.EncodeOptions // but for the format, which is the job's
	workers  workers
	report   *report
	stdout   io.Writer
}

// task is a photo between two stages.
type task struct {
	*job
	photo *photo.Photo // nil for a video
	start time.Time    // of restoring
}

// run returns errReported where a photo failed, and ctx's error where it ended early.
func (p *pipeline) run(ctx context.Context, jobs []*job) error {
	defer p.report.close()
	var todo []*job
	for _, j := range jobs {
		switch {
		case j.err != nil:
			p.report.failed(j, j.err)
		case j.skip:
			p.report.skipped(j)
		default:
			todo = append(todo, j)
		}
	}
	p.report.begin(todo)

	next, decoded, restored := make(chan *job), make(chan task), make(chan task)
	var decoders, encoders sync.WaitGroup
	go func() {
		defer close(next)
		for _, j := range todo {
			select {
			case next <- j:
			case <-ctx.Done():
				return
			}
		}
	}()
	for range p.workers.decode {
		decoders.Go(func() {
			for j := range next {
				if t, err := p.decode(j); p.passed(ctx, j, err) {
					decoded <- t
				}
			}
		})
	}
	go func() {
		decoders.Wait()
		close(decoded)
	}()
	for range p.workers.encode {
		encoders.Go(func() {
			for t := range restored {
				if p.passed(ctx, t.job, p.encode(ctx, t)) {
					p.report.done(t.job, time.Since(t.start))
				}
			}
		})
	}
	for t := range decoded {
		t, err := p.deblur(ctx, t)
		if p.passed(ctx, t.job, err) {
			restored <- t
		}
	}
	close(restored)
	encoders.Wait()
	if err := ctx.Err(); err != nil && p.report.finished() < len(jobs) {
		return err
	}
	if p.report.failures() > 0 {
		return errReported
	}
	return nil
}

// passed reports a failure, unless ctx has ended: then the photo is dropped in silence.
func (p *pipeline) passed(ctx context.Context, j *job, err error) bool {
	if err != nil && ctx.Err() == nil {
		p.report.failed(j, err)
	}
	return err == nil
}

func (p *pipeline) decode(j *job) (task, error) {
	t := task{job: j}
	if j.video != nil {
		return t, nil
	}
	var err error
	if j.data != nil {
		t.photo, err = photo.Decode(j.data, j.label())
		j.data = nil
	} else {
		t.photo, err = photo.Open(j.input)
	}
	if err == nil && !p.encoding.Strip {
		p.report.lost(j, t.photo.Losses(j.format))
	}
	return t, err
}

func (p *pipeline) deblur(ctx context.Context, t task) (task, error) {
	t.start = time.Now()
	if err := ctx.Err(); err != nil {
		return t, err
	}
	p.report.started(t.job)
	if t.video != nil {
		return t, p.restoreVideo(ctx, t.job)
	}
	o := p.options(t.name)
	o.Progress = func(fraction float64) { p.report.progress(t.job, fraction, 0) }
	restored, err := p.engine.Restore(ctx, t.photo, o)
	if err != nil {
		return t, fmt.Errorf("%s: %w", t.label(), err)
	}
	t.photo = restored
	return t, nil
}

func (p *pipeline) encode(ctx context.Context, t task) error {
	if t.video != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	o := p.encoding
	o.Format = t.format
	if t.output != stdio {
		return photo.Save(t.output, t.photo, o)
	}
	data, err := photo.Encode(t.photo, o)
	if err != nil {
		return fmt.Errorf("%s: %w", t.label(), err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := p.stdout.Write(data); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}
