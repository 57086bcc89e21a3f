package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hidiff/hidiff"
	"hidiff/internal/atomicfile"
	"hidiff/internal/lock"
)

const maxBytes = 2 << 30 // of a file; the released models have a twentieth of that

// How patient Pull is.
var (
	retries = 3
	backoff = time.Second // before the first retry; then twice as long each
	stall   = time.Minute // without a byte
)

var errStalled = errors.New("the server has gone silent")

// PullOptions say what is to come, and as what.
type PullOptions struct {
	SHA256   string                  // of the file: 64 hexadecimal digits, required
	Name     string                  // of the model; "" takes the file's
	Client   *http.Client            // nil is [http.DefaultClient]; its CheckRedirect is not used
	Progress func(done, total int64) // bytes, total -1 if the server does not say; may be nil
}

// OptionError says that an option is wrong, or must be another.
type OptionError struct {
	Option  string // the field of [PullOptions]
	message string
}

func (e *OptionError) Error() string { return e.message }

// rename says that a model needs another name, or one.
func rename(format string, args ...any) error {
	return &OptionError{"Name", fmt.Sprintf(format, args...)}
}

// PartialError says that a download ended early. What has come is kept, and the same Pull goes on
// from there.
type PartialError struct {
	Bytes int64
	Path  string // where they are
	Err   error  // why it ended
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%v; %.1f MiB are kept in %s: the same command goes on from there", e.Err, float64(e.Bytes)/(1<<20), e.Path)
}

func (e *PartialError) Unwrap() error { return e.Err }

// Pull downloads a model into the user's folder of models, over HTTPS only. The address ends in
// the name of a .safetensors or .pth file, query aside: a whole model, or one network, which goes
// into the folder NAME, where others join it; then the model's Problem says which are missing.
//
// The file takes its place when it is whole, has the right SHA-256 and is found to hold weights;
// nothing that is there is replaced, and a file that is there already is not downloaded again. Pull
// tries again a few times where a server fails or a connection is cut. A download that ends early
// is a [PartialError]; it is gone on with if the server's file is still the same, else begun anew.
func Pull(ctx context.Context, address string, o PullOptions) (Model, error) {
	d, err := newDownload(address, o)
	if err != nil {
		return Model{}, err
	}
	path, err := d.there()
	if err == nil && path == "" {
		if path, err = d.run(ctx); err != nil {
			err = fmt.Errorf("%s: %w", d.shown, err)
		}
	}
	if err != nil {
		return Model{}, err
	}
	m := Model{Name: d.name, Path: path}
	if dir := filepath.Dir(path); dir != filepath.Clean(d.folder) { // it is one network's
		m.Path = dir
	}
	m.read(ctx)
	return m, nil
}

// download is one file on its way.
type download struct {
	client   *http.Client
	progress func(done, total int64)
	url      *url.URL
	shown    string // the address without its query, which may hold secrets
	ext      string
	want     [sha256.Size]byte
	name     string // of the model
	named    bool   // by the user
	folder   string
	part     string // named by what it will be, so that no two files share one
	file     *os.File
	size     int64     // of the file so far
	hash     hash.Hash // of it
}

func newDownload(address string, o PullOptions) (*download, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no address: %w", address, err)
	}
	if u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s does not begin with https://: models are pulled over HTTPS only", address)
	}
	d := &download{
		url: u, shown: "https://" + u.Host + u.Path, ext: strings.ToLower(path.Ext(u.Path)),
		progress: o.Progress, name: o.Name, named: o.Name != "", hash: sha256.New(),
	}
	if d.progress == nil {
		d.progress = func(int64, int64) {}
	}
	if d.folder, err = Folder(); err != nil {
		return nil, err
	}
	if !slices.Contains(extensions, d.ext) {
		return nil, fmt.Errorf("%s does not end in .safetensors or .pth: download other files with a browser, and put them into %s", d.shown, d.folder)
	}
	if !d.named {
		d.name = strings.TrimSuffix(path.Base(u.Path), path.Ext(u.Path))
	}
	if !namePattern.MatchString(d.name) {
		return nil, rename("%q cannot be a model's name: choose one of letters, digits, - and _", d.name)
	}
	sum, err := hex.DecodeString(o.SHA256)
	if err != nil || len(sum) != len(d.want) {
		return nil, &OptionError{"SHA256", fmt.Sprintf("%q is no SHA-256: it has 64 hexadecimal digits, and whoever offers the file tells it", o.SHA256)}
	}
	d.want = [sha256.Size]byte(sum)
	d.part = filepath.Join(d.folder, hex.EncodeToString(sum[:8])+".part")

	client := http.Client{}
	if o.Client != nil {
		client = *o.Client
	}
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case r.URL.Scheme != "https":
			return fmt.Errorf("it redirects to %s://%s, which is not HTTPS", r.URL.Scheme, r.URL.Host)
		case len(via) >= 10:
			return errors.New("it redirects in circles")
		}
		return nil
	}
	d.client = &client
	return d, nil
}

