package video

import (
	"encoding/json"
	"math"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/testenv"
)

func needFFmpeg(t *testing.T) {
	t.Helper()
	testenv.Program(t, "FFMPEG", "ffmpeg")
	testenv.Program(t, "FFMPEG", "ffprobe")
}

// ffmpeg makes a video of a few arguments, and returns its path.
func ffmpeg(t *testing.T, name, args string) string {
	t.Helper()
	needFFmpeg(t)
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("ffmpeg", append(append([]string{"-nostdin", "-v", "error"}, strings.Fields(args)...), path)...).CombinedOutput()
	require.NoError(t, err, "%s: %s", args, out)
	return path
}

// look is all of a file that is to stay, as ffprobe sees it.
type look struct {
	Streams []struct {
		stream
		RealTimeBase string `json:"time_base"`
		Tags         map[string]string
	}
	Packets []struct {
		Stream int    `json:"stream_index"`
		Time   int64  `json:"pts"`
		Hash   string `json:"data_hash"`
	}
	Chapters []struct {
		Start string `json:"start_time"`
		End   string `json:"end_time"`
		Tags  map[string]string
	}
	Format struct{ Tags map[string]string }
}

func lookAt(t *testing.T, path string) (l look) {
	t.Helper()
	text, err := exec.Command("ffprobe", "-v", "error", "-show_streams", "-show_format", "-show_chapters",
		"-show_packets", "-show_data_hash", "md5", "-of", "json", path).Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &l))
	return l
}

// times returns when the packets of a stream are shown, in exact seconds, in order of time.
func (l look) times(t *testing.T, stream int) (out []*big.Rat) {
	t.Helper()
	base, ok := new(big.Rat).SetString(l.Streams[stream].RealTimeBase)
	require.True(t, ok)
	for _, p := range l.Packets {
		if p.Stream != stream {
			continue
		}
		out = append(out, new(big.Rat).Mul(new(big.Rat).SetInt64(p.Time), base))
		for i := len(out) - 1; i > 0 && out[i].Cmp(out[i-1]) < 0; i-- {
			out[i], out[i-1] = out[i-1], out[i]
		}
	}
	return out
}

// hashes returns those of a stream's packets.
func (l look) hashes(stream int) (out []string) {
	for _, p := range l.Packets {
		if p.Stream == stream {
			out = append(out, p.Hash)
		}
	}
	return out
}

// sameTimes compares times but for a tolerance in seconds, 0 for none.
func sameTimes(t *testing.T, want, got []*big.Rat, tolerance float64) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	for i := range want {
		apart, _ := new(big.Rat).Sub(want[i], got[i]).Float64()
		require.LessOrEqual(t, math.Abs(apart), tolerance, "%d: %s instead of %s", i, got[i], want[i])
	}
}

// probed is Probe, which must succeed.
func probed(t *testing.T, path string) *Info {
	t.Helper()
	v, err := Probe(t.Context(), path)
	require.NoError(t, err)
	return v
}

func same(_ int, p *photo.Photo) (*photo.Photo, error) { return p, nil }

// pictures decodes what became of a video.
func pictures(t *testing.T, of *Info, path string) (out []*photo.Photo) {
	t.Helper()
	v := *of
	v.Path = path
	if v.matrix == "" {
		v.matrix, v.stream.ColorRange = "bt709", "tv"
	}
	d, err := v.decode(t.Context())
	require.NoError(t, err)
	for range v.Times {
		p, err := d.next()
		require.NoError(t, err)
		out = append(out, p)
	}
	require.NoError(t, d.finish())
	return out
}

// psnr compares photos.
func psnr(t *testing.T, a, b *photo.Photo) float64 {
	t.Helper()
	require.Equal(t, [3]int{a.Width, a.Height, int(a.Max)}, [3]int{b.Width, b.Height, int(b.Max)})
	sum := 0.0
	for i := range a.Pix {
		d := (float64(a.Pix[i]) - float64(b.Pix[i])) / float64(a.Max)
		sum += d * d
	}
	return -10 * math.Log10(sum/float64(len(a.Pix))+1e-12)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
