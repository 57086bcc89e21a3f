package serve

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

func TestHosts(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{Hosts: []string{"photos.example"}})
	for host, ok := range map[string]bool{
		"127.0.0.1:8470": true, "localhost": true, "LOCALHOST:80": true, "[::1]:8470": true, "192.168.1.5": true, "photos.example:8470": true, "photos.example.": true,
		"evil.example": false, "127.0.0.1.evil.example": false, "localhost.evil.example:8470": false, "": false,
	} {
		r := httptest.NewRequest("GET", "/healthz", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		require.Equal(t, ok, w.Code == 200, host)
		if !ok {
			require.Equal(t, http.StatusMisdirectedRequest, w.Code, host)
		}
	}
	s.do("POST", "/api/v1/deblur", somePNG(t), "Host", "evil.example").isProblem(t, 421, "wrong-host")
}

func TestOtherSites(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{})
	for _, c := range []struct {
		headers []string
		ok      bool
	}{
		{nil, true},
		{[]string{"Origin", s.url}, true},
		{[]string{"Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"Origin", "https://evil.example"}, false},
		{[]string{"Origin", "null"}, false},
		{[]string{"Sec-Fetch-Site", "cross-site"}, false},
		{[]string{"Sec-Fetch-Site", "same-site", "Origin", s.url}, false},
	} {
		for method, path := range map[string]string{"POST": "/api/v1/deblur", "DELETE": "/api/v1/jobs/X"} {
			a := s.do(method, path, somePNG(t), c.headers...)
			require.Equal(t, !c.ok, a.StatusCode == 403, "%s %q", method, c.headers)
			if !c.ok {
				a.isProblem(t, 403, "forbidden")
			}
			require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
		}
	}
	a := s.do("OPTIONS", "/api/v1/deblur", nil, "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
	require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
}

func TestAllowOrigin(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{AllowOrigins: []string{"https://friend.example"}})
	a := s.do("POST", "/api/v1/deblur", somePNG(t), "Origin", "https://friend.example")
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, "https://friend.example", a.Header.Get("Access-Control-Allow-Origin"))
	a = s.do("OPTIONS", "/api/v1/deblur", nil, "Origin", "https://friend.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
	require.Equal(t, "https://friend.example", a.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "authorization", a.Header.Get("Access-Control-Allow-Headers"))
	a = s.do("POST", "/api/v1/deblur", somePNG(t), "Origin", "https://evil.example")
	a.isProblem(t, 403, "forbidden")
	require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
}

func TestToken(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{Token: "0123456789abcdef"})
	for _, path := range []string{"/api/v1/models", "/api/v1/plan?width=1&height=1", "/api/v1/openapi.yaml", "/api/v1/jobs/X", "/metrics"} {
		for _, header := range []string{"", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer 0123456789abcdeg", "Bearer 0123456789abcdef0", "Bearer "} {
			if a := s.do("GET", path, nil, "Authorization", header); header != "0123456789abcdef" {
				a.isProblem(t, 401, "unauthorized")
				require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
			}
		}
		require.NotEqual(t, 401, s.do("GET", path, nil, "Authorization", "Bearer 0123456789abcdef").StatusCode, path)
	}
	s.do("POST", "/api/v1/deblur", somePNG(t)).isProblem(t, 401, "unauthorized")
	for _, path := range []string{"/", "/page.js", "/healthz"} {
		require.Equal(t, 200, s.do("GET", path, nil).StatusCode, path)
	}
}

// The page has no script or style of its own inside, and every answer says what browsers must not do with it.
func TestHeaders(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{})
	for _, path := range []string{"/", "/page.js", "/page.css", "/api/v1/models", "/healthz", "/nothing", "/metrics"} {
		h := s.do("GET", path, nil).Header
		require.Equal(t, policy, h.Get("Content-Security-Policy"))
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", h.Get("Cache-Control"))
	}
	require.NotContains(t, policy, "unsafe")
	html := string(s.do("GET", "/", nil).body)
	require.NotRegexp(t, regexp.MustCompile(`(?i)<style|style=|\son[a-z]+=|javascript:|https?://`), html)
	require.NotRegexp(t, regexp.MustCompile(`(?is)<script[^>]*>[^<]`), html)
	require.Equal(t, "text/javascript; charset=utf-8", s.do("GET", "/page.js", nil).Header.Get("Content-Type"))
}

// Logs and metrics tell what happened, and nothing of whose photo it was.
func TestNothingPrivateIsLogged(t *testing.T) {
	var log bytes.Buffer
	engine := &fakeEngine{}
	s := start(t, engine, Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	job := s.post("secretname.png", somePNG(t))
	s.waitFor(job.ID, done)
	s.do("GET", "/api/v1/jobs/"+job.ID+"/result", nil)
	s.do("POST", "/api/v1/deblur?name=secretname.png", []byte("no photo"))
	s.do("GET", "/secretname.png", nil)
	s.models[0].Engine = panicking{engine}
	s.do("POST", "/api/v1/deblur?name=secretname.png", somePNG(t)).isProblem(t, 500, "failed")
	metrics := string(s.do("GET", "/metrics", nil).body)
	s.stop()
	require.NoError(t, <-s.done)
	s.done <- nil
	for _, text := range []string{log.String(), metrics} {
		require.NotContains(t, text, "secretname")
		require.NotContains(t, text, job.ID)
	}
	require.Contains(t, log.String(), `route="GET /api/v1/jobs/{id}/result" status=200`)
	require.Contains(t, log.String(), "outcome=done model=fake width=20 height=10")
	for _, want := range []string{`hidiff_photos_total{model="fake",outcome="done"} 1`, `hidiff_photos_total{model="fake",outcome="failed"} 1`,
		`hidiff_http_requests_total{route="POST /api/v1/jobs",status="202"} 1`, `hidiff_http_requests_total{route="none",status="404"} 1`,
		"hidiff_waiting 0", "hidiff_running 0", "hidiff_photo_seconds_count", "go_goroutines"} {
		require.Contains(t, metrics, want)
	}
}

func TestClients(t *testing.T) {
	for address, want := range map[string]string{
		"192.168.1.5:4711": "192.168.1.5/32", "[::ffff:192.168.1.5]:4711": "192.168.1.5/32", "[2001:db8:1:2:3:4:5:6]:4711": "2001:db8:1:2::/64", "[fe80::1%eth0]:4711": "fe80::/64", "pipe": "pipe",
	} {
		require.Equal(t, want, clientOf(&http.Request{RemoteAddr: address}))
	}
}

func TestTLS(t *testing.T) {
	helper := httptest.NewUnstartedServer(nil) // has a certificate
	helper.StartTLS()
	defer helper.Close()
	o := Options{Models: []Model{{Name: "fake", Engine: &fakeEngine{}}}, TLS: &tls.Config{Certificates: helper.TLS.Certificates}}
	server, err := New(o)
	require.NoError(t, err)
	s := server.listen(t)
	transport := helper.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	s.http, s.url = &http.Client{Transport: transport}, strings.Replace(s.url, "http:", "https:", 1)
	defer transport.CloseIdleConnections()
	data := somePNG(t)
	a := s.do("POST", "/api/v1/deblur", data)
	require.Equal(t, "HTTP/2.0", a.Proto)
	require.Equal(t, negative(t, data, photo.EncodeOptions{Format: photo.PNG}), a.body)
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "https://"))
	require.NoError(t, err)
	defer c.Close()
}
