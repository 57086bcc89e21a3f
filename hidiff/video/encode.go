package video

import (
	"context"
	"fmt"
	"io"
	"math"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hidiff/hidiff/photo"
)

// encoder is an ffmpeg that is sent frames, and copies what lies beside them from the video itself.
type encoder struct {
	info   *Info
	output string // as the user calls it
	to     container
	cmd    *exec.Cmd
	said   *complaints
	pipe   io.WriteCloser
	frames *frameWriter
	whole  int64 // seconds that the pipe's times count from, so that none is below 0
}

// encode begins to write into the file temp. A trial copies only a moment of what lies beside the frames.
func (v *Info) encode(ctx context.Context, output, temp string, trial bool) (*encoder, error) {
	to, ok := v.container(output)
	if !ok {
		return nil, fmt.Errorf("%s: videos are written into .mp4, .m4v, .mov, .mkv and .webm files: choose one of these extensions", output)
	}
	e := &encoder{info: v, output: output, to: to}
	base := v.TimeBase
	if e.whole = v.Times[0] * base.Num / base.Den; v.Times[0] < 0 {
		e.whole--
	}

	args := []string{"-nostdin", "-v", "error", "-y", "-copyts",
		"-itsoffset", seconds(float64(e.whole) - v.origin), "-probesize", "32", "-analyzeduration", "0", "-f", "matroska", "-i", "pipe:0",
		"-itsoffset", seconds(-v.origin)}
	if trial {
		args = append(args, "-t", "0.1")
	}
	args = append(args, "-i", "file:"+v.Path)
	streams, at := v.kept(to)
	for i, stream := range streams {
		from := fmt.Sprintf("1:%d", stream)
		if i == at {
			from = "0:0"
		}
		args = append(args, "-map", from, fmt.Sprintf("-map_metadata:s:%d", i), fmt.Sprintf("1:s:%d", stream))
	}
	of := ":" + strconv.Itoa(at)
	args = append(args, "-map_metadata", "1", "-map_chapters", "1", "-c", "copy",
		"-strict", "experimental", // FLAC in MP4
		"-c"+of, to.encoder, "-filter"+of, v.encodingFilter(to), "-disposition"+of, v.stream.disposition(),
		"-fps_mode"+of, "passthrough", "-enc_time_base"+of, fmt.Sprintf("%d:%d", base.Num, base.Den))
	for _, tag := range v.colorTags() {
		args = append(args, "-"+tag.option, tag.value)
	}
	for key := range v.stream.Tags {
		if ofCoding.MatchString(key) {
			args = append(args, "-metadata:s"+of, key+"=")
		}
	}
	args = append(args, to.arguments...)
	switch to.muxer {
	case "mp4", "mov":
		args = append(args, "-video_track_timescale", strconv.FormatInt(base.Den, 10),
			"-movie_timescale", strconv.FormatInt(v.commonTick(), 10)) // of the offsets between streams
	default:
		args = append(args, "-avoid_negative_ts", "disabled") // sound may begin before 0; pictures are not to be moved for it
	}
	args = append(args, "-f", to.muxer, "file:"+temp)

	var err error
	if e.cmd, e.said, err = command(ctx, "ffmpeg", args...); err != nil {
		return nil, err
	}
	if e.pipe, err = e.cmd.StdinPipe(); err == nil {
		err = e.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("ffmpeg does not run: %w", err)
	}
	e.frames, err = newFrameWriter(e.pipe, v.Width, v.Height, v.channels(), v.depth(), Rational{1, base.Den}, v.Rate)
	if err != nil {
		return nil, e.gone()
	}
	return e, nil
}

// ofCoding are the tags, ffmpeg's and mkvmerge's, that tell how pictures were encoded, which they are anew. The muxer writes
// alpha_mode itself where it is true.
var ofCoding = regexp.MustCompile(`(?i)^(alpha_mode|encoder|(bps|number_of_bytes|_statistics_.*)(-[a-z]+)?)$`)

// container is how an output is written.
func (v *Info) container(output string) (container, bool) { return containerOf(output, v.alpha) }

// seconds is a number as ffmpeg reads it, to its microsecond.
func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 6, 64) }

