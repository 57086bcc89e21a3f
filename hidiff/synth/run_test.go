package synth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// album saves three photos, one of them in a subfolder.
func album(t *testing.T) []Source {
	t.Helper()
	dir := t.TempDir()
	var sources []Source
	for i, name := range []string{"b.png", "a.jpg", "sub/c.png"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		save(t, path, town(140, 120, uint64(i)))
		sources = append(sources, Source{path, name})
	}
	return sources
}

func small() Options {
	o := Defaults()
	o.Crop, o.Strength, o.JPEG = 48, Range{2, 12}, Range{50, 90}
	return o
}

// runAll runs and counts the pairs of each kind of event.
func runAll(t *testing.T, o RunOptions) (map[EventKind]int, []Event) {
	t.Helper()
	counts, events := map[EventKind]int{}, []Event{}
	o.Report = func(e Event) {
		counts[e.Kind] += e.Pairs
		events = append(events, e)
	}
	require.NoError(t, Run(t.Context(), o))
	return counts, events
}

func manifest(t *testing.T, dir string) (pairs []Pair) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	require.NoError(t, err)
	for line := range bytes.Lines(text) {
		var p Pair
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&p))
		pairs = append(pairs, p)
	}
	return pairs
}

func TestRunMakesTheSameWithAnyWorkersInAnyOrder(t *testing.T) {
	sources := album(t)
	one, many := filepath.Join(t.TempDir(), "out"), t.TempDir()
	counts, _ := runAll(t, RunOptions{Options: small(), Sources: sources, PerPhoto: 3, Output: one, Workers: 1})
	require.Equal(t, map[EventKind]int{Done: 9}, counts)
	slices.Reverse(sources)
	runAll(t, RunOptions{Options: small(), Sources: sources, PerPhoto: 2, Output: many, Workers: 5})
	runAll(t, RunOptions{Options: small(), Sources: sources[1:], PerPhoto: 3, Output: many, Workers: 2})
	runAll(t, RunOptions{Options: small(), Sources: sources, PerPhoto: 3, Output: many})
	files := contents(t, one)
	require.Equal(t, files, contents(t, many))
	require.Len(t, files, 2*9+2)
	require.Contains(t, files, "input/sub/c_002.png")
	require.Contains(t, files, "target/a_000.png")
}

func TestManifestSaysHowPairsWereMade(t *testing.T) {
	sources, out := album(t), t.TempDir()
	runAll(t, RunOptions{Options: small(), Sources: sources, PerPhoto: 2, Output: out})
	pairs := manifest(t, out)
	require.Len(t, pairs, 6)
	require.True(t, slices.IsSortedFunc(pairs, func(a, b Pair) int { return strings.Compare(a.Name, b.Name) }))
	for _, p := range pairs {
		i := slices.IndexFunc(sources, func(s Source) bool { return s.Name == p.Source })
		sharp, err := photo.Open(sources[i].Path)
		require.NoError(t, err)
		again, err := small().Make(t.Context(), sharp, p.Source, p.Index)
		require.NoError(t, err)
		for file, want := range map[string]*photo.Photo{"input": again.Input, "target": again.Target} {
			got, err := photo.Open(p.file(out, file))
			require.NoError(t, err)
			require.Equal(t, want.Pix, got.Pix)
		}
		info, err := os.Stat(sources[i].Path)
		require.NoError(t, err)
		again.SourceBytes, again.Input, again.Target = info.Size(), nil, nil
		require.Equal(t, *again, p)
	}
}

