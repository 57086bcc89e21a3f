package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

// fakeEngine turns photos into negatives, and where gate is set, waits for a value from it before each. Like a model, it does
// one thing at a time.
type fakeEngine struct {
	gate chan error
	busy sync.Mutex
	mu   sync.Mutex
	seen []hidiff.RestoreOptions // in order
}

func (e *fakeEngine) Plan(_ context.Context, w, h int, o hidiff.RestoreOptions) (hidiff.Plan, error) {
	e.busy.Lock()
	defer e.busy.Unlock()
	if w > 4000 {
		return hidiff.Plan{}, errors.New("this does not fit a memory budget of 4.0 MiB")
	}
	return hidiff.Plan{Width: w, Height: h, Exact: o.Tile == 0, Bands: 3, Offload: true, Peak: 3 << 20, Weights: 1 << 20, Dispatches: 42, Budget: 4 << 20}, nil
}

func (e *fakeEngine) Restore(ctx context.Context, p *photo.Photo, o hidiff.RestoreOptions) (*photo.Photo, error) {
	e.busy.Lock()
	defer e.busy.Unlock()
	e.mu.Lock()
	e.seen = append(e.seen, o)
	e.mu.Unlock()
	o.Progress(0.25)
	if e.gate != nil {
		select {
		case err := <-e.gate:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	q := *p
	q.Pix = make([]uint16, len(p.Pix))
	for i, v := range p.Pix {
		q.Pix[i] = p.Max - v
	}
	o.Progress(1)
	return &q, nil
}

func (e *fakeEngine) names() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.seen {
		out = append(out, o.Name)
	}
	return out
}

// served is a server that listens.
type served struct {
	*Server
	t    *testing.T
	url  string
	stop context.CancelFunc
	done chan error
	http *http.Client
}

// from is the same server for a client at another address of this machine.
func (s *served) from(address string) *served {
	other := *s
	other.http = &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}}
	s.t.Cleanup(other.http.CloseIdleConnections)
	return &other
}

// start serves the fake engine until the test ends.
func start(t *testing.T, engine *fakeEngine, o Options) *served {
	t.Helper()
	o.Models = []Model{{Name: "fake", Hash: "00", Parameters: 1, Engine: engine}, {Name: "other", Hash: "01", Parameters: 2, Engine: &fakeEngine{}}}
	s, err := New(o)
	require.NoError(t, err)
	return s.listen(t)
}

func (s *Server) listen(t *testing.T) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	v := &served{Server: s, t: t, url: "http://" + l.Addr().String(), stop: stop, done: make(chan error, 1), http: http.DefaultClient}
	go func() { v.done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		s.queue.mu.Lock()
		for _, j := range s.queue.jobs {
			j.cancel()
			j.fetched = true
		}
		s.queue.mu.Unlock()
		stop()
		require.NoError(t, <-v.done)
	})
	return v
}

// answer is a response that was read.
type answer struct {
	*http.Response
	body []byte
}

func (s *served) do(method, path string, body []byte, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	response, err := s.http.Do(r)
	require.NoError(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return answer{response, text}
}

func decoded[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.body, &v), string(a.body))
	return v
}

// isProblem checks an answer's status and code, and returns what it tells people.
func (a answer) isProblem(t *testing.T, status int, code string) string {
	t.Helper()
	require.Equal(t, status, a.StatusCode, string(a.body))
	require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
	p := decoded[problem](t, a)
	require.Equal(t, []any{"about:blank", http.StatusText(status), status, code}, []any{p.Type, p.Title, p.Status, p.Code})
	return p.Detail
}

func (s *served) post(name string, data []byte) jobInfo {
	s.t.Helper()
	a := s.do("POST", "/api/v1/jobs?name="+name, data)
	require.Equal(s.t, http.StatusAccepted, a.StatusCode, string(a.body))
	return decoded[jobInfo](s.t, a)
}

// waitFor waits until a job is in a state.
func (s *served) waitFor(id string, want state) jobInfo {
	s.t.Helper()
	var info jobInfo
	require.Eventually(s.t, func() bool {
		a := s.do("GET", "/api/v1/jobs/"+id, nil)
		require.Equal(s.t, http.StatusOK, a.StatusCode, string(a.body))
		info = decoded[jobInfo](s.t, a)
		return info.State == want
	}, 10*time.Second, 2*time.Millisecond, "want %s", want)
	return info
}

// heldNothing waits until no byte of a photo is held.
func (s *served) heldNothing() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		waiting, held := s.queue.sizes()
		return waiting == 0 && held == 0
	}, 10*time.Second, 5*time.Millisecond)
}

// picture makes a photo whose samples differ.
func picture(width, height int) *photo.Photo {
	p := &photo.Photo{Width: width, Height: height, Channels: 3, Max: 255, Pix: make([]uint16, width*height*3)}
	for i := range p.Pix {
		p.Pix[i] = uint16(i * 37 % 256)
	}
	return p
}

func encode(t testing.TB, p *photo.Photo, o photo.EncodeOptions) []byte {
	t.Helper()
	data, err := photo.Encode(p, o)
	require.NoError(t, err)
	return data
}

func somePNG(t testing.TB) []byte {
	return encode(t, picture(20, 10), photo.EncodeOptions{Format: photo.PNG})
}

// negative is what the fake engine makes of a photo.
func negative(t testing.TB, data []byte, o photo.EncodeOptions) []byte {
	t.Helper()
	p, err := photo.Decode(data, "photo")
	require.NoError(t, err)
	for i, v := range p.Pix {
		p.Pix[i] = p.Max - v
	}
	return encode(t, p, o)
}
