package video

import (
	"bytes"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/testenv"
)

const (
	// soft moves, and loses little when colours are stored at half the density.
	soft = " -f lavfi -i testsrc2=size=64x48:rate=25:duration=0.4,gblur=3,hue=s=0.5 "
	tone = " -f lavfi -i sine=duration=0.4 "
	h264 = " -c:v libx264 -preset veryfast -crf 8 -pix_fmt yuv420p "
)

// TestTransformKeepsAll passes many kinds of videos through unchanged.
func TestTransformKeepsAll(t *testing.T) {
	const (
		counted = " -f lavfi -i color=black:size=32x24:rate=30:duration=1.1,format=gray,geq=lum=20+6*N"
		tagged  = " -color_range pc -colorspace bt709 -color_primaries bt709 -color_trc iec61966-2-1 "
	)
	for _, c := range []struct {
		name, in, args, out string
		format              string  // of the pixels written
		tolerance           float64 // seconds; 0 where the container can hold the same times
		sound               float64 // the same for sound
	}{
		{"NTSC, B-frames, sound begins later", "in.mp4", "-f lavfi -i testsrc2=size=64x48:rate=30000/1001:duration=0.5,gblur=3,hue=s=0.5 -itsoffset 0.3" + tone + h264 + "-bf 3 -c:a aac", "out.mp4", "yuv420p", 0, 0},
		{"sound begins earlier, narrow pixels, tags", "in.mov", "-itsoffset 0.1337" + soft + tone + h264 + "-vf scale=out_range=pc:out_color_matrix=bt709,setsar=8/9" + tagged + "-c:a pcm_s16le", "out.mov", "yuvj420p", 0, 0},
		{"varying rate", "in.mp4", counted + ",select='not(mod(n\\,3)*mod(n\\,7))',setpts='PTS+mod(N\\,5)/(30*TB)/11' -fps_mode passthrough -enc_time_base 1:15360 -video_track_timescale 15360 -bf 2" + h264, "out.mp4", "yuv420p", 0, 0},
		{"varying rate, Matroska", "in.mkv", counted + ",select='not(mod(n\\,3)*mod(n\\,7))',setpts='PTS+mod(N\\,5)/(30*TB)/11' -fps_mode passthrough -enc_time_base 1:1000 -bf 2" + h264, "out.mkv", "yuv420p", 0, 0},
		{"WebM, odd sizes", "in.webm", "-f lavfi -i testsrc2=size=66x48:duration=0.4,gblur=3,hue=s=0.5,format=gbrp,crop=65:47" + tone + "-pix_fmt yuv420p -c:v libvpx-vp9 -crf 5 -b:v 0 -cpu-used 8 -c:a libopus", "out.webm", "yuv420p", 0, 0.007}, // older ffmpegs move Opus by its delay
		{"odd sizes", "in.mkv", "-f lavfi -i testsrc2=size=66x48:duration=0.2,gblur=3,hue=s=0.5,format=gbrp,crop=65:47" + tone + "-c:v ffv1 -pix_fmt yuv420p -c:a flac", "out.mp4", "yuv444p", 0, 1.0 / 44100},
		{"10 bits, odd height", "in.mkv", "-f lavfi -i testsrc2=size=64x48:rate=50:duration=0.1,gblur=3,hue=s=0.5,format=gbrp10,crop=64:47 -c:v ffv1 -pix_fmt yuv422p10le", "out.mkv", "yuv422p10le", 0, 0},
		{"RGB, one frame", "in.mkv", "-f lavfi -i testsrc2=size=64x48:duration=0.04,gblur=5,hue=s=0.4 -c:v ffv1 -pix_fmt bgr0", "out.m4v", "yuv444p", 0, 0},
		{"AVI", "in.avi", soft + tone + "-c:v mpeg4 -bf 0 -q:v 1 -c:a pcm_s16le", "out.mkv", "yuv420p", 0, 0.001},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := ffmpeg(t, c.in, c.args)
			out := filepath.Join(t.TempDir(), c.out)
			var read []*photo.Photo
			v := probed(t, in)
			require.NoError(t, v.Transform(t.Context(), out, func(i int, p *photo.Photo) (*photo.Photo, error) {
				require.Equal(t, len(read), i)
				read = append(read, p)
				return p, nil
			}))
			require.Equal(t, []string{c.out}, names(t, filepath.Dir(out)))
			require.Empty(t, v.Losses(out))
			before, after := lookAt(t, in), lookAt(t, out)
			a, b := before.Streams[0], after.Streams[0]
			require.Equal(t, len(before.Streams), len(after.Streams))
			require.Equal(t, [2]int{a.Width, a.Height}, [2]int{v.Width, v.Height})
			require.Equal(t, strings.Contains(c.name, "odd"), v.Height%2 == 1)
			require.Equal(t, [2]int{a.Width, a.Height}, [2]int{b.Width, b.Height})
			require.Equal(t, c.format, b.PixelFormat)
			require.Equal(t, parseRational(a.PixelShape), parseRational(b.PixelShape))
			if a.ColorTransfer != "" {
				require.Equal(t, [4]string{a.ColorRange, a.ColorSpace, a.ColorPrimaries, a.ColorTransfer}, [4]string{b.ColorRange, b.ColorSpace, b.ColorPrimaries, b.ColorTransfer})
			}
			times := before.times(t, 0)
			require.Equal(t, len(times), len(v.Times))
			sameTimes(t, times, after.times(t, 0), c.tolerance)
			if v.Audio {
				require.Equal(t, before.hashes(1), after.hashes(1))
				sameTimes(t, before.times(t, 1), after.times(t, 1), c.sound)
			}
			for i, p := range pictures(t, v, out) {
				require.Greater(t, psnr(t, read[i], p), 40.0)
				if i > 0 && strings.Contains(c.args, counted) {
					require.Less(t, psnr(t, read[i-1], p), psnr(t, read[i], p)-5)
				}
			}
		})
	}
}

