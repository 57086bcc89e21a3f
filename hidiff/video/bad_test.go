package video

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// TestProbeBroken cuts and damages clips, and gives Probe what is no video at all.
func TestProbeBroken(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	const noise = " -f lavfi -i nullsrc=size=64x48:rate=25:duration=1.2,geq=random(1)*255:128:128 -c:v libx264 -g 10 "
	mkv, mp4 := ffmpeg(t, "in.mkv", noise), ffmpeg(t, "in.mp4", noise+"-movflags +faststart")
	avi := ffmpeg(t, "in.avi", noise+"-c:v mpeg4 -bf 0")
	late := ffmpeg(t, "late.mp4", noise)
	sound := ffmpeg(t, "sound.mp4", tone+"-c:a aac")
	part := func(of string, share float64, damage bool) string {
		data, err := os.ReadFile(of)
		require.NoError(t, err)
		at := int(share * float64(len(data)))
		if damage {
			copy(data[at:at+3000], make([]byte, 3000))
		} else {
			data = data[:at]
		}
		path := filepath.Join(t.TempDir(), filepath.Base(of))
		require.NoError(t, os.WriteFile(path, data, 0o666))
		return path
	}
	put := func(text string) string {
		path := filepath.Join(t.TempDir(), "in.mp4")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
		return path
	}
	for _, c := range []struct{ name, path, want string }{
		{"cut Matroska", part(mkv, 0.6, false), `^PATH breaks off after frame 1\d of about 30: File ended prematurely`},
		{"cut MP4", part(mp4, 0.6, false), `^PATH breaks off after frame 1\d of about 30: `},
		{"cut AVI", part(avi, 0.6, false), `^PATH breaks off after frame 1\d of about 30: `},
		{"MP4 without its end", part(late, 0.6, false), `^PATH breaks off before its index.*moov atom not found`},
		{"nearly nothing left", part(mkv, 0.02, false), `^PATH(: no video that ffmpeg can read| breaks off|: ffmpeg cannot tell)`},
		{"damaged Matroska", part(mkv, 0.5, true), `^PATH (is damaged|breaks off after frame \d+ of about 30): `},
		{"damaged MP4", part(mp4, 0.5, true), `^PATH is damaged: `},
		{"sound alone", sound, `^PATH: it holds no video$`},
		{"text", put("This is no video, whatever its name says."), `^PATH: no video that ffmpeg can read: `},
		{"empty", put(""), `^PATH: no video that ffmpeg can read: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Probe(t.Context(), c.path)
			require.Error(t, err)
			require.Regexp(t, c.want, string(bytes.ReplaceAll([]byte(err.Error()), []byte(c.path), []byte("PATH"))))
		})
	}
	_, err := Probe(t.Context(), filepath.Join(t.TempDir(), "none.mp4"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestProbeOddities takes a clip whose header is strange, and whose frames are not.
func TestProbeOddities(t *testing.T) {
	t.Parallel()
	font := filepath.Join(t.TempDir(), "f.ttf")
	require.NoError(t, os.WriteFile(font, []byte("no font at all"), 0o666))
	in := ffmpeg(t, "in.mkv", soft+"-c:v ffv1 -attach "+font+" -metadata:s:t mimetype=font/ttf")
	data, err := os.ReadFile(in)
	require.NoError(t, err)
	kind := data[bytes.Index(data, []byte{0x46, 0x60, 0x88}):] // the attachment's, which is blotted out
	kind[0], kind[1] = 0xEC, 0x89
	require.NoError(t, os.WriteFile(in, data, 0o666))
	said, err := exec.Command("ffprobe", "-v", "error", in).CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(said), "incomplete attachment")
	require.Len(t, probed(t, in).Times, 10)
}

// TestTransformFails ends in the middle for every reason, and leaves what was there before.
func TestTransformFails(t *testing.T) {
	t.Parallel()
	in := ffmpeg(t, "in.mkv", "-f lavfi -i testsrc2=size=320x240:duration=2 -c:v ffv1")
	v := probed(t, in)
	whole, err := os.ReadFile(in)
	require.NoError(t, err)
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		each func(cancel func(), i int, p *photo.Photo) (*photo.Photo, error)
		want string
		is   error
	}{
		"an error": {func(_ func(), i int, p *photo.Photo) (*photo.Photo, error) {
			if i == 2 {
				return nil, boom
			}
			return p, nil
		}, in + ": frame 3: boom", boom},
		"another size": {func(_ func(), i int, p *photo.Photo) (*photo.Photo, error) {
			return &photo.Photo{Width: 1, Height: 1, Channels: 3, Max: 255, Pix: make([]uint16, 3)}, nil
		}, in + ": frame 1: it came back in another size", nil},
		"cancelled": {func(cancel func(), i int, p *photo.Photo) (*photo.Photo, error) {
			if i == 4 {
				cancel()
			}
			return p, nil
		}, "context canceled", context.Canceled},
		"cut off meanwhile": {func(_ func(), i int, p *photo.Photo) (*photo.Photo, error) {
			if i == 0 {
				require.NoError(t, os.Truncate(in, int64(len(whole)*7/10)))
			}
			return p, nil
		}, "of about 50: ", nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(in, whole, 0o666))
			out := filepath.Join(t.TempDir(), "out.mp4")
			require.NoError(t, os.WriteFile(out, []byte("from before"), 0o600))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := v.Transform(ctx, out, func(i int, p *photo.Photo) (*photo.Photo, error) {
				require.Len(t, names(t, filepath.Dir(out)), 2, "what is being written is beside it")
				return c.each(cancel, i, p)
			})
			require.ErrorContains(t, err, c.want)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.Equal(t, []string{"out.mp4"}, names(t, filepath.Dir(out)))
			data, err := os.ReadFile(out)
			require.NoError(t, err)
			require.Equal(t, "from before", string(data))
		})
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Probe(ctx, in)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, v.Check(ctx, "out.mp4"), context.Canceled)
}

// TestOutputs replaces a file, through a link, and refuses what is none.
func TestOutputs(t *testing.T) {
	t.Parallel()
	in := ffmpeg(t, "-odd %d name:.mkv", "-f lavfi -i testsrc2=size=32x24:duration=0.12 -c:v ffv1")
	v := probed(t, in)
	dir := t.TempDir()
	out, link := filepath.Join(dir, "-out %d: it.mkv"), filepath.Join(dir, "link.mkv")
	require.NoError(t, os.WriteFile(out, nil, 0o640))
	require.NoError(t, os.Symlink(filepath.Base(out), link))
	require.NoError(t, v.Transform(t.Context(), link, same))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	info, err = os.Stat(out)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	require.Len(t, probed(t, out).Times, 3)
	require.Len(t, names(t, dir), 2)

	require.ErrorContains(t, v.Transform(t.Context(), filepath.Join(dir, "none", "out.mkv"), same), "cannot write: ")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "x.mp4"), 0o777))
	require.ErrorContains(t, v.Transform(t.Context(), filepath.Join(dir, "x.mp4"), same), "this is a folder")
	require.ErrorContains(t, v.Transform(t.Context(), filepath.Join(dir, "x.avi"), same), "choose one of these extensions")
	require.Len(t, names(t, dir), 3)

	more := *v // as if ffmpeg had lost a frame on a full disk
	more.Times = append(more.Times, more.Times[2]+40)
	require.ErrorContains(t, more.whole(t.Context(), "out.mkv", out), "out.mkv: 3 of 4 frames were written")
}

// TestCheck holds what cannot be written to being found out before the work.
func TestCheck(t *testing.T) {
	aac := probed(t, ffmpeg(t, "in.mp4", soft+tone+h264+"-c:a aac"))
	require.NoError(t, aac.Check(t.Context(), "x.mp4"))
	require.ErrorContains(t, aac.Check(t.Context(), "x.webm"), "x.webm: .webm files cannot hold all that is in "+aac.Path)
	require.NoFileExists(t, "x.mp4")
	require.ErrorContains(t, aac.Check(t.Context(), "x.avi"), "choose one of these extensions")

	// Programs that say what an ffmpeg without x264 says, and copy everything.
	bin := t.TempDir()
	text := "#!/bin/sh\ncase \"$*\" in *libx264*|-version) echo \"Unknown encoder 'libx264'\" >&2; exit 1;; esac\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "ffmpeg"), []byte(text), 0o777))
	t.Setenv("PATH", bin)
	require.ErrorContains(t, aac.Check(t.Context(), "x.mp4"), "x.mp4: this ffmpeg has no encoder libx264, which .mp4 files need: ")
	_, err := Probe(t.Context(), aac.Path)
	require.ErrorContains(t, err, aac.Path+": ffmpeg does not run: Unknown encoder")

	text = "#!/bin/sh\necho 'ffmpeg version n4.4.2-0ubuntu0.22.04.1 Copyright (c) 2000-2021 the FFmpeg developers'\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "ffmpeg"), []byte(text), 0o777))
	_, err = Probe(t.Context(), aac.Path)
	require.EqualError(t, err, aac.Path+": ffmpeg 4.4 is too old: videos need 5.1 or newer, from ffmpeg.org")
}

// TestDamagedCompany damages what lies beside the pictures: the error names the input and the stream, before the work.
func TestDamagedCompany(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	const longer = " -f lavfi -i sine=duration=2 " // than the pictures
	subtitles := filepath.Join(t.TempDir(), "s.srt")
	require.NoError(t, os.WriteFile(subtitles, []byte("1\n00:00:00,100 --> 00:00:00,300\nHello\n"), 0o666))
	replace := func(old, by string) func([]byte) []byte {
		return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(by), 1) }
	}
	for _, c := range []struct {
		in, args, out string
		damage        func([]byte) []byte
		stream, cause string
	}{
		{"in.ts", soft + longer + h264 + "-c:a aac", "x.mkv", func(data []byte) []byte {
			for at := 0; at < len(data); at += 188 {
				if packet := data[at : at+188]; at > len(data)/2 && packet[1]&0x1F == 1 && packet[2] == 1 {
					clear(packet[24:])
				}
			}
			return data
		}, "1 (audio aac)", "ADTS"},
		{"in.mp4", soft + longer + h264 + "-c:a aac -movflags +faststart", "x.mp4", func(data []byte) []byte { return data[:len(data)*8/10] }, "1 (audio aac)", "partial file"},
		{"in.mkv", soft + longer + h264 + "-c:a flac", "x.mp4", func(data []byte) []byte {
			copy(data[bytes.Index(data, []byte("fLaC")):], bytes.Repeat([]byte("x"), 42)) // what says how it is encoded
			return data
		}, "1 (audio flac)", ""},
		{"in.mkv", soft + longer + h264 + "-c:a aac", "x.mkv", replace("A_AAC", "A_XXX"), "1 (audio)", "codec"},
		{"in.mkv", soft + "-i " + subtitles + h264 + "-c:s srt", "x.mkv", replace("S_TEXT/UTF8", "S_XXXX/UTF8"), "1 (subtitle)", "codec"},
	} {
		t.Run(c.in+" "+c.args[strings.LastIndex(c.args, "-c:"):], func(t *testing.T) {
			t.Parallel()
			whole := ffmpeg(t, c.in, c.args)
			require.NoError(t, probed(t, whole).Check(t.Context(), c.out))
			data, err := os.ReadFile(whole)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(whole, c.damage(data), 0o666))
			err = probed(t, whole).Check(t.Context(), c.out)
			require.ErrorContains(t, err, whole+": its stream "+c.stream+" is damaged, or of a kind that "+filepath.Ext(c.out)+" files do not hold: ")
			require.ErrorContains(t, err, c.cause)
			require.ErrorContains(t, err, "leave the stream out with 'ffmpeg -i "+whole+" -map 0 -map -0:1 -c copy rest"+filepath.Ext(c.in)+"'")
			require.NoFileExists(t, c.out)
			rest := filepath.Join(t.TempDir(), "rest"+filepath.Ext(c.in))
			said, err := exec.Command("ffmpeg", "-v", "error", "-i", whole, "-map", "0", "-map", "-0:1", "-c", "copy", rest).CombinedOutput()
			require.NoError(t, err, string(said))
			require.NoError(t, probed(t, rest).Check(t.Context(), c.out), "the remedy helps")
		})
	}
}

func TestAbsent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.mp4")
	require.NoError(t, os.WriteFile(path, nil, 0o666))
	t.Setenv("PATH", t.TempDir())
	_, err := Probe(t.Context(), path)
	require.EqualError(t, err, path+": videos need the program ffmpeg, which was not found: install it with 'apt-get install ffmpeg', or from ffmpeg.org")
}

func TestKnown(t *testing.T) {
	for path, want := range map[string][2]bool{
		"a.mp4": {true, true}, "a.MKV": {true, true}, "a/b.webm": {true, true}, "x.avi": {true, false}, "x.MTS": {true, false},
		"a.png": {}, "mp4": {}, "": {}, "a.mp4/b": {}, "a.gif": {},
	} {
		require.Equal(t, want, [2]bool{Known(path), Writable(path)}, path)
	}
}

// TestNanoseconds checks rounding against exact fractions.
func TestNanoseconds(t *testing.T) {
	for range 1000 {
		time, base := rand.Int64N(1<<40), Rational{rand.Int64N(2000) + 1, rand.Int64N(1<<31) + 1}
		exact := new(big.Rat).Mul(big.NewRat(time, 1), big.NewRat(base.Num, base.Den))
		exact.Mul(exact, big.NewRat(1e9, 1))
		if limit, _ := exact.Float64(); limit >= 1<<62 {
			continue
		}
		apart, _ := exact.Sub(exact, new(big.Rat).SetInt(new(big.Int).SetUint64(nanoseconds(time, base)))).Float64()
		require.LessOrEqual(t, math.Abs(apart), 0.5, "%d × %s", time, base)
	}
}

// TestFrameWriter reads the Matroska back by hand: a second, independent hand.
func TestFrameWriter(t *testing.T) {
	var b bytes.Buffer
	w, err := newFrameWriter(&b, 2, 1, 3, 16, Rational{1, 3}, Rational{30, 1})
	require.NoError(t, err)
	head := b.Len()
	p := &photo.Photo{Width: 2, Height: 1, Channels: 3, Max: 65535, Pix: []uint16{1, 2, 3, 4, 5, 0x1234}}
	require.NoError(t, w.write(p, 7))
	cluster := b.Bytes()[head:]
	require.Equal(t, []byte{0x1F, 0x43, 0xB6, 0x75}, cluster[:4])
	require.Equal(t, uint64(len(cluster)-12)|1<<56, binary.BigEndian.Uint64(cluster[4:]))
	require.Equal(t, byte(0xE7), cluster[12])
	require.Equal(t, uint64(2333333333), binary.BigEndian.Uint64(cluster[21:]))
	require.Equal(t, byte(0xA3), cluster[29])
	require.Equal(t, uint64(16)|1<<56, binary.BigEndian.Uint64(cluster[30:]))
	require.Equal(t, []byte{0x81, 0, 0, 0x80, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 0x34, 0x12}, cluster[38:])
}
