package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/hidiff/synth"
	"hidiff/trainer/dataset"
)

// synthCommand runs synth alone, with the exit codes of the program.
func synthCommand(ctx context.Context, args ...string) result {
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &messages{w: &stderr}}
	c := newSynthCommand(a, a.synth)
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetFlagErrorFunc(flagError)
	err := c.ExecuteContext(ctx)
	code := exitOK
	var usage *usageError
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		code = exitInterrupted
	case errors.As(err, &usage):
		code = exitUsage
		fmt.Fprintln(&stderr, err)
	default:
		code = exitFailed
		fmt.Fprintln(&stderr, err)
	}
	return result{code, stdout.String(), stderr.String()}
}

// street is a photo with detail.
func street(width, height int) *photo.Photo {
	p := picture(width, height)
	for i := range p.Pix {
		p.Pix[i] = uint16((i/3%width/5*83 + i/3/width/4*131 + i%3*17) % 256)
	}
	return p
}

func TestSynthMakesWhatTrainingReads(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "sharp/b.png", street(140, 120))
	write(t, "sharp/sub/a.png", street(120, 150))
	r := synthCommand(t.Context(), "sharp", "-r", "-o", "out", "--crop", "64", "--strength", "3:10", "--per-photo", "2", "-j", "1")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Empty(t, r.stdout)
	said := lines(r.stderr)
	require.Equal(t, []string{"[1/2] sharp/b.png: 2 pairs", "[2/2] sharp/sub/a.png: 2 pairs"}, said[:2])
	require.Regexp(t, `^made 4 pairs \([0-9.]+ s\)$`, said[2])
	require.Equal(t, []string{
		"input/b_000.png", "input/b_001.png", "input/sub/a_000.png", "input/sub/a_001.png", "manifest.jsonl", "synth.json",
		"target/b_000.png", "target/b_001.png", "target/sub/a_000.png", "target/sub/a_001.png",
	}, files(t, "out"))

	d, err := dataset.Open(t.Context(), dataset.Options{DatarootLQ: "out/input", DatarootGT: "out/target", GTSize: 64})
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, 4, d.Len())
	pair, err := d.Pair(0)
	require.NoError(t, err)
	require.NotEqual(t, pair.LQ.Pix, pair.GT.Pix)

	// Again: nothing to do. With more per photo: the rest. Otherwise: no.
	same := []string{"sharp", "-r", "-o", "out", "--crop", "64", "--strength", "3:10"}
	r = synthCommand(t.Context(), append(same, "--per-photo", "3")...)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "sharp/b.png: 1 pair, 2 were there\n")
	r = synthCommand(t.Context(), append(same, "--seed", "9", "--noise", "2")...)
	require.Equal(t, exitFailed, r.code)
	require.Equal(t, "out was made with noise 0:3, not 2; seed 0, not 9: give the same options, or another folder\n", r.stderr)
}

func TestSynthGoesOnAfterBadPhotos(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "sharp/good.png", street(140, 120))
	write(t, "sharp/small.png", street(60, 60))
	writeText(t, "sharp/broken.jpg", "no photo")
	r := synthCommand(t.Context(), "sharp", "gone", "-o", "out", "--crop", "64", "--strength", "3:10", "--json")
	require.Equal(t, exitFailed, r.code)
	var events []synthEvent
	all := lines(r.stdout)
	for _, line := range all[:len(all)-1] {
		var e synthEvent
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		events = append(events, e)
	}
	require.Len(t, events, 4)
	failed := map[string]string{}
	for _, e := range events {
		if e.Event == synth.Done {
			require.Equal(t, filepath.Join("sharp", "good.png"), e.Source)
			require.Equal(t, "good_000", e.Pair.Name)
			continue
		}
		failed[filepath.Base(e.Source)] = e.Error
	}
	require.Contains(t, failed["small.png"], "60×60 pixels are too few: crop, strength and downscale ask for 80×80")
	require.Contains(t, failed["broken.jpg"], "broken.jpg")
	require.Contains(t, failed["gone"], "gone: there is no such file or folder")
	var sum synthSummary
	require.NoError(t, json.Unmarshal([]byte(all[len(all)-1]), &sum))
	sum.Seconds = 0
	require.Equal(t, synthSummary{Event: "summary", Pairs: 4, Made: 1, Failed: 3}, sum)

	r = synthCommand(t.Context(), "sharp", "-o", "out", "--crop", "64", "--strength", "3:10")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "made 0 pairs, 1 were there, 2 failed")

	require.NoError(t, os.Mkdir("empty", 0o777))
	r = synthCommand(t.Context(), "empty", "-o", "out2")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "empty: the folder holds no photo")
	_, err := os.Stat("out2")
	require.True(t, os.IsNotExist(err))
}

