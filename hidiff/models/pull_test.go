package models

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
)

func init() { backoff = time.Millisecond }

// host is a server of one file that misbehaves as told.
type host struct {
	*httptest.Server
	mu       sync.Mutex
	data     []byte
	etag     string
	modified string
	drops    int           // so many answers end after half of what they should send
	fails    int           // so many are 503
	noRange  bool          // ranges are ignored
	gate     chan struct{} // if not nil, the second half waits for it
	requests []string      // their ranges and validators
}

func newHost(t *testing.T, data []byte) *host {
	t.Helper()
	h := &host{data: data, etag: `"one"`}
	h.Server = httptest.NewTLSServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests = append(h.requests, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	data, etag, modified, noRange, gate := h.data, h.etag, h.modified, h.noRange, h.gate
	drop, fail := h.drops > 0, h.fails > 0
	h.drops, h.fails = h.drops-1, h.fails-1
	h.mu.Unlock()
	if fail {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	if modified != "" {
		w.Header().Set("Last-Modified", modified)
	}
	if noRange {
		r.Header.Del("Range")
	}
	if !drop && gate == nil {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		return
	}
	full := httptest.NewRecorder()
	maps.Copy(full.Header(), w.Header())
	http.ServeContent(full, r, "", time.Time{}, bytes.NewReader(data))
	maps.Copy(w.Header(), full.Header())
	w.WriteHeader(full.Code)
	half := full.Body.Len() / 2
	_, _ = w.Write(full.Body.Next(half))
	w.(http.Flusher).Flush()
	if drop {
		return // less than its Content-Length: the connection is closed
	}
	select {
	case <-gate:
		_, _ = w.Write(full.Body.Bytes())
	case <-r.Context().Done():
	}
}

// asked returns the requests so far, and forgets them.
func (h *host) asked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.requests
	h.requests = nil
	return asked
}

func (h *host) options(name string) PullOptions {
	return PullOptions{SHA256: sum(h.data), Name: name, Client: h.Client()}
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// names lists a folder of models and its subfolders.
func names(t *testing.T, dir string) []string {
	t.Helper()
	found := []string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			found = append(found, filepath.ToSlash(name))
		}
		return err
	}))
	return found
}

// atOnce has no retries in it, so that a test sees each failure.
func atOnce(t *testing.T) {
	old := retries
	retries = 0
	t.Cleanup(func() { retries = old })
}

func TestPull(t *testing.T) {
	models := folder(t)
	build(t, nil)
	data := tinyBundle(t, nil)
	h := newHost(t, data)
	var last [2]int64
	o := h.options("")
	o.SHA256 = strings.ToUpper(o.SHA256)
	o.Progress = func(done, total int64) {
		require.GreaterOrEqual(t, done, last[0])
		last = [2]int64{done, total}
	}
	m, err := Pull(t.Context(), h.URL+"/v1/tiny.safetensors?download=true", o)
	require.NoError(t, err)
	require.Equal(t, Model{Name: "tiny", Path: filepath.Join(models, "tiny.safetensors"), Bytes: int64(len(data)), Parameters: 268115, Hash: tinyHash}, m)
	require.Equal(t, [2]int64{int64(len(data)), int64(len(data))}, last)
	require.Equal(t, []string{"tiny.safetensors"}, names(t, models))
	require.Equal(t, []string{""}, h.asked())
	w, err := Load(t.Context(), hidiff.LoadOptions{}, "tiny")
	require.NoError(t, err)
	require.Equal(t, tinyHash, w.Hash())

	again, err := Pull(t.Context(), h.URL+"/v1/tiny.safetensors", h.options(""))
	require.NoError(t, err)
	require.Equal(t, m, again)
	require.Empty(t, h.asked(), "it is there")
	_, err = Pull(t.Context(), h.URL+"/v2/tiny.safetensors", PullOptions{SHA256: sum(nil), Client: h.Client()})
	require.ErrorContains(t, err, "tiny.safetensors is there already, with other content")
	require.Empty(t, h.asked())
}

