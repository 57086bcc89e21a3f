package hidiff_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/reference"
)

// fill returns the networks that fixtures have under a prefix.
func fill(c hidiff.Config, prefix string) *hidiff.Weights {
	return hidiff.FillWeights(c, func(net, key string, shape []int) []float32 { return reference.Fill(prefix, net, key, shape) })
}

// tinyWeights are cheap to fill; the prefix makes different ones.
func tinyWeights(prefix string) *hidiff.Weights { return fill(configurations()["gopro_tiny"], prefix) }

// savePTH writes a network as BasicSR does.
func savePTH(t *testing.T, sd *checkpoint.StateDict, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
	value := checkpoint.NewDict()
	value.Set("params", sd)
	require.NoError(t, checkpoint.WritePTH(name, value))
	return name
}

// saveTrio writes what deblurring needs, as net_g<suffix>.pth and so on.
func saveTrio(t *testing.T, w *hidiff.Weights, dir, suffix string) {
	t.Helper()
	for _, net := range []hidiff.Network{hidiff.NetG, hidiff.NetLEDM, hidiff.NetD} {
		savePTH(t, w.Nets[net], dir, string(net)+suffix+".pth")
	}
}

func ExampleLoadWeights() {
	// The released files, in any order; a folder of them would do too.
	w, err := hidiff.LoadWeights(context.Background(), hidiff.LoadOptions{},
		reference.Testdata("checkpoints", "gopro_tiny_net_d.pth"),
		reference.Testdata("checkpoints", "gopro_tiny_net_le_dm.pth"),
		reference.Testdata("checkpoints", "gopro_tiny_net_g.pth"),
	)
	if err != nil {
		panic(err)
	}
	fmt.Println(w.Config.G.Dim, w.Config.LE.Type, w.Config.D.Type, w.Config.Diffusion.Timesteps)
	fmt.Println(w.Hash())
	// Output:
	// 8 latent_encoder_gelu denoising 8
	// 2ac1bf8842d9d83a
}

func TestLoadReleasedFiles(t *testing.T) {
	var paths []string
	for _, net := range []string{"net_le", "net_d", "net_le_dm", "net_g"} {
		paths = append(paths, reference.Testdata("checkpoints", "gopro_tiny_"+net+".pth"))
	}
	want := tinyWeights("gopro_tiny")
	for _, paths := range [][]string{paths, {reference.Testdata("checkpoints")}} { // files, folder
		got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, paths...)
		require.NoError(t, err)
		require.Equal(t, want.Config, got.Config)
		require.Equal(t, want.Nets, got.Nets)
		require.Equal(t, want.Hash(), got.Hash())
		require.Equal(t, reference.Testdata("checkpoints", "gopro_tiny_net_g.pth"), got.Sources[hidiff.NetG])
		require.Equal(t, "F32", got.DTypes[hidiff.NetG])
	}
}

func TestSaveAndLoad(t *testing.T) {
	want := fill(hidiff.RealBlur(), "realblur") // of full size
	want.Config.Diffusion.Timesteps = 4         // which weights do not tell
	want.Metadata["license"] = "Apache-2.0"
	path := filepath.Join(t.TempDir(), "realblur.safetensors")
	require.NoError(t, want.Save(path, checkpoint.F32))
	got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
	require.NoError(t, err)
	require.Equal(t, want.Config, got.Config)
	require.Equal(t, want.Hash(), got.Hash())
	require.Equal(t, map[string]string{"license": "Apache-2.0"}, got.Metadata)
	require.Len(t, got.Nets, 4)
	for net, sd := range want.Nets {
		require.Equal(t, sd.Keys(), got.Nets[net].Keys())
		require.Equal(t, path, got.Sources[net])
	}
}

