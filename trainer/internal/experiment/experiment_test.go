package experiment

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testTime = time.Date(2026, 1, 2, 15, 4, 5, 678_900_000, time.UTC)

// snapshot returns the files below a folder and what they hold.
func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		out[filepath.ToSlash(name)] = string(data)
		return err
	}))
	return out
}

func sortedNames(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }

func touch(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, os.WriteFile(path, []byte(path), 0o666))
}

func TestOpen(t *testing.T) {
	root := t.TempDir()
	open := func(mode Mode) (*Experiment, error) { return Open(root, "train_GoPro", mode, testTime) }
	e, err := open(Fresh)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "experiments", "train_GoPro", "train_train_GoPro_20260102_150405.log"), e.Log)
	for _, folder := range []string{"models", "training_states", "visualization"} {
		require.DirExists(t, filepath.Join(root, "experiments", "train_GoPro", folder))
	}

	touch(t, e.Log) // a run that saved nothing is no obstacle
	_, err = open(Fresh)
	require.NoError(t, err)

	touch(t, filepath.Join(e.models, "net_g_latest.pth"))
	_, err = open(Fresh)
	require.ErrorContains(t, err, "trained networks (net_g_latest.pth)")
	for _, state := range []string{"900.state", "1000.state", "x.state", "2000.state.tmp", "+3000.state"} {
		touch(t, filepath.Join(e.states, state))
	}
	touch(t, filepath.Join(e.TensorBoard, "events"))
	before := snapshot(t, root)
	_, err = open(Fresh)
	for _, part := range []string{e.Dir, "iteration 1000"} {
		require.ErrorIs(t, err, ErrExists)
		require.ErrorContains(t, err, part)
	}
	latest, err := e.Latest()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(e.states, "1000.state"), latest)
	_, err = open(Resume)
	require.NoError(t, err)
	require.Equal(t, before, snapshot(t, root))

	e, err = open(Anew)
	require.NoError(t, err)
	require.Empty(t, snapshot(t, e.Dir))
	latest, err = e.Latest()
	require.NoError(t, err)
	require.Empty(t, latest)
	archived := filepath.Join(root, "experiments", "train_GoPro_archived_20260102_150405")
	require.FileExists(t, filepath.Join(archived, "training_states", "1000.state"))
	require.FileExists(t, filepath.Join(root, "tb_logger", "train_GoPro_archived_20260102_150405", "events"))
	require.NoDirExists(t, e.TensorBoard)

	// An archive is never overwritten.
	touch(t, filepath.Join(e.states, "1.state"))
	_, err = open(Anew)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(archived, "training_states", "1000.state"))
	require.FileExists(t, filepath.Join(archived+"_2", "training_states", "1.state"))

	for _, name := range []string{"", ".", "..", "a/b", "../a", "/a"} {
		_, err = Open(root, name, Fresh, testTime)
		require.ErrorContains(t, err, "cannot be the name of a folder")
	}
	_, err = Open(root, "[odd]*", Fresh, testTime)
	require.NoError(t, err)
}

// TestKilledWhileSaving: what a killed run leaves is no checkpoint, and goes away.
func TestKilledWhileSaving(t *testing.T) {
	root := t.TempDir()
	e, err := Open(root, "x", Fresh, testTime)
	require.NoError(t, err)
	_, err = e.Save(testCheckpoint(1))
	require.NoError(t, err)
	before := snapshot(t, root)
	touch(t, stagingPath(e.modelPath("net_g", "2")))
	touch(t, stagingPath(filepath.Join(e.states, "2.state.0123.tmp")))
	latest, err := e.Latest()
	require.NoError(t, err)
	require.Equal(t, "1.state", filepath.Base(latest))
	_, err = Open(root, "x", Resume, testTime)
	require.NoError(t, err)
	require.Equal(t, before, snapshot(t, root))
}

// TestSaveFails: a network that cannot take its name.
func TestSaveFails(t *testing.T) {
	e := newExperiment(t, "x")
	_, err := e.Save(testCheckpoint(1))
	require.NoError(t, err)
	touch(t, filepath.Join(e.modelPath("net_le", "2"), "in the way"))
	_, err = e.Save(testCheckpoint(2))
	require.ErrorContains(t, err, "no checkpoint of iteration 2, older ones are untouched")
	latest, err := e.Latest()
	require.NoError(t, err)
	require.Equal(t, "1.state", filepath.Base(latest), "a state without its networks")
	require.NoDirExists(t, filepath.Join(e.states, stagingFolder))
	require.NoDirExists(t, filepath.Join(e.models, stagingFolder))
	c := testCheckpoint(1)
	got, err := Load(latest, onlyShapes(c.Params))
	require.NoError(t, err)
	require.Equal(t, c, got)

	// Where it replaces one, no state remains that promises both networks.
	require.NoError(t, os.Remove(e.modelPath("net_le", "1")))
	touch(t, filepath.Join(e.modelPath("net_le", "1"), "in the way"))
	_, err = e.Save(testCheckpoint(1))
	require.ErrorContains(t, err, "no checkpoint of iteration 1")
	latest, err = e.Latest()
	require.NoError(t, err)
	require.Empty(t, latest)
}