// TestPullNetworks puts a model together.
func TestPullNetworks(t *testing.T) {
	models := folder(t)
	build(t, nil)
	var m Model
	for i, net := range []string{"net_d", "net_g", "net_le_dm"} {
		h := newHost(t, tinyNetwork(t, net))
		_, err := Pull(t.Context(), h.URL+"/file.pth", h.options(""))
		require.ErrorContains(t, err, "this is "+net+" alone: say which model it belongs to, and")
		m, err = Pull(t.Context(), h.URL+"/file.pth", h.options("gopro"))
		require.NoError(t, err)
		require.Len(t, h.asked(), 1, "what came is kept for the second")
		require.Equal(t, filepath.Join(models, "gopro"), m.Path)
		if i == 0 {
			require.Contains(t, m.Problem, "weights lack net_g, net_le_dm")
		}
		_, err = Pull(t.Context(), h.URL+"/file.pth", h.options("gopro"))
		require.NoError(t, err)
		require.Empty(t, h.asked())
	}
	require.Empty(t, m.Problem)
	require.Equal(t, tinyHash, m.Hash)
	require.ElementsMatch(t, []string{"gopro/net_d.pth", "gopro/net_g.pth", "gopro/net_le_dm.pth"}, names(t, models))

	put(t, nil, models, "gopro", "net_g.pth")
	h := newHost(t, tinyNetwork(t, "net_g"))
	_, err := Pull(t.Context(), h.URL+"/file.pth", h.options("gopro"))
	require.ErrorContains(t, err, "net_g.pth is there already, with other content")
	whole := newHost(t, tinyBundle(t, nil))
	_, err = Pull(t.Context(), whole.URL+"/gopro.safetensors", whole.options(""))
	require.ErrorContains(t, err, "gopro is a folder already")
	require.Contains(t, err.Error(), "; the file is kept")
}

// TestPullGoesOn cuts connections, and sees the rest asked for.
func TestPullGoesOn(t *testing.T) {
	data := tinyBundle(t, nil)
	rest := func(from int, validator string) string {
		return strings.TrimSpace(fmt.Sprintf("bytes=%d- %s", from, validator))
	}
	half, quarter := len(data)/2, len(data)/2+(len(data)-len(data)/2)/2
	const date = "Mon, 02 Jan 2006 15:04:05 GMT"
	for _, c := range []struct {
		name        string
		before      func(*host) // the first Pull
		between     func(*host)
		first, then []string // requests
	}{
		{"within one pull", func(h *host) { h.drops = 2 }, nil, []string{"", rest(half, `"one"`), rest(quarter, `"one"`)}, nil},
		{"after an error", func(h *host) { h.fails = 3 }, nil, []string{"", "", "", ""}, nil},
		{"ranges are ignored", func(h *host) { h.drops, h.noRange = 1, true }, nil, []string{"", rest(half, `"one"`)}, nil},
		{"in another pull", func(h *host) { h.drops, retries = 1, 0 }, nil, []string{""}, []string{rest(half, `"one"`)}},
		{"by date", func(h *host) { h.drops, retries, h.etag, h.modified = 1, 0, `W/"one"`, date }, nil, []string{""}, []string{rest(half, date)}},
		{"without a validator", func(h *host) { h.drops, retries, h.etag = 1, 0, "" }, nil, []string{""}, []string{rest(half, "")}},
		{"the file has changed", func(h *host) { h.drops, retries, h.data = 1, 0, bytes.Repeat([]byte("?"), len(data)) },
			func(h *host) { h.data, h.etag = data, `"two"` }, []string{""}, []string{rest(half, `"one"`)}},
		{"the part is too long", func(h *host) { h.drops, retries, h.data = 1, 0, bytes.Repeat([]byte("?"), 3*len(data)) },
			func(h *host) { h.data, h.etag, retries = data, "", 1 }, []string{""}, []string{rest(3*len(data)/2, `"one"`)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			models := folder(t)
			build(t, nil)
			h := newHost(t, data)
			o := h.options("x")
			old := retries
			defer func() { retries = old }()
			c.before(h)
			m, err := Pull(t.Context(), h.URL+"/tiny.safetensors", o)
			require.Equal(t, c.first, h.asked())
			if c.then != nil {
				var partial *PartialError
				require.ErrorAs(t, err, &partial)
				require.ErrorContains(t, err, "the connection was cut")
				require.ErrorContains(t, err, "are kept in "+partial.Path+": the same command goes on from there")
				require.Equal(t, int64(len(h.data)/2), partial.Bytes)
				kept, err := os.ReadFile(partial.Path)
				require.NoError(t, err)
				require.Equal(t, h.data[:len(h.data)/2], kept)
				if c.between != nil {
					c.between(h)
				}
			}
			if c.then != nil {
				m, err = Pull(t.Context(), h.URL+"/tiny.safetensors", o)
				require.Equal(t, c.then, h.asked()[:1])
			}
			require.NoError(t, err)
			require.Equal(t, tinyHash, m.Hash)
			require.Equal(t, []string{"x.safetensors"}, names(t, models))
		})
	}
}

