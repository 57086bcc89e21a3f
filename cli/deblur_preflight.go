package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"
)

// maxStdin bounds what is read from standard input.
const maxStdin = 4 << 30

// preflight finds, before any GPU work, what will fail: it reads every photo's header and all of every video, and tries
// every output. Failures go into the jobs; the error returned is ctx's.
func (o *deblurOptions) preflight(ctx context.Context, stdin io.Reader, jobs []*job) error {
	var outputs atomicfile.Checker
	for _, j := range jobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if j.err != nil {
			continue
		}
		if info, err := os.Stat(j.output); o.SkipExisting && !o.Plan && j.output != stdio && err == nil && info.Mode().IsRegular() {
			j.skip = true
			continue
		}
		if j.output != stdio {
			j.err = inFile(j.label(), outputs.Check(j.output))
		}
		if j.err == nil && j.input == stdio {
			if j.data, j.err = readAll(ctx, stdin); ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if j.err == nil {
			j.err = o.probe(ctx, j)
		}
		if j.format == "" {
			if j.format = j.info.Format; j.format == photo.BMP {
				j.format = photo.PNG
			}
		}
		if j.err == nil && !j.isVideo() {
			j.err = inFile(j.label(), j.format.Fits(j.info.Width, j.info.Height))
		}
		if j.err == nil && j.output != stdio && !o.Plan {
			j.err = inFile(j.label(), os.MkdirAll(filepath.Dir(j.output), 0o777))
		}
	}
	return ctx.Err()
}

// inFile has an error begin with a file's name.
func inFile(label string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", label, err)
	}
	return err
}

func (o *deblurOptions) probe(ctx context.Context, j *job) (err error) {
	if j.isVideo() {
		return o.probeVideo(ctx, j)
	}
	j.info, err = probePhoto(j)
	return err
}

// probePhoto reads a photo's header, from the whole file only where its beginning does not hold it.
func probePhoto(j *job) (photo.Info, error) {
	if j.data != nil {
		info, err := photo.Probe(j.data, j.label())
		if err != nil && looksLikeVideo(j.data) {
			err = fmt.Errorf("%s: this is a video: give its file's name instead", j.label())
		}
		return info, err
	}
	info, err := statFile(j.input)
	if err != nil {
		return photo.Info{}, err
	}
	head, err := readHead(j.input, 256<<10)
	if err != nil {
		return photo.Info{}, err
	}
	if found, err := photo.Probe(head, j.input); err == nil || info.Size() <= int64(len(head)) {
		return found, err
	}
	data, err := os.ReadFile(j.input)
	if err != nil {
		return photo.Info{}, err
	}
	return photo.Probe(data, j.input)
}

func statFile(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a file", path)
	}
	if err != nil {
		return nil, notFound(path, err)
	}
	return info, nil
}

func readHead(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return head, nil
}

// readAll reads standard input. Where ctx ends first, the read goes on for nobody: nothing
// can stop it.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(r, maxStdin+1))
		done <- result{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got := <-done:
		switch {
		case got.err != nil:
			return nil, fmt.Errorf("standard input: %w", got.err)
		case len(got.data) > maxStdin:
			return nil, errors.New("standard input: there is too much of it: more than 4 GiB")
		case len(got.data) == 0:
			return nil, errors.New("standard input: it is empty")
		}
		return got.data, nil
	}
}
