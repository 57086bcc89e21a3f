// Package video passes the frames of a video through a function, one by one, and writes what comes back with
// everything else as it was: the number of frames and the time of each, sound, subtitles, chapters, metadata,
// the shape of pixels, the meaning of colours. The programs ffmpeg and ffprobe (version 5.1 or newer) read and
// write the files; they must be installed.
//
//	info, err := video.Probe(ctx, "clip.mp4")
//	err = info.Check(ctx, "out.mp4")
//	err = info.Transform(ctx, "out.mp4", func(i int, frame *photo.Photo) (*photo.Photo, error) {
//		return frame, nil
//	})
//
// Only one frame is in memory at a time, besides the few that ffmpeg holds. Pictures are encoded anew, near
// to lossless; all other streams are copied, but for telemetry and what a container has no kind of place for
// (see [Info.Losses]). Rotation is applied, and its tag dropped. Transparency stays in MOV (then ProRes 4444), Matroska
// and WebM (then VP9), and is lost in MP4.
//
// Times are exactly those of the input where the output's container can count so: MP4 and MOV always can,
// Matroska and WebM count milliseconds. Transport and program streams, AVI and the like begin at 0 afterwards.
// An ffmpeg older than 9 moves Opus in Matroska and WebM by up to 7 ms. A transport stream does not tell where it
// ought to end, so a cut one is taken for whole.
package video

import (
	"path/filepath"
	"slices"
	"strings"
)

// container is a kind of file that videos are written into.
type container struct {
	extension string
	muxer     string // ffmpeg's name
	encoder   string
	arguments []string // of encoder and muxer
	alpha     string   // the format of pixels with transparency, "" where there is none
}

var (
	x264     = []string{"-crf", "16", "-preset", "medium"}
	x264mp4  = append([]string{"-movflags", "+faststart"}, x264...)
	vp9      = []string{"-crf", "15", "-b:v", "0", "-deadline", "good", "-cpu-used", "2", "-row-mt", "1"}
	vp9alpha = append([]string{"-auto-alt-ref", "0"}, vp9...) // which does not go with transparency
	prores   = []string{"-profile:v", "4444", "-alpha_bits", "16", "-movflags", "+faststart"}

	containers = []container{
		{".mp4", "mp4", "libx264", x264mp4, ""},
		{".m4v", "mp4", "libx264", x264mp4, ""},
		{".mov", "mov", "libx264", x264mp4, ""},
		{".mkv", "matroska", "libx264", x264, ""},
		{".webm", "webm", "libvpx-vp9", vp9, ""},
		{".mov", "mov", "prores_ks", prores, "yuva444p10le"},
		{".mkv", "matroska", "libvpx-vp9", vp9alpha, "yuva420p"},
		{".webm", "webm", "libvpx-vp9", vp9alpha, "yuva420p"},
	}

	// readOnly are extensions of videos whose containers are not written: some have no room for times that
	// vary, others none for what cameras put into them.
	readOnly = []string{".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".wmv", ".flv", ".3gp", ".ogv"}
)

// containerOf returns the container of an output: for alpha the one that keeps transparency, if there is one.
func containerOf(path string, alpha bool) (out container, ok bool) {
	for _, c := range containers {
		if c.extension == strings.ToLower(filepath.Ext(path)) && (alpha || c.alpha == "") {
			out, ok = c, true
		}
	}
	return out, ok
}

// Writable reports whether videos can be written into a file of this extension: .mp4, .m4v, .mov, .mkv, .webm.
func Writable(path string) bool {
	_, ok := containerOf(path, false)
	return ok
}

// Known reports whether a file's extension (any case) is that of videos: one of [Writable]'s, .avi, .ts, .mts,
// .m2ts, .mpg, .mpeg, .vob, .wmv, .flv, .3gp or .ogv.
func Known(path string) bool {
	return Writable(path) || slices.Contains(readOnly, strings.ToLower(filepath.Ext(path)))
}
