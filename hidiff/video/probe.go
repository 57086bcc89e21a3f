package video

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Rational is a fraction, such as 30000/1001 frames a second.
type Rational struct{ Num, Den int64 }

func (r Rational) String() string { return fmt.Sprintf("%d/%d", r.Num, r.Den) }

// parseRational reads 30000/1001 or 4:3; what is neither is 0/0.
func parseRational(s string) (r Rational) {
	num, den, _ := strings.Cut(strings.Replace(s, ":", "/", 1), "/")
	n, err1 := strconv.ParseInt(num, 10, 32)
	d, err2 := strconv.ParseInt(den, 10, 32)
	if err1 != nil || err2 != nil || n <= 0 || d <= 0 {
		return Rational{}
	}
	return Rational{n, d}
}

// Info is what a video is.
type Info struct {
	Path          string
	Width, Height int      // upright: as rotation metadata asks for
	Depth         int      // bits a sample
	Rate          Rational // frames a second, on average
	Audio         bool     // there is sound
	// Times are when the frames are shown, in units of TimeBase seconds. They increase; their distances may vary.
	Times    []int64
	TimeBase Rational

	stream stream   // the pictures
	others []stream // all that lies beside them
	chroma string   // how densely colour is sampled: 420, 422 or 444
	matrix string   // between RGB and what is stored, in the words of ffmpeg's scale; "" for stored RGB
	origin float64  // seconds that the container counts from, where it counts from anywhere, else 0
	alpha  bool     // the frames have transparency
	// decoder is what shows the transparency of pictures where ffmpeg's own choice does not; unseen says that it is missing.
	decoder, unseen string
}

// stream is what ffprobe says of one.
type stream struct {
	Index          int
	Kind           string `json:"codec_type"`
	Codec          string `json:"codec_name"`
	Tag            string `json:"codec_tag_string"`
	Width, Height  int
	PixelFormat    string `json:"pix_fmt"`
	PixelShape     string `json:"sample_aspect_ratio"`
	ColorRange     string `json:"color_range"`
	ColorSpace     string `json:"color_space"`
	ColorTransfer  string `json:"color_transfer"`
	ColorPrimaries string `json:"color_primaries"`
	FieldOrder     string `json:"field_order"`
	Captions       int    `json:"closed_captions"`
	AverageRate    string `json:"avg_frame_rate"`
	TimeBase       string `json:"time_base"`
	Duration       string // seconds
	Frames         string `json:"nb_frames"`
	Tags           map[string]string
	Disposition    map[string]int
	SideData       []struct {
		Kind     string  `json:"side_data_type"`
		Rotation float64 // degrees
	} `json:"side_data_list"`
}

// header is all of a file that ffprobe tells without reading frames.
type header struct {
	Streams []stream
	Format  struct {
		Name     string `json:"format_name"`
		Start    string `json:"start_time"`
		Duration string
	}
	PixelFormats []struct {
		Name  string
		LogW  int `json:"log2_chroma_w"`
		LogH  int `json:"log2_chroma_h"`
		Flags struct{ RGB, Alpha int }
		Parts []struct {
			Depth int `json:"bit_depth"`
		} `json:"components"`
	} `json:"pixel_formats"`
}

// Probe reads a video's header, and then all of its frames once, so that what is cut off or damaged is found
// out before any work. The error names the file, and where it breaks off.
func Probe(ctx context.Context, path string) (*Info, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	info, err := probe(ctx, path)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s%w", path, err)
	}
	return info, nil
}

// probe's errors go on after the path.
func probe(ctx context.Context, path string) (*Info, error) {
	if err := checkVersion(ctx); err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	cmd, said, err := command(ctx, "ffprobe", "-v", "error", "-of", "json",
		"-show_format", "-show_streams", "-show_pixel_formats", "-i", "file:"+path)
	if err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	text, err := cmd.Output()
	if err != nil {
		cause := said.first(err)
		if cause == "moov atom not found" && isMP4(path) {
			return nil, errors.New(" breaks off before its index, without which nothing of it can be read (moov atom not found): copy or record it again")
		}
		return nil, fmt.Errorf(": no video that ffmpeg can read: %s", cause)
	}
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf(": ffprobe answers in words unknown to us: %w", err)
	}
	info := &Info{Path: path}
	if err := info.understand(&h); err != nil {
		return nil, err
	}
	if err := info.findAlpha(ctx); err != nil {
		return nil, err
	}
	if err := info.readTimes(ctx, &h); err != nil {
		return nil, err
	}
	return info, nil
}

