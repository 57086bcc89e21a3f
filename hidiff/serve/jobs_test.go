package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

func TestJob(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error)}
	s := start(t, engine, Options{})
	data := somePNG(t)
	a := s.do("POST", "/api/v1/jobs?name=a.png", data)
	require.Equal(t, http.StatusAccepted, a.StatusCode)
	job := decoded[jobInfo](t, a)
	at := a.Header.Get("Location")
	require.Equal(t, "/api/v1/jobs/"+job.ID, at)
	require.Equal(t, []any{"a.png", "fake", photo.PNG, "a_deblurred.png", 20, 10}, []any{job.Name, job.Model, job.Format, job.Output, job.Width, job.Height})
	info := s.waitFor(job.ID, running)
	require.Contains(t, s.do("GET", at+"/result", nil).isProblem(t, 409, "not-finished"), "it is running")
	require.Eventually(t, func() bool { info = decoded[jobInfo](t, s.do("GET", at, nil)); return info.Fraction == 0.25 }, time.Second, time.Millisecond)
	require.NotNil(t, info.SecondsLeft)
	require.Equal(t, 3, info.Plan.Bands)
	engine.gate <- nil
	info = s.waitFor(job.ID, done)
	require.Equal(t, 1.0, info.Fraction)
	for range 2 { // as often as one likes
		a = s.do("GET", at+"/result", nil)
		require.Equal(t, negative(t, data, photo.EncodeOptions{Format: photo.PNG}), a.body)
		require.Len(t, a.body, info.Bytes)
	}
	require.Equal(t, http.StatusNoContent, s.do("DELETE", at, nil).StatusCode)
	s.do("GET", at, nil).isProblem(t, 404, "not-found")
	s.do("GET", at+"/result", nil).isProblem(t, 404, "not-found")
	s.heldNothing()
}

// readEvents reads server-sent events to their end, and calls at with each one's name.
func readEvents(t *testing.T, from io.Reader, at func(name string)) (names []string, jobs []jobInfo) {
	t.Helper()
	for lines := bufio.NewScanner(from); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			names = append(names, name)
			at(name)
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var info jobInfo
			require.NoError(t, json.Unmarshal([]byte(data), &info))
			require.Equal(t, names[len(names)-1], string(info.State))
			jobs = append(jobs, info)
		}
	}
	return names, jobs
}

func TestEvents(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error)}
	s := start(t, engine, Options{})
	first, second := s.post("a.png", somePNG(t)), s.post("b.png", somePNG(t))
	s.waitFor(first.ID, running)
	response, err := http.Get(s.url + "/api/v1/jobs/" + second.ID + "/events")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	engine.gate <- nil
	released := false
	names, jobs := readEvents(t, response.Body, func(name string) {
		if name == "running" && !released {
			released = true
			engine.gate <- nil
		}
	})
	require.Equal(t, "waiting", names[0])
	require.Equal(t, 1, jobs[0].Position)
	require.Contains(t, names, "running")
	require.Equal(t, "done", names[len(names)-1])
	require.Positive(t, jobs[len(jobs)-1].Bytes)
}

// Jobs that fail say why in the job, in their result, and where the client waits.
func TestFailures(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error, 1)}
	s := start(t, engine, Options{})
	engine.gate <- errors.New("the GPU is gone")
	job := s.post("a.png", somePNG(t))
	info := s.waitFor(job.ID, failed)
	require.Equal(t, "a.png: the GPU is gone", info.Error.Detail)
	require.Equal(t, info.Error.Detail, s.do("GET", "/api/v1/jobs/"+job.ID+"/result", nil).isProblem(t, 500, "failed"))
	require.Contains(t, s.do("GET", "/healthz", nil).isProblem(t, 503, "unhealthy"), "could not be restored")
	engine.gate <- errors.New("the GPU is gone")
	require.Equal(t, "b.png: the GPU is gone", s.do("POST", "/api/v1/deblur?name=b.png", somePNG(t)).isProblem(t, 500, "failed"))
	engine.gate <- nil
	require.Equal(t, 200, s.do("POST", "/api/v1/deblur?name=b.png", somePNG(t)).StatusCode)
	require.JSONEq(t, `{"status": "ok"}`, string(s.do("GET", "/healthz", nil).body))
	wide := encode(t, picture(4001, 1), photo.EncodeOptions{Format: photo.PNG})
	require.Equal(t, "c.png: this does not fit a memory budget of 4.0 MiB", s.do("POST", "/api/v1/deblur?name=c.png", wide).isProblem(t, 422, "does-not-fit"))
}