// there returns where the very file is in the folder of models, "" if nowhere. It fails where
// the name is taken.
func (d *download) there() (string, error) {
	builtIns, err := builtIns()
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(builtIns, func(m Model) bool { return m.Name == d.name }) {
		return "", rename("a built-in model is called %s: choose another name", d.name)
	}
	for _, ext := range extensions {
		path := filepath.Join(d.folder, d.name+ext)
		same, err := d.is(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", unreadable(err)
		case !same:
			return "", taken(path)
		default:
			return path, nil
		}
	}
	dir := filepath.Join(d.folder, d.name)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", unreadable(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if same, err := d.is(path); err == nil && same {
			return path, nil
		}
	}
	return "", nil
}

func taken(path string) error {
	return rename("%s is there already, with other content: delete it, or choose another name", path)
}

// is says whether a file has the content that is wanted.
func (d *download) is(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)) == d.want, err
}

// run downloads the file and gives it its place, and keeps others from doing the same meanwhile.
func (d *download) run(ctx context.Context) (path string, err error) {
	if err := os.MkdirAll(d.folder, 0o777); err != nil {
		return "", d.noFolder(err)
	}
	alone, err := lock.Acquire(d.part + ".lock")
	if held := new(lock.HeldError); errors.As(err, &held) {
		return "", fmt.Errorf("the same file is being pulled already, and %w: wait for that to end", held)
	}
	if err != nil {
		return "", d.noFolder(err)
	}
	defer alone.Release()
	if err := d.download(ctx); err != nil {
		return "", err
	}
	return d.place()
}

// download downloads what is missing of the part, and checks its hash.
func (d *download) download(ctx context.Context) (err error) {
	if d.file, err = os.OpenFile(d.part, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return d.noFolder(err)
	}
	defer d.file.Close()
	if d.size, err = io.Copy(d.hash, d.file); err != nil { // ends where writing goes on
		return err
	}
	pause := backoff
	for left := retries; !d.matches(); left-- {
		err := d.fetch(ctx)
		var passing *passingError
		switch {
		case err == nil && !d.matches():
			sum := d.hash.Sum(nil)
			d.drop()
			return fmt.Errorf("the file has another SHA-256, %x: it was deleted; compare address and hash with those you were told", sum)
		case err == nil:
		case ctx.Err() != nil:
			return d.stopped(ctx.Err())
		case left == 0 || !errors.As(err, &passing):
			return d.stopped(err)
		default:
			select {
			case <-ctx.Done():
				return d.stopped(ctx.Err())
			case <-time.After(pause):
			}
			pause *= 2
		}
	}
	return errors.Join(d.file.Sync(), d.file.Close())
}

func (d *download) noFolder(err error) error {
	return fmt.Errorf("the folder of models cannot be written: %w; the environment variable HIDIFF_MODELS names another", err)
}

func (d *download) matches() bool { return [sha256.Size]byte(d.hash.Sum(nil)) == d.want }

// stopped is the error of a download that ended early.
func (d *download) stopped(err error) error {
	if d.size == 0 {
		d.drop()
		return err
	}
	return &PartialError{d.size, d.part, err}
}

// drop removes the part.
func (d *download) drop() {
	d.file.Close() // first: Windows removes no open files
	os.Remove(d.part)
	os.Remove(d.validator())
}

// validator is the file of what tells the server whether its file is still that of the part.
func (d *download) validator() string { return d.part + ".etag" }

// reset begins anew.
func (d *download) reset() error {
	d.hash.Reset()
	d.size = 0
	_, err := d.file.Seek(0, io.SeekStart)
	return errors.Join(err, d.file.Truncate(0))
}