// TestPullFinishes: a pull that was killed when all had come needs no server.
func TestPullFinishes(t *testing.T) {
	models := folder(t)
	build(t, nil)
	h := newHost(t, tinyBundle(t, nil))
	put(t, h.data, models, h.options("").SHA256[:16]+".part")
	_, err := Pull(t.Context(), h.URL+"/x.safetensors", h.options(""))
	require.NoError(t, err)
	require.Empty(t, h.asked())
	require.Equal(t, []string{"x.safetensors"}, names(t, models))
}

func TestPullRefuses(t *testing.T) {
	atOnce(t)
	build(t, map[string][]byte{"small.safetensors": nil})
	h := newHost(t, []byte("<!doctype html>"))
	elsewhere := httptest.NewServer(h)
	t.Cleanup(elsewhere.Close)
	redirect := func(to string) *host {
		s := &host{data: h.data}
		s.Server = httptest.NewTLSServer(http.RedirectHandler(to, http.StatusFound))
		t.Cleanup(s.Close)
		return s
	}
	plain, circle := redirect(elsewhere.URL+"/x.pth"), redirect("/x.pth")
	missing := &host{data: h.data, Server: httptest.NewTLSServer(http.NotFoundHandler())}
	t.Cleanup(missing.Close)
	huge := &host{Server: httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(maxBytes+1))
	}))}
	t.Cleanup(huge.Close)
	down := newHost(t, nil)
	down.Close()
	damaged := newHost(t, tinyNetwork(t, "net_g")[:50_000])
	stranger := newHost(t, nil)
	stranger.Server = httptest.NewTLSServer(stranger)
	t.Cleanup(stranger.Close)

	right := sum(h.data)
	for _, c := range []struct {
		name, url string
		o         PullOptions
		want      string
	}{
		{"http", elsewhere.URL + "/x.pth", PullOptions{SHA256: right}, "models are pulled over HTTPS only"},
		{"a file", "file:///x.pth", PullOptions{SHA256: right}, "does not begin with https://"},
		{"no host", "https:///x.pth", PullOptions{SHA256: right}, "does not begin with https://"},
		{"no address", "https://[/x.pth", PullOptions{SHA256: right}, "is no address"},
		{"no extension", h.URL + "/x?f=y.pth", PullOptions{SHA256: right}, "/x does not end in .safetensors or .pth"},
		{"no hash", h.URL + "/x.pth", PullOptions{}, `"" is no SHA-256`},
		{"half a hash", h.URL + "/x.pth", PullOptions{SHA256: right[:32]}, "is no SHA-256"},
		{"no hex", h.URL + "/x.pth", PullOptions{SHA256: strings.Repeat("x", 64)}, "is no SHA-256"},
		{"up", h.URL + "/x.pth", PullOptions{SHA256: right, Name: "../x"}, `"../x" cannot be a model's name`},
		{"absolute", h.URL + "/x.pth", PullOptions{SHA256: right, Name: "/x"}, "cannot be a model's name"},
		{"up in the address", h.URL + "/a/..%2f..%2fb c.pth", PullOptions{SHA256: right}, `"b c" cannot be a model's name`},
		{"empty", h.URL + "/.pth", PullOptions{SHA256: right}, `"" cannot be a model's name`},
		{"dots", h.URL + "/...pth", PullOptions{SHA256: right}, `".." cannot be a model's name`},
		{"built in", h.URL + "/small.pth", PullOptions{SHA256: right}, "a built-in model is called small: choose another name"},
		{"a web page", h.URL + "/x.pth", PullOptions{SHA256: right}, "/x.pth: the file: a web page, not weights: download the file itself; it was deleted"},
		{"another hash", h.URL + "/x.pth", PullOptions{SHA256: sum(nil)[:63] + "0"}, "another SHA-256, " + right + ": it was deleted"},
		{"damaged", damaged.URL + "/x.pth", PullOptions{SHA256: sum(damaged.data)}, "it was deleted"},
		{"redirect to http", plain.URL + "/x.pth", PullOptions{SHA256: right, Client: plain.Client()}, "it redirects to http://"},
		{"circle", circle.URL + "/x.pth", PullOptions{SHA256: right, Client: circle.Client()}, "it redirects in circles"},
		{"not found", missing.URL + "/x.pth?key=secret", PullOptions{SHA256: right, Client: missing.Client()}, "/x.pth: the server answers 404 Not Found"},
		{"huge", huge.URL + "/x.pth", PullOptions{SHA256: right, Client: huge.Client()}, "larger than 2 GiB"},
		{"no server", down.URL + "/x.pth", PullOptions{SHA256: right, Client: down.Client()}, "refused"},
		{"no certificate", stranger.URL + "/x.pth", PullOptions{SHA256: right, Client: http.DefaultClient}, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			models := folder(t)
			if c.o.Client == nil {
				c.o.Client = h.Client()
			}
			_, err := Pull(t.Context(), c.url, c.o)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), "\n")
			if _, err := os.Stat(models); err == nil {
				require.Empty(t, names(t, models))
			}
		})
	}
}

