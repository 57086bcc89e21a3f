package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"hidiff/internal/folder"
)

// event is what happens to a photo or video, and a line of --json.
type event struct {
	Event    string  `json:"event"` // start, progress, warning, done, skipped or error
	Input    string  `json:"input"`
	Output   string  `json:"output,omitempty"`
	Width    int     `json:"width,omitempty"`
	Height   int     `json:"height,omitempty"`
	Frame    int     `json:"frame,omitempty"`  // of a video: how many are done
	Frames   int     `json:"frames,omitempty"` // and how many there are
	Fraction float64 `json:"fraction,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
	Message  string  `json:"message,omitempty"`
	Error    string  `json:"error,omitempty"`

	job *job
}

// summary is the last line of --json.
type summary struct {
	Event    string  `json:"event"`
	Photos   int     `json:"photos"`           // videos included
	Videos   int     `json:"videos,omitempty"` // of these
	Restored int     `json:"restored"`
	Failed   int     `json:"failed"`
	Skipped  int     `json:"skipped"`
	Seconds  float64 `json:"seconds"`

	PassedOver folder.Kinds `json:"passed_over,omitempty"` // by folders: pictures that are not read, and videos
}

// listener shows events. It is called by one goroutine at a time.
type listener interface {
	begin(jobs []*job) // those that are left to do
	event(e event, s summary)
	close(s summary)
}

// report counts what happens and passes it on.
type report struct {
	mu       sync.Mutex
	to       listener
	sum      summary
	start    time.Time
	fraction float64 // last passed on
	frame    int
}

func (a *app) newReport(o *deblurOptions, jobs []*job, passedOver folder.Kinds) *report {
	r := &report{sum: summary{Event: "summary", Photos: len(jobs), PassedOver: passedOver}, start: time.Now()}
	for _, j := range jobs {
		if j.isVideo() {
			r.sum.Videos++
		}
	}
	switch {
	case !o.JSON:
		r.to = &console{out: a.stderr, steps: &steps{out: a.stderr, screen: a.screen}, at: map[*job]int64{}}
	case slices.ContainsFunc(jobs, func(j *job) bool { return j.output == stdio }):
		r.to = jsonLines{a.stderr}
	default:
		r.to = jsonLines{a.stdout}
	}
	return r
}

func (r *report) begin(jobs []*job) {
	r.mu.Lock()
	r.to.begin(jobs)
	r.mu.Unlock()
	for _, j := range jobs {
		for _, warning := range j.warnings() {
			r.add(j, event{Event: "warning", Message: warning})
		}
	}
}

// warnings say what of the photo is not read or the output cannot hold, or nothing.
func (j *job) warnings() (out []string) {
	if j.video != nil {
		return j.videoWarnings()
	}
	if j.info.Unmanaged {
		out = append(out, folder.Unmanaged(j.label()))
	}
	if losses := j.info.Losses(j.format); losses != nil {
		verb := "are"
		if len(losses) == 1 && j.info.Depth == 8 {
			verb = "is"
		}
		out = append(out, fmt.Sprintf("%s: %s %s lost in %s: -f png keeps everything", j.label(), strings.Join(losses, " and "), verb, j.format))
	}
	return out
}

// lost names the metadata that a result does not keep. It is known only once a photo is read.
func (r *report) lost(j *job, what []string) {
	if len(what) > 0 {
		r.add(j, event{Event: "warning", Message: fmt.Sprintf("%s: not kept in %s: %s", j.label(), j.format, strings.Join(what, ", "))})
	}
}

func (r *report) started(j *job) { r.add(j, event{Event: "start"}) }

func (r *report) done(j *job, took time.Duration) {
	r.add(j, event{Event: "done", Seconds: took.Seconds()})
}

func (r *report) skipped(j *job) { r.add(j, event{Event: "skipped"}) }

func (r *report) failed(j *job, err error) {
	r.add(j, event{Event: "error", Error: inFlags(err).Error()})
}

// progress is told the fraction of all that is done, and of a video the number of frames.
func (r *report) progress(j *job, fraction float64, frame int) {
	r.add(j, event{Event: "progress", Fraction: fraction, Frame: frame})
}

func (r *report) add(j *job, e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Event {
	case "start":
		r.fraction, r.frame = 0, 0
	case "progress":
		if e.Fraction < r.fraction+0.01 && e.Frame == r.frame {
			return
		}
		r.fraction, r.frame = e.Fraction, e.Frame
	case "done":
		r.sum.Restored++
	case "skipped":
		r.sum.Skipped++
	case "error":
		r.sum.Failed++
	}
	e.job, e.Input, e.Output, e.Width, e.Height, e.Frames = j, j.input, j.output, j.info.Width, j.info.Height, j.frames()
	r.to.event(e, r.sum)
}

func (r *report) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Seconds = time.Since(r.start).Seconds()
	r.to.close(r.sum)
}

func (r *report) failures() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum.Failed
}

func (r *report) finished() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum.Restored + r.sum.Failed + r.sum.Skipped
}

// jsonLines is --json.
type jsonLines struct{ w io.Writer }

func (l jsonLines) begin([]*job)             {}
func (l jsonLines) event(e event, _ summary) { l.print(e) }
func (l jsonLines) close(s summary)          { l.print(s) }

// print drops a failure to write: there is nowhere left to report it.
func (l jsonLines) print(v any) { _ = printJSON(l.w, v) }

// console prints a line for every photo, and some for every video, on terminals above a progress
// bar over all pixels.
type console struct {
	out    *messages
	steps  *steps
	at     map[*job]int64 // pixels done
	pixels int64          // their sum
	total  int64
}

func (c *console) begin(jobs []*job) {
	for _, j := range jobs {
		c.total += j.pixels()
	}
	if c.steps.screen == nil {
		c.steps.what = deblurring // has begun, so that the first frame of a video is told at once
	}
	c.show("")
}

const deblurring = "deblurring"

// show moves the bar, beside which stands how far a video is; elsewhere that is a line now and then.
func (c *console) show(video string) {
	if c.total > 0 && (video != "" || c.steps.screen != nil) {
		c.steps.at(deblurring, c.pixels, c.total, cmp.Or(video, deblurring))
	}
}

func (c *console) event(e event, s summary) {
	switch e.Event {
	case "start":
		c.show("")
		if e.Frames > 0 {
			fmt.Fprintf(c.out, "%s: %s\n", e.job.label(), flickerNotice)
		}
	case "progress":
		c.advance(e.job, e.Fraction)
		if e.Frame > 0 {
			c.show(fmt.Sprintf("%s: frame %d of %d", e.job.label(), e.Frame, e.Frames))
		} else {
			c.show("")
		}
	case "warning":
		fmt.Fprintf(c.out, "warning: %s\n", e.Message)
	case "done":
		c.advance(e.job, 1)
		frames := ""
		if e.Frames > 0 {
			frames = fmt.Sprintf("%d frames, ", e.Frames)
		}
		fmt.Fprintf(c.out, "%s%s → %s (%s%d×%d, %.1f s)\n", count(s), e.job.label(), outputLabel(e.job), frames, e.Width, e.Height, e.Seconds)
	case "skipped":
		fmt.Fprintf(c.out, "%s%s: skipped, %s exists\n", count(s), e.job.label(), e.Output)
	case "error":
		c.advance(e.job, 1)
		fmt.Fprintf(c.out, "%serror: %s\n", count(s), e.Error)
	}
}

func outputLabel(j *job) string {
	if j.output == stdio {
		return "standard output"
	}
	return j.output
}

// count is "[2/10] ", or nothing for a single photo.
func count(s summary) string {
	if s.Photos == 1 {
		return ""
	}
	return fmt.Sprintf("[%d/%d] ", s.Restored+s.Failed+s.Skipped, s.Photos)
}

// advance counts pixels. A photo that failed is done: nothing is left to do for it.
func (c *console) advance(j *job, fraction float64) {
	now := int64(fraction * float64(j.pixels()))
	c.pixels += now - c.at[j]
	c.at[j] = now
}

func (c *console) close(s summary) {
	c.steps.close()
	defer printPassedOver(c.out, s.PassedOver)
	if s.Photos == 1 {
		return
	}
	what := "photos"
	switch s.Videos {
	case 0:
	case s.Photos:
		what = "videos"
	default:
		what = "photos and videos"
	}
	line := fmt.Sprintf("restored %d of %d %s", s.Restored, s.Photos, what)
	if s.Skipped > 0 {
		line += fmt.Sprintf(", %d skipped", s.Skipped)
	}
	if s.Failed > 0 {
		line += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Restored+s.Skipped+s.Failed < s.Photos {
		line += ", interrupted"
	}
	fmt.Fprintln(c.out, line)
}

// printPassedOver says what in folders looked like pictures and was not read, if there was any.
func printPassedOver(w io.Writer, kinds folder.Kinds) {
	if len(kinds) > 0 {
		fmt.Fprintf(w, "passed over: %s\n", kinds)
	}
}
