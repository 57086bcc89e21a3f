package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

func TestServeOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	writeText(t, "short", "abc\n")
	writeText(t, "two", "0123456789abcdef 0123456789abcdef")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--listen", "0.0.0.0:0"}, exitUsage, "lets other machines in: give the token they must send with --token-file, or --no-auth"},
		{[]string{"--listen", ":0"}, exitUsage, "lets other machines in"},
		{[]string{"--listen", "photos.example:0"}, exitUsage, "lets other machines in"},
		{[]string{"--listen", "8470"}, exitUsage, "--listen 8470 is no address and port"},
		{[]string{"--token-file", "t", "--no-auth"}, exitUsage, "exclude each other"},
		{[]string{"--cert", "c"}, exitUsage, "--cert and --key belong together"},
		{[]string{"--queue", "0"}, exitUsage, "--queue 0 must be at least 1"},
		{[]string{"--max-pixels", "0"}, exitUsage, "must be above 0"},
		{[]string{"photo.jpg"}, exitUsage, "photo.jpg"},
		{[]string{"--token-file", "none"}, exitFailed, "none"},
		{[]string{"--token-file", "short"}, exitFailed, "short: a token is one word of at least 16 characters"},
		{[]string{"--token-file", "two"}, exitFailed, "two: a token is one word"},
		{[]string{"--cert", "short", "--key", "short"}, exitFailed, "--cert short and --key short cannot be used"},
		{[]string{"--listen", "127.0.0.1:0", "-m", "no-such-model"}, exitFailed, "no-such-model"},
	} {
		got := runFake(t, t.Context(), nil, nil, append([]string{"serve"}, c.args...)...)
		require.Equal(t, c.code, got.code, "%q: %s", c.args, got.stderr)
		require.Contains(t, got.stderr, c.want)
	}
	got := runFake(t, t.Context(), &fakeEngine{}, nil, "serve", "--listen", "127.0.0.1:0", "-m", tiny, "-m", tiny)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "two models are called checkpoints")
}

// serveFake serves the fake engine and returns the address; end ends it as Ctrl-C does.
func serveFake(t *testing.T, args ...string) (address string, end func() result) {
	t.Helper()
	read, write := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &messages{w: write}}
	a.open = func(context.Context, *hidiff.Weights, hidiff.Options) (restorer, error) { return &fakeEngine{}, nil }
	ended := make(chan int, 1)
	go func() {
		ended <- a.execute(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...))
		_ = write.Close()
	}()
	said := make([]byte, 1000)
	n, err := read.Read(said)
	require.NoError(t, err)
	m := regexp.MustCompile(`the page is at (\S+)/, Ctrl-C ends it\n`).FindStringSubmatch(string(said[:n]))
	require.NotNil(t, m, string(said[:n]))
	return m[1], func() result {
		cancel()
		rest, err := io.ReadAll(read)
		require.NoError(t, err)
		return result{<-ended, "", string(rest)}
	}
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	token := dir + "/token"
	writeText(t, token, "0123456789abcdef\n")
	address, end := serveFake(t, "-m", tiny, "-m", "small", "--token-file", token)
	ask := func(method, path string, body []byte) (int, string) {
		r, err := http.NewRequest(method, address+path, bytes.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer 0123456789abcdef")
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(text)
	}
	_, text := ask("GET", "/api/v1/models", nil)
	require.Regexp(t, `"name":"checkpoints",.*"default":true.*"name":"small","description":"slight shake.*"license":"Apache-2.0".*"default":false`, text)
	write(t, dir+"/a.png", picture(4, 4))
	data, err := os.ReadFile(dir + "/a.png")
	require.NoError(t, err)
	code, text := ask("POST", "/api/v1/deblur?name=a.png", data)
	require.Equal(t, 200, code)
	writeText(t, dir+"/b.png", text)
	isNegative(t, dir+"/b.png", picture(4, 4))
	response, err := http.Get(address + "/api/v1/models")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 401, response.StatusCode)
	began := time.Now()
	got := end()
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Empty(t, got.stderr)
	require.Less(t, time.Since(began), 10*time.Second)
	_, err = photo.Open(dir + "/a.png")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"a.png", "b.png", "token"}, files(t, dir))
}

func TestServeTLS(t *testing.T) {
	helper := httptest.NewUnstartedServer(nil)
	helper.StartTLS()
	defer helper.Close()
	dir := t.TempDir()
	writeCertificate(t, dir, helper.TLS.Certificates[0])
	address, end := serveFake(t, "-m", tiny, "--cert", dir+"/cert.pem", "--key", dir+"/key.pem")
	require.True(t, strings.HasPrefix(address, "https://127.0.0.1:"), address)
	response, err := helper.Client().Get(address + "/healthz")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 200, response.StatusCode)
	helper.Client().CloseIdleConnections()
	require.Equal(t, exitOK, end().code)
}

func writeCertificate(t *testing.T, dir string, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	writeText(t, dir+"/cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	writeText(t, dir+"/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}