// One that makes the program panic fails alone.
func TestPanic(t *testing.T) {
	engine := &fakeEngine{}
	s := start(t, engine, Options{})
	s.models[0].Engine = panicking{engine}
	require.Contains(t, s.do("POST", "/api/v1/deblur", somePNG(t)).isProblem(t, 500, "failed"), "please report it")
	require.Equal(t, 200, s.do("POST", "/api/v1/deblur?model=other", somePNG(t)).StatusCode)
}

type panicking struct{ *fakeEngine }

func (panicking) Restore(context.Context, *photo.Photo, hidiff.RestoreOptions) (*photo.Photo, error) {
	panic("oh")
}

func TestQueueIsBoundedAndFair(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error)}
	s := start(t, engine, Options{Queue: 4})
	running0 := s.post("0.png", somePNG(t))
	s.waitFor(running0.ID, running)
	for _, name := range []string{"a1.png", "a2.png", "a3.png"} {
		s.post(name, somePNG(t))
	}
	a := s.do("POST", "/api/v1/jobs?name=a4.png", somePNG(t))
	require.Contains(t, a.isProblem(t, 503, "queue-full"), "3 of your photos are waiting")
	require.NotEmpty(t, a.Header.Get("Retry-After"))

	other := s.from("127.0.0.2")
	b := other.post("b1.png", somePNG(t))
	require.Equal(t, 2, b.Position, "after a1")
	a = s.from("127.0.0.3").do("POST", "/api/v1/deblur?name=c1.png", somePNG(t))
	require.Contains(t, a.isProblem(t, 503, "queue-full"), "all 4 places")
	for range 5 {
		engine.gate <- nil
	}
	s.waitFor(b.ID, done)
	require.Eventually(t, func() bool { return len(engine.names()) == 5 }, time.Second, time.Millisecond)
	require.Equal(t, []string{"0.png", "a1.png", "b1.png", "a2.png", "a3.png"}, engine.names())
}

func TestPositions(t *testing.T) {
	q := newQueue(16, 1<<20, time.Hour)
	add := func(client string) *job {
		j, err := q.add(newJob(&request{}, client, nil))
		require.NoError(t, err)
		return j
	}
	jobs := []*job{add("a"), add("a"), add("a"), add("b"), add("c"), add("c")}
	var want []int
	for _, j := range jobs {
		want = append(want, q.position(j))
	}
	require.Equal(t, []int{1, 4, 6, 2, 3, 5}, want)
	for turn := 1; turn <= 6; turn++ {
		require.Equal(t, turn, want[indexOf(jobs, q.next())])
	}
}

func indexOf(jobs []*job, j *job) int {
	for i := range jobs {
		if jobs[i] == j {
			return i
		}
	}
	return -1
}

// A client that goes away, or cancels, frees its place.
func TestLeaving(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error)}
	s := start(t, engine, Options{Queue: 1})
	first := s.post("0.png", somePNG(t))
	s.waitFor(first.ID, running)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", s.url+"/api/v1/deblur", bytes.NewReader(somePNG(t)))
	require.NoError(t, err)
	left := make(chan error, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			response.Body.Close()
		}
		left <- err
	}()
	require.Eventually(t, func() bool { n, _ := s.queue.sizes(); return n == 1 }, 5*time.Second, time.Millisecond)
	s.do("POST", "/api/v1/jobs", somePNG(t)).isProblem(t, 503, "queue-full")
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	require.Eventually(t, func() bool { n, _ := s.queue.sizes(); return n == 0 }, 5*time.Second, time.Millisecond)

	waits := s.post("1.png", somePNG(t))
	require.Equal(t, http.StatusNoContent, s.do("DELETE", "/api/v1/jobs/"+waits.ID, nil).StatusCode)
	require.Equal(t, http.StatusNoContent, s.do("DELETE", "/api/v1/jobs/"+first.ID, nil).StatusCode) // which runs
	last := s.post("2.png", somePNG(t))
	s.waitFor(last.ID, running)
	engine.gate <- nil
	s.waitFor(last.ID, done)
	require.Equal(t, []string{"0.png", "2.png"}, engine.names())
	s.do("DELETE", "/api/v1/jobs/"+last.ID, nil)
	s.heldNothing()
}

