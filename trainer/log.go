package trainer

import (
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"time"

	"hidiff/trainer/internal/experiment"
)

// iterReport is what a training says of itself every print_freq iterations.
type iterReport struct {
	Iter, Epoch     int
	LR              float64
	Losses          []scalar // l_pix, l_pix_diff, in the order of the log line
	GradNorm        float64  // before clipping
	ImagesPerSecond float64
	Time, DataTime  float64 // seconds an iteration took, and waited for data, on average since the last report
	GPUBytes        int64   // GPU memory in use
}

// scalar is a named value.
type scalar struct {
	Name  string
	Value float64
}

// valReport is the outcome of a validation on one data set.
type valReport struct {
	Iter    int
	Dataset string
	Note    string // what a reader must know to judge the numbers, or nothing
	Metrics []scalar
	Best    []experiment.BestResult // of each metric, this validation included
}

// watchOptions say who watches a training. The zero value is nobody.
type watchOptions struct {
	Experiment  *experiment.Experiment // for its log file; nil: none
	TensorBoard bool                   // write events to the experiment's tb_logger folder
	Screen      io.Writer              // gets the log's lines; nil: none
	Terminal    bool                   // Screen is a terminal: a progress bar below the lines
	JSON        io.Writer              // gets a JSON object a line; nil: none
	Start       int                    // the iteration resumed from, or 0
	Total       int                    // the last iteration
	Now         func() time.Time
}

// watcher tells everybody who watches what a training does: log file, screen, progress
// bar, TensorBoard and JSON lines. One goroutine uses it.
//
// A watcher never stops a training: where a file can no longer be written, it says so once
// and goes on without.
type watcher struct {
	o      watchOptions
	begun  time.Time
	screen io.Writer
	bar    *progressBar
	// These are nil where there are none, or they failed.
	file   *os.File
	events *eventFile
	json   *jsonLines
}

// newWatcher opens the log file and the event file.
func newWatcher(o watchOptions) (*watcher, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	w := &watcher{o: o, begun: o.Now(), screen: o.Screen}
	var err error
	if o.Experiment != nil {
		if w.file, err = os.OpenFile(o.Experiment.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666); err != nil {
			return nil, err
		}
		if o.TensorBoard {
			if w.events, err = newEventFile(o.Experiment.TensorBoard, o.Start, o.Now); err != nil {
				w.file.Close()
				return nil, err
			}
		}
	}
	if o.JSON != nil {
		w.json = &jsonLines{w: o.JSON}
	}
	if o.Screen != nil && o.Terminal {
		w.bar = newProgressBar(o.Screen, o.Start, o.Total)
		w.screen = w.bar // lines go above it
	}
	return w, nil
}

// Close ends the outputs; it is the only call after which the screen is free for others.
func (w *watcher) Close() error {
	if w.bar != nil {
		w.bar.Close()
	}
	var errs []error
	if w.file != nil {
		errs = append(errs, w.file.Close())
	}
	if w.events != nil {
		errs = append(errs, w.events.Close())
	}
	return errors.Join(errs...)
}

// Step moves the progress bar: it is for every iteration, Iter for every print_freq-th.
func (w *watcher) Step(iter int) {
	if w.bar != nil {
		w.bar.step(iter, w.eta(iter))
	}
}

// Iter reports the training's course.
func (w *watcher) Iter(r iterReport) {
	eta := w.eta(r.Iter)
	name := ""
	if w.o.Experiment != nil {
		name = w.o.Experiment.Name
	}
	w.line("INFO", iterLine(name, r, eta))
	if w.bar != nil {
		w.bar.report(r)
		w.bar.step(r.Iter, eta)
	}
	w.scalars(r.Iter, r.scalars())
	w.object(newIterObject(r, eta))
}

// Validation reports results on a data set.
func (w *watcher) Validation(r valReport) {
	w.line("INFO", validationText(r))
	tags := make([]scalar, len(r.Metrics))
	for i, m := range r.Metrics {
		tags[i] = scalar{"metrics/" + r.Dataset + "/" + m.Name, m.Value}
	}
	w.scalars(r.Iter, tags)
	w.object(newValidationObject(r))
}

// Image shows a sample in TensorBoard.
func (w *watcher) Image(iter int, name string, img image.Image) {
	if w.events != nil {
		w.eventsFailed(w.events.image(iter, "images/"+name, img))
	}
}

// Saved reports a checkpoint.
func (w *watcher) Saved(iter int, statePath string) {
	w.line("INFO", fmt.Sprintf("Saved iteration %d: %s", iter, statePath))
	w.object(savedObject{"checkpoint", iter, statePath})
}

// Done reports the end of the training, or that it was stopped after iteration iter.
func (w *watcher) Done(iter int, stopped bool) {
	took := w.o.Now().Sub(w.begun)
	text := "End of training."
	if stopped {
		text = fmt.Sprintf("Training stopped after iteration %d.", iter)
	}
	w.line("INFO", fmt.Sprintf("%s Time consumed: %s", text, timedelta(took)))
	w.object(doneObject{"done", iter, jsonNumber(took.Seconds())})
}

// Info logs a message.
func (w *watcher) Info(format string, args ...any) { w.line("INFO", fmt.Sprintf(format, args...)) }

// Warn logs a warning.
func (w *watcher) Warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.line("WARNING", text)
	w.object(warningObject{"warning", text})
}

// eta is the time left after iteration iter at the pace of this run so far.
func (w *watcher) eta(iter int) time.Duration {
	done, left := iter-w.o.Start, w.o.Total-iter
	if done <= 0 || left <= 0 {
		return 0
	}
	return time.Duration(float64(w.o.Now().Sub(w.begun)) / float64(done) * float64(left))
}

// line writes a message to log file and screen.
func (w *watcher) line(level, text string) {
	line := logLine(w.o.Now(), level, text)
	if w.screen != nil {
		_, _ = io.WriteString(w.screen, line) // there is nowhere left to report it
	}
	if w.file == nil {
		return
	}
	if _, err := io.WriteString(w.file, line); err != nil {
		w.file.Close()
		w.file = nil
		w.Warn("the log file ends here: %v", err)
	}
}

func (w *watcher) scalars(iter int, values []scalar) {
	if w.events != nil {
		w.eventsFailed(w.events.scalars(iter, values))
	}
}

func (w *watcher) eventsFailed(err error) {
	if err != nil {
		w.events.Close()
		w.events = nil
		w.Warn("TensorBoard's events end here: %v", err)
	}
}

func (w *watcher) object(v any) {
	if w.json == nil {
		return
	}
	if err := w.json.write(v); err != nil {
		w.json = nil
		w.Warn("the JSON lines end here: %v", err)
	}
}