// alphaDecoders are by codec those that show the second picture, of transparency, which Matroska and WebM keep beside the first.
var alphaDecoders = map[string]string{"vp8": "libvpx", "vp9": "libvpx-vp9"}

// findAlpha finds transparency that the format of the pixels does not tell of.
func (v *Info) findAlpha(ctx context.Context) error {
	name := alphaDecoders[v.stream.Codec]
	if v.alpha || name == "" || v.stream.Tags["alpha_mode"] != "1" {
		return nil
	}
	cmd, _, err := command(ctx, "ffmpeg", "-v", "error", "-h", "decoder="+name)
	if err != nil {
		return fmt.Errorf(": %w", err)
	}
	if text, _ := cmd.Output(); strings.HasPrefix(string(text), "Decoder ") {
		v.alpha, v.decoder = true, name
	} else {
		v.unseen = name
	}
	return nil
}

// isMP4 looks at how a file begins; ffprobe goes by the name, too.
func isMP4(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [8]byte
	_, err = io.ReadFull(f, head[:])
	return err == nil && string(head[4:]) == "ftyp"
}

// understand takes from a header what is needed.
func (v *Info) understand(h *header) error {
	found := false
	for _, s := range h.Streams {
		switch {
		case s.Kind == "video" && s.Disposition["attached_pic"] == 0 && !found:
			found = true
			v.stream = s
		default:
			v.others = append(v.others, s)
			v.Audio = v.Audio || s.Kind == "audio"
		}
	}
	if !found {
		return errors.New(": it holds no video")
	}
	s := &v.stream
	v.Width, v.Height = s.Width, s.Height
	if v.Rate = parseRational(s.AverageRate); v.Rate.Den == 0 {
		v.Rate = Rational{25, 1} // of a single picture
	}
	v.TimeBase = parseRational(s.TimeBase)
	for _, d := range s.SideData {
		if quarter := int(d.Rotation) / 90; d.Kind == "Display Matrix" && float64(quarter)*90 == d.Rotation && quarter%2 != 0 {
			v.Width, v.Height = s.Height, s.Width
			if shape := parseRational(s.PixelShape); shape.Den != 0 {
				s.PixelShape = Rational{shape.Den, shape.Num}.String()
			}
		}
	}
	if v.Width < 1 || v.Height < 1 || v.TimeBase.Den == 0 {
		return fmt.Errorf(": ffmpeg cannot tell how large its pictures are (%s); it may be cut off", s.Codec)
	}
	// Transport streams and their like count from when they were switched on.
	if n := h.Format.Name; !strings.Contains(n, "mov") && !strings.Contains(n, "matroska") {
		v.origin, _ = strconv.ParseFloat(h.Format.Start, 64)
	}
	for _, f := range h.PixelFormats {
		if f.Name != s.PixelFormat || len(f.Parts) == 0 {
			continue
		}
		v.alpha = f.Flags.Alpha != 0
		for _, c := range f.Parts {
			v.Depth = max(v.Depth, c.Depth)
		}
		switch {
		case f.Flags.RGB != 0 || f.LogW == 0:
			v.chroma = "444"
		case f.LogH == 0:
			v.chroma = "422"
		default:
			v.chroma = "420"
		}
		return v.findMatrix(f.Flags.RGB != 0)
	}
	return fmt.Errorf(": ffmpeg cannot tell what its pictures are like (%s); it may be cut off", s.Codec)
}

// findMatrix finds out how stored colours become RGB. Where nothing is said it is as players guess.
func (v *Info) findMatrix(rgb bool) error {
	switch space := v.stream.ColorSpace; {
	case rgb:
	case space == "" || space == "unknown" || space == "reserved" || space == "gbr":
		v.matrix = "bt601"
		if max(v.Width, v.Height) >= 1280 {
			v.matrix = "bt709"
		}
	case space == "bt709" || space == "fcc" || space == "smpte170m" || space == "smpte240m":
		v.matrix = space
	case space == "bt470bg":
		v.matrix = "bt601"
	case space == "bt2020nc":
		v.matrix = "bt2020"
	default:
		return fmt.Errorf(": its colours are stored as %s, which cannot be read: convert it to bt709 first", space)
	}
	return nil
}

