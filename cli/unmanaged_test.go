package cli

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/prepare"
)

// writeInks makes a TIFF of four inks whose ICC profile is a single byte.
func writeInks(t *testing.T, path string, width, height int) {
	t.Helper()
	le := binary.LittleEndian
	const entries = 10
	after := uint32(8 + 2 + 12*entries + 4)
	data := le.AppendUint16([]byte("II*\x00\x08\x00\x00\x00"), entries)
	for _, e := range [entries][4]uint32{ // tag, kind, count, value
		{256, 4, 1, uint32(width)},
		{257, 4, 1, uint32(height)},
		{258, 3, 4, after}, // bits
		{259, 3, 1, 1},     // not compressed
		{262, 3, 1, 5},     // inks
		{273, 4, 1, after + 8},
		{277, 3, 1, 4},
		{278, 4, 1, uint32(height)},
		{279, 4, 1, uint32(4 * width * height)},
		{34675, 7, 1, 0}, // the profile
	} {
		data = le.AppendUint16(le.AppendUint16(data, uint16(e[0])), uint16(e[1]))
		data = le.AppendUint32(le.AppendUint32(data, e[2]), e[3])
	}
	data = append(data, 0, 0, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0)
	for i := range width * height {
		data = append(data, byte(i%width/5*83), byte(i/width/4*131), byte(i%7*len(path)), 0)
	}
	writeText(t, path, string(data))
}

const offColours = ": the ICC profile of its inks cannot be read, so colours will be off: convert it to sRGB first"

func TestSynthWarnsOfUnmanagedInks(t *testing.T) {
	t.Chdir(t.TempDir())
	writeInks(t, "in/a.tif", 140, 120)
	write(t, "in/b.png", street(140, 120))
	args := []string{"in", "-o", "out", "--crop", "64", "--strength", "3:10", "--per-photo", "2"}
	got := synthCommand(t.Context(), args...)
	require.Equal(t, exitOK, got.code, got.stderr)
	path := filepath.Join("in", "a.tif")
	require.Equal(t, 1, timesIn(lines(got.stderr), "warning: "+path+offColours), got.stderr)
	require.Contains(t, got.stderr, "made 4 pairs")
	require.NotContains(t, got.stderr, "b.png"+offColours)

	args[2] = "again"
	got = synthCommand(t.Context(), append(args, "--json")...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, `{"event":"warning","source":"in/a.tif","pairs":0,"message":"in/a.tif`+offColours+`"}`)
	require.Equal(t, 4, summaryOf[synthSummary](t, got.stdout).Made)
}

func TestPrepareWarnsOfUnmanagedInks(t *testing.T) {
	t.Chdir(t.TempDir())
	putPairs(t, "src/train", "a.png", "b.png")
	for _, side := range []string{"input", "target"} {
		writeInks(t, filepath.Join("src", "train", side, "c.tif"), 8, 8)
	}
	input, target := filepath.Join("src", "train", "input", "c.tif"), filepath.Join("src", "train", "target", "c.tif")
	const both = "the ICC profiles of the inks of 2 photos cannot be read, so colours will be off: convert them to sRGB first: "
	for _, decode := range []string{"--decode=false", "--decode"} {
		stdout, _, err := runPrepare(t.Context(), nil, "check", "src", decode, "--json")
		require.NoError(t, err, stdout)
		require.Equal(t, []string{input, target}, summaryOf[prepare.Report](t, stdout).Unmanaged, decode)
	}
	stdout, _, err := runPrepare(t.Context(), nil, "check", "src")
	require.NoError(t, err)
	require.Contains(t, stdout, "no problems\nwarning: "+both+input+", "+target+"\n")
	_, stderr, err := runPrepare(t.Context(), nil, "gopro", "src", "--crop", "4", "--stride", "2")
	require.NoError(t, err)
	require.Contains(t, stderr, "note: train: "+both+input+", "+target+"\n")
}

func TestTrainAndEvalWarnOfUnmanagedInks(t *testing.T) {
	workshop(t)
	require.NoError(t, os.Remove(filepath.Join("input", "0.png")))
	writeInks(t, filepath.Join("input", "0.tif"), 64, 64)
	warning := filepath.Join("input", "0.tif") + offColours
	r := train(t, "-opt", "s1.yml", "--force_yml", "train:total_iter=1", "--json")
	require.Contains(t, r.stdout, `{"event":"warning","message":"train: `+warning+`"}`)
	log, err := filepath.Glob("experiments/tiny_S1/*.log")
	require.NoError(t, err)
	require.Len(t, log, 1)
	text, err := os.ReadFile(log[0])
	require.NoError(t, err)
	require.Contains(t, string(text), "WARNING: train: "+warning)

	got := runEval(t, t.Context(), &evalEngine{}, "--input", "input", "--target", "target", "-m", tiny)
	require.Contains(t, got.stderr, "warning: "+warning+"\n")
}

func timesIn(all []string, line string) (n int) {
	for _, l := range all {
		if l == line {
			n++
		}
	}
	return n
}
