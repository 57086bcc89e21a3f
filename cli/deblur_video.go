package cli

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"hidiff/hidiff/photo"
	"hidiff/hidiff/video"
)

// flickerNotice is said once for every video.
const flickerNotice = "frames are restored one by one, each for itself, so the result may flicker"

func (j *job) isVideo() bool { return j.input != stdio && video.Known(j.input) }

// frames is how many a video has, 0 for a photo.
func (j *job) frames() int {
	if j.video == nil {
		return 0
	}
	return len(j.video.Times)
}

// placeVideo sets a video's output.
func (o *deblurOptions) placeVideo(j *job, intoFile bool) error {
	switch {
	case o.Output == stdio:
		return usagef("the video %s cannot go to standard output: name a file or folder with -o", j.input)
	case intoFile && !video.Writable(o.Output):
		return usagef("-o %s: videos are written as .mp4, .m4v, .mov, .mkv or .webm: use one of these extensions, or end it with / for a folder", o.Output)
	case intoFile:
		j.output = o.Output
	default:
		ext := filepath.Ext(j.input)
		if !video.Writable(ext) {
			ext = ".mkv" // holds nearly everything
		}
		j.output = o.outputPath(j, ext)
	}
	return nil
}

// probeVideo reads all of a video, and tries to write one like it.
func (o *deblurOptions) probeVideo(ctx context.Context, j *job) error {
	if _, err := statFile(j.input); err != nil {
		return err
	}
	info, err := video.Probe(ctx, j.input)
	if err != nil {
		return err
	}
	j.video, j.info = info, photo.Info{Width: info.Width, Height: info.Height, Channels: 3, Depth: info.Depth}
	return info.Check(ctx, j.output)
}

// looksLikeVideo recognises what may be piped in by mistake.
func looksLikeVideo(data []byte) bool {
	switch {
	case bytes.HasPrefix(data, []byte{0x1A, 0x45, 0xDF, 0xA3}): // Matroska, WebM
		return true
	case len(data) < 12:
		return false
	case string(data[:4]) == "RIFF":
		return string(data[8:12]) == "AVI "
	}
	brand := string(data[8:11])
	return string(data[4:8]) == "ftyp" && (brand == "iso" || brand == "mp4" || brand == "qt " || brand == "M4V" || brand == "avc" || brand == "3gp")
}

func (j *job) videoWarnings() (out []string) {
	if lost := j.video.Losses(j.output); len(lost) > 0 {
		out = append(out, fmt.Sprintf("%s: not in %s: %s", j.label(), j.output, strings.Join(lost, ", ")))
	}
	if j.video.Interlaced() {
		out = append(out, fmt.Sprintf("%s: it is interlaced, and restored as if it were not: deinterlace it first, such as with 'ffmpeg -i %s -vf bwdif -crf 10 progressive.mkv'", j.label(), j.input))
	}
	return out
}

// restoreVideo restores a video's frames by themselves. All get the same noise, as differing noise would
// make them differ more.
func (p *pipeline) restoreVideo(ctx context.Context, j *job) error {
	frames := float64(j.frames())
	return j.video.Transform(ctx, j.output, func(i int, frame *photo.Photo) (*photo.Photo, error) {
		o := p.options(j.name)
		o.Progress = func(fraction float64) { p.report.progress(j, (float64(i)+fraction)/frames, i) }
		restored, err := p.engine.Restore(ctx, frame, o)
		if err == nil {
			p.report.progress(j, float64(i+1)/frames, i+1)
		}
		return restored, err
	})
}
