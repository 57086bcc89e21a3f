package hidiff_test

import (
	"archive/zip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
)

// named returns networks in one state_dict, each parameter behind its network's prefix.
func named(w *hidiff.Weights, prefix func(net hidiff.Network) string, nets ...hidiff.Network) *checkpoint.StateDict {
	out := checkpoint.NewStateDict()
	for _, net := range nets {
		for key, array := range w.Nets[net].All() {
			out.Set(prefix(net)+key, array)
		}
	}
	return out
}

func dictOf(pairs ...any) *checkpoint.Dict {
	d := checkpoint.NewDict()
	for i := 0; i < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

// mixed is a state_dict with something beside it, as trainers write them.
func mixed(sd *checkpoint.StateDict, pairs ...any) *checkpoint.Dict {
	d := dictOf(pairs...)
	for key, array := range sd.All() {
		d.Set(key, array)
	}
	return d
}

func pth(t *testing.T, value any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.pth")
	require.NoError(t, checkpoint.WritePTH(path, value))
	return path
}

// Whatever one network is wrapped in, it is found.
func TestLoadWrapped(t *testing.T) {
	w := tinyWeights("gopro_tiny")
	scalar := checkpoint.NewArray(nil, []float32{3})
	for _, net := range []hidiff.Network{hidiff.NetG, hidiff.NetLE, hidiff.NetLEDM, hidiff.NetD} {
		for name, value := range map[string]any{
			"torch.compile":        named(w, func(hidiff.Network) string { return "_orig_mod." }, net),
			"DataParallel of it":   named(w, func(hidiff.Network) string { return "module._orig_mod." }, net),
			"it of DataParallel":   named(w, func(hidiff.Network) string { return "_orig_mod.module." }, net),
			"twice":                named(w, func(hidiff.Network) string { return "module.module." }, net),
			"names of one's own":   named(w, func(hidiff.Network) string { return "generator.my_model.0.module." }, net),
			"in params":            dictOf("params", named(w, func(hidiff.Network) string { return "module.net._orig_mod." }, net)),
			"deep":                 dictOf("epoch", int64(3), "checkpoint", dictOf("model", dictOf("state_dict", w.Nets[net]))),
			"AveragedModel":        mixed(named(w, func(hidiff.Network) string { return "module." }, net), "n_averaged", scalar),
			"beside other things":  mixed(w.Nets[net], "epoch", int64(7), "args", dictOf("lr", 0.1)),
			"a loss's own network": mixed(named(w, func(hidiff.Network) string { return "net." }, net), "loss.vgg.conv1_1.weight", scalar),
		} {
			file, err := checkpoint.Open(t.Context(), pth(t, value))
			require.NoError(t, err, "%s %s", net, name)
			got, err := hidiff.FindNetwork(file, net, "")
			require.NoError(t, err, "%s %s", net, name)
			require.Equal(t, w.Nets[net].Keys(), got.Keys(), "%s %s", net, name)
		}
	}
}

// Blocks of a network that are wrapped one by one.
func TestLoadWrappedBlocks(t *testing.T) {
	w := tinyWeights("gopro_tiny")
	sd := checkpoint.NewStateDict()
	for key, array := range w.Nets[hidiff.NetG].All() {
		if len(key) > 15 && key[:15] == "encoder_level1." {
			key = "encoder_level1._orig_mod." + key[15:]
		}
		sd.Set("module."+key, array)
	}
	file, err := checkpoint.Open(t.Context(), pth(t, sd))
	require.NoError(t, err)
	got, err := hidiff.FindNetwork(file, hidiff.NetG, "")
	require.NoError(t, err)
	require.Equal(t, w.Nets[hidiff.NetG].Keys(), got.Keys())
}

// One file of a whole model, as trainers write it.
func TestLoadOneFile(t *testing.T) {
	w, ema := tinyWeights("gopro_tiny"), tinyWeights("ema")
	own := func(net hidiff.Network) string { return string(net) + "." }
	lightning := func(sd *checkpoint.StateDict) *checkpoint.Dict {
		return dictOf("epoch", int64(1), "pytorch-lightning_version", "2.4.0", "state_dict", sd, "callbacks", dictOf("best", 31.5),
			"optimizer_states", []any{dictOf("state", dictOf(int64(0), dictOf("exp_avg", sd)))}, "hyper_parameters", dictOf("dim", int64(8)))
	}
	all := named(w, own, hidiff.NetG, hidiff.NetLE, hidiff.NetLEDM, hidiff.NetD)
	var perNetwork []any
	for _, net := range []hidiff.Network{hidiff.NetG, hidiff.NetLEDM, hidiff.NetD} {
		perNetwork = append(perNetwork, string(net), dictOf("params", w.Nets[net], "params_ema", ema.Nets[net]))
	}
	for name, value := range map[string]any{
		"names":            all,
		"wrapped names":    named(w, func(net hidiff.Network) string { return "module." + string(net) + "._orig_mod." }, hidiff.NetD, hidiff.NetG, hidiff.NetLEDM),
		"words of one own": named(w, func(net hidiff.Network) string { return "my" + string(net) + "." }, hidiff.NetD, hidiff.NetG, hidiff.NetLEDM),
		"Lightning":        lightning(all),
		"dicts":            dictOf(perNetwork...),
	} {
		path := pth(t, value)
		got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
		require.NoError(t, err, name)
		require.Equal(t, w.Hash(), got.Hash(), name)
		require.Equal(t, path, got.Sources[hidiff.NetD])
	}
	got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{ParamKey: "params_ema"}, pth(t, dictOf(perNetwork...)))
	require.NoError(t, err)
	require.Equal(t, ema.Hash(), got.Hash())

	// A network that is there twice needs a word; the others are there once.
	twice := named(w, own, hidiff.NetG, hidiff.NetLEDM, hidiff.NetD)
	for key, array := range ema.Nets[hidiff.NetG].All() {
		twice.Set("net_g_ema."+key, array)
	}
	path := pth(t, lightning(twice))
	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
	require.ErrorContains(t, err, path+`: say which of its weights to use: it holds "state_dict.net_g", "state_dict.net_g_ema"`)
	got, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{ParamKey: "net_g"}, path)
	require.NoError(t, err)
	require.Equal(t, w.Hash(), got.Hash())
	got, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{ParamKey: "net_g_ema"}, path)
	require.NoError(t, err)
	require.Equal(t, ema.Hash(hidiff.NetG), got.Hash(hidiff.NetG))
	require.Equal(t, w.Hash(hidiff.NetD), got.Hash(hidiff.NetD))
	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{ParamKey: "ema"}, path)
	require.ErrorContains(t, err, path+`: no weights under "ema": it holds "state_dict.net_d", "state_dict.net_g", "state_dict.net_g_ema", "state_dict.net_le_dm"`)
}

