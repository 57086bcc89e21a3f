package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

// tiny is a small model's checkpoints. The path is absolute, as tests change folders.
var tiny, _ = filepath.Abs("../conformance/testdata/checkpoints")

// fakeEngine turns photos into negatives. It is an engine without a GPU.
type fakeEngine struct {
	mu      sync.Mutex
	names   []string // of the photos restored, in order
	restore func(ctx context.Context, p *photo.Photo) error
	plan    func(ctx context.Context) error
}

func (e *fakeEngine) Plan(ctx context.Context, w, h int, o hidiff.RestoreOptions) (hidiff.Plan, error) {
	if e.plan != nil {
		if err := e.plan(ctx); err != nil {
			return hidiff.Plan{}, err
		}
	}
	if w > 100 {
		return hidiff.Plan{}, io.ErrShortBuffer
	}
	return hidiff.Plan{Width: w, Height: h, Exact: o.Tile == 0, Bands: 3, Offload: true, Peak: 3 << 20, Weights: 1 << 20, Dispatches: 42, Budget: 4 << 20}, nil
}

func (e *fakeEngine) Restore(ctx context.Context, p *photo.Photo, o hidiff.RestoreOptions) (*photo.Photo, error) {
	e.mu.Lock()
	e.names = append(e.names, o.Name)
	e.mu.Unlock()
	if e.restore != nil {
		if err := e.restore(ctx, p); err != nil {
			return nil, err
		}
	}
	o.Progress(0.5)
	q := *p
	q.Pix = make([]uint16, len(p.Pix))
	for i, v := range p.Pix {
		q.Pix[i] = p.Max - v
	}
	o.Progress(1)
	return &q, nil
}

func (e *fakeEngine) Close() {}

// result is what a command line came to.
type result struct {
	code           int
	stdout, stderr string
}

// runFake runs a command line on the fake engine; nil is one that must not be opened.
func runFake(t *testing.T, ctx context.Context, engine *fakeEngine, stdin []byte, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdin: bytes.NewReader(stdin), stdout: &stdout, stderr: &messages{w: &stderr}}
	a.open = func(context.Context, *hidiff.Weights, hidiff.Options) (restorer, error) {
		if engine == nil {
			t.Error("the GPU was opened")
			return &fakeEngine{}, nil
		}
		return engine, nil
	}
	code := a.execute(ctx, args)
	return result{code, stdout.String(), stderr.String()}
}

// deblurFake runs deblur on the fake engine with one worker a stage, so that the order is known.
func deblurFake(t *testing.T, engine *fakeEngine, args ...string) result {
	t.Helper()
	return runFake(t, t.Context(), engine, nil, append([]string{"deblur", "-j", "1", "-m", tiny}, args...)...)
}

// run runs a command line as the program does.
func run(ctx context.Context, stdin []byte, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := Execute(ctx, args, bytes.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// picture makes a photo whose samples differ.
func picture(width, height int) *photo.Photo {
	p := &photo.Photo{Width: width, Height: height, Channels: 3, Max: 255, Pix: make([]uint16, width*height*3)}
	for i := range p.Pix {
		p.Pix[i] = uint16(i * 37 % 256)
	}
	return p
}

// write saves a photo, and its folder.
func write(t *testing.T, path string, p *photo.Photo) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, photo.Save(path, p, photo.EncodeOptions{}))
}

// writeText makes a file that is no photo.
func writeText(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
}

// files lists what lies below a folder, temporary files included.
func files(t *testing.T, dir string) []string {
	t.Helper()
	found := []string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, _ := filepath.Rel(dir, path)
			found = append(found, filepath.ToSlash(name))
		}
		return err
	}))
	return found
}

// isNegative checks that a file holds the negative of a photo.
func isNegative(t *testing.T, path string, of *photo.Photo) {
	t.Helper()
	p, err := photo.Open(path)
	require.NoError(t, err)
	require.Equal(t, [2]int{of.Width, of.Height}, [2]int{p.Width, p.Height})
	for i, v := range p.Pix {
		require.Equal(t, of.Max-of.Pix[i], v, "sample %d", i)
	}
}

func lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }

// parseDeblur parses arguments of deblur.
func parseDeblur(t *testing.T, args []string) *deblurOptions {
	t.Helper()
	var got *deblurOptions
	command := newDeblurCommand(&app{}, func(_ context.Context, o *deblurOptions) error {
		got = o
		return nil
	})
	command.SetArgs(args)
	require.NoError(t, command.Execute())
	return got
}
