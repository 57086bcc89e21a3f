package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/prepare"
)

// runPrepare runs prepare; the exit code is not known before main, so the error is.
func runPrepare(ctx context.Context, screen io.Writer, args ...string) (stdout, stderr string, err error) {
	var out, messagesOut bytes.Buffer
	a := &app{stdout: &out, stderr: &messages{w: &messagesOut}, screen: screen}
	if screen != nil {
		a.stderr.w = io.MultiWriter(screen, &messagesOut)
	}
	c := newPrepareCommand(a, a.prepareGoPro, a.prepareCheck)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetFlagErrorFunc(flagError)
	c.SetOut(&out)
	c.SetArgs(args)
	err = c.ExecuteContext(ctx)
	return out.String(), messagesOut.String(), err
}

// putPairs writes pairs of photos of 8×8 pixels, all different, into folders input and target.
func putPairs(t *testing.T, dir string, names ...string) {
	t.Helper()
	for i, name := range names {
		for k, side := range []string{"input", "target"} {
			p := picture(8, 8)
			p.Pix[0] = uint16(2*i + k)
			write(t, filepath.Join(dir, side, name), p)
		}
	}
}

func TestPrepareOptions(t *testing.T) {
	var gopro *prepareGoProOptions
	var check *prepareCheckOptions
	parse := func(args string) {
		c := newPrepareCommand(&app{},
			func(_ context.Context, o *prepareGoProOptions) error { gopro = o; return nil },
			func(_ context.Context, o *prepareCheckOptions) error { check = o; return nil })
		c.SetArgs(strings.Fields(args))
		require.NoError(t, c.Execute())
	}
	parse("gopro GOPRO_Large")
	require.Equal(t, &prepareGoProOptions{Source: "GOPRO_Large", Output: "datasets/GoPro", Cutting: prepare.Cutting{Crop: 512, Stride: 256, Val: 256}}, gopro)
	parse("gopro -o out src --crop 64 --stride 32 --val-crop 16 -j 3 --json")
	require.Equal(t, &prepareGoProOptions{Source: "src", Output: "out", Cutting: prepare.Cutting{Crop: 64, Stride: 32, Val: 16}, Workers: 3, JSON: true}, gopro)
	parse("check a b --decode -j 2 --json")
	require.Equal(t, &prepareCheckOptions{Folders: []string{"a", "b"}, Decode: true, Workers: 2, JSON: true}, check)
	parse("check --input a --target b")
	require.Equal(t, &prepareCheckOptions{Folders: []string{}, Input: "a", Target: "b"}, check)
}

func TestPrepareUsage(t *testing.T) {
	for args, want := range map[string]string{
		"gopr":                               `there is no command "gopr" in prepare: did you mean gopro?`,
		"gopro":                              "give one folder",
		"gopro a b":                          "give one folder",
		"gopro a --output=":                  "-o is empty",
		"gopro a --crop 0":                   "--crop 0: it must be at least 1",
		"gopro a --stride 0":                 "--stride 0 is not from 1 to 512",
		"gopro a --crop 64":                  "--stride 256 is not from 1 to 64",
		"gopro a --val-crop -1":              "--val-crop -1: it must be at least 1",
		"gopro a -j -1":                      "-j -1 is not from 1 to 256",
		"gopro a -j many":                    "--jobs many: invalid syntax",
		"check":                              "no dataset to check",
		"check --input a":                    "--input and --target go together",
		"check a --input b --target c":       "not both",
		"check a -j 257":                     "-j 257 is not from 1 to 256",
		"check a --decod":                    "there is no option --decod: did you mean --decode?",
		"check --input a --target b --strid": "there is no option --strid",
	} {
		stdout, _, err := runPrepare(t.Context(), nil, strings.Fields(args)...)
		var usage *usageError
		require.ErrorAs(t, err, &usage, args)
		require.ErrorContains(t, err, want)
		require.Empty(t, stdout)
	}
	stdout, _, err := runPrepare(t.Context(), nil)
	require.NoError(t, err)
	require.Contains(t, stdout, "gopro")
}

func TestPrepareGoPro(t *testing.T) {
	t.Chdir(t.TempDir())
	putPairs(t, "src/train", "a.png", "b.png")
	putPairs(t, "src/test", "c.png")
	args := strings.Fields("gopro src --crop 4 --stride 2 --val-crop 4 -j 1")
	stdout, stderr, err := runPrepare(t.Context(), nil, args...)
	require.NoError(t, err)
	require.Equal(t, "train: 18 of 18 crops in datasets/GoPro/crop/train: 18 written\nval: 1 of 1 crops in datasets/GoPro/crop/val: 1 written\n", stdout)
	require.Equal(t, []string{
		"train: input src/train/input, target src/train/target: 2 pairs",
		"val: input src/test/input, target src/test/target: 1 pair",
		"note: train: GoPro has 2103 pairs, here are 2", "note: val: GoPro has 1111 pairs, here are 1",
	}, lines(stderr))
	require.Len(t, files(t, "datasets/GoPro/crop"), 1+2*(18+1))

	require.NoError(t, os.Remove("datasets/GoPro/crop/train/input_crops/a-9.png"))
	stdout, _, err = runPrepare(t.Context(), nil, append(args, "--json")...)
	require.NoError(t, err)
	var work prepare.Work
	require.NoError(t, json.Unmarshal([]byte(stdout), &work))
	require.Equal(t, &prepare.Split{
		Name: "train", Input: "src/train/input", Target: "src/train/target", Pairs: 2, Output: "datasets/GoPro/crop/train", Crops: 18, Written: 1, Kept: 17,
	}, work.Splits[0])
	require.Contains(t, stdout, `"problems":[]`)
}