// Safetensors have names alone.
func TestLoadWrappedSafetensors(t *testing.T) {
	w := tinyWeights("gopro_tiny")
	for name, groups := range map[string]map[string]*checkpoint.StateDict{
		"of one network": {"": named(w, func(hidiff.Network) string { return "_orig_mod.generator." }, hidiff.NetD)},
		"of several": {
			"net_g": named(w, func(hidiff.Network) string { return "module." }, hidiff.NetG), "": named(w, func(hidiff.Network) string { return "denoiser." }, hidiff.NetD),
		},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		require.NoError(t, checkpoint.WriteSafetensors(path, groups, nil))
		file, err := checkpoint.Open(t.Context(), path)
		require.NoError(t, err)
		got, err := hidiff.FindNetwork(file, hidiff.NetD, "")
		require.NoError(t, err, name)
		require.Equal(t, w.Nets[hidiff.NetD].Keys(), got.Keys(), name)
	}
}

// What fits nothing is listed.
func TestFindNothing(t *testing.T) {
	w := tinyWeights("gopro_tiny")
	one := checkpoint.NewArray([]int{1}, []float32{1})
	other := checkpoint.NewStateDict()
	other.Set("features.0.weight", one)
	other.Set("features.0.bias", one)
	half := checkpoint.NewStateDict() // all but one parameter are wrapped
	for key, array := range w.Nets[hidiff.NetD].All() {
		if half.Len() > 0 {
			key = "net." + key
		}
		half.Set(key, array)
	}
	deep := ""
	for range 17 {
		deep += "a."
	}
	clash := named(w, func(hidiff.Network) string { return "" }, hidiff.NetG)
	clash.Set("module.output.weight", one)
	for _, c := range []struct {
		value any
		want  string
	}{
		{other, "this is none of HI-Diff's networks: its 2 parameters begin with features.0.weight, features.0.bias"},
		{dictOf("a", other, "model", dictOf("b", other)), `none of HI-Diff's networks is in it; it holds "a" (2 parameters begin with features.0.weight, features.0.bias), "model.b" (2 `},
		{dictOf("params", w.Nets[hidiff.NetD]), "holds net_d, not net_g"},
		{half, "holds net_d, not net_g"},
		{named(w, func(hidiff.Network) string { return deep }, hidiff.NetG), "this is none of HI-Diff's networks"},
		{clash, `parameter "output.weight" is there twice`},
	} {
		path := pth(t, c.value)
		file, err := checkpoint.Open(t.Context(), path)
		require.NoError(t, err)
		_, err = hidiff.FindNetwork(file, hidiff.NetG, "")
		require.ErrorContains(t, err, path+": "+c.want)
	}
	_, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, pth(t, half))
	require.ErrorContains(t, err, "net_d: parameters do not fit")
}

// A parameter that is no plain tensor is named, with what would make it.
func TestLoadQuantized(t *testing.T) {
	from, err := zip.OpenReader(pth(t, dictOf("params", tinyWeights("gopro_tiny").Nets[hidiff.NetD])))
	require.NoError(t, err)
	defer from.Close()
	path := filepath.Join(t.TempDir(), "quantized.pth")
	f, err := os.Create(path)
	require.NoError(t, err)
	to := zip.NewWriter(f)
	for _, entry := range from.File {
		r, err := entry.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		if strings.HasSuffix(entry.Name, "data.pkl") { // the constructor after the key, which is in the memo
			was := regexp.MustCompile(`(?s)(first_layer\.0\.weightq.)h.`)
			require.Len(t, was.FindAll(data, -1), 1)
			data = was.ReplaceAll(data, []byte("${1}ctorch._utils\n_rebuild_qtensor\n"))
		}
		w, err := to.CreateHeader(&zip.FileHeader{Name: entry.Name, Method: zip.Store})
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(to.Close(), f.Close()))
	_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, path)
	require.ErrorContains(t, err, path+`: this looks like net_d, but it lacks first_layer.0.weight; passed over was what is no plain tensor: params.first_layer.0.weight (what "torch._utils._rebuild_qtensor" makes)`)
}