func TestRunGoesOn(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t), PerPhoto: 2, Output: t.TempDir()}
	runAll(t, o)
	whole := contents(t, o.Output)
	counts, _ := runAll(t, o)
	require.Equal(t, map[EventKind]int{Skipped: 6}, counts)

	// A killed run: a file is missing, one is listed but not there, and the last line is half.
	require.NoError(t, os.Remove(filepath.Join(o.Output, "input", "a_001.png")))
	require.NoError(t, os.WriteFile(filepath.Join(o.Output, "target", "b_000.png"), []byte("other"), 0o666))
	list := filepath.Join(o.Output, manifestFile)
	lines := slices.Collect(strings.Lines(whole[manifestFile]))
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, `"b_000"`) })
	last := lines[len(lines)-1]
	lines[len(lines)-1] = last[:len(last)/2]
	require.NoError(t, os.WriteFile(list, []byte(strings.Join(lines, "")), 0o666))
	counts, events := runAll(t, o)
	require.Equal(t, map[EventKind]int{Skipped: 3, Done: 3}, counts)
	for _, e := range events {
		if e.Kind == Done {
			require.Contains(t, []string{"a_001", "b_000", "sub/c_001"}, e.Pair.Name)
			require.Nil(t, e.Pair.Input)
		}
	}
	require.Equal(t, whole, contents(t, o.Output))

	require.NoError(t, os.WriteFile(list, []byte("{}\nnonsense\n"), 0o666))
	require.ErrorContains(t, Run(t.Context(), o), "line 1 describes no pair")
}

func TestOtherFoldersAreRefused(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t)[:1], Output: t.TempDir()}
	runAll(t, o)
	before := contents(t, o.Output)
	other := o
	other.Strength, other.Seed = Range{1, 12}, 8
	err := Run(t.Context(), other)
	require.ErrorContains(t, err, "was made with seed 0, not 8; strength 2:12, not 1:12: give the same options, or another folder")

	// Another photo of the same name.
	other = o
	other.Sources = []Source{{filepath.Join(t.TempDir(), "b.png"), "b.png"}}
	save(t, other.Sources[0].Path, town(141, 120, 1))
	counts, events := runAll(t, other)
	require.Equal(t, map[EventKind]int{Failed: 1}, counts)
	require.ErrorContains(t, events[0].Err, "b_000 was made from another photo")
	require.Equal(t, before, contents(t, o.Output))

	require.NoError(t, os.WriteFile(filepath.Join(o.Output, optionsFile), []byte(`{"version":0}`), 0o666))
	require.ErrorContains(t, Run(t.Context(), o), "another version")
	require.NoError(t, os.WriteFile(filepath.Join(o.Output, optionsFile), []byte(`{`), 0o666))
	require.ErrorContains(t, Run(t.Context(), o), "damaged")
	require.NoError(t, os.Remove(filepath.Join(o.Output, optionsFile)))
	require.ErrorContains(t, Run(t.Context(), o), "no synth.json beside it")
	o.Output = o.Sources[0].Path
	require.Error(t, Run(t.Context(), o))
}

// TestRefusedPhotosDoNotStopTheOthers: a second photo of a name, and names that are too long, fail alone, before the others begin.
func TestRefusedPhotosDoNotStopTheOthers(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t), PerPhoto: 2, Output: t.TempDir(), Workers: 3}
	photo := o.Sources[0].Path
	long := strings.Repeat("x", 248)  // with _001.png, 256
	legal := strings.Repeat("y", 247) // 255
	o.Sources = append(o.Sources, Source{"x/a.png", "a.png"}, Source{photo, long + ".png"}, Source{photo, "deep/" + legal + ".png"})
	counts, events := runAll(t, o)
	require.Equal(t, map[EventKind]int{Done: 8, Failed: 4}, counts)
	require.ErrorContains(t, events[0].Err, o.Sources[1].Path+" and x/a.png would both become a_000")
	require.ErrorContains(t, events[1].Err, "choose a shorter name")
	require.Equal(t, long+".png", events[1].Source.Name)
	require.FileExists(t, filepath.Join(o.Output, "input", "deep", legal+"_001.png"))
}

