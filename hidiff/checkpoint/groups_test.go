package checkpoint

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What Python 3.13 and numpy 2.4 write, without the opcodes of the memo, which takes a place for itself.
const (
	numpyScalar = "cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" +
		"c_codecs\nencode\nX\t\x00\x00\x00\x00\x00\x00\x00\x00\xc2\x80?@X\x06\x00\x00\x00latin1\x86R\x86R"
	namespace    = "cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01sb"
	purePath     = "cpathlib\nPurePosixPath\nX\x01\x00\x00\x00aX\x01\x00\x00\x00b\x86R"
	largeInt     = "\x8a\t\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	longInt      = "\x8b\x02\x00\x00\x00\x00\x01"
	pythonSet    = "c__builtin__\nset\n](K\x01K\x02e\x85R"
	listSubclass = "cmine\nList\n)\x81(K\x01K\x02e"
	dictSubclass = "cmine\nDict\n)\x81(K\x01K\x02u"
	tensorType   = "ctorch\nfloat32\n"
	resultCalled = "cmine\nfactory\n)R)R"
)

// item is a key and the value that code pushes.
func item(key, code string) string {
	return fmt.Sprintf("X%c\x00\x00\x00%s%ss", len(key), key, code)
}

// pushed is the code of tensorPickle's {"w": tensor} alone.
func pushed(tensor string) string {
	return strings.TrimSuffix(strings.TrimPrefix(tensor, "\x80\x02"), ".")
}

// TestPassedOver has beside its tensor what trainers and newer versions of PyTorch write.
func TestPassedOver(t *testing.T) {
	one := tensorPickle(1, 0, []int64{1}, []int64{1})
	for name, code := range map[string]string{
		"number of numpy": numpyScalar, "object": namespace, "path": purePath, "set": pythonSet, "list of a class": listSubclass,
		"dict of a class": dictSubclass, "type": tensorType, "what a result makes": resultCalled, "large int": largeInt,
	} {
		for place, pickle := range map[string]string{
			"before": "\x80\x02}" + item("passed", code) + item("state", pushed(one)) + ".",
			"after":  "\x80\x02}" + item("state", pushed(one)) + item("passed", code) + ".",
			"beside": "\x80\x02}" + item("state", pushed(one)+item("passed", code)) + ".",
		} {
			file, err := readBytes(archiveOf(t, pickle, map[string]string{"data/0": "abcd"}))
			require.NoError(t, err, "%s %s", name, place)
			require.Equal(t, []string{"state"}, sortedKeys(file.Groups), "%s %s", name, place)
			require.Equal(t, []string{"w"}, file.Groups["state"].Keys(), "%s %s", name, place)
			require.Len(t, file.Unread, 1, "%s %s", name, place)
		}
	}
	file, err := readBytes(archiveOf(t, "\x80\x02}"+item("loss", numpyScalar)+item("n", longInt)+item("state", pushed(one))+".", map[string]string{"data/0": "abcd"}))
	require.NoError(t, err)
	require.Equal(t, map[string]Opaque{"loss": "numpy._core.multiarray.scalar"}, file.Unread)
}

// TestStrangeKeys: an item whose key is no number or string is passed over, if Python could have written it.
func TestStrangeKeys(t *testing.T) {
	one := pushed(tensorPickle(1, 0, []int64{1}, []int64{1}))
	for _, key := range []string{"K\x01K\x02\x86", tensorType, purePath} {
		file, err := readBytes(archiveOf(t, "\x80\x02}"+key+"K\x03s"+item("state", one)+".", map[string]string{"data/0": "abcd"}))
		require.NoError(t, err)
		require.Equal(t, []string{"state"}, sortedKeys(file.Groups))
	}
}