func TestSynthSearchesNotItsOwnOutput(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.png", street(140, 120))
	for range 2 {
		r := synthCommand(t.Context(), ".", "-r", "-o", "out", "--crop", "64", "--strength", "3")
		require.Equal(t, exitOK, r.code, r.stderr)
	}
	require.Len(t, files(t, "out"), 4)
}

func TestSynthInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.png", street(140, 120))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := synthCommand(ctx, "a.png", "-o", "out", "--crop", "64", "--strength", "3")
	require.Equal(t, exitInterrupted, r.code)
	require.Equal(t, []string{"manifest.jsonl", "synth.json"}, files(t, "out"))
}

func TestSynthParses(t *testing.T) {
	var got *synthOptions
	c := newSynthCommand(&app{}, func(_ context.Context, o *synthOptions) error {
		got = o
		return nil
	})
	c.SetArgs([]string{
		"-i", "x", "y", "-o", "z", "-r", "--crop", "0", "--per-photo", "7", "--detail", "1.5", "--strength", "5", "--sharp", "0.5", "--focal", "1:3", "--downscale", "2",
		"--highlights", "1", "--defocus", "0:2", "--noise", "1:2.5", "--jpeg", "70:100", "--seed", "3", "-j", "2", "--json",
		"--objects", "0:3", "--object-strength", "4:9", "--nearness", "1:2", "--tripod", "0.1", "--average", "5:9", "--duty", "0.5:1", "--curve", "0.25", "--shrink", "1.5",
	})
	require.NoError(t, c.Execute())
	require.Equal(t, &synthOptions{
		Inputs: []string{"x", "y"}, Output: "z", Recursive: true, PerPhoto: 7, Workers: 2, JSON: true,
		Pairs: synth.Options{
			Seed: 3, Detail: 1.5, Strength: synth.Range{Min: 5, Max: 5}, Sharp: 0.5, Focal: synth.Range{Min: 1, Max: 3}, Downscale: synth.Range{Min: 2, Max: 2},
			Highlights: synth.Range{Min: 1, Max: 1}, Defocus: synth.Range{Max: 2}, Noise: synth.Range{Min: 1, Max: 2.5}, JPEG: synth.Range{Min: 70, Max: 100},
			Objects: synth.Range{Max: 3}, ObjectStrength: synth.Range{Min: 4, Max: 9}, Nearness: synth.Range{Min: 1, Max: 2}, Tripod: 0.1,
			Average: synth.Range{Min: 5, Max: 9}, Duty: synth.Range{Min: 0.5, Max: 1}, Curve: 0.25, Shrink: synth.Range{Min: 1.5, Max: 1.5},
		},
	}, got)
	for line, want := range map[string]string{
		"":                         "no photo to make pairs of",
		"a -o z - ":                "standard input",
		"a":                        "name it with -o",
		"a -o z --per-photo 0":     "--per-photo 0 must be at least 1",
		"a -o z -j -1":             "-j -1 is not from 1 to 256",
		"a -o z --strength 9:3":    "--strength 9:3: write MIN:MAX or one number, from 0 to 256",
		"a -o z --strength strong": "--strength strong: this is no range: write MIN:MAX or one number",
		"a -o z --crop 8":          "--crop 8 must be at least 32, or 0 for whole photos",
		"a -o z --jpg 9":           "did you mean --jpeg?",
	} {
		r := synthCommand(t.Context(), strings.Fields(line)...)
		require.Equal(t, exitUsage, r.code, line)
		require.Contains(t, r.stderr, want, line)
	}
}
