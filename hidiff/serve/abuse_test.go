package serve

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

func (s *served) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// alive checks that a photo is restored as ever.
func (s *served) alive() {
	s.t.Helper()
	data := somePNG(s.t)
	a := s.do("POST", "/api/v1/deblur", data)
	require.Equal(s.t, 200, a.StatusCode, string(a.body))
	require.Equal(s.t, negative(s.t, data, photo.EncodeOptions{Format: photo.PNG}), a.body)
}

// impatientServer gives up what takes longer than a moment.
func impatientServer(t *testing.T, o Options) *served {
	t.Helper()
	o.Models = []Model{{Name: "fake", Engine: &fakeEngine{}}}
	s, err := New(o)
	require.NoError(t, err)
	s.patience = 300 * time.Millisecond
	return s.listen(t)
}

func TestSlowHeaders(t *testing.T) {
	s := impatientServer(t, Options{})
	c := s.dial()
	_, err := io.WriteString(c, "POST /api/v1/deblur HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	require.NoError(t, err)
	began := time.Now()
	_, _ = io.ReadAll(c) // until the server closes
	require.Less(t, time.Since(began), 5*time.Second)
	s.alive()
}

// A body that trickles is given up, however regularly it comes; one that only is long is not.
func TestSlowBodies(t *testing.T) {
	s := impatientServer(t, Options{})
	trickle := s.dial()
	_, err := io.WriteString(trickle, "POST /api/v1/deblur HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
	require.NoError(t, err)
	go func() {
		for range 1000 {
			if _, err := trickle.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	began := time.Now()
	response, err := http.ReadResponse(bufio.NewReader(trickle), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.Less(t, time.Since(began), 5*time.Second)
	s.heldNothing()

	c := s.dial()
	data := encode(t, picture(200, 100), photo.EncodeOptions{Format: photo.BMP}) // 60 kB, which at the least pace take two seconds
	_, err = fmt.Fprintf(c, "POST /api/v1/deblur HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(data))
	require.NoError(t, err)
	for part := range slices.Chunk(data, 8<<10) {
		_, err = c.Write(part)
		require.NoError(t, err)
		time.Sleep(100 * time.Millisecond)
	}
	response, err = http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
}

// Neither is a body waited for that is refused unread.
func TestSlowUnreadBodies(t *testing.T) {
	s := impatientServer(t, Options{})
	for _, path := range []string{"/nothing", "/api/v1/models"} {
		c := s.dial()
		_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", path)
		require.NoError(t, err)
		began := time.Now()
		_, _ = io.ReadAll(c) // until the server closes
		require.Less(t, time.Since(began), 5*time.Second)
	}
}

// Who does not read the answer is not waited for.
func TestSlowReaders(t *testing.T) {
	s := impatientServer(t, Options{})
	big := encode(t, picture(4000, 1000), photo.EncodeOptions{Format: photo.BMP})
	c := s.dial()
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err := fmt.Fprintf(c, "POST /api/v1/deblur?format=bmp HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(big))
	require.NoError(t, err)
	_, err = c.Write(big)
	require.NoError(t, err)
	s.heldNothing()
	s.alive()
}

func TestConnectionsAreLimited(t *testing.T) {
	s := impatientServer(t, Options{MaxConns: 4})
	for range 8 {
		_, err := io.WriteString(s.dial(), "GET / HTTP/1.1\r\nX: ")
		require.NoError(t, err)
	}
	s.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	s.alive() // once the first of them are given up
}

func TestAbortedUploads(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{})
	n := 1000
	if testing.Short() {
		n = 100
	}
	data := encode(t, picture(100, 100), photo.EncodeOptions{Format: photo.BMP})
	runtime.GC()
	before := runtime.NumGoroutine()
	for i := range n {
		c := s.dial()
		_, err := fmt.Fprintf(c, "POST /api/v1/deblur HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(data))
		require.NoError(t, err)
		_, _ = c.Write(data[:i*len(data)/n])
		require.NoError(t, c.Close())
	}
	s.alive()
	s.heldNothing()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+20 }, 10*time.Second, 10*time.Millisecond)
}

// bomb is a PNG of few bytes that claims to be, and where stuffed is, a huge picture.
func bomb(width, height uint32, stuffed bool) []byte {
	var out bytes.Buffer
	out.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		_ = binary.Write(&out, binary.BigEndian, uint32(len(data)))
		out.WriteString(kind)
		out.Write(data)
		_ = binary.Write(&out, binary.BigEndian, crc32.ChecksumIEEE(append([]byte(kind), data...)))
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	chunk("IHDR", append(header, 8, 0, 0, 0, 0))
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if stuffed {
		row := make([]byte, width+1)
		for range height {
			_, _ = z.Write(row)
		}
	}
	_ = z.Close()
	chunk("IDAT", packed.Bytes())
	chunk("IEND", nil)
	return out.Bytes()
}

func TestBombs(t *testing.T) {
	engine := &fakeEngine{}
	s := start(t, engine, Options{MaxPixels: 10 << 20})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, c := range []struct {
		data   []byte
		status int
		code   string
	}{
		{bomb(1<<31-1, 1<<31-1, false), 413, "too-large"},
		{bomb(16<<10, 16<<10, false), 413, "too-large"},
		{bomb(4<<10, 4<<10, true), 413, "too-large"},
		{bomb(3<<10, 3<<10, false), 422, "bad-photo"}, // refused before its pixels are allocated
	} {
		s.do("POST", "/api/v1/deblur", c.data).isProblem(t, c.status, c.code)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
	require.Empty(t, engine.names())
	s.alive()
}

// TestLoad has 64 clients ask one server, for two minutes where HIDIFF_LOAD=1: no wrong byte, no lost job, memory bounded,
// refusals quick.
func TestLoad(t *testing.T) {
	length := 2 * time.Second
	if os.Getenv("HIDIFF_LOAD") == "1" {
		length = 2 * time.Minute
	}
	s := start(t, &fakeEngine{}, Options{Queue: 16, MaxHeld: 8 << 20})
	photos, wants := make([][]byte, 8), make([][]byte, 8)
	for i := range photos {
		photos[i] = encode(t, picture(30+i, 20), photo.EncodeOptions{Format: photo.PNG})
		wants[i] = negative(t, photos[i], photo.EncodeOptions{Format: photo.PNG})
	}
	var mu sync.Mutex
	var refusals []time.Duration
	var restored, most atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var clients sync.WaitGroup
	for i := range 64 {
		own := s.from(fmt.Sprintf("127.0.0.%d", 2+i))
		clients.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				_, held := s.queue.sizes()
				most.Store(max(most.Load(), held))
				k := n % len(photos)
				path := "/api/v1/deblur?name=a.png"
				if n%3 == 0 {
					path = "/api/v1/jobs?name=a.png"
				}
				began := time.Now()
				a := own.do("POST", path, photos[k])
				switch a.StatusCode {
				case http.StatusServiceUnavailable:
					mu.Lock()
					refusals = append(refusals, time.Since(began))
					mu.Unlock()
					time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
					continue
				case http.StatusAccepted:
					job := "/api/v1/jobs/" + decoded[jobInfo](t, a).ID
					own.do("GET", job+"/events", nil) // until it has ended
					a = own.do("GET", job+"/result", nil)
					own.do("DELETE", job, nil)
				}
				if a.StatusCode != 200 || !bytes.Equal(wants[k], a.body) {
					t.Errorf("client %d: %d, %q", i, a.StatusCode, a.body)
					return
				}
				restored.Add(1)
			}
		})
	}
	clients.Wait()
	s.heldNothing()
	slices.Sort(refusals)
	require.NotEmpty(t, refusals)
	p95 := refusals[len(refusals)*95/100]
	t.Logf("%d photos, %d refusals, 95 %% of them within %v, at most %d bytes held", restored.Load(), len(refusals), p95, most.Load())
	require.Greater(t, restored.Load(), int64(64))
	if length > time.Minute {
		require.Less(t, p95, 50*time.Millisecond)
	}
	require.LessOrEqual(t, most.Load(), int64(8<<20))
}

func FuzzParameters(f *testing.F) {
	for _, query := range []string{
		"name=a.png&seed=7&model=fake&format=jpg&quality=80&strip=true&ensemble=1&background=%23ff0000", "name=%00", "name=../../x.png", "seed=-1", "format=", "name=.jpg", "name=a%2f..%2f", "x=%zz", "name=%ff&name=b",
	} {
		f.Add(query, "image/png", "k")
	}
	f.Add("", "multipart/form-data; boundary=x", "")
	f.Add("", "multipart/form-data", "")
	server, err := New(Options{Models: []Model{{Name: "fake", Engine: &fakeEngine{}}}})
	require.NoError(f, err)
	data := encode(f, picture(2, 2), photo.EncodeOptions{Format: photo.PNG})
	ctx, stop := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	done := make(chan error)
	go func() { done <- server.Serve(ctx, l) }()
	f.Cleanup(func() { stop(); <-done })
	f.Fuzz(func(t *testing.T, query, contentType, key string) {
		if strings.ContainsFunc(query, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			return // this is no HTTP
		}
		r, err := http.NewRequest("POST", "http://"+l.Addr().String()+"/api/v1/deblur", bytes.NewReader(data))
		require.NoError(t, err)
		r.URL.RawQuery = query
		r.Header = http.Header{"Content-Type": {contentType}, "Idempotency-Key": {key}}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return // the client finds that no such request can be made
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		values, _ := url.ParseQuery(query)
		switch response.StatusCode {
		case 200:
			_, err := photo.Decode(body, "result")
			require.NoError(t, err)
			disposition := response.Header.Get("Content-Disposition")
			require.NotContains(t, strings.TrimPrefix(disposition, "attachment; "), "/", values)
		case 400, 422:
			decoded[problem](t, answer{response, body})
		default:
			t.Fatalf("%d %s", response.StatusCode, body)
		}
	})
}