func TestSaveReplaces(t *testing.T) {
	e := newExperiment(t, "x")
	c := testCheckpoint(5)
	_, err := e.Save(c)
	require.NoError(t, err)
	c.Params[1].Value = []float32{42}
	c.Epoch = 99
	path, err := e.Save(c)
	require.NoError(t, err)
	got, err := Load(path, onlyShapes(c.Params))
	require.NoError(t, err)
	require.Equal(t, c, got)
}

func TestPrune(t *testing.T) {
	e := newExperiment(t, "x")
	all := []int{100, 200, 900, 1000, 1100, 5000}
	fill := func() {
		for _, iter := range all {
			_, err := e.Save(testCheckpoint(iter))
			require.NoError(t, err)
		}
		touch(t, e.modelPath("net_g", "latest"))
		touch(t, e.modelPath("net_d", "100")) // of no network of this run
	}
	nets := []string{"net_g", "net_le"}
	for _, test := range []struct {
		iter, keep int
		protected  []int
		want       []int
	}{
		{5000, 0, nil, all},
		{5000, 9, nil, all},
		{5000, 2, nil, []int{1100, 5000}},
		{5000, 2, []int{200, 200, 7}, []int{200, 1100, 5000}},
		{5000, 1, nil, []int{5000}},
		{1000, 2, nil, []int{900, 1000, 1100, 5000}}, // resumed from an old one
	} {
		fill()
		require.NoError(t, e.Prune(test.iter, test.keep, nets, test.protected...))
		got, err := stateIters(e.states)
		require.NoError(t, err)
		require.Equal(t, test.want, got)
		require.Len(t, snapshot(t, e.models), 2*len(test.want)+2)
	}
}

// TestKilledWhilePruning: whatever was deleted when the process died, no network stays without a state, and no state
// without its networks.
func TestKilledWhilePruning(t *testing.T) {
	nets := []string{"net_g", "net_le"}
	for killed := range 4 { // after so many files of the first of two checkpoints
		e := newExperiment(t, "x")
		for _, iter := range []int{1, 2, 3, 4} {
			_, err := e.Save(testCheckpoint(iter))
			require.NoError(t, err)
		}
		before := snapshot(t, e.Dir)
		require.NoError(t, e.Prune(4, 2, nets))
		want := snapshot(t, e.Dir)
		require.Len(t, want, 2*3)
		for name, content := range before {
			require.NoError(t, os.WriteFile(filepath.Join(e.Dir, name), []byte(content), 0o666))
		}
		for _, iter := range []int{1, 2} {
			require.NoError(t, os.Rename(e.StatePath(iter), e.StatePath(iter)+prunedSuffix))
		}
		for _, path := range []string{e.modelPath("net_g", "1"), e.modelPath("net_le", "1"), e.StatePath(1) + prunedSuffix}[:killed] {
			require.NoError(t, os.Remove(path))
		}
		iters, err := stateIters(e.states)
		require.NoError(t, err)
		require.Equal(t, []int{3, 4}, iters, "what is half deleted is no checkpoint")
		require.NoError(t, e.FinishPruning(nets))
		require.Equal(t, want, snapshot(t, e.Dir))
	}

	// Where a file cannot be deleted, the next run tries again.
	e := newExperiment(t, "x")
	for _, iter := range []int{1, 2} {
		_, err := e.Save(testCheckpoint(iter))
		require.NoError(t, err)
	}
	stuck := e.modelPath("net_le", "1")
	require.NoError(t, os.Remove(stuck))
	touch(t, filepath.Join(stuck, "in the way"))
	require.ErrorContains(t, e.Prune(2, 1, nets), "cannot delete an old checkpoint")
	require.NoError(t, os.RemoveAll(stuck))
	touch(t, stuck)
	require.NoError(t, e.Prune(2, 1, nets))
	require.Equal(t, []string{"models/net_g_2.pth", "models/net_le_2.pth", "training_states/2.state"}, sortedNames(snapshot(t, e.Dir)))
}

// TestKilledWhileNaming: a checkpoint of which some files have their names when the process dies is completed.
func TestKilledWhileNaming(t *testing.T) {
	root := t.TempDir()
	e, err := Open(root, "x", Fresh, testTime)
	require.NoError(t, err)
	_, err = e.Save(testCheckpoint(1))
	require.NoError(t, err)
	_, err = e.Save(testCheckpoint(2))
	require.NoError(t, err)
	want := snapshot(t, root)
	files := []string{e.modelPath("net_g", "2"), e.modelPath("net_le", "2"), e.StatePath(2)}
	for named := range len(files) {
		for _, path := range files[named:] {
			require.NoError(t, os.MkdirAll(filepath.Dir(stagingPath(path)), 0o777))
			require.NoError(t, os.Rename(path, stagingPath(path)))
		}
		_, err = Open(root, "x", Resume, testTime)
		require.NoError(t, err)
		require.Equal(t, want, snapshot(t, root))
	}
}
