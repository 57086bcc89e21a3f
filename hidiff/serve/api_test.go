package serve

import (
	"bytes"
	"fmt"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

func TestDeblur(t *testing.T) {
	engine := &fakeEngine{}
	s := start(t, engine, Options{})
	data := somePNG(t)
	a := s.do("POST", "/api/v1/deblur?name=holiday.png&seed=7&ensemble=true", data, "Content-Type", "image/png")
	require.Equal(t, http.StatusOK, a.StatusCode, string(a.body))
	require.Equal(t, negative(t, data, photo.EncodeOptions{Format: photo.PNG}), a.body)
	require.Equal(t, "image/png", a.Header.Get("Content-Type"))
	require.Equal(t, `attachment; filename=holiday_deblurred.png`, a.Header.Get("Content-Disposition"))
	require.Empty(t, a.Header.Values("Hidiff-Warning"))
	o := engine.seen[0]
	require.Equal(t, hidiff.RestoreOptions{Seed: 7, Name: "holiday.png", Ensemble: true}, hidiff.RestoreOptions{Seed: o.Seed, Name: o.Name, Ensemble: o.Ensemble})
	s.heldNothing()
}

// The format and the name of a result are those of hidiff deblur.
func TestResultsFormatAndName(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{})
	for _, c := range []struct {
		name, format string
		content      photo.Format
		want, output string
	}{
		{"a.png", "", photo.PNG, "image/png", "a_deblurred.png"},
		{"a.JPEG", "", photo.PNG, "image/jpeg", "a_deblurred.JPEG"}, // the extension says it
		{"a.jpeg", "jpg", photo.PNG, "image/jpeg", "a_deblurred.jpeg"},
		{"a.bmp", "", photo.BMP, "image/png", "a_deblurred.png"},
		{"a.bmp", "bmp", photo.BMP, "image/bmp", "a_deblurred.bmp"},
		{"a", "", photo.TIFF, "image/png", "a_deblurred.png"},
		{"a.b", "", photo.TIFF, "image/png", "a_deblurred.png"},
		{"", "", photo.TIFF, "image/tiff", "photo_deblurred.tif"},
		{"", "", photo.BMP, "image/png", "photo_deblurred.png"},
		{"", "webp", photo.BMP, "image/webp", "photo_deblurred.webp"},
		{"../../etc/pass wd.png", "", photo.PNG, "image/png", "pass wd_deblurred.png"},
		{`C:\photos\größe.png`, "", photo.PNG, "image/png", "größe_deblurred.png"},
		{".png", "", photo.PNG, "image/png", "photo_deblurred.png"},
	} {
		query := url.Values{"name": {c.name}}
		if c.format != "" {
			query.Set("format", c.format)
		}
		a := s.do("POST", "/api/v1/deblur?"+query.Encode(), encode(t, picture(4, 4), photo.EncodeOptions{Format: c.content}))
		require.Equal(t, http.StatusOK, a.StatusCode, string(a.body))
		require.Equal(t, c.want, a.Header.Get("Content-Type"), c.name)
		_, parameters, err := mime.ParseMediaType(a.Header.Get("Content-Disposition"))
		require.NoError(t, err)
		require.Equal(t, c.output, parameters["filename"])
		p, err := photo.Probe(a.body, "result")
		require.NoError(t, err)
		require.Equal(t, c.want, "image/"+string(p.Format))
	}
}

func TestEncoding(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{})
	p := picture(16, 16)
	p.Max = 65535
	p.Alpha = make([]uint16, 256)
	p.Meta.XMP = []byte("<x/>")
	data := encode(t, p, photo.EncodeOptions{Format: photo.PNG})
	black, _ := photo.ParseColor("black")
	for _, c := range []struct {
		query string
		want  photo.EncodeOptions
		warn  []string
	}{
		{"", photo.EncodeOptions{Format: photo.PNG}, nil},
		{"&format=jpg", photo.EncodeOptions{Format: photo.JPEG}, []string{"not kept in jpeg: transparency and 16 bits a sample; png keeps everything"}},
		{"&format=jpg&quality=30&background=black", photo.EncodeOptions{Format: photo.JPEG, Quality: 30, Background: black},
			[]string{"not kept in jpeg: transparency and 16 bits a sample; png keeps everything"}},
		{"&format=bmp", photo.EncodeOptions{Format: photo.BMP}, []string{"not kept in bmp: transparency and 16 bits a sample; png keeps everything", "not kept in bmp: XMP"}},
		{"&format=bmp&strip=true&background=%23000000", photo.EncodeOptions{Format: photo.BMP, Strip: true, Background: black},
			[]string{"not kept in bmp: transparency and 16 bits a sample; png keeps everything"}},
	} {
		a := s.do("POST", "/api/v1/deblur?name=a.png"+c.query, data)
		require.Equal(t, http.StatusOK, a.StatusCode, string(a.body))
		require.Equal(t, negative(t, data, c.want), a.body, c.query)
		require.Equal(t, c.warn, a.Header.Values("Hidiff-Warning"), c.query)
	}
}