func TestSaveHalf(t *testing.T) {
	w := tinyWeights("gopro_tiny")
	path := filepath.Join(t.TempDir(), "half.safetensors")
	require.NoError(t, w.Save(path, checkpoint.F16))
	got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
	require.NoError(t, err)
	for key, array := range w.Nets[hidiff.NetG].All() {
		loaded, _ := got.Nets[hidiff.NetG].Get(key)
		require.Equal(t, checkpoint.F32, loaded.DType)
		require.Equal(t, array.As(checkpoint.F16).As(checkpoint.F32).Data, loaded.Data, key)
	}
	require.NotEqual(t, w.Hash(), got.Hash())

	w.Nets[hidiff.NetD].Set("time_mlp", checkpoint.NewArray([]int{1}, []float32{1e6}))
	require.ErrorContains(t, w.Save(path, checkpoint.F16), "net_d: time_mlp holds values that are no finite F16 numbers")
	require.NoError(t, w.Save(path, checkpoint.F32))
	require.ErrorContains(t, w.Save(path, checkpoint.I8), "not as I8")

	delete(w.Nets, hidiff.NetLEDM)
	require.ErrorContains(t, w.Save(path, checkpoint.F32), "weights lack net_le_dm")
	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
	require.NoError(t, err, "the older file is as it was")
}

// What is in memory loads as what is on disk.
func TestReadWeights(t *testing.T) {
	want := tinyWeights("gopro_tiny")
	want.Metadata["hidiff.description"] = "made up"
	path := filepath.Join(t.TempDir(), "half.safetensors")
	require.NoError(t, want.Save(path, checkpoint.F16))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	got, err := hidiff.ReadWeights(hidiff.LoadOptions{}, "built-in model x", data)
	require.NoError(t, err)
	loaded, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
	require.NoError(t, err)
	require.Equal(t, loaded.Nets, got.Nets)
	require.Equal(t, loaded.Config, got.Config)
	require.Equal(t, want.Metadata, got.Metadata)
	for net := range want.Nets {
		require.Equal(t, "built-in model x", got.Sources[net])
		require.Equal(t, "F16", got.DTypes[net])
	}

	_, err = hidiff.ReadWeights(hidiff.LoadOptions{}, "that file", []byte("net_g was retrained"))
	require.ErrorContains(t, err, "that file: neither a .pth file")
	d, err := os.ReadFile(reference.Testdata("checkpoints", "gopro_tiny_net_d.pth"))
	require.NoError(t, err)
	_, err = hidiff.ReadWeights(hidiff.LoadOptions{}, "that file", d)
	var missing *hidiff.MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, []hidiff.Network{hidiff.NetD}, missing.Given)
	require.Equal(t, []hidiff.Network{hidiff.NetG, hidiff.NetLEDM}, missing.Missing)
	require.ErrorContains(t, err, "given were: net_d that file")
}

func TestHash(t *testing.T) {
	a, b := tinyWeights("gopro_tiny"), tinyWeights("gopro_tiny")
	require.Regexp(t, "^[0-9a-f]{16}$", a.Hash())
	delete(b.Nets, hidiff.NetLE)
	require.Equal(t, a.Hash(), b.Hash(), "deblurring does not use net_le")
	b.Nets[hidiff.NetD].Set("time_mlp", checkpoint.NewArray([]int{1}, []float32{0.02}))
	require.NotEqual(t, a.Hash(), b.Hash())
}

// Any name will do for a file: its tensors say what it is.
func TestLoadSwappedNames(t *testing.T) {
	w, dir := tinyWeights("gopro_tiny"), t.TempDir()
	savePTH(t, w.Nets[hidiff.NetG], dir, "net_d.pth")
	savePTH(t, w.Nets[hidiff.NetLEDM], dir, "net_g.pth")
	savePTH(t, w.Nets[hidiff.NetD], dir, "net_le_dm.pth")
	got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, dir)
	require.NoError(t, err)
	require.Equal(t, w.Hash(), got.Hash())
	require.Equal(t, filepath.Join(dir, "net_d.pth"), got.Sources[hidiff.NetG])
}