func TestPrepareGoProProblems(t *testing.T) {
	t.Chdir(t.TempDir())
	putPairs(t, "src/train", "a.png", "b.png")
	write(t, "src/train/input/c.png", picture(8, 8))
	small := strings.Fields("gopro src --crop 4 --stride 2 --val-crop 4")
	stdout, _, err := runPrepare(t.Context(), nil, small...)
	require.EqualError(t, err, "src: 1 problem; nothing was written\n"+
		"photos without a partner (1): add the partners, or remove these photos\n"+
		"  src/train/input/c.png has no partner in src/train/target")
	require.Empty(t, stdout)
	require.NoDirExists(t, "datasets")
	stdout, _, err = runPrepare(t.Context(), nil, append(small, "--json")...)
	require.Error(t, err)
	require.Contains(t, stdout, `"problems":[{"kind":"missing","files":["src/train/input/c.png"],"message":"src/train/input/c.png has no`)

	require.NoError(t, os.Remove("src/train/input/c.png"))
	require.NoError(t, os.Truncate("src/train/input/b.png", 80)) // of which the header is there
	stdout, _, err = runPrepare(t.Context(), nil, small...)
	require.ErrorContains(t, err, "src: 1 problem; their crops are lacking: run this again after repair\nphotos that cannot be read (1)")
	require.Equal(t, "train: 9 of 18 crops in datasets/GoPro/crop/train: 9 written\n", stdout)

	_, _, err = runPrepare(t.Context(), nil, "gopro", "none")
	require.EqualError(t, err, "none: there is no such folder")
}

func TestPrepareInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	putPairs(t, "src/train", "a.png", "b.png")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("Ctrl-C"))
	for _, args := range []string{"gopro src --crop 4 --stride 2", "check src"} {
		_, _, err := runPrepare(ctx, nil, strings.Fields(args)...)
		require.Equal(t, ctx.Err(), err)
	}
	require.NoDirExists(t, "datasets")
}

func TestPrepareCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	putPairs(t, "src/train", "a.png", "b.png")
	putPairs(t, "src/test", "c.png")
	stdout, stderr, err := runPrepare(t.Context(), nil, "check", "src", "--decode", "-j", "1")
	require.NoError(t, err)
	require.Equal(t, `input:  src/test/input
target: src/test/target
pairs:  1
size:   8×8 (2 photos)
depth:  8 bits (2 photos)
colour: colour (2 photos)
no problems

input:  src/train/input
target: src/train/target
pairs:  2
size:   8×8 (4 photos)
depth:  8 bits (4 photos)
colour: colour (4 photos)
no problems
`, stdout)
	require.Empty(t, stderr)

	grey := &photo.Photo{Width: 9, Height: 8, Channels: 1, Max: 65535, Pix: make([]uint16, 72)}
	write(t, "src/train/target/b.png", grey)
	stdout, _, err = runPrepare(t.Context(), nil, "check", "--input", "src/train/input", "--target", "src/train/target")
	require.EqualError(t, err, "2 problems in 1 dataset")
	require.Equal(t, `input:  src/train/input
target: src/train/target
pairs:  2
sizes:  smallest 8×8 (3 photos), largest 9×8 (1 photo), most common 8×8 (3 photos)
depth:  16 bits (1 photo), 8 bits (3 photos)
colour: colour (3 photos), grey (1 photo)
pairs of two sizes (1): replace or remove the pairs
  src/train/input/b.png is 8×8, src/train/target/b.png is 9×8
pairs of 8 and 16 bits a sample (1): convert one of each
  src/train/input/b.png has 8 bits, src/train/target/b.png has 16 bits
`, stdout)

	stdout, _, err = runPrepare(t.Context(), nil, "check", "src/test", "src/train", "--json")
	require.EqualError(t, err, "2 problems in 2 datasets")
	var reports [2]prepare.Report
	for i, line := range lines(stdout) {
		require.NoError(t, json.Unmarshal([]byte(line), &reports[i]))
	}
	require.Equal(t, []prepare.Problem{}, reports[0].Problems)
	require.Len(t, reports[1].Problems, 2)

	for args, want := range map[string]string{
		"check src/train/input":                 "src/train/input holds no pair of folders called input and target, ",
		"check none":                            "none: there is no such folder",
		"check --input src/train --target none": "none: there is no such folder",
	} {
		_, _, err := runPrepare(t.Context(), nil, strings.Fields(args)...)
		require.ErrorContains(t, err, want)
	}
}

func TestPrepareSteps(t *testing.T) {
	var out bytes.Buffer
	s := &steps{out: &messages{w: &out}}
	s.items("cutting", 1, 9)
	s.items("cutting", 2, 9)
	s.last = s.last.Add(-11 * time.Second)
	s.items("cutting", 3, 9)
	s.items("cutting", 4, 9)
	s.last = s.last.Add(-11 * time.Second)
	s.items("folding", 1, 2)
	s.close()
	require.Equal(t, "cutting: 3 of 9\n", out.String())
}

// TestPrepareBar runs as on a terminal: messages go on after the bar, and no line is spent on progress.
func TestPrepareBar(t *testing.T) {
	t.Chdir(t.TempDir())
	putPairs(t, "src/train", "a.png", "b.png", "c.png")
	var screen bytes.Buffer
	stdout, stderr, err := runPrepare(t.Context(), &screen, "gopro", "src", "--crop", "4", "--stride", "2")
	require.NoError(t, err)
	require.Contains(t, stdout, "train: 27 of 27 crops")
	require.Contains(t, screen.String(), "train: input src/train/input")
	require.NotContains(t, stderr, "cutting")
}