// form is a multipart body.
func form(t *testing.T, write func(w *multipart.Writer)) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	write(w)
	require.NoError(t, w.Close())
	return w.FormDataContentType(), b.Bytes()
}

func addFile(t *testing.T, w *multipart.Writer, field, name string, data []byte) {
	t.Helper()
	part, err := w.CreateFormFile(field, name)
	require.NoError(t, err)
	_, err = part.Write(data)
	require.NoError(t, err)
}

func TestForms(t *testing.T) {
	engine := &fakeEngine{}
	s := start(t, engine, Options{})
	data := somePNG(t)
	for _, c := range []struct {
		write func(w *multipart.Writer)
		query string
		name  string // seen
		want  string // or a problem
	}{
		{func(w *multipart.Writer) { addFile(t, w, "photo", "form.png", data) }, "", "form.png", ""},
		{func(w *multipart.Writer) { addFile(t, w, "photo", "../up/form.png", data) }, "", "form.png", ""},
		{func(w *multipart.Writer) {
			addFile(t, w, "photo", "form.png", data)
			require.NoError(t, w.WriteField("name", "field.png"))
			require.NoError(t, w.WriteField("seed", "3"))
		}, "", "field.png", ""},
		{func(w *multipart.Writer) { addFile(t, w, "photo", "form.png", data) }, "?name=query.png", "query.png", ""},
		{func(w *multipart.Writer) {
			addFile(t, w, "photo", "form.png", data)
			require.NoError(t, w.WriteField("seed", "3"))
		}, "?seed=3", "", "the parameter seed is given more than once"},
		{func(w *multipart.Writer) { require.NoError(t, w.WriteField("seed", "3")) }, "", "", "the form has no photo: it goes into the field photo"},
		{func(w *multipart.Writer) {
			addFile(t, w, "photo", "form.png", data)
			addFile(t, w, "photo", "form.png", data)
		}, "", "", "the form has more than one photo"},
		{func(w *multipart.Writer) {
			for i := range 40 {
				require.NoError(t, w.WriteField(fmt.Sprint("f", i), "3"))
			}
		}, "", "", "more than 32 fields"},
	} {
		contentType, body := form(t, c.write)
		a := s.do("POST", "/api/v1/deblur"+c.query, body, "Content-Type", contentType)
		if c.want != "" {
			require.Contains(t, a.isProblem(t, 400, "bad-request"), c.want)
			continue
		}
		require.Equal(t, negative(t, data, photo.EncodeOptions{Format: photo.PNG}), a.body)
		require.Equal(t, c.name, engine.names()[len(engine.names())-1])
	}
	contentType, body := form(t, func(w *multipart.Writer) { addFile(t, w, "photo", "form.png", data) })
	a := s.do("POST", "/api/v1/deblur", body[:len(body)-50], "Content-Type", contentType)
	require.Contains(t, a.isProblem(t, 400, "bad-request"), "cut off")
	s.heldNothing()
}

