package serve

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"image/color"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

// request is what a client asks for, with what is known of the photo from its header.
type request struct {
	model       *Model
	name        string // as hidiff deblur would know the photo: it seeds the noise
	seed        uint64
	ensemble    bool
	format      photo.Format
	quality     int
	strip       bool
	background  color.Color
	photo       photo.Info
	output      string // a name for the result
	key         string // Idempotency-Key
	fingerprint [sha256.Size]byte
}

const (
	photoField   = "photo" // of a multipart form
	longestName  = 1024
	longestField = 4096
	mostFields   = 32
)

// label names the photo in messages.
func (r *request) label() string {
	if r.name == "" {
		return "the photo"
	}
	return r.name
}

func (r *request) restoreOptions() hidiff.RestoreOptions {
	return hidiff.RestoreOptions{Seed: r.seed, Name: r.name, Ensemble: r.ensemble}
}

func (r *request) encodeOptions() photo.EncodeOptions {
	return photo.EncodeOptions{Format: r.format, Quality: r.quality, Strip: r.strip, Background: r.background}
}

// warnings say what of the photo is not read or the result cannot hold, as far as its header tells.
func (r *request) warnings() (out []string) {
	if r.photo.Unmanaged {
		out = append(out, "the ICC profile of its inks cannot be read, so colours will be off: convert it to sRGB first")
	}
	if losses := r.photo.Losses(r.format); len(losses) > 0 {
		out = append(out, fmt.Sprintf("not kept in %s: %s; png keeps everything", r.format, strings.Join(losses, " and ")))
	}
	return out
}

func badRequest(format string, args ...any) *problem {
	return problemf(http.StatusBadRequest, "bad-request", format, args...)
}