// TestRotation turns a clip by its track's matrix, as phones do.
func TestRotation(t *testing.T) {
	t.Parallel()
	in := ffmpeg(t, "in.mp4", soft+h264+"-vf setsar=4/3")
	upright := probed(t, in)
	require.Equal(t, [2]int{64, 48}, [2]int{upright.Width, upright.Height})

	data, err := os.ReadFile(in)
	require.NoError(t, err)
	matrix := data[bytes.Index(data, []byte("tkhd"))+44:][:36] // 16.16 fixed point: a b u c d v x y w
	copy(matrix, make([]byte, 20))
	copy(matrix[4:], []byte{0, 1, 0, 0})               // b = 1
	copy(matrix[12:], []byte{0xFF, 0xFF, 0, 0})        // c = -1
	copy(matrix[24:], []byte{0, 48, 0, 0, 0, 0, 0, 0}) // x = 48
	turned := filepath.Join(t.TempDir(), "turned.mp4")
	require.NoError(t, os.WriteFile(turned, data, 0o666))

	v := probed(t, turned)
	require.Equal(t, [2]int{48, 64}, [2]int{v.Width, v.Height})
	out := filepath.Join(t.TempDir(), "out.mp4")
	var first *photo.Photo
	require.NoError(t, v.Transform(t.Context(), out, func(_ int, p *photo.Photo) (*photo.Photo, error) {
		if first == nil {
			first = p
		}
		return p, nil
	}))
	lying := pictures(t, upright, in)[0]
	for y := range 64 { // clockwise by a quarter
		for x := range 48 {
			for c := range 3 {
				require.InDelta(t, lying.Pix[((47-x)*64+y)*3+c], first.Pix[(y*48+x)*3+c], 3)
			}
		}
	}
	s := lookAt(t, out).Streams[0]
	require.Equal(t, [2]int{48, 64}, [2]int{s.Width, s.Height})
	require.Equal(t, "3:4", s.PixelShape)
	for _, d := range s.SideData {
		require.NotEqual(t, "Display Matrix", d.Kind)
	}
	require.Greater(t, psnr(t, first, pictures(t, v, out)[0]), 40.0)
}