func TestBadRequests(t *testing.T) {
	engine := &fakeEngine{}
	s := start(t, engine, Options{MaxUpload: 1 << 20, MaxPixels: 10000})
	data := somePNG(t)
	for _, c := range []struct {
		query  string
		body   []byte
		status int
		code   string
		want   string
	}{
		{"seed=-1", data, 400, "bad-request", `seed="-1": it must be a whole number`},
		{"seed=18446744073709551616", data, 400, "bad-request", "below 2^64"},
		{"model=none", data, 400, "bad-request", `model="none": it must be one of fake, other`},
		{"format=gif", data, 400, "bad-request", "it must be png, jpg, tif, webp or bmp"},
		{"quality=0", data, 400, "bad-request", "from 1 to 100"},
		{"quality=x", data, 400, "bad-request", "from 1 to 100"},
		{"ensemble=maybe", data, 400, "bad-request", "true or false"},
		{"strip=", data, 400, "bad-request", "true or false"},
		{"background=pink", data, 400, "bad-request", "white, black or #rrggbb"},
		{"name=a%00b", data, 400, "bad-request", "control characters"},
		{"name=%ff", data, 400, "bad-request", "UTF-8"},
		{"name=" + strings.Repeat("a", 1025), data, 400, "bad-request", "at most 1024 bytes"},
		{"tile=64", data, 400, "bad-request", `there is no parameter "tile"`},
		{"seed=1&seed=2", data, 400, "bad-request", "the parameter seed is given more than once"},
		{"seed=%zz", data, 400, "bad-request", "parameters cannot be read"},
		{"", nil, 400, "bad-request", "there is no photo"},
		{"name=a.png", []byte("no photo"), 422, "bad-photo", "a.png: "},
		{"", data[:30], 422, "bad-photo", "the photo: "},
		{"name=a.png", data[:len(data)-30], 422, "bad-photo", "a.png: "},
		{"name=b.png", encode(t, picture(101, 100), photo.EncodeOptions{Format: photo.PNG}), 413, "too-large", "b.png: 101×100 pixels are more than the 10000 this server takes"},
		{"", make([]byte, 1<<20+1), 413, "too-large", "larger than the 1048576 bytes"},
		{"", make([]byte, 3<<20), 413, "too-large", "larger than the 1048576 bytes"},
	} {
		a := s.do("POST", "/api/v1/deblur?"+c.query, c.body)
		require.Contains(t, a.isProblem(t, c.status, c.code), c.want, c.query)
	}
	require.Empty(t, engine.names())
	s.heldNothing()
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/api/v1/nothing", 404, "not-found"}, {"GET", "/nothing", 404, "not-found"}, {"GET", "/page", 404, "not-found"}, {"GET", "/../go.mod", 404, "not-found"},
		{"GET", "/api/v1/jobs/X", 404, "not-found"}, {"DELETE", "/api/v1/jobs/X", 404, "not-found"}, {"GET", "/api/v1/jobs/X/result", 404, "not-found"}, {"GET", "/api/v1/jobs/X/events", 404, "not-found"},
		{"GET", "/api/v1/deblur", 405, "method"}, {"PUT", "/api/v1/jobs", 405, "method"}, {"POST", "/", 405, "method"},
		{"GET", "/api/v1/plan", 400, "bad-request"}, {"GET", "/api/v1/plan?width=0&height=5", 400, "bad-request"}, {"GET", "/api/v1/plan?width=5&height=5&seed=x", 400, "bad-request"},
		{"GET", "/api/v1/plan?width=1000&height=1000", 413, "too-large"}, {"GET", "/api/v1/plan?width=9223372036854775807&height=9223372036854775807", 413, "too-large"},
		{"GET", "/api/v1/plan?width=5000&height=1", 422, "does-not-fit"},
	} {
		a := s.do(c.method, c.path, nil)
		a.isProblem(t, c.status, c.code)
		require.Equal(t, c.status == 405, a.Header.Get("Allow") != "")
	}
}

func TestModelsAndPlan(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{})
	require.JSONEq(t, `{"models": [{"name": "fake", "hash": "00", "parameters": 1, "default": true}, {"name": "other", "hash": "01", "parameters": 2, "default": false}]}`,
		string(s.do("GET", "/api/v1/models", nil).body))
	require.JSONEq(t, `{"width": 40, "height": 20, "exact": true, "bands": 3, "offload": true, "peak_memory": 3145728, "weights_memory": 1048576, "memory_budget": 4194304, "dispatches": 42}`,
		string(s.do("GET", "/api/v1/plan?width=40&height=20&model=other", nil).body))
}

func TestNew(t *testing.T) {
	m := Model{Name: "m", Engine: &fakeEngine{}}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "no model"},
		{Options{Models: []Model{m, m}}, "two models are called m"},
		{Options{Models: []Model{m}, Queue: -1}, "negative"},
		{Options{Models: []Model{m}, AllowOrigins: []string{"photos.example"}}, "photos.example is no origin"},
	} {
		_, err := New(c.o)
		require.ErrorContains(t, err, c.want)
	}
}