// passingError is a failure that may be over soon.
type passingError struct{ error }

func (e *passingError) Unwrap() error { return e.error }

// fetch asks once for what is missing.
func (d *download) fetch(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer watch.Stop()
	response, err := d.ask(ctx)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := d.begin(response); err != nil {
		return err
	}
	total := int64(-1)
	if response.ContentLength >= 0 {
		total = d.size + response.ContentLength
	}
	for buffer := make([]byte, 1<<16); ; {
		if max(d.size, total) > maxBytes {
			return fmt.Errorf("the file is larger than %d GiB: that is no model", maxBytes>>30)
		}
		n, err := response.Body.Read(buffer)
		if _, err := d.file.Write(buffer[:n]); err != nil {
			return err
		}
		d.hash.Write(buffer[:n])
		d.size += int64(n)
		d.progress(d.size, total)
		switch {
		case errors.Is(err, io.EOF) && ctx.Err() == nil: // a cancelled body may end as if it were whole
			return nil
		case context.Cause(ctx) == errStalled:
			return &passingError{errStalled}
		case err != nil:
			return &passingError{fmt.Errorf("the connection was cut: %w", err)}
		}
		watch.Reset(stall)
	}
}

// ask sends the request.
func (d *download) ask(ctx context.Context) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept-Encoding", "identity")
	if d.size > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.size))
		if validator, err := os.ReadFile(d.validator()); err == nil {
			request.Header.Set("If-Range", string(validator))
		}
	}
	response, err := d.client.Do(request)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the address, which is said anyway
	}
	var network *net.OpError
	switch {
	case err == nil:
		return response, nil
	case context.Cause(ctx) == errStalled:
		return nil, &passingError{errStalled}
	case errors.Is(err, io.EOF), errors.As(err, &network) && (network.Op == "read" || d.size > 0): // where something came, more may
		return nil, &passingError{fmt.Errorf("the connection was cut: %w", err)}
	}
	return nil, err
}

// begin makes the part ready for the body of a response: the rest of the file, or all of it.
func (d *download) begin(response *http.Response) error {
	switch code := response.StatusCode; {
	case code == http.StatusOK:
		if err := d.reset(); err != nil {
			return err
		}
		validator := response.Header.Get("ETag")
		if validator == "" || strings.HasPrefix(validator, "W/") { // weak ones stand for no bytes
			validator = response.Header.Get("Last-Modified")
		}
		if validator == "" {
			os.Remove(d.validator())
			return nil
		}
		return atomicfile.WriteBytes(d.validator(), []byte(validator))
	case code == http.StatusPartialContent && strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.size)):
		return nil
	case code == http.StatusPartialContent, code == http.StatusRequestedRangeNotSatisfiable:
		if err := d.reset(); err != nil {
			return err
		}
		return &passingError{errors.New("the server does not give the rest of the file")}
	case code >= 500, code == http.StatusTooManyRequests:
		return &passingError{fmt.Errorf("the server answers %s", response.Status)}
	}
	return fmt.Errorf("the server answers %s", response.Status)
}

// place gives a part that is whole its name, if it holds weights.
func (d *download) place() (string, error) {
	data, err := os.ReadFile(d.part)
	if err != nil {
		return "", err
	}
	to := filepath.Join(d.folder, d.name)
	_, err = hidiff.ReadWeights(hidiff.LoadOptions{}, "the file", data)
	var missing *hidiff.MissingError
	switch {
	case err == nil:
		if _, err := os.Lstat(to); err == nil {
			return "", rename("this is a whole model, and %s is a folder already: delete that, or choose another name; the file is kept", to)
		}
		to += d.ext
	case !errors.As(err, &missing) || len(missing.Given) != 1:
		d.drop()
		return "", fmt.Errorf("%w; it was deleted", err)
	case !d.named:
		return "", rename("this is %s alone: say which model it belongs to, and pull its other networks under the same name; the file is kept", missing.Given[0])
	default:
		if err := os.MkdirAll(to, 0o777); err != nil {
			return "", d.noFolder(err)
		}
		to = filepath.Join(to, string(missing.Given[0])+d.ext)
	}
	if _, err := os.Lstat(to); err == nil {
		return "", taken(to)
	}
	if err := os.Rename(d.part, to); err != nil {
		return "", err
	}
	os.Remove(d.validator())
	return to, nil
}
