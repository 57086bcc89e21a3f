package cli

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/hidiff/video"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
)

// clip makes a short video with sound: 5 frames of 32×24, the last ones a little late.
func clip(t *testing.T, path, more string) {
	t.Helper()
	testenv.Program(t, "FFMPEG", "ffmpeg")
	testenv.Program(t, "FFMPEG", "ffprobe")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	args := strings.Fields("-nostdin -v error -f lavfi -i testsrc2=size=32x24:rate=25:duration=0.2,settb=1/1000,setpts=PTS+gt(N\\,2)*10 " +
		"-f lavfi -i sine=duration=0.2 -fps_mode passthrough -enc_time_base 1:1000 -video_track_timescale 1000 -c:v libx264 -pix_fmt yuv420p " + more)
	out, err := exec.Command("ffmpeg", append(args, path)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestVideo(t *testing.T) {
	t.Chdir(t.TempDir())
	clip(t, "clip.mp4", "")
	write(t, "a.png", picture(4, 4))
	engine := &fakeEngine{}
	got := deblurFake(t, engine, "clip.mp4", "a.png", "-f", "jpg", "-o", "out")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Empty(t, got.stdout)
	require.ElementsMatch(t, []string{"clip.mp4", "a.jpg"}, files(t, "out"))
	log := lines(filepath.ToSlash(got.stderr))
	require.Equal(t, "clip.mp4: "+flickerNotice, log[0])
	require.Equal(t, "clip.mp4: frame 1 of 5", log[1])
	require.Regexp(t, `^\[1/2\] clip.mp4 → out/clip.mp4 \(5 frames, 32×24, \d+\.\d s\)$`, log[2])
	require.Equal(t, "restored 2 of 2 photos and videos", log[4])
	require.Equal(t, slices.Repeat([]string{"clip.mp4"}, 5), engine.names[:5], "all frames have the same noise")

	before, err := video.Probe(t.Context(), "clip.mp4")
	require.NoError(t, err)
	after, err := video.Probe(t.Context(), "out/clip.mp4")
	require.NoError(t, err)
	require.Equal(t, before.Times, after.Times)
	require.Equal(t, []int64{0, 40, 80, 130, 170}, after.Times)
	require.True(t, after.Audio)
	mean := func(v *video.Info) (sum int) { // of the first frame, which comes back as its negative
		require.NoError(t, v.Transform(t.Context(), "again.mkv", func(i int, p *photo.Photo) (*photo.Photo, error) {
			for _, v := range p.Pix {
				if i == 0 {
					sum += int(v)
				}
			}
			return p, nil
		}))
		return sum / (32 * 24 * 3)
	}
	require.InDelta(t, 255, mean(before)+mean(after), 4)

	got = deblurFake(t, nil, "clip.mp4", "-o", "out", "--skip-existing")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, filepath.ToSlash(got.stderr), "clip.mp4: skipped, out/clip.mp4 exists\n")
}

func TestVideoJSON(t *testing.T) {
	t.Chdir(t.TempDir())
	clip(t, "clip.mov", "")
	got := deblurFake(t, &fakeEngine{}, "clip.mov", "--json")
	require.Equal(t, exitOK, got.code, got.stderr)
	var last summary
	var frames []int
	for _, line := range lines(got.stdout) {
		var e event
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		switch e.Event {
		case "summary":
			require.NoError(t, json.Unmarshal([]byte(line), &last))
			continue
		case "progress":
			frames = append(frames, e.Frame)
		}
		require.Equal(t, [2]int{5, 32}, [2]int{e.Frames, e.Width})
		require.Equal(t, "clip_deblurred.mov", e.Output)
	}
	require.Equal(t, []int{0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5}, frames)
	require.Equal(t, [2]int{1, 1}, [2]int{last.Videos, last.Restored})
	require.Equal(t, []string{"clip.mov", "clip_deblurred.mov"}, files(t, "."))

	got = deblurFake(t, &fakeEngine{}, "clip.mov", "-o", "none/x.mkv", "--plan")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, "clip.mov: 5 frames of 32×24, exact, in up to 3 bands, feature maps in host memory; "+
		"GPU memory: 3.0 MiB of 4.0 MiB at most, 1.0 MiB of it weights; 42 dispatches a frame\n", got.stdout)
	require.NoDirExists(t, "none")
}

