package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/folder"
	"hidiff/internal/prepare"
)

// leftovers puts files of formats that are not read into a folder, in which a test works then.
func leftovers(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, path := range []string{"in/a.heic", "in/b.HEIC", "in/c.dng", "in/d.mp4", "in/sub/e.avif", "in/notes.txt", "phone/a.heic", "phone/b.heic", "phone/c.heic"} {
		writeText(t, path, "x")
	}
	write(t, "in/a.png", picture(4, 4))
	write(t, "in/noext.png", picture(4, 4))
	require.NoError(t, os.Rename("in/noext.png", "in/noext"))
}

// summaryOf decodes the last line of --json.
func summaryOf[T any](t *testing.T, stdout string) (s T) {
	t.Helper()
	all := lines(stdout)
	require.NoError(t, json.Unmarshal([]byte(all[len(all)-1]), &s))
	return s
}

func TestDeblurSaysWhatItPassesOver(t *testing.T) {
	leftovers(t)
	const flat = "passed over: 2 .heic, 1 .dng, 1 .mp4, 1 without extension"
	got := deblurFake(t, &fakeEngine{}, "in", "-o", "out")
	require.Equal(t, exitOK, got.code, got.stderr)
	all := lines(got.stderr)
	require.Equal(t, flat, all[len(all)-1])

	got = deblurFake(t, &fakeEngine{}, "in", "-r", "-o", "out2", "--json")
	require.Equal(t, folder.Kinds{".heic": 2, ".dng": 1, ".mp4": 1, ".avif": 1, folder.NoExtension: 1}, summaryOf[summary](t, got.stdout).PassedOver)
	require.Empty(t, got.stderr)

	got = deblurFake(t, &fakeEngine{}, "in", "--plan")
	require.Equal(t, flat+"\n", got.stderr)
	require.Len(t, lines(got.stdout), 1)
	got = deblurFake(t, &fakeEngine{}, "in", "--plan", "--json")
	require.Equal(t, 2, summaryOf[planPassedOver](t, got.stdout).PassedOver[".heic"])

	got = deblurFake(t, &fakeEngine{}, "in/[ab]*", "-o", "out3") // a video would be meant
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stderr, "passed over: 2 .heic\n")
	got = deblurFake(t, &fakeEngine{}, "in/a.png", "-o", "out4/", "--json")
	require.NotContains(t, got.stdout, "passed_over")
}

func TestFoldersOfNothingElse(t *testing.T) {
	leftovers(t)
	got := deblurFake(t, nil, "phone")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "error: phone: the folder holds no photo that hidiff reads (3 .heic) (its subfolders are searched with -r)\n")
	got = deblurFake(t, nil, "phone/*.heic", "--json")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stdout, "phone/*.heic: no photo or video that hidiff reads (3 .heic) matches")
	require.Equal(t, folder.Kinds{".heic": 3}, summaryOf[summary](t, got.stdout).PassedOver)

	require.NoError(t, os.Remove("in/a.png"))
	got = deblurFake(t, nil, "in")
	require.Contains(t, got.stderr, "in: the folder holds no photo that hidiff reads (2 .heic, 1 .dng, 1 without extension), and videos in folders are passed over: name them")

	got = synthCommand(t.Context(), "phone", "-o", "out")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "phone: the folder holds no photo that hidiff reads (3 .heic)")
	got = runEval(t, t.Context(), nil, "--input", "phone", "--target", "in", "-m", tiny)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "--input: the folder phone holds no photo that hidiff reads (3 .heic)")
	_, _, err := runPrepare(t.Context(), nil, "check", "--input", "phone", "--target", "phone")
	require.EqualError(t, err, "the folders phone and phone hold no photo that hidiff reads (6 .heic)")
}

func TestSynthSaysWhatItPassesOver(t *testing.T) {
	leftovers(t)
	write(t, "in/a.png", street(140, 120))
	got := synthCommand(t.Context(), "in", "-o", "out", "--crop", "64", "--strength", "3:10")
	require.Equal(t, exitOK, got.code, got.stderr)
	all := lines(got.stderr)
	require.Equal(t, "passed over: 2 .heic, 1 .dng, 1 .mp4, 1 without extension", all[len(all)-1])
	got = synthCommand(t.Context(), "in", "-o", "out", "--crop", "64", "--strength", "3:10", "--json")
	require.Equal(t, 2, summaryOf[synthSummary](t, got.stdout).PassedOver[".heic"])
}

func TestEvalSaysWhatItPassesOver(t *testing.T) {
	testSet(t)
	writeText(t, "Shots/test/input/9.heic", "x")
	writeText(t, "Shots/test/target/9.heic", "x")
	writeText(t, "Shots/test/target/9.nef", "x")
	got := runEval(t, t.Context(), &evalEngine{}, folders("-m", tiny)...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stderr, "passed over: 2 .heic, 1 .nef\n")
	got = runEval(t, t.Context(), &evalEngine{}, folders("-m", tiny, "--json")...)
	require.Equal(t, folder.Kinds{".heic": 2, ".nef": 1}, summaryOf[evalSummary](t, got.stdout).PassedOver)

	require.NoError(t, os.Remove("Shots/test/input/2.png")) // as if it were there, but as HEIC
	writeText(t, "Shots/test/input/2.heic", "x")
	got = runEval(t, t.Context(), nil, folders("-m", tiny)...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "lacks 1 of 4 photos")
	require.Contains(t, got.stderr, "passed over: 3 .heic, 1 .nef\n")
}

func TestPrepareSaysWhatItPassesOver(t *testing.T) {
	t.Chdir(t.TempDir())
	putPairs(t, "src/train", "s1/a.png", "b.png")
	writeText(t, "src/train/input/s1/c.heic", "x")
	writeText(t, "src/train/target/s1/c.dng", "x")
	stdout, _, err := runPrepare(t.Context(), nil, "check", "src")
	require.NoError(t, err)
	require.Contains(t, stdout, "no problems\npassed over: 1 .dng, 1 .heic\n")
	stdout, _, err = runPrepare(t.Context(), nil, "check", "src", "--json")
	require.NoError(t, err)
	require.Equal(t, map[string]int{".heic": 1, ".dng": 1}, summaryOf[prepare.Report](t, stdout).PassedOver)
	_, stderr, err := runPrepare(t.Context(), nil, "gopro", "src", "--crop", "4", "--stride", "2")
	require.NoError(t, err)
	require.Contains(t, stderr, "note: train: passed over: 1 .dng, 1 .heic\n")
}

func TestTrainSaysWhatItPassesOver(t *testing.T) {
	workshop(t)
	writeText(t, filepath.Join("input", "9.heic"), "x")
	r := train(t, "-opt", "s1.yml", "--force_yml", "train:total_iter=1")
	require.Contains(t, r.stderr, "train: passed over: 1 .heic")
	r = train(t, "-opt", "s1.yml", "--force_yml", "train:total_iter=1", "--restart", "--json")
	require.Contains(t, r.stdout, `{"event":"warning","message":"train: passed over: 1 .heic"}`)
}
