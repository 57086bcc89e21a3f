package cli

import (
	"fmt"
	"strings"
	"time"

	"hidiff/hidiff"
	"hidiff/internal/eval"
	"hidiff/internal/folder"
)

// evalImage is a line of eval --json: one pair.
type evalImage struct {
	Event   string `json:"event"` // done, or error where it lacks a score
	Dataset string `json:"dataset"`
	*eval.Image
}

// evalDataset is a line of eval --json: the means of a dataset.
type evalDataset struct {
	Event   string         `json:"event"`
	Dataset string         `json:"dataset"`
	Folder  string         `json:"folder"` // of the restored photos
	Scores  []eval.Summary `json:"scores"`
}

// evalSummary is the last line of eval --json.
type evalSummary struct {
	Event     string            `json:"event"`
	Photos    int               `json:"photos"`
	Scored    int               `json:"scored"` // by all protocols
	Failed    int               `json:"failed"`
	Restoring map[string]string `json:"restoring,omitempty"` // as in scores.json
	Wrote     []string          `json:"wrote,omitempty"`     // scores.json, scores.csv and the report; empty where the run was stopped
	Seconds   float64           `json:"seconds"`

	PassedOver folder.Kinds `json:"passed_over,omitempty"` // files that look like pictures of formats that are not read
}

func (e *evaluation) print(v any) { jsonLines{e.stdout}.print(v) }

// say prints a line for people.
func (e *evaluation) say(format string, args ...any) {
	if !e.JSON {
		fmt.Fprintf(e.stderr, format+"\n", args...)
	}
}

// began tells what restores.
func (e *evaluation) began() {
	if e.JSON || e.result.Restoring == nil {
		return
	}
	fmt.Fprintf(e.stdout, "weights %s\n", e.result.Restoring["weights"])
	switch e.Prior {
	case hidiff.ZeroPrior:
		fmt.Fprintln(e.stdout, "prior zero: an ablation, not HI-Diff as published")
	case hidiff.OraclePrior:
		fmt.Fprintln(e.stdout, "prior oracle: it sees the sharp photos, so this is no deblurring")
	}
}

// done tells of an image, and writes scores.json now and then, for --skip-existing after a crash.
func (e *evaluation) done(d *eval.Dataset, of int, m *eval.Image) {
	if e.JSON {
		line := evalImage{"done", d.Name, m}
		if m.Failed() {
			line.Event = "error"
		}
		e.print(line)
	}
	e.line(d, fmt.Sprintf("[%d/%d] ", len(d.Images), of), m)
	if m.Error == "" && time.Since(e.saved) > 2*time.Second {
		if err := e.save(); err != nil {
			fmt.Fprintf(e.stderr, "warning: %v\n", err)
		}
	}
}

// line prints an image's scores by all protocols, and what went wrong.
func (e *evaluation) line(d *eval.Dataset, count string, m *eval.Image) {
	label := d.Name + "/" + m.Name
	if m.Error != "" {
		e.say("%serror: %s: %s", count, label, m.Error)
		return
	}
	var texts []string
	for _, s := range d.Protocols {
		score := m.Scores[s.Protocol]
		if score.Error != "" {
			e.say("%serror: %s: %s: %s", count, label, s.Protocol, score.Error)
			continue
		}
		if score.InputError != "" {
			e.say("note: %s: %s: the input has no score: %s", label, s.Protocol, score.InputError)
		}
		texts = append(texts, fmt.Sprintf("%s %s dB, %s", s.Protocol, score.PSNR[0].Round(2), score.SSIM[0].Round(4)))
	}
	if texts != nil {
		e.say("%s%s: %s", count, label, strings.Join(texts, "; "))
	}
}

// finished tells the means of a dataset.
func (e *evaluation) finished(d *eval.Dataset) error {
	if e.JSON {
		e.print(evalDataset{"dataset", d.Name, d.Folder, d.Scores})
		return nil
	}
	return d.WriteTable(e.stdout)
}

// wrote tells of the files.
func (e *evaluation) wrote(files ...string) {
	e.written = files
	e.say("wrote %s and %s", strings.Join(files[:len(files)-1], ", "), files[len(files)-1])
	if n := e.result.Failures(); n > 0 {
		e.say("hidiff: photos without a score, or not with all of them: %d", n)
	}
}

// ended sums up, however the run ended.
func (e *evaluation) ended() {
	if !e.JSON {
		printPassedOver(e.stderr, e.passedOver)
		return
	}
	sum := evalSummary{PassedOver: e.passedOver, Event: "summary", Failed: e.result.Failures(), Restoring: e.result.Restoring, Wrote: e.written, Seconds: time.Since(e.start).Seconds()}
	for i, d := range e.result.Datasets {
		sum.Photos += e.sources[i].Len()
		sum.Scored += len(d.Images)
	}
	sum.Scored -= sum.Failed
	e.print(sum)
}