// TestCompany passes a clip with much beside its pictures, which come last.
func TestCompany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
		return path
	}
	subtitles := put("s.srt", "1\n00:00:00,100 --> 00:00:00,300\nHello\n")
	chapters := put("c.txt", ";FFMETADATA1\ntitle=Holiday\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=Dawn\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Noon\n")
	font := put("f.ttf", "no font at all")
	in := ffmpeg(t, "in.mkv", tone+tone+soft+"-i "+subtitles+" -i "+chapters+" -attach "+font+" -metadata:s:t mimetype=font/ttf"+
		" -map 0 -map 1 -map 3 -map 2 -map_metadata 4 -map_chapters 4 -metadata:s:a:1 language=fin -metadata:s:v:0 language=deu -disposition:a:1 default"+h264+"-c:a aac -c:s srt")
	v := probed(t, in)
	out := filepath.Join(t.TempDir(), "out.mkv")
	require.NoError(t, v.Transform(t.Context(), out, same))
	before, after := lookAt(t, in), lookAt(t, out)
	require.Equal(t, 5, len(after.Streams))
	for i, s := range before.Streams {
		q := after.Streams[i]
		require.Equal(t, [2]string{s.Kind, s.Codec}, [2]string{q.Kind, q.Codec})
		require.Equal(t, s.Tags["language"], q.Tags["language"])
		require.Equal(t, s.Disposition, q.Disposition, i)
		sameTimes(t, before.times(t, i), after.times(t, i), 0)
		if s.Kind != "video" {
			require.Equal(t, before.hashes(i), after.hashes(i))
		}
	}
	require.Equal(t, before.Chapters, after.Chapters)
	require.Len(t, after.Chapters, 2)
	require.Equal(t, "Holiday", after.Format.Tags["title"])

	// MP4 has no room for these subtitles, and says so before it is too late; nor for fonts.
	out = filepath.Join(t.TempDir(), "out.mp4")
	require.Equal(t, []string{"stream 4 (attachment)"}, v.Losses(out))
	require.ErrorContains(t, v.Check(t.Context(), out), "out.mp4: .mp4 files cannot hold all that is in "+in+" (")
	require.ErrorContains(t, v.Transform(t.Context(), out, same), "choose .mkv, which holds nearly everything")
	require.Empty(t, names(t, filepath.Dir(out)))
}

// TestTransportStream holds times that begin anywhere to beginning at 0, all by the same.
func TestTransportStream(t *testing.T) {
	t.Parallel()
	in := ffmpeg(t, "in.ts", "-itsoffset 0.2"+soft+tone+h264+"-c:a aac -output_ts_offset 1000")
	v := probed(t, in)
	out := filepath.Join(t.TempDir(), "out.mp4")
	require.NoError(t, v.Transform(t.Context(), out, same))
	before, after := lookAt(t, in), lookAt(t, out)
	times := before.times(t, 0)
	from := new(big.Rat).Sub(times[0], after.times(t, 0)[0])
	require.Equal(t, 1, from.Cmp(big.NewRat(1000, 1)))
	for i := range times {
		times[i].Sub(times[i], from)
	}
	sameTimes(t, times, after.times(t, 0), 0)
	sound := before.times(t, 1)
	for i := range sound {
		sound[i].Sub(sound[i], from)
	}
	sameTimes(t, sound, after.times(t, 1), 2.0/44100) // ticks of one are no ticks of the other
	require.Equal(t, -1, after.times(t, 0)[0].Cmp(big.NewRat(1, 4)))
}

// TestColours reads an orange in all the ways it is stored. That passing it through changes nothing would not
// show that it is read as orange.
func TestColours(t *testing.T) {
	for _, c := range []struct{ filter, tags string }{
		{"scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-colorspace bt709 -color_range tv"},
		{"scale=out_color_matrix=bt709:out_range=pc,format=yuv420p", "-colorspace bt709 -color_range pc"},
		{"scale=out_color_matrix=bt601:out_range=tv,format=yuv422p10", "-colorspace bt470bg -color_range tv"},
		{"scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10", "-colorspace bt2020nc -color_range tv"},
		{"scale=out_color_matrix=bt601:out_range=tv,format=yuv444p", ""}, // as players guess of small videos
		{"null", "-pix_fmt gbrp"},
	} {
		t.Run(c.filter, func(t *testing.T) {
			t.Parallel()
			in := ffmpeg(t, "in.mkv", "-f lavfi -i color=0xE08020:size=64x48:duration=0.04,format=gbrp,"+c.filter+" -c:v ffv1 "+c.tags)
			p := pictures(t, probed(t, in), in)[0]
			for i, v := range p.Pix {
				require.InDelta(t, []float64{0xE0, 0x80, 0x20}[i%3], float64(v)*255/float64(p.Max), 2)
			}
		})
	}
}