// TestVideoTransparency keeps it where the result can, and warns where it cannot.
func TestVideoTransparency(t *testing.T) {
	data, err := os.ReadFile("../hidiff/video/testdata/vp9-alpha.webm")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	clip(t, "other.mp4", "") // where there is no ffmpeg, this skips
	writeText(t, "clip.webm", string(data))
	got := deblurFake(t, &fakeEngine{}, "clip.webm", "-o", "out/")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.NotContains(t, got.stderr, "transparency")
	before, err := video.Probe(t.Context(), "clip.webm")
	require.NoError(t, err)
	after, err := video.Probe(t.Context(), "out/clip.webm")
	require.NoError(t, err)
	alphas := func(v *video.Info) (out []uint16) {
		require.NoError(t, v.Transform(t.Context(), "again.mkv", func(_ int, p *photo.Photo) (*photo.Photo, error) {
			out = append(out, p.Alpha...)
			return p, nil
		}))
		return out
	}
	want, kept := alphas(before), alphas(after)
	require.Len(t, kept, 3*64*48)
	require.Less(t, slices.Min(want)+100, slices.Max(want))
	for i, v := range kept {
		require.InDelta(t, want[i], v, 4)
	}

	got = deblurFake(t, &fakeEngine{}, "clip.webm", "-o", "out.mp4")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stderr, "clip.webm: not in out.mp4: transparency (.mov, .mkv and .webm keep it)\n")
}

// TestVideoBad puts bad videos before a good photo; all of them are found out before the GPU is
// opened, but for what happens in the middle.
func TestVideoBad(t *testing.T) {
	t.Chdir(t.TempDir())
	clip(t, "whole.mkv", "-c:a aac -crf 0")
	data, err := os.ReadFile("whole.mkv")
	require.NoError(t, err)
	writeText(t, "cut.mkv", string(data[:len(data)*7/10]))
	writeText(t, "text.mp4", "this is no video")
	write(t, "a.png", picture(4, 4))
	got := deblurFake(t, &fakeEngine{}, "cut.mkv", "text.mp4", "none.mp4", "a.png", "-o", "out")
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, []string{"a.png"}, files(t, "out"))
	log := lines(got.stderr)
	require.Regexp(t, `^\[1/4\] error: cut.mkv breaks off after frame \d of about \d: File ended prematurely`, log[0])
	require.Regexp(t, `^\[2/4\] error: text.mp4: no video that ffmpeg can read: `, log[1])
	require.Equal(t, "[3/4] error: none.mp4: there is no such file or folder", log[2])
	require.Equal(t, "restored 1 of 4 photos and videos, 3 failed", log[4])

	got = deblurFake(t, nil, "whole.mkv", "-o", "x.webm")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "error: x.webm: .webm files cannot hold all that is in whole.mkv (")
	require.NoFileExists(t, "x.webm")

	failing := &fakeEngine{}
	failing.restore = func(context.Context, *photo.Photo) error {
		if len(failing.names) == 3 {
			return os.ErrDeadlineExceeded
		}
		return nil
	}
	got = deblurFake(t, failing, "whole.mkv", "-o", "new/x.mp4")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "error: whole.mkv: frame 3: "+os.ErrDeadlineExceeded.Error()+"\n")
	require.Empty(t, files(t, "new"))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	interrupted := &fakeEngine{restore: func(ctx context.Context, _ *photo.Photo) error {
		require.Len(t, files(t, "new"), 1, "what is being written")
		cancel()
		return ctx.Err()
	}}
	got = runFake(t, ctx, interrupted, nil, "deblur", "whole.mkv", "-o", "new/x.mp4", "-m", tiny)
	require.Equal(t, exitInterrupted, got.code)
	require.NotContains(t, got.stderr, "error")
	require.Empty(t, files(t, "new"))
	got = runFake(t, ctx, nil, nil, "deblur", "whole.mkv", "-o", "new/x.mp4", "-m", tiny) // before it began
	require.Equal(t, exitInterrupted, got.code)

	got = runFake(t, t.Context(), nil, data, "deblur", "-", "-m", tiny)
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, "error: standard input: this is a video: give its file's name instead\n", got.stderr)
}

func TestVideoWithoutFFmpeg(t *testing.T) {
	t.Chdir(t.TempDir())
	writeText(t, "clip.mp4", "")
	write(t, "a.png", picture(4, 4))
	t.Setenv("PATH", t.TempDir())
	got := deblurFake(t, nil, "clip.mp4")
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, "error: clip.mp4: videos need the program ffmpeg, which was not found: install it with 'apt-get install ffmpeg', or from ffmpeg.org\n", got.stderr)
	require.Equal(t, exitFailed, deblurFake(t, &fakeEngine{}, "clip.mp4", "a.png").code)
	require.FileExists(t, "a_deblurred.png", "photos do not need it")
}

// TestDeviceVideo runs the whole program.
func TestDeviceVideo(t *testing.T) {
	testgpu.Need(t)
	t.Chdir(t.TempDir())
	clip(t, "clip.mp4", "")
	got := run(t.Context(), nil, "deblur", "clip.mp4", "-o", "out.mkv", "-m", tiny)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Regexp(t, `clip.mp4 → out.mkv \(5 frames, 32×24, \d+\.\d s\)\n$`, got.stderr)
	info, err := video.Probe(t.Context(), "out.mkv")
	require.NoError(t, err)
	require.Equal(t, []int64{0, 40, 80, 130, 170}, info.Times)
	require.True(t, info.Audio)
	require.Equal(t, []string{"clip.mp4", "out.mkv"}, files(t, "."))
}
