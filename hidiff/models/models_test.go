package models

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/reference"
)

// tinyHash is that of the tests' tiny model.
const tinyHash = "2ac1bf8842d9d83a"

// folder makes an empty folder of models the user's.
func folder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "not", "yet")
	t.Setenv("HIDIFF_MODELS", dir)
	return dir
}

// build puts models into the program for a test.
func build(t *testing.T, files map[string][]byte) {
	t.Helper()
	old := builtIn
	t.Cleanup(func() { builtIn = old })
	program := fstest.MapFS{}
	for name, data := range files {
		program[name] = &fstest.MapFile{Data: data}
	}
	builtIn = program
}

// tinyBundle is the tests' tiny model in one file.
func tinyBundle(t *testing.T, metadata map[string]string) []byte {
	t.Helper()
	w, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, reference.Testdata("checkpoints"))
	require.NoError(t, err)
	delete(w.Nets, hidiff.NetLE)
	w.Metadata = metadata
	path := filepath.Join(t.TempDir(), "tiny.safetensors")
	require.NoError(t, w.Save(path, checkpoint.F32))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// tinyNetwork is the file of one network of the tiny model.
func tinyNetwork(t *testing.T, net string) []byte {
	t.Helper()
	data, err := os.ReadFile(reference.Testdata("checkpoints", "gopro_tiny_"+net+".pth"))
	require.NoError(t, err)
	return data
}

func put(t *testing.T, data []byte, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
	require.NoError(t, os.WriteFile(name, data, 0o666))
}

// What is embedded are models, all of them load, and the default is among them.
func TestBuiltIn(t *testing.T) {
	folder(t)
	found, err := fs.Glob(embedded, "*")
	require.NoError(t, err)
	require.Contains(t, found, Default+".safetensors")
	all, err := List(t.Context())
	require.NoError(t, err)
	require.Len(t, all, len(found), "nothing else is embedded: %v", found)
	for _, m := range all {
		require.Empty(t, m.Problem, m.Name)
		require.LessOrEqual(t, m.Bytes, int64(6<<20), m.Name)
		require.NotEmpty(t, m.Description, m.Name)
		require.NotEmpty(t, m.License, m.Name)
	}
}

func TestLoad(t *testing.T) {
	t.Chdir(t.TempDir())
	models := folder(t)
	build(t, map[string][]byte{"small.safetensors": tinyBundle(t, nil)})
	for _, net := range []string{"net_g", "net_le_dm", "net_d"} {
		put(t, tinyNetwork(t, net), models, "gopro", net+".pth")
		put(t, tinyNetwork(t, net), "elsewhere", net+".pth")
	}
	bundle := tinyBundle(t, nil)
	put(t, bundle, models, "mine-2.safetensors")
	put(t, bundle, "x", "small", "model.safetensors")
	for _, c := range []struct {
		args   []string
		source string // of net_d
	}{
		{nil, "built-in model small"},
		{[]string{"small"}, "built-in model small"},
		{[]string{"gopro"}, filepath.Join(models, "gopro", "net_d.pth")},
		{[]string{"mine-2"}, filepath.Join(models, "mine-2.safetensors")},
		{[]string{"elsewhere"}, filepath.Join("elsewhere", "net_d.pth")},
		{[]string{filepath.Join("x", "small")}, filepath.Join("x", "small", "model.safetensors")},
		{[]string{filepath.Join("elsewhere", "net_g.pth"), filepath.Join("elsewhere", "net_d.pth"), filepath.Join("elsewhere", "net_le_dm.pth")}, filepath.Join("elsewhere", "net_d.pth")},
	} {
		w, err := Load(t.Context(), hidiff.LoadOptions{}, c.args...)
		require.NoError(t, err, c.args)
		require.Equal(t, tinyHash, w.Hash())
		require.Equal(t, c.source, w.Sources[hidiff.NetD])
	}
	require.NoError(t, os.Rename(filepath.Join("x", "small"), "small"))
	w, err := Load(t.Context(), hidiff.LoadOptions{}, "small")
	require.NoError(t, err)
	require.Equal(t, filepath.Join("small", "model.safetensors"), w.Sources[hidiff.NetD], "what exists is a path")
	w, err = Load(t.Context(), hidiff.LoadOptions{})
	require.NoError(t, err)
	require.Equal(t, "built-in model small", w.Sources[hidiff.NetD], "but no name is asked for here")
}

func TestLoadRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	models := folder(t)
	build(t, map[string][]byte{"small.safetensors": tinyBundle(t, nil)})
	put(t, tinyNetwork(t, "net_g"), models, "half", "net_g.pth")
	put(t, tinyNetwork(t, "net_g"), models, "twin.pth")
	put(t, tinyNetwork(t, "net_g"), models, "twin.safetensors")
	put(t, nil, models, "sub.folder", "net_g.pth")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"smal"}, []string{`there is no file and no model "smal": did you mean small?`, "models lie in " + models, "'hidiff models'"}},
		{[]string{"HALF"}, []string{"did you mean half?"}},
		{[]string{"gopr0"}, []string{"did you mean gopro?"}},
		{[]string{"photo"}, []string{`no model "photo"; models lie in`}},
		{[]string{"twin"}, []string{"twin.pth", "twin.safetensors", "rename one"}},
		{[]string{"half"}, []string{"weights lack net_le_dm, net_d"}},
		{[]string{"gopro"}, []string{
			"gopro is not in your folder of models yet: download HI-Diff-GoPro from https://github.com/zhengchen1999/HI-Diff#models",
			"net_g.pth, net_le_dm.pth and net_d.pth into " + filepath.Join(models, "gopro"),
		}},
		{[]string{"realblur_r"}, []string{"HI-Diff-RealBlur-R", filepath.Join(models, "realblur_r")}},
		{[]string{"realblur_j"}, []string{"HI-Diff-RealBlur-J"}},
		{[]string{"gopro.pth"}, []string{"gopro.pth: no such file"}},
		{[]string{filepath.Join("models", "gopro")}, []string{"no such file"}},
		{[]string{"sub.folder"}, []string{"no such file"}},
		{[]string{""}, []string{"weights:"}},
		{[]string{"small", "gopro.pth"}, []string{"built-in model small is whole: give it alone"}},
		{[]string{"gopro.pth", "small"}, []string{"give it alone"}},
	} {
		_, err := Load(t.Context(), hidiff.LoadOptions{}, c.args...)
		require.Error(t, err, c.args)
		for _, want := range c.want {
			require.ErrorContains(t, err, want)
		}
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := Load(t.Context(), hidiff.LoadOptions{ParamKey: "params_ema"}, "half")
	require.ErrorContains(t, err, `no weights under "params_ema"`)
	for _, args := range [][]string{nil, {"small"}} {
		_, err = Load(t.Context(), hidiff.LoadOptions{Prior: hidiff.OraclePrior}, args...)
		require.ErrorContains(t, err, "weights lack net_le: the prior oracle needs net_g and net_le")
		w, err := Load(t.Context(), hidiff.LoadOptions{Prior: hidiff.ZeroPrior}, args...)
		require.NoError(t, err)
		require.Len(t, w.Nets, 1)
	}
}

func TestList(t *testing.T) {
	models := folder(t)
	build(t, map[string][]byte{"small.safetensors": tinyBundle(t, map[string]string{DescriptionKey: "made up", LicenseKey: "Apache-2.0"})})
	all, err := List(t.Context())
	require.NoError(t, err, "there need be no folder")
	require.Len(t, all, 1)
	small := all[0]
	require.Equal(t, Model{
		Name: "small", BuiltIn: true, Bytes: small.Bytes, Parameters: 234690 + 7536 + 25889, Hash: tinyHash, Description: "made up", License: "Apache-2.0",
	}, small)
	require.Positive(t, small.Bytes)

	for _, net := range []string{"net_g", "net_le", "net_le_dm", "net_d"} {
		put(t, tinyNetwork(t, net), models, "b", net+".pth")
	}
	put(t, []byte("<!doctype html>"), models, "a.pth")
	put(t, tinyBundle(t, nil), models, "small.safetensors")
	put(t, nil, models, "c.safetensors")
	put(t, nil, models, "c", "net_g.pth")
	for _, other := range []string{"0123456789abcdef.part", "0123456789abcdef.part.etag", ".hidden.pth", "notes.txt", "a b.pth", "d"} {
		put(t, nil, models, other)
	}
	all, err = List(t.Context())
	require.NoError(t, err)
	var names []string
	for _, m := range all {
		names = append(names, m.Name)
	}
	require.Equal(t, []string{"small", "a", "b", "c", "c", "small"}, names)
	require.Equal(t, small, all[0])
	require.Contains(t, all[1].Problem, "a web page")
	require.Equal(t, int64(15), all[1].Bytes)
	require.Equal(t, Model{
		Name: "b", Path: filepath.Join(models, "b"), Bytes: 992441 + 51311 + 37571 + 112229, Parameters: small.Parameters, Hash: tinyHash,
	}, all[2])
	require.Contains(t, all[3].Problem, "c.safetensors is called c, too: rename one")
	require.Contains(t, all[4].Problem, filepath.Join(models, "c")+" is called c, too: rename one")
	require.Contains(t, all[5].Problem, "a built-in model is called small, too: rename this one")
}

func TestFolder(t *testing.T) {
	t.Setenv("HIDIFF_MODELS", "here")
	dir, err := Folder()
	require.NoError(t, err)
	require.Equal(t, "here", dir)
	t.Setenv("HIDIFF_MODELS", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir, err = Folder()
	require.NoError(t, err)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(cache, "hidiff", "models"), dir)

	file := filepath.Join(t.TempDir(), "file")
	put(t, nil, file)
	t.Setenv("HIDIFF_MODELS", file)
	_, err = List(t.Context())
	require.ErrorContains(t, err, "the folder of models cannot be read")
	require.ErrorContains(t, err, file)
}