// TestTransparency keeps it, or says that it does not, and never leaves a tag that promises it where it is gone.
func TestTransparency(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	needFFmpeg(t)
	// The transparency wanders, so that no frame has that of another.
	source := func(more string) string {
		return " -f lavfi -i testsrc2=size=66x48:rate=25:duration=0.6,gblur=3,hue=s=0.5,format=gbrap16,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='65535*(X+2*N)/100'" + more + " "
	}
	const lossless = ",scale=flags=accurate_rnd"
	for _, c := range []struct {
		in, args, out string
		tolerance     float64 // of transparency, in levels of 255
		losses        []string
	}{
		{"in.webm", source("") + "-pix_fmt yuva420p -c:v libvpx-vp9 -crf 5 -b:v 0 -cpu-used 8", "out.webm", 5, nil},
		{"in.webm", source("") + "-pix_fmt yuva420p -c:v libvpx -auto-alt-ref 0 -crf 4 -b:v 4M", "out.mkv", 8, nil},
		{"odd.mkv", source(lossless+",format=gbrap,crop=65:47") + "-pix_fmt yuva420p -c:v libvpx-vp9 -crf 5 -b:v 0 -cpu-used 8", "out.mov", 5, nil},
		{"in.mov", source("") + "-c:v prores_ks -profile:v 4444 -alpha_bits 16 -pix_fmt yuva444p10le", "out.mov", 1, []string{"2 of 12 bits a sample"}},
		{"in.mov", source("") + "-c:v png -pix_fmt rgba64be", "out.mov", 1, []string{"6 of 16 bits a sample"}},
		{"in.mov", source("") + "-c:v qtrle -pix_fmt argb", "out.webm", 4, []string{"colour at every pixel"}},
		{"in.mkv", source("") + "-c:v ffv1 -pix_fmt yuva420p10le", "out.mkv", 4, []string{"2 of 10 bits a sample"}},
	} {
		t.Run(c.in+" "+c.args[strings.LastIndex(c.args, "-c:v"):]+" to "+c.out, func(t *testing.T) {
			t.Parallel()
			v := probed(t, ffmpeg(t, c.in, c.args))
			out := filepath.Join(t.TempDir(), c.out)
			require.NoError(t, v.Check(t.Context(), out))
			var read []*photo.Photo
			require.NoError(t, v.Transform(t.Context(), out, func(i int, p *photo.Photo) (*photo.Photo, error) {
				for k, alpha := range p.Alpha {
					want := 255 * float64(k%v.Width+2*i) / 100
					require.InDelta(t, min(want, 255), float64(alpha)*255/float64(p.Max), c.tolerance)
				}
				read = append(read, p)
				return p, nil
			}))
			require.Len(t, read, 15)
			require.Equal(t, c.losses, v.Losses(out))
			w := probed(t, out)
			sameTimes(t, lookAt(t, v.Path).times(t, 0), lookAt(t, out).times(t, 0), 0)
			for i, p := range pictures(t, w, out) {
				white := float64(p.Max) / float64(read[i].Max)
				require.Len(t, p.Alpha, v.Width*v.Height)
				for k, alpha := range p.Alpha {
					require.InDelta(t, float64(read[i].Alpha[k]), float64(alpha)/white, c.tolerance*float64(read[i].Max)/255)
				}
				for k := range p.Pix {
					p.Pix[k] = uint16(float64(p.Pix[k]) / white)
				}
				p.Max = read[i].Max
				require.Greater(t, psnr(t, read[i], p), 30.0)
			}
			tags := lookAt(t, out).Streams[0].Tags
			if !strings.HasSuffix(out, ".mov") {
				require.Equal(t, "1", tags["alpha_mode"])
			}
			require.NotContains(t, tags, "ALPHA_MODE")
		})
	}

	in := filepath.Join("testdata", "vp9-alpha.webm")
	for _, unseen := range []bool{false, true} {
		v := probed(t, in)
		require.Equal(t, "libvpx-vp9", v.decoder)
		outputs := []string{"out.mp4"}
		if unseen { // as by an ffmpeg without libvpx
			v.alpha, v.decoder, v.unseen = false, "", v.decoder
			outputs = []string{"out.mp4", "out.mkv", "out.webm"}
		}
		for _, name := range outputs {
			out := filepath.Join(t.TempDir(), name)
			require.NoError(t, v.Transform(t.Context(), out, same))
			require.Contains(t, strings.Join(v.Losses(out), ", "), "transparency (")
			for key := range lookAt(t, out).Streams[0].Tags {
				require.NotEqual(t, "alpha_mode", strings.ToLower(key), name)
			}
			require.False(t, probed(t, out).alpha)
		}
	}

	v := probed(t, in)
	err := v.Transform(t.Context(), filepath.Join(t.TempDir(), "x.webm"), func(_ int, p *photo.Photo) (*photo.Photo, error) {
		q := *p
		q.Alpha = nil
		return &q, nil
	})
	require.ErrorContains(t, err, "frame 1: it came back in another size, or as another kind of photo")
}