// TestPullWrongAfterResuming: the other half made it another file.
func TestPullWrongAfterResuming(t *testing.T) {
	atOnce(t)
	models := folder(t)
	build(t, nil)
	h := newHost(t, tinyBundle(t, nil))
	o := h.options("x")
	h.drops, h.etag = 1, ""
	_, err := Pull(t.Context(), h.URL+"/x.safetensors", o)
	require.ErrorContains(t, err, "the connection was cut")
	h.data = bytes.Clone(h.data)
	h.data[len(h.data)-1]++
	_, err = Pull(t.Context(), h.URL+"/x.safetensors", o)
	require.ErrorContains(t, err, "another SHA-256")
	require.Empty(t, names(t, models))
}

// TestPullAlone holds two pulls of one file apart, and interrupts one.
func TestPullAlone(t *testing.T) {
	models := folder(t)
	build(t, nil)
	h := newHost(t, tinyBundle(t, nil))
	h.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := h.options("x")
	came := make(chan struct{})
	half := sync.OnceFunc(func() { close(came) })
	o.Progress = func(done, _ int64) {
		if done == int64(len(h.data)/2) {
			half()
		}
	}
	first := make(chan error)
	go func() {
		_, err := Pull(ctx, h.URL+"/x.safetensors", o)
		first <- err
	}()
	<-came
	_, err := Pull(t.Context(), h.URL+"/x.safetensors", h.options("y"))
	require.ErrorContains(t, err, "the same file is being pulled already")
	cancel()
	err = <-first
	require.ErrorIs(t, err, context.Canceled)
	var partial *PartialError
	require.ErrorAs(t, err, &partial)
	require.Equal(t, int64(len(h.data)/2), partial.Bytes)

	close(h.gate)
	_, err = Pull(t.Context(), h.URL+"/x.safetensors", h.options("y"))
	require.NoError(t, err)
	require.Equal(t, []string{"y.safetensors"}, names(t, models))
	require.Equal(t, []string{"", fmt.Sprintf(`bytes=%d- "one"`, len(h.data)/2)}, h.asked())
}

// TestPullStalls: a server that goes silent is left.
func TestPullStalls(t *testing.T) {
	atOnce(t)
	old := stall
	stall = 250 * time.Millisecond
	t.Cleanup(func() { stall = old })
	folder(t)
	build(t, nil)
	h := newHost(t, tinyBundle(t, nil))
	h.gate = make(chan struct{})
	_, err := Pull(t.Context(), h.URL+"/x.safetensors", h.options(""))
	require.ErrorIs(t, err, errStalled)
	require.ErrorContains(t, err, "the same command goes on from there")
}

func TestPullUnwritable(t *testing.T) {
	build(t, nil)
	h := newHost(t, tinyBundle(t, nil))
	file := filepath.Join(t.TempDir(), "file")
	put(t, nil, file)
	t.Setenv("HIDIFF_MODELS", file)
	_, err := Pull(t.Context(), h.URL+"/x.safetensors", h.options(""))
	require.ErrorContains(t, err, file)
	require.ErrorContains(t, err, "the folder of models cannot be read")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink("nowhere", link)) // root may write into any folder, but not here
	t.Setenv("HIDIFF_MODELS", link)
	_, err = Pull(t.Context(), h.URL+"/x.safetensors", h.options(""))
	require.ErrorContains(t, err, "the folder of models cannot be written")
	require.ErrorContains(t, err, "HIDIFF_MODELS names another")
	require.Empty(t, h.asked())
}
