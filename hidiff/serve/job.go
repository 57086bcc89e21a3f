package serve

import (
	"context"
	"crypto/rand"
	"math"
	"time"

	"hidiff/hidiff/photo"
)

type state string

const (
	waiting   state = "waiting"
	running   state = "running"
	done      state = "done"
	failed    state = "failed"
	cancelled state = "cancelled"
)

func (s state) ended() bool { return s == done || s == failed || s == cancelled }

// job is a photo from its upload until its result is deleted. The fields below are the queue's to guard.
type job struct {
	*request
	id     string
	client string
	ctx    context.Context // ends when nobody wants the result anymore
	cancel context.CancelFunc

	state    state
	data     []byte // of the upload; nil once it is decoded
	fraction float64
	created  time.Time
	started  time.Time
	took     time.Duration
	plan     *planInfo
	warnings []string
	result   []byte
	fetched  bool
	problem  *problem
	changed  chan struct{} // closed at the next change
	watchers int           // requests that wait for the result
}

func newJob(r *request, client string, data []byte) *job {
	ctx, cancel := context.WithCancel(context.Background())
	return &job{
		request: r, id: rand.Text(), client: client, ctx: ctx, cancel: cancel, state: waiting, data: data, created: time.Now(),
		warnings: r.warnings(), changed: make(chan struct{}),
	}
}

// held is how many bytes of the photo are in memory, but for its pixels.
func (j *job) held() int64 { return int64(len(j.data) + len(j.result)) }

// jobInfo is a job in JSON.
type jobInfo struct {
	ID          string       `json:"id"`
	State       state        `json:"state"`
	Name        string       `json:"name"`
	Model       string       `json:"model"`
	Format      photo.Format `json:"format"` // of the result
	Output      string       `json:"output"` // a name for the result
	Width       int          `json:"width"`
	Height      int          `json:"height"`
	Created     time.Time    `json:"created"`
	Position    int          `json:"position,omitempty"` // in the queue, 1 is next
	Fraction    float64      `json:"fraction"`
	Seconds     float64      `json:"seconds"`                // of restoring, so far
	SecondsLeft *float64     `json:"seconds_left,omitempty"` // once it can be told
	Plan        *planInfo    `json:"plan,omitempty"`
	Warnings    []string     `json:"warnings"`
	Bytes       int          `json:"bytes,omitempty"` // of the result
	Error       *problem     `json:"error,omitempty"`
}

func (j *job) info(position int) jobInfo {
	i := jobInfo{
		ID: j.id, State: j.state, Name: j.name, Model: j.model.Name, Format: j.format, Output: j.output, Width: j.photo.Width, Height: j.photo.Height,
		Created: j.created.UTC(), Position: position, Fraction: j.fraction, Seconds: j.took.Seconds(), Plan: j.plan, Warnings: append([]string{}, j.warnings...),
		Bytes: len(j.result), Error: j.problem,
	}
	if j.state == running {
		i.Seconds = time.Since(j.started).Seconds()
		if j.fraction > 0 {
			left := math.Round(i.Seconds*(1-j.fraction)/j.fraction*10) / 10
			i.SecondsLeft = &left
		}
	}
	return i
}