// TestTagsOfCoding drops what was true of the old encoding alone, and keeps what is still true.
func TestTagsOfCoding(t *testing.T) {
	t.Parallel()
	in := ffmpeg(t, "in.mkv", soft+h264+"-metadata:s:v ALPHA_MODE=1 -metadata:s:v BPS=12345 -metadata:s:v NUMBER_OF_BYTES-eng=77 -metadata:s:v _STATISTICS_TAGS=BPS"+
		" -metadata:s:v ENCODER=oldie -metadata:s:v title=Mine -metadata:s:v stereo_mode=left_right")
	v := probed(t, in)
	out := filepath.Join(t.TempDir(), "out.mkv")
	require.NoError(t, v.Transform(t.Context(), out, same))
	tags := lookAt(t, out).Streams[0].Tags
	require.Equal(t, [2]string{"Mine", "left_right"}, [2]string{tags["title"], tags["stereo_mode"]})
	require.Contains(t, tags["ENCODER"], "libx264")
	for _, key := range []string{"ALPHA_MODE", "alpha_mode", "BPS", "NUMBER_OF_BYTES-eng", "_STATISTICS_TAGS"} {
		require.NotContains(t, tags, key)
	}
	require.Empty(t, v.Losses(out))
	require.Equal(t, []string{"Stereo 3D"}, v.Losses("out.mp4"))
	v = probed(t, ffmpeg(t, "in.mkv", soft+h264+"-metadata:s:v stereo_mode=block_lr"))
	require.ErrorContains(t, v.Check(t.Context(), "x.webm"), "x.webm: .webm files cannot hold all that is in "+v.Path+" (The specified stereo mode")
}

func TestLosses(t *testing.T) {
	v := Info{Depth: 12, alpha: true, stream: stream{ColorTransfer: "smpte2084", FieldOrder: "tb"}, others: []stream{
		{Index: 1, Kind: "audio", Codec: "aac"}, {Index: 2, Kind: "data", Tag: "gpmd"}, {Index: 3, Kind: "data", Tag: "tmcd"},
		{Index: 4, Kind: "video", Codec: "png", Disposition: map[string]int{"attached_pic": 1}}, {Index: 5, Kind: "video", Codec: "h264"},
	}}
	require.Equal(t, []string{"transparency (.mov, .mkv and .webm keep it)", "2 of 12 bits a sample", "HDR10 metadata", "stream 2 (data)", "stream 5 (video h264)"}, v.Losses("x.mp4"))
	require.Contains(t, v.Losses("x.mkv"), "stream 4 (video png)")
	require.True(t, v.Interlaced())
	v = Info{Depth: 12, alpha: true, chroma: "444", stream: stream{Captions: 1}}
	require.Equal(t, []string{"2 of 12 bits a sample", "closed captions"}, v.Losses("x.mov"))
	require.Equal(t, []string{"colour at every pixel", "4 of 12 bits a sample", "closed captions"}, v.Losses("x.mkv"))
	v = Info{Depth: 8, stream: stream{FieldOrder: "progressive"}}
	require.Empty(t, v.Losses("x.mkv"))
	require.False(t, v.Interlaced())
}