// readTimes decodes all frames and keeps their times. ffprobe goes on after damage and ends well where a file
// is cut off: what it says in passing is all there is to know it by.
func (v *Info) readTimes(ctx context.Context, h *header) error {
	cmd, said, err := command(ctx, "ffprobe", "-v", "error", "-select_streams", strconv.Itoa(v.stream.Index),
		"-show_entries", "frame=best_effort_timestamp", "-of", "default=noprint_wrappers=1", "-i", "file:"+v.Path)
	if err != nil {
		return fmt.Errorf(": %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf(": ffprobe does not run: %w", err)
	}
	misplaced := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "best_effort_timestamp=")
		if !ok {
			continue
		}
		n := len(v.Times)
		time, err := strconv.ParseInt(text, 10, 64)
		if err != nil && n > 0 {
			time, err = v.Times[n-1]+v.frameTime(), nil // program streams give none to their last frame
		}
		if misplaced == 0 && (err != nil || n > 0 && time <= v.Times[n-1]) {
			misplaced = n + 1
		}
		v.Times = append(v.Times, time)
	}
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()

	complaint := ""
	if lines := said.lines(); len(lines) > 0 {
		harmless := v.oddities(ctx)
		for _, line := range lines {
			if complaint == "" && !slices.Contains(harmless, line) {
				complaint = line
			}
		}
	}
	if complaint == "" && err != nil {
		complaint = err.Error()
	}
	announced := v.announced(h)
	early := v.endsEarly(h) || strings.Contains(complaint, "ended prematurely") || strings.Contains(complaint, "partial file")
	if complaint == "" && h.Format.Name == "avi" && announced > len(v.Times)+1 {
		complaint, early = "its header announces more", true // nothing else tells
	}
	switch {
	case complaint != "" && early:
		return brokenOff(len(v.Times), announced, complaint)
	case complaint != "":
		return fmt.Errorf(" is damaged: %s: copy it again, or save what is left with 'ffmpeg -i %s repaired.mkv'", complaint, v.Path)
	case len(v.Times) == 0:
		return errors.New(": it holds no frame")
	case misplaced > 0:
		return fmt.Errorf(": its frame %d comes at no time, or not after the one before: put it right with 'ffmpeg -i %s repaired.mkv'", misplaced, v.Path)
	}
	return nil
}

// oddities returns what ffprobe says of the header alone, such as of an attachment that lacks its kind.
func (v *Info) oddities(ctx context.Context) []string {
	cmd, said, err := command(ctx, "ffprobe", "-v", "error", "-nofind_stream_info", "-i", "file:"+v.Path)
	if err == nil {
		err = cmd.Run()
	}
	if err != nil {
		return nil
	}
	return said.lines()
}

// frameTime is how long a frame is shown on average, in units of TimeBase.
func (v *Info) frameTime() int64 {
	return max(1, v.Rate.Den*v.TimeBase.Den/(v.Rate.Num*v.TimeBase.Num))
}

// brokenOff says where a video ends too early; its text goes on after the path. about is 0 where nobody knows.
func brokenOff(frames, about int, cause string) error {
	of := ""
	if about > frames {
		of = fmt.Sprintf(" of about %d", about)
	}
	return fmt.Errorf(" breaks off after frame %d%s: %s: copy it again, or save what is left with ffmpeg", frames, of, cause)
}

// announced is how many frames there should be according to the header, 0 if that does not say.
func (v *Info) announced(h *header) int {
	if n, err := strconv.Atoi(v.stream.Frames); err == nil {
		return n
	}
	return int(v.length(h)*float64(v.Rate.Num)/float64(v.Rate.Den) + 0.5)
}

// length is in seconds.
func (v *Info) length(h *header) float64 {
	for _, text := range []string{v.stream.Duration, h.Format.Duration} {
		if seconds, err := strconv.ParseFloat(text, 64); err == nil {
			return seconds
		}
	}
	return 0
}

// endsEarly reports whether frames are missing at the end, rather than in the middle.
func (v *Info) endsEarly(h *header) bool {
	if len(v.Times) == 0 {
		return true
	}
	span := v.Times[len(v.Times)-1] - v.Times[0] + 2*v.frameTime()
	return float64(span)*float64(v.TimeBase.Num)/float64(v.TimeBase.Den) < v.length(h)
}