func TestLoadParamKey(t *testing.T) {
	w, ema, dir := tinyWeights("gopro_tiny"), tinyWeights("ema"), t.TempDir()
	for _, net := range []hidiff.Network{hidiff.NetG, hidiff.NetLEDM, hidiff.NetD} {
		value := checkpoint.NewDict()
		value.Set("params", w.Nets[net])
		value.Set("params_ema", ema.Nets[net])
		require.NoError(t, checkpoint.WritePTH(filepath.Join(dir, string(net)+".pth"), value))
	}
	got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, dir)
	require.NoError(t, err)
	require.Equal(t, w.Hash(), got.Hash())
	got, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{ParamKey: "params_ema"}, dir)
	require.NoError(t, err)
	require.Equal(t, ema.Hash(), got.Hash())
	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{ParamKey: "ema"}, dir)
	require.ErrorContains(t, err, `net_d.pth: no weights under "ema"`)
}

func TestLoadFolderChoosesIteration(t *testing.T) {
	first, last := tinyWeights("first"), tinyWeights("last")
	load := func(dir string) *hidiff.Weights {
		t.Helper()
		w, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, dir)
		require.NoError(t, err)
		return w
	}
	dir := filepath.Join(t.TempDir(), "experiments", "run")
	models := filepath.Join(dir, "models")
	saveTrio(t, first, models, "_9000")
	require.NoError(t, os.WriteFile(filepath.Join(models, "._net_g_9000.pth"), []byte("of a Mac"), 0o666))
	require.Equal(t, filepath.Join(models, "net_g_9000.pth"), load(models).Sources[hidiff.NetG], "no choice, no note")

	saveTrio(t, last, models, "_10000")
	w := load(dir) // the experiment's folder
	require.Equal(t, last.Hash(), w.Hash(), "10000 is more than 9000")
	require.Equal(t, filepath.Join(models, "net_le_dm_10000.pth")+" (10000 of 2 iterations)", w.Sources[hidiff.NetLEDM])

	// The run was stopped between two files: the iteration before is the last whole one.
	savePTH(t, first.Nets[hidiff.NetG], models, "net_g_11000.pth")
	savePTH(t, first.Nets[hidiff.NetLE], models, "net_le_9000.pth")
	require.Equal(t, last.Hash(), load(models).Hash())

	saveTrio(t, first, models, "_latest")
	w = load(models)
	require.Equal(t, first.Hash(), w.Hash())
	require.Equal(t, filepath.Join(models, "net_d_latest.pth")+" (latest of 4 iterations)", w.Sources[hidiff.NetD])

	savePTH(t, first.Nets[hidiff.NetG], models, "net_g.pth")
	_, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, models)
	require.ErrorContains(t, err, "net_g_latest.pth: this is net_g, as is "+filepath.Join(models, "net_g.pth"))

	apart := t.TempDir()
	savePTH(t, first.Nets[hidiff.NetG], apart, "net_g_1.pth")
	savePTH(t, first.Nets[hidiff.NetD], apart, "net_d_2.pth")
	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, apart)
	require.ErrorContains(t, err, "no iteration is there of all of net_d, net_g")

	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, t.TempDir())
	require.ErrorContains(t, err, "the folder holds no weights")
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	w := tinyWeights("gopro_tiny")
	g := savePTH(t, w.Nets[hidiff.NetG], dir, "g.pth")
	le := savePTH(t, w.Nets[hidiff.NetLE], dir, "le.pth")
	ledm := savePTH(t, w.Nets[hidiff.NetLEDM], dir, "ledm.pth")
	d := savePTH(t, w.Nets[hidiff.NetD], dir, "d.pth")

	other := configurations()["gopro_tiny"]
	other.LE.EmbedDim = 16
	wide := savePTH(t, fill(other, "x").Nets[hidiff.NetLEDM], dir, "wide.pth")
	other.LE.BlockNum, other.LE.EmbedDim = 3, 8
	deep := savePTH(t, fill(other, "x").Nets[hidiff.NetLE], dir, "deep.pth")
	fullD := savePTH(t, fill(configurations()["realblur_tiny"], "x").Nets[hidiff.NetD], dir, "simple.pth")
	other.D.InChannel, other.D.OutChannel = 64, 64
	wideD := savePTH(t, fill(other, "x").Nets[hidiff.NetD], dir, "wide_d.pth")

	broken := tinyWeights("gopro_tiny").Nets[hidiff.NetD]
	broken.Set("time_mlp", checkpoint.NewArray([]int{1}, []float32{float32(math.NaN())}))
	nan := savePTH(t, broken, dir, "nan.pth")

	notes := filepath.Join(dir, "notes.txt")
	require.NoError(t, os.WriteFile(notes, []byte("net_g was retrained"), 0o666))
	stated := func(name string, c any) string {
		text, err := json.Marshal(c)
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		require.NoError(t, checkpoint.WriteSafetensors(path, map[string]*checkpoint.StateDict{"": w.Nets[hidiff.NetD]}, map[string]string{"hidiff.config": string(text)}))
		return path
	}
	deeper := w.Config
	deeper.LE.BlockNum = 5
	invalid := w.Config
	invalid.G.Group = 3
	pair := func(a, b string) string { return fmt.Sprintf("from %s and %s", a, b) }

	for _, c := range []struct {
		paths []string
		want  []string
	}{
		{nil, []string{"weights lack net_g, net_le_dm, net_d", "given were: none"}},
		{[]string{g, d}, []string{"weights lack net_le_dm: deblurring needs", "given were: net_g " + g + ", net_d " + d}},
		{[]string{g, le, d}, []string{"weights lack net_le_dm", "cannot stand in for net_le_dm"}},
		{[]string{g, ledm, d, d}, []string{d + ": this is net_d, as is " + d}},
		{[]string{g, wide, d}, []string{pair(g, "net_le_dm from "+wide), "net_le_dm's embed_dim is 16, and embed_dim of net_g is 8"}},
		{[]string{g, ledm, wideD}, []string{pair(g, "net_d from "+wideD), "net_d's in_channel is 64"}},
		{[]string{g, ledm, d, deep}, []string{"net_le from " + deep, "net_le_dm from " + ledm, "their options differ"}},
		{[]string{g, ledm, nan}, []string{nan + ": net_d: time_mlp holds NaN"}},
		{[]string{g, ledm, filepath.Join("testdata", "bad_missing_key_net_d.pth")}, []string{"bad_missing_key_net_d.pth: net_d: parameters do not fit: 1 missing: final_layer.0.weight [32 48]"}},
		{[]string{g, ledm, filepath.Join("testdata", "bad_shape_net_d.pth")}, []string{"bad_shape_net_d.pth: net_d: parameters do not fit: 1 of wrong shape: final_layer.0.weight is [31 48] instead of [32 48]"}},
		{[]string{filepath.Join(dir, "absent.pth")}, []string{"absent.pth: no such file"}},
		{[]string{notes}, []string{notes + ": neither a .pth file"}},
		{[]string{g, ledm, stated("deeper.safetensors", deeper)}, []string{"net_le_dm from " + ledm + " does not fit the configuration in the metadata of", "missing: blocks.2.0.weight"}},
		{[]string{stated("invalid.safetensors", invalid)}, []string{"invalid.safetensors: metadata hidiff.config: network_g: group is 3"}},
		{[]string{stated("text.safetensors", "gopro")}, []string{"text.safetensors: metadata hidiff.config"}},
		{[]string{stated("a.safetensors", w.Config), stated("b.safetensors", deeper)}, []string{"a.safetensors", "b.safetensors do not belong together: their configurations differ"}},
	} {
		_, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, c.paths...)
		require.Error(t, err, "%v", c.paths)
		for _, want := range c.want {
			require.ErrorContains(t, err, want)
		}
	}
	_, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, g, ledm, fullD)
	require.NoError(t, err, "denoisers of both kinds work with either encoder")
}

func TestFillWeightsFillsAll(t *testing.T) {
	var asked []string
	c := configurations()["realblur_tiny"]
	w := hidiff.FillWeights(c, func(net, key string, shape []int) []float32 {
		asked = append(asked, net)
		return reference.Fill("p", net, key, shape)
	})
	require.Equal(t, []string{"net_g", "net_le", "net_le_dm", "net_d"}, slices.Compact(asked))
	for net, sd := range w.Nets {
		require.NoError(t, hidiff.Check(c.Parameters(net), sd))
	}
}