func TestBadPhotosDoNotStopTheOthers(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t), PerPhoto: 3, Output: t.TempDir(), Workers: 3}
	dir := t.TempDir()
	broken, tiny, flat := filepath.Join(dir, "broken.png"), filepath.Join(dir, "tiny.png"), filepath.Join(dir, "flat.png")
	require.NoError(t, os.WriteFile(broken, []byte("no photo"), 0o666))
	save(t, tiny, town(50, 50, 1))
	save(t, flat, &photo.Photo{Width: 100, Height: 100, Channels: 1, Max: 255, Pix: make([]uint16, 10000)})
	o.Sources = append([]Source{{broken, "broken.png"}, {tiny, "tiny.png"}, {dir + "/gone.png", "gone.png"}, {flat, "flat.png"}}, o.Sources...)
	counts, events := runAll(t, o)
	require.Equal(t, map[EventKind]int{Done: 9, Failed: 9, Flat: 3}, counts)
	failures := 0
	for _, e := range events {
		if e.Kind == Failed {
			failures++
			require.ErrorContains(t, e.Err, e.Source.Path)
		}
	}
	require.Equal(t, 3, failures, "each is told once")
	require.Len(t, manifest(t, o.Output), 9)
}

func TestCancelledRunsLeaveWholePairs(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t), PerPhoto: 10, Output: t.TempDir(), Workers: 4}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := 0
	o.Report = func(e Event) {
		done++
		cancel(errors.New("a signal, as signal.NotifyContext says"))
	}
	require.ErrorIs(t, Run(ctx, o), context.Canceled)
	pairs := manifest(t, o.Output)
	require.Len(t, pairs, done)
	require.Less(t, done, 30)
	files := contents(t, o.Output)
	require.Len(t, files, 2*done+2)
	for _, p := range pairs {
		require.Contains(t, files, "input/"+p.Name+".png")
		require.Contains(t, files, "target/"+p.Name+".png")
	}
}

func TestRunStopsWhereNothingCanBeWritten(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t), PerPhoto: 4, Output: t.TempDir()}
	runAll(t, RunOptions{Options: o.Options, Output: o.Output})
	require.NoError(t, os.WriteFile(filepath.Join(o.Output, "input"), nil, 0o666)) // where a folder should be
	err := Run(t.Context(), o)
	require.ErrorContains(t, err, "input")
	require.False(t, errors.Is(err, context.Canceled))
	require.Empty(t, manifest(t, o.Output))
	for name := range contents(t, o.Output) {
		require.NotContains(t, name, "target/")
	}
}

// A second run into one folder is refused before it writes anything.
func TestTwoRunsIntoOneFolder(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t), PerPhoto: 2, Output: t.TempDir(), Workers: 1}
	second, tried := o, false
	o.Report = func(e Event) {
		if e.Kind != Done || tried {
			return
		}
		tried = true
		before := contents(t, o.Output)
		err := Run(t.Context(), second)
		require.ErrorContains(t, err, fmt.Sprintf("%s is in use by process %d on ", o.Output, os.Getpid()))
		require.Equal(t, before, contents(t, o.Output))
	}
	require.NoError(t, Run(t.Context(), o))
	require.True(t, tried)
	require.NoFileExists(t, filepath.Join(o.Output, ".lock"))
	require.NoError(t, Run(t.Context(), second), "and it is free again")
}

// A manifest and options that an editor of Windows saved.
func TestRunGoesOnAfterWindows(t *testing.T) {
	o := RunOptions{Options: small(), Sources: album(t), PerPhoto: 2, Output: t.TempDir()}
	runAll(t, o)
	whole := contents(t, o.Output)
	for _, file := range []string{optionsFile, manifestFile} {
		text := "\uFEFF" + strings.ReplaceAll(whole[file], "\n", "\r\n")
		require.NoError(t, os.WriteFile(filepath.Join(o.Output, file), []byte(text), 0o666))
	}
	counts, _ := runAll(t, o)
	require.Equal(t, map[EventKind]int{Skipped: 6}, counts)
	require.Equal(t, whole[manifestFile], contents(t, o.Output)[manifestFile])
}