// TestNewTensors: tensors of a class of their own are read, those over storages of unknown types are named.
func TestNewTensors(t *testing.T) {
	one := pushed(tensorPickle(1, 0, []int64{1}, []int64{1}))
	tensor := one[strings.Index(one, "ctorch") : len(one)-1] // without the dict and the key
	const rebuild = "ctorch._utils\n_rebuild_tensor_v2\n"
	at := strings.Index(tensor, "(")
	arguments := tensor[at : len(tensor)-1]
	for name, code := range map[string]string{
		"attributes of a parameter": "ctorch._utils\n_rebuild_parameter_with_state\n(" + tensor + "\x88N}tR",
		"a class of its own":        "ctorch._tensor\n_rebuild_from_type_v2\n(" + rebuild + "cmine\nTensor\n" + arguments + "}tR",
	} {
		file, err := readBytes(archiveOf(t, "\x80\x02}"+item("w", code)+".", map[string]string{"data/0": "\x00\x00\x80\x3f"}))
		require.NoError(t, err, name)
		w, ok := file.Groups[""].Get("w")
		require.True(t, ok, name)
		require.Equal(t, []float32{1}, w.Float32s(), name)
	}
	quantized := strings.Replace(tensor, "FloatStorage", "QInt8Storage", 1)
	file, err := readBytes(archiveOf(t, "\x80\x02}"+item("w", tensor)+item("q", quantized)+".", map[string]string{"data/0": "abcd"}))
	require.NoError(t, err)
	require.Equal(t, map[string]Opaque{"q": "torch.QInt8Storage"}, file.Unread)
	_, err = readBytes(archiveOf(t, "\x80\x02}"+item("q", quantized)+".", map[string]string{"data/0": "abcd"}))
	require.ErrorContains(t, err, `its keys are "q" (what "torch.QInt8Storage" would make`)
}

// TestNestedGroups finds state_dicts in dicts of dicts, and no others.
func TestNestedGroups(t *testing.T) {
	group := func(key string) *StateDict {
		s := NewStateDict()
		s.Set(key, NewArray([]int{1}, []float32{1}))
		return s
	}
	path := filepath.Join(t.TempDir(), "x.pth")
	require.NoError(t, WritePTH(path, dict(
		"epoch", int64(3), "best", NewArray(nil, []float32{1}),
		"state_dict", dict("net_g.a", NewArray([]int{1}, []float32{1}), "tag", "text"),
		"nets", dict("g", dict("params", group("a"), "params_ema", group("b"))),
		"optimizer", dict("state", dict(int64(0), dict("exp_avg", NewArray([]int{1}, []float32{1})))), "list", []any{group("a")})))
	file := mustOpen(t, path)
	require.Equal(t, []string{"", "nets.g.params", "nets.g.params_ema", "state_dict"}, sortedKeys(file.Groups))
	require.Equal(t, []string{"best"}, file.Groups[""].Keys())
	require.Equal(t, []string{"net_g.a"}, file.Groups["state_dict"].Keys())
	require.Equal(t, []string{"a"}, mustWeights(t, path, "").Keys())
	require.Equal(t, []string{"b"}, mustWeights(t, path, "params_ema").Keys())
}

// TestManyGroups: dicts that share their members unfold to more state_dicts than anyone has.
func TestManyGroups(t *testing.T) {
	var v any = dict("w", NewArray([]int{1}, []float32{1}))
	for range 12 {
		v = dict("a", v, "b", v)
	}
	path := filepath.Join(t.TempDir(), "x.pth")
	require.NoError(t, WritePTH(path, v))
	_, err := Open(t.Context(), path)
	require.ErrorContains(t, err, path+": holds more than 1000 state_dicts")
}

func TestUnwrapped(t *testing.T) {
	for name, want := range map[string]string{
		"a.weight": "a.weight", "module.a.weight": "a.weight", "_orig_mod.module.a.weight": "a.weight", "module._orig_mod.module.a.weight": "a.weight",
		"a._orig_mod.0.weight": "a.0.weight", "_fsdp_wrapped_module.a._checkpoint_wrapped_module.weight": "a.weight",
		"modules.a": "modules.a", "net_g.a": "net_g.a",
	} {
		s := NewStateDict()
		s.Set(name, NewArray([]int{1}, []float32{1}))
		got, err := s.Unwrapped()
		require.NoError(t, err)
		require.Equal(t, []string{want}, got.Keys())
	}
}