// commonTick is how many parts of a second the ticks of all pictures and sounds are multiples of, as far as MP4
// can count.
func (v *Info) commonTick() int64 {
	tick := v.TimeBase.Den
	for _, s := range v.others {
		if base := parseRational(s.TimeBase); s.Kind == "audio" && base.Den > 0 {
			if common := tick / gcd(tick, base.Den) * base.Den; common <= math.MaxInt32 {
				tick = common
			}
		}
	}
	return tick
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// kept lists the streams that go into a container, in their order, and says which of them are the pictures.
func (v *Info) kept(to container) (out []int, at int) {
	out = []int{v.stream.Index}
	for _, s := range v.others {
		if s.fits(to) {
			out = append(out, s.Index)
		}
	}
	slices.Sort(out)
	return out, slices.Index(out, v.stream.Index)
}

// disposition is what a stream is for, in the words of ffmpeg.
func (s *stream) disposition() string {
	var flags []string
	for flag, set := range s.Disposition {
		if set != 0 {
			flags = append(flags, flag)
		}
	}
	if len(flags) == 0 {
		return "0"
	}
	slices.Sort(flags)
	return strings.Join(flags, "+")
}

// what is such as "audio aac".
func (s *stream) what() string { return strings.TrimSpace(s.Kind + " " + s.Codec) }

// fits reports whether a stream is one of those that are copied.
func (s *stream) fits(to container) bool {
	switch s.Kind {
	case "audio", "subtitle":
		return true
	case "attachment": // such as fonts for subtitles
		return to.muxer == "matroska"
	case "video": // a cover
		return s.Disposition["attached_pic"] == 1 && (to.muxer == "mp4" || to.muxer == "mov")
	}
	return false
}

// encodingFilter makes of RGB what is stored.
func (v *Info) encodingFilter(to container) string {
	matrix, colorRange := v.matrix, v.colorRange()
	if matrix == "" {
		matrix, colorRange = "bt709", "tv"
	}
	chroma := v.chroma
	if to.encoder == "libx264" && (v.Width%2 != 0 && chroma != "444" || v.Height%2 != 0 && chroma == "420") {
		chroma = "444" // which needs no even sizes
	}
	format := "yuv" + chroma + "p"
	if v.depth() == 16 {
		format += "10le"
	}
	if to.alpha != "" {
		format = to.alpha
	}
	shape := "0"
	if r := parseRational(v.stream.PixelShape); r.Den != 0 {
		shape = r.String()
	}
	filter := fmt.Sprintf("scale=out_color_matrix=%s:out_range=%s%s,format=%s,setsar=%s", matrix, colorRange, scaling, format, shape)
	var tags []string
	for _, t := range v.colorTags() {
		tags = append(tags, t.parameter+"="+t.value)
	}
	if len(tags) > 0 {
		filter += ",setparams=" + strings.Join(tags, ":")
	}
	return filter
}

type colorTag struct{ option, parameter, value string }

// colorTags says what the colours mean, where the video says it.
func (v *Info) colorTags() (out []colorTag) {
	s := v.stream
	if v.matrix == "" {
		s.ColorSpace, s.ColorRange = "bt709", "tv"
	}
	for _, t := range []colorTag{
		{"color_range", "range", s.ColorRange},
		{"color_primaries", "color_primaries", s.ColorPrimaries},
		{"color_trc", "color_trc", s.ColorTransfer},
		{"colorspace", "colorspace", s.ColorSpace},
	} {
		if t.value != "" && t.value != "unknown" && t.value != "reserved" {
			out = append(out, t)
		}
	}
	return out
}

// write sends the frame of a time.
func (e *encoder) write(p *photo.Photo, time int64) error {
	base := e.info.TimeBase
	if e.frames.write(p, time*base.Num-e.whole*base.Den) != nil {
		return e.gone()
	}
	return nil
}

// gone says why ffmpeg no longer takes frames.
func (e *encoder) gone() error {
	if err := e.finish(); err != nil {
		return err
	}
	return fmt.Errorf("%s: ffmpeg ended before the video did", e.output)
}

// finish waits until all is written.
func (e *encoder) finish() error {
	e.pipe.Close()
	err := e.cmd.Wait()
	if err == nil {
		return nil
	}
	for _, line := range e.said.lines() {
		if strings.Contains(line, "Unknown encoder") {
			return fmt.Errorf("%s: this ffmpeg has no encoder %s, which %s files need: install one that has, or choose another of .mp4, .mkv and .webm", e.output, e.to.encoder, e.to.extension)
		}
		if hasNoRoom(line) {
			return fmt.Errorf("%s: %s files cannot hold all that is in %s (%s): choose %s", e.output, e.to.extension, e.info.Path, line, e.otherContainer())
		}
	}
	return fmt.Errorf("%s: cannot write: %s", e.output, e.said.first(err))
}

// hasNoRoom reports whether this is what ffmpeg says where a container cannot hold a stream.
func hasNoRoom(line string) bool {
	for _, words := range []string{"not currently supported in container", "are supported for WebM", "incompatible with output codec", "ubtitle codec", "stereo mode is not valid"} {
		if strings.Contains(line, words) {
			return true
		}
	}
	return false
}

func (e *encoder) otherContainer() string {
	if e.to.muxer != "matroska" {
		return ".mkv, which holds nearly everything"
	}
	if to, ok := e.info.container(e.info.Path); ok {
		return to.extension + ", as that is"
	}
	return ".mp4"
}

// Losses says what of a video a file called output will not hold, or nothing.
func (v *Info) Losses(output string) []string {
	var out []string
	to, _ := v.container(output)
	switch {
	case v.unseen != "":
		out = append(out, fmt.Sprintf("transparency (this ffmpeg has no decoder %s)", v.unseen))
	case v.alpha && to.alpha == "":
		out = append(out, "transparency (.mov, .mkv and .webm keep it)")
	}
	depth := 10
	if to.alpha == "yuva420p" {
		depth = 8
		if v.chroma != "420" {
			out = append(out, "colour at every pixel")
		}
	}
	if v.Depth > depth {
		out = append(out, fmt.Sprintf("%d of %d bits a sample", v.Depth-depth, v.Depth))
	}
	for _, d := range v.stream.SideData {
		inTag := d.Kind == "Stereo 3D" && v.stream.Tags["stereo_mode"] != "" && to.muxer != "mov" && to.muxer != "mp4"
		if d.Kind != "Display Matrix" && d.Kind != "CPB properties" && !inTag {
			out = append(out, d.Kind)
		}
	}
	if v.stream.Captions != 0 {
		out = append(out, "closed captions")
	}
	if v.stream.ColorTransfer == "smpte2084" {
		out = append(out, "HDR10 metadata") // which may lie in the frames alone
	}
	for _, s := range v.others {
		if !s.fits(to) && s.Tag != "tmcd" && s.Tag != "text" { // which ffmpeg writes anew from time code and chapters
			out = append(out, fmt.Sprintf("stream %d (%s)", s.Index, s.what()))
		}
	}
	return out
}

// Interlaced reports whether frames are two half pictures of different times. They are handed on as they are,
// which a function that looks at them as pictures will not like.
func (v *Info) Interlaced() bool {
	return slices.Contains([]string{"tt", "bb", "tb", "bt"}, v.stream.FieldOrder)
}
