package video

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"
)

// Check finds out, on a single black frame, whether the video can be written into a file of the output's
// extension: whether ffmpeg has the encoder, and the container room for all streams, and whether those beside the
// pictures can be copied to their ends. It leaves nothing behind.
func (v *Info) Check(ctx context.Context, output string) error {
	err := v.checkCopies(ctx, output)
	if err == nil {
		err = v.checkFrame(ctx, output)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// checkCopies copies sound and subtitles to nowhere, so that what is damaged is found, and by its name.
func (v *Info) checkCopies(ctx context.Context, output string) error {
	to, ok := v.container(output)
	if !ok {
		return nil // as checkFrame says
	}
	var beside []stream
	for _, s := range v.others {
		if s.Kind == "audio" || s.Kind == "subtitle" {
			beside = append(beside, s)
		}
	}
	together, err := v.copies(ctx, to, beside)
	if together == "" || err != nil {
		return err
	}
	for _, s := range beside {
		switch cause, err := v.copies(ctx, to, []stream{s}); {
		case err != nil:
			return err
		case cause == "":
		case s.Codec != "" && hasNoRoom(cause):
			return nil // checkFrame finds it, too
		default:
			return fmt.Errorf("%s: its stream %d (%s) is damaged, or of a kind that %s files do not hold: %s: copy the video again, or leave the stream out with 'ffmpeg -i %s -map 0 -map -0:%d -c copy rest%s'",
				v.Path, s.Index, s.what(), to.extension, strings.TrimSuffix(cause, "."), v.Path, s.Index, filepath.Ext(v.Path))
		}
	}
	return fmt.Errorf("%s: its sound and subtitles cannot be copied: %s: copy the video again", v.Path, together)
}

// copies says why streams cannot be copied in whole, or nothing.
func (v *Info) copies(ctx context.Context, to container, streams []stream) (cause string, err error) {
	if len(streams) == 0 {
		return "", nil
	}
	args := []string{"-nostdin", "-v", "error", "-y", "-i", "file:" + v.Path}
	for _, s := range streams {
		args = append(args, "-map", fmt.Sprintf("0:%d", s.Index), "-c", "copy", "-strict", "experimental", "-f", to.muxer, os.DevNull)
	}
	cmd, said, err := command(ctx, "ffmpeg", args...)
	if err != nil {
		return "", err
	}
	if err := cmd.Run(); err != nil {
		return said.first(err), nil
	}
	for _, line := range said.lines() { // ffmpeg takes these for the ends of streams
		if strings.Contains(line, "partial file") || strings.Contains(line, "ended prematurely") || strings.Contains(line, "writing trailer") {
			return line, nil
		}
	}
	return "", nil
}

// checkFrame writes one frame, and a moment of what lies beside it.
func (v *Info) checkFrame(ctx context.Context, output string) error {
	dir, err := os.MkdirTemp("", "hidiff-video-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	e, err := v.encode(ctx, output, filepath.Join(dir, "trial"), true)
	if err == nil {
		if err = e.write(v.black(), v.Times[0]); err == nil {
			err = e.finish()
		}
	}
	return err
}

func (v *Info) black() *photo.Photo {
	p := &photo.Photo{Width: v.Width, Height: v.Height, Channels: 3, Max: 255, Pix: make([]uint16, v.Width*v.Height*3)}
	if v.depth() == 16 {
		p.Max = 65535
	}
	if v.alpha {
		p.Alpha = make([]uint16, v.Width*v.Height)
	}
	return p
}

// Transform calls each with every frame, from 0 on, and writes what it returns to a new file, which appears
// whole or not at all: it is written under a temporary name in the same folder and renamed, and removed if
// anything fails or ctx ends. An existing file is replaced.
//
// Frames are upright RGB photos with Max 255, or 65535 where the video has more than 8 bits a sample, and with Alpha
// where it has transparency; each returns photos of the same kind and size. Its errors are passed on with the path and the frame's number,
// from 1 on. [Known] tells the files that can be read, [Writable] those that can be written.
func (v *Info) Transform(ctx context.Context, output string, each func(i int, frame *photo.Photo) (*photo.Photo, error)) error {
	f, err := atomicfile.Create(output)
	if err != nil {
		return err
	}
	defer f.Discard()
	if err = v.transform(ctx, output, f.Name(), each); err == nil {
		if err = v.whole(ctx, output, f.Name()); err == nil {
			err = f.Commit()
		}
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (v *Info) transform(ctx context.Context, output, temp string, each func(i int, frame *photo.Photo) (*photo.Photo, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	d, err := v.decode(ctx)
	if err != nil {
		cancel()
		return err
	}
	defer d.cmd.Wait()
	defer cancel()
	e, err := v.encode(ctx, output, temp, false)
	if err != nil {
		return err
	}
	defer e.cmd.Wait()
	defer cancel()
	for i, time := range v.Times {
		frame, err := d.next()
		if err != nil {
			return err
		}
		made, err := each(i, frame)
		if err == nil && (made.Width != v.Width || made.Height != v.Height || made.Channels != 3 || made.Max != frame.Max || len(made.Pix) != len(frame.Pix) || len(made.Alpha) != len(frame.Alpha)) {
			err = errors.New("it came back in another size, or as another kind of photo")
		}
		if err != nil {
			return fmt.Errorf("%s: frame %d: %w", v.Path, i+1, err)
		}
		if err := e.write(made, time); err != nil {
			return err
		}
	}
	if err := d.finish(); err != nil {
		return err
	}
	return e.finish()
}

// whole makes sure that all frames are there, as a full disk need not be an error to ffmpeg.
func (v *Info) whole(ctx context.Context, output, temp string) error {
	to, _ := v.container(output)
	_, at := v.kept(to)
	cmd, said, err := command(ctx, "ffprobe", "-v", "error", "-count_packets", "-select_streams", strconv.Itoa(at),
		"-show_entries", "stream=nb_read_packets", "-of", "default=nokey=1:noprint_wrappers=1", "-i", "file:"+temp)
	if err != nil {
		return err
	}
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: what was written cannot be read: %s", output, said.first(err))
	}
	if n := strings.TrimSpace(string(text)); n != strconv.Itoa(len(v.Times)) {
		return fmt.Errorf("%s: %s of %d frames were written: is the disk full?", output, n, len(v.Times))
	}
	return nil
}