func TestResultsExpire(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{Keep: 50 * time.Millisecond})
	job := s.post("a.png", somePNG(t))
	require.Eventually(t, func() bool { return s.do("GET", "/api/v1/jobs/"+job.ID, nil).StatusCode == 404 }, 5*time.Second, 5*time.Millisecond)
	s.heldNothing()
}

func TestMemoryIsBounded(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{MaxHeld: 1000, MaxUpload: 5000})
	data := encode(t, picture(10, 10), photo.EncodeOptions{Format: photo.BMP})
	require.Less(t, len(data), 1000)
	job := s.post("a.bmp", data)
	info := s.waitFor(job.ID, done)
	_, held := s.queue.sizes()
	require.Equal(t, int64(info.Bytes), held)
	big := encode(t, picture(20, 16), photo.EncodeOptions{Format: photo.BMP})
	require.Contains(t, s.do("POST", "/api/v1/jobs", big).isProblem(t, 503, "memory-full"), "fetch and delete results")
	_, held = s.queue.sizes()
	require.Equal(t, int64(info.Bytes), held)
	s.do("DELETE", "/api/v1/jobs/"+job.ID, nil)
	s.heldNothing()
}

func TestIdempotencyKey(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error, 10)}
	s := start(t, engine, Options{})
	key := []string{"Idempotency-Key", "k1"}
	first := decoded[jobInfo](t, s.do("POST", "/api/v1/jobs?name=a.png", somePNG(t), key...))
	again := decoded[jobInfo](t, s.do("POST", "/api/v1/jobs?name=a.png", somePNG(t), key...))
	require.Equal(t, first.ID, again.ID)
	s.do("POST", "/api/v1/jobs?name=b.png", somePNG(t), key...).isProblem(t, 422, "key-reused")
	s.do("POST", "/api/v1/jobs?name=a.png", encode(t, picture(3, 3), photo.EncodeOptions{Format: photo.PNG}), key...).isProblem(t, 422, "key-reused")
	other := decoded[jobInfo](t, s.from("127.0.0.2").do("POST", "/api/v1/jobs?name=b.png", somePNG(t), key...))
	require.NotEqual(t, first.ID, other.ID, "keys are each client's own")
	engine.gate <- nil
	engine.gate <- nil
	s.waitFor(other.ID, done)
	engine.gate <- nil
	for range 2 {
		require.Equal(t, 200, s.do("POST", "/api/v1/deblur?name=c.png", somePNG(t), key...).StatusCode)
	}
	require.Equal(t, []string{"a.png", "b.png", "c.png"}, engine.names())
	s.do("DELETE", "/api/v1/jobs/"+first.ID, nil)
	renewed := decoded[jobInfo](t, s.do("POST", "/api/v1/jobs?name=b.png", somePNG(t), key...))
	require.NotEqual(t, first.ID, renewed.ID, "a key lives as long as its job")
	s.do("POST", "/api/v1/jobs", somePNG(t), "Idempotency-Key", strings.Repeat("k", 256)).isProblem(t, 400, "bad-request")
}

// What runs is finished and may be fetched; what waits is told so.
func TestShutdown(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error)}
	s := start(t, engine, Options{})
	first, second := s.post("a.png", somePNG(t)), s.post("b.png", somePNG(t))
	s.waitFor(first.ID, running)
	s.stop()
	info := s.waitFor(second.ID, failed)
	require.Contains(t, info.Error.Detail, "shutting down")
	s.do("POST", "/api/v1/jobs", somePNG(t)).isProblem(t, 503, "shutting-down")
	s.do("GET", "/healthz", nil).isProblem(t, 503, "shutting-down")
	engine.gate <- nil
	s.waitFor(first.ID, done)
	require.Equal(t, 200, s.do("GET", "/api/v1/jobs/"+first.ID+"/result", nil).StatusCode)
	require.NoError(t, <-s.done)
	s.done <- nil
	_, err := http.Get(s.url)
	require.Error(t, err)
	require.Equal(t, []string{"a.png"}, engine.names())
}