// parameters reads a request's options.
func (s *Server) parameters(values url.Values) (*request, error) {
	r := &request{model: s.models[0], quality: 95}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if len(values[key]) > 1 {
			return nil, badRequest("the parameter %s is given more than once", key)
		}
		if err := s.parameter(r, key, values.Get(key)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (s *Server) parameter(r *request, key, value string) error {
	var err error
	ok, must := true, ""
	switch key {
	case "name":
		r.name, ok = value, validName(value)
		must = fmt.Sprintf("have at most %d bytes of UTF-8, without control characters", longestName)
	case "model":
		r.model = s.model(value)
		ok, must = r.model != nil, "be one of "+strings.Join(s.modelNames(), ", ")
	case "seed":
		r.seed, err = strconv.ParseUint(value, 0, 64)
		must = "be a whole number, at least 0 and below 2^64"
	case "ensemble":
		r.ensemble, err = strconv.ParseBool(value)
		must = "be true or false"
	case "strip":
		r.strip, err = strconv.ParseBool(value)
		must = "be true or false"
	case "format":
		r.format, ok = photo.FormatOf("." + value)
		must = "be png, jpg, tif, webp or bmp"
	case "quality":
		r.quality, err = strconv.Atoi(value)
		ok, must = r.quality >= 1 && r.quality <= 100, "be from 1 to 100"
	case "background":
		r.background, ok = photo.ParseColor(value)
		must = "be white, black or #rrggbb, where # is written %23 in an address"
	default:
		return badRequest("there is no parameter %s: there are name, model, seed, ensemble, format, quality, strip and background", quote(key))
	}
	if err != nil || !ok {
		return badRequest("%s=%s: it must %s", key, quote(value), must)
	}
	return nil
}

func validName(s string) bool {
	return len(s) <= longestName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// quote is for messages.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// place decides about format and name of the result as hidiff deblur does: the extension says it, without a name the content.
func (r *request) place() {
	ext := path.Ext(r.name)
	kept, ok := photo.FormatOf(r.name)
	if r.name == "" {
		kept, ok = r.photo.Format, true
		ext = kept.Extension()
	}
	if r.format == "" {
		if r.format = kept; !ok || kept == photo.BMP {
			r.format = photo.PNG
		}
	}
	stem := strings.TrimSuffix(path.Base(strings.ReplaceAll(r.name, `\`, "/")), ext)
	if stem == "" || r.name == "" {
		stem = "photo"
	}
	if kept != r.format {
		ext = r.format.Extension()
	}
	r.output = stem + "_deblurred" + ext
}

// read reads a request's options and its photo, raw or in a form, which is accounted for in the queue. It
// fails for what can be known to fail without decoding a pixel.
func (s *Server) read(w http.ResponseWriter, from *http.Request) (r *request, data []byte, err error) {
	key := from.Header.Get("Idempotency-Key")
	if len(key) > 255 {
		return nil, nil, badRequest("the Idempotency-Key is longer than 255 bytes")
	}
	values, err := url.ParseQuery(from.URL.RawQuery)
	if err != nil {
		return nil, nil, badRequest("the address's parameters cannot be read")
	}
	from.Body = http.MaxBytesReader(w, from.Body, s.options.MaxUpload+1<<16)
	defer func() {
		if err != nil {
			s.queue.give(int64(len(data)))
			err = bodyProblem(err, s.options.MaxUpload)
		}
	}()
	kind, arguments, _ := mime.ParseMediaType(from.Header.Get("Content-Type"))
	if kind == "multipart/form-data" && arguments["boundary"] != "" {
		data, err = s.form(multipart.NewReader(from.Body, arguments["boundary"]), values)
		if err == nil {
			_, err = io.Copy(io.Discard, from.Body) // what follows the form; only then the server notices when the client goes
		}
	} else {
		data, err = s.upload(from.Body)
	}
	if err != nil {
		return nil, data, err
	}
	if r, err = s.parameters(values); err != nil {
		return nil, data, err
	}
	if r.photo, err = photo.Probe(data, r.label()); err != nil {
		return nil, data, problemf(http.StatusUnprocessableEntity, "bad-photo", "%v", err)
	}
	if r.photo.Width > int(s.options.MaxPixels)/r.photo.Height {
		return nil, data, problemf(http.StatusRequestEntityTooLarge, "too-large", "%s: %d×%d pixels are more than the %d this server takes: shrink the picture",
			r.label(), r.photo.Width, r.photo.Height, s.options.MaxPixels)
	}
	r.place()
	if err := r.format.Fits(r.photo.Width, r.photo.Height); err != nil {
		return nil, data, problemf(http.StatusUnprocessableEntity, "bad-photo", "%s: %v", r.label(), err)
	}
	if key != "" {
		r.key = from.Pattern + " " + key
		hash := sha256.New()
		fmt.Fprintf(hash, "%q %q %d %t %q %d %t %v\n", r.name, r.model.Name, r.seed, r.ensemble, r.format, r.quality, r.strip, r.background)
		hash.Write(data)
		r.fingerprint = [sha256.Size]byte(hash.Sum(nil))
	}
	return r, data, nil
}

// form reads a multipart form: fields into values, and the one photo, whose name counts where none is given.
func (s *Server) form(form *multipart.Reader, values url.Values) (data []byte, err error) {
	found, name := false, ""
	for range mostFields {
		part, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF) && !found:
			return data, badRequest("the form has no photo: it goes into the field %s", photoField)
		case errors.Is(err, io.EOF):
			if name != "" && !values.Has("name") {
				values.Set("name", name)
			}
			return data, nil
		case err != nil:
			return data, err
		}
		field := part.FormName()
		if field != photoField {
			value, err := io.ReadAll(io.LimitReader(part, longestField))
			if err != nil {
				return data, err
			}
			values.Add(field, string(value))
			continue
		}
		if found {
			return data, badRequest("the form has more than one photo: send one in each request")
		}
		found, name = true, part.FileName() // without folders
		if data, err = s.upload(part); err != nil {
			return data, err
		}
	}
	return data, badRequest("the form has more than %d fields", mostFields)
}

// upload reads a photo, and accounts for it as it comes.
func (s *Server) upload(from io.Reader) (data []byte, err error) {
	for {
		const chunk = 64 << 10
		data = slices.Grow(data, chunk)
		n, err := from.Read(data[len(data) : len(data)+chunk])
		if taken := s.queue.take(int64(n)); taken != nil {
			return data, taken
		}
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > s.options.MaxUpload:
			return data, &http.MaxBytesError{Limit: s.options.MaxUpload}
		case errors.Is(err, io.EOF) && len(data) == 0:
			return data, badRequest("there is no photo: the request is empty")
		case errors.Is(err, io.EOF):
			return data, nil
		case err != nil:
			return data, err
		}
	}
}

// bodyProblem finds the words for what goes wrong while a request is read.
func bodyProblem(err error, limit int64) error {
	var known *problem
	var large *http.MaxBytesError
	var late interface{ Timeout() bool }
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &large):
		return problemf(http.StatusRequestEntityTooLarge, "too-large", "the file is larger than the %d bytes this server takes", limit)
	case errors.As(err, &late) && late.Timeout():
		return problemf(http.StatusRequestTimeout, "too-slow", "the upload was too slow, and was given up")
	}
	return badRequest("the upload is cut off or damaged: send it again")
}

// paced gives up a body that does not come at a certain pace, read or unread, so that nobody holds a connection with
// nothing to say.
func (s *Server) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			b := &slowest{ReadCloser: r.Body, control: http.NewResponseController(w), until: time.Now().Add(s.patience)}
			b.limit(b.until)
			r.Body = b
		}
		next.ServeHTTP(w, r)
	})
}

type slowest struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time
}

const leastPace = time.Second / (32 << 10) // of a byte

// limit sets the time after which nothing is read anymore. Where it cannot be set, nothing is read from a network.
func (b *slowest) limit(until time.Time) { _ = b.control.SetReadDeadline(until) }

func (b *slowest) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.until = b.until.Add(time.Duration(n) * leastPace)
	if errors.Is(err, io.EOF) {
		b.until = time.Time{} // what is read then only tells whether the client is there
	}
	if n > 0 || err != nil {
		b.limit(b.until)
	}
	return n, err
}
