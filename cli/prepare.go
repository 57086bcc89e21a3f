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
)

// maxStdin bounds what is read from standard input.
const maxStdin = 4 << 30

// prepare finds, before any GPU work, what will fail: it reads every photo's header and all of
// every video, and tries every output folder. Failures go into the jobs; the error returned is ctx's.
func (o *deblurOptions) prepare(ctx context.Context, stdin io.Reader, jobs []*job) error {
	folders := map[string]error{}
	for _, j := range jobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if j.err != nil {
			continue
		}
		if j.output != stdio && !o.Plan {
			info, err := os.Stat(j.output)
			switch {
			case err == nil && o.SkipExisting && info.Mode().IsRegular():
				j.skip = true
				continue
			case err == nil && !info.Mode().IsRegular():
				j.err = fmt.Errorf("%s: cannot write %s: a folder or device is there", j.label(), j.output)
				continue
			}
			dir := filepath.Dir(j.output)
			if _, tried := folders[dir]; !tried {
				folders[dir] = writable(dir)
			}
			if err := folders[dir]; err != nil {
				j.err = fmt.Errorf("%s: cannot write %s: %w", j.label(), j.output, err)
				continue
			}
		}
		if j.input == stdio {
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
	}
	return ctx.Err()
}

func (o *deblurOptions) probe(ctx context.Context, j *job) (err error) {
	if j.isVideo() {
		return o.probeVideo(ctx, j)
	}
	j.info, err = probePhoto(j)
	return err
}

// writable creates a folder where there is none, and a file in it for a moment.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("the folder cannot be made: %w", err)
	}
	f, err := os.CreateTemp(dir, ".hidiff-*.tmp")
	if err != nil {
		return fmt.Errorf("the folder is not writable: %w", errors.Unwrap(err))
	}
	f.Close()
	return os.Remove(f.Name())
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
