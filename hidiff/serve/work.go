package serve

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"hidiff/hidiff/photo"
)

// work restores photos until the queue is closed. It decodes and encodes them, too, so that the pixels of one photo alone
// are in memory.
func (s *Server) work() {
	for j := s.queue.next(); j != nil; j = s.queue.next() {
		s.metrics.running.Set(1)
		result, err := s.restore(j)
		gone := j.ctx.Err() != nil
		var known *problem
		if err != nil && !errors.As(err, &known) {
			known = problemf(http.StatusInternalServerError, "failed", "%v", err)
		}
		outcome := done
		switch {
		case gone:
			outcome = cancelled
		case err != nil:
			outcome = failed
		}
		s.queue.end(j, result, known, gone)
		j.cancel()
		s.metrics.running.Set(0)
		s.metrics.photos.WithLabelValues(j.model.Name, string(outcome)).Inc()
		s.metrics.seconds.WithLabelValues(j.model.Name).Observe(time.Since(j.started).Seconds())
		s.log.Debug("photo", "outcome", outcome, "model", j.model.Name, "width", j.photo.Width, "height", j.photo.Height, "seconds", time.Since(j.started).Seconds())
	}
}

// restore does what hidiff deblur does with a photo.
func (s *Server) restore(j *job) (result []byte, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			s.log.Error("a photo made the program fail", "stack", string(debug.Stack()))
			err = problemf(http.StatusInternalServerError, "failed", "the program failed at this photo: please report it")
		}
	}()
	var data []byte
	s.queue.update(j, func() { data, j.data = j.data, nil })
	p, err := photo.Decode(data, j.label())
	if err != nil {
		return nil, problemf(http.StatusUnprocessableEntity, "bad-photo", "%v", err)
	}
	if losses := p.Losses(j.format); len(losses) > 0 && !j.strip {
		s.queue.update(j, func() {
			j.warnings = append(j.warnings, fmt.Sprintf("not kept in %s: %s", j.format, strings.Join(losses, ", ")))
		})
	}
	o := j.restoreOptions()
	plan, err := j.model.plan(j.ctx, p.Width, p.Height, o)
	if err != nil {
		return nil, planProblem(j.label(), err)
	}
	s.queue.update(j, func() { j.plan = &plan })
	told := 0.0 // of the work, to clients
	o.Progress = func(fraction float64) {
		if fraction >= told+0.01 {
			told = fraction
			s.queue.update(j, func() { j.fraction = fraction })
		}
	}
	restored, err := j.model.Engine.Restore(j.ctx, p, o)
	if j.ctx.Err() == nil {
		s.metrics.healthy.Store(err == nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.label(), err)
	}
	if result, err = photo.Encode(restored, j.encodeOptions()); err != nil {
		return nil, fmt.Errorf("%s: %w", j.label(), err)
	}
	return result, nil
}

func planProblem(label string, err error) *problem {
	return problemf(http.StatusUnprocessableEntity, "does-not-fit", "%s: %v", label, err)
}
