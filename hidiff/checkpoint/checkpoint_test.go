package checkpoint

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fixtures is the full set of reference files; it lies beside the repository, or
// nowhere.
var fixtures = filepath.Join("..", "..", "..", "shared", "fixtures")

func mustOpen(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(t.Context(), path)
	require.NoError(t, err)
	return f
}

func mustWeights(t *testing.T, path, key string) *StateDict {
	t.Helper()
	w, err := mustOpen(t, path).Weights(key)
	require.NoError(t, err)
	return w
}

// requireSame compares two state_dicts bit by bit, order included.
func requireSame(t *testing.T, want, got *StateDict) {
	t.Helper()
	require.Equal(t, want.Keys(), got.Keys())
	for key, w := range want.All() {
		g, _ := got.Get(key)
		require.Equal(t, w.Shape, g.Shape, key)
		require.Equal(t, w.DType, g.DType, key)
		require.True(t, bytes.Equal(w.Data, g.Data), "%s: values differ", key)
	}
}

// fill is the name rule of the reference files: a splitmix64 stream seeded with
// the FNV-1a hash of the name.
func fill(name string, n int, scale, offset float64) []float32 {
	h := fnv.New64a()
	h.Write([]byte(name))
	state := h.Sum64()
	out := make([]float32, n)
	for i := range out {
		state += 0x9E3779B97F4A7C15
		z := state
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		u := float64(z>>40)/(1<<24)*2 - 1
		out[i] = float32(u*scale + offset)
	}
	return out
}

// trueWeights computes what gopro_tiny_net_d.pth must hold.
func trueWeights(t *testing.T) *StateDict {
	t.Helper()
	text, err := os.ReadFile("testdata/net_d_parameters.json")
	require.NoError(t, err)
	var rows [][4]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &rows))
	state := NewStateDict()
	for _, row := range rows {
		var key string
		var shape []int
		var scale, offset float64
		for i, target := range []any{&key, &shape, &scale, &offset} {
			require.NoError(t, json.Unmarshal(row[i], target))
		}
		n, err := elements(shape)
		require.NoError(t, err)
		state.Set(key, NewArray(shape, fill("gopro_tiny/net_d/"+key, n, scale, offset)))
	}
	require.Equal(t, 29, state.Len())
	return state
}

func converted(state *StateDict, d DType) *StateDict {
	out := NewStateDict()
	for key, a := range state.All() {
		out.Set(key, a.As(d))
	}
	return out
}

func TestOpenVariants(t *testing.T) {
	want := trueWeights(t)
	for _, c := range []struct {
		file, format, key string
		dtype             DType
		groups            []string
	}{
		{"gopro_tiny_net_d", formatZip, "params", F32, []string{"params"}},
		{"bare_state_dict_net_d", formatZip, "", F32, []string{""}},
		{"bfloat16_net_d", formatZip, "params", BF16, []string{"params"}},
		{"half_net_d", formatZip, "params", F16, []string{"params"}},
		{"legacy_format_net_d", formatLegacy, "params", F32, []string{"params"}},
		{"module_prefix_net_d", formatZip, "", F32, []string{"params"}},
		{"shared_storage_net_d", formatZip, "params", F32, []string{"params"}},
		{"strided_net_d", formatZip, "params", F32, []string{"params"}},
		{"with_ema_net_d", formatZip, "params", F32, []string{"params", "params_ema"}},
		{"with_ema_net_d", formatZip, "", F32, []string{"params", "params_ema"}},
		{"with_ema_net_d", formatZip, "params_ema", F32, []string{"params", "params_ema"}},
	} {
		t.Run(c.file+"/"+c.key, func(t *testing.T) {
			file := mustOpen(t, "testdata/"+c.file+".pth")
			require.Equal(t, c.format, file.Format)
			require.Equal(t, c.groups, sortedKeys(file.Groups))
			require.Nil(t, file.Metadata)
			got, err := file.Weights(c.key)
			require.NoError(t, err)
			requireSame(t, converted(want, c.dtype), got)
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	legacy, err := os.ReadFile("testdata/legacy_format_net_d.pth")
	require.NoError(t, err)
	for _, c := range []struct{ path, want string }{
		{"testdata/bad_truncated_net_d.pth", "the file ends early (truncated download?)"},
		{"testdata/bad_malicious.pth", `its keys are "params" (what "posix.system" would make; nothing in a file is run)`},
		{"testdata/torch_2.state", `holds no weights (a training state?): its keys are "epoch", "iter", "optimizers", "schedulers"`},
		{"testdata/absent.pth", "no such file"},
		{dir, "not a file"},
		{write("empty.pth", ""), "the file is empty"},
		{write("page.pth", "\n<!DOCTYPE html><html>"), "a web page"},
		{write("lfs.pth", "version https://git-lfs.github.com/spec/v1\noid sha256:"), "Git LFS"},
		{write("text.pth", "hello"), "neither a .pth file of torch.save nor safetensors"},
		{write("magic.pth", string(legacyMagic)), "the file ends early"},
		{write("legacy.pth", string(legacy[:3000])), "the file ends early"},
		{write("legacy2.pth", string(legacy[:len(legacy)-1])), `the file ends early (truncated download?): storage "971467936" needs`},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			_, err := Open(t.Context(), c.path)
			require.ErrorContains(t, err, c.path)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err = os.Stat("/tmp/pwned")
	require.ErrorIs(t, err, os.ErrNotExist, "the malicious pickle ran")
}

// TestTruncated cuts files at many places: each is an error, none a panic.
func TestTruncated(t *testing.T) {
	for _, name := range []string{"torch_tensors.pth", "torch_tensors_legacy.pth", "torch_model.pth"} {
		data, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		for n := range data {
			_, err := Read(bytes.NewReader(data[:n]), int64(n), name)
			require.ErrorContains(t, err, name, "cut at %d", n)
		}
	}
}

// TestFlippedBit damages a weight: the archive's CRC notices.
func TestFlippedBit(t *testing.T) {
	data, err := os.ReadFile("testdata/gopro_tiny_net_d.pth")
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	_, err = Read(bytes.NewReader(data), int64(len(data)), "flipped.pth")
	require.ErrorContains(t, err, "checksum")
}

func TestWeights(t *testing.T) {
	group := func() *StateDict { return NewStateDict() }
	for _, c := range []struct {
		name   string
		groups map[string]*StateDict
		key    string
		want   string // group, or error
		fails  bool
	}{
		{"params first", map[string]*StateDict{"params": group(), "params_ema": group()}, "", "params", false},
		{"then ema", map[string]*StateDict{"params_ema": group(), "": group()}, "", "params_ema", false},
		{"then bare", map[string]*StateDict{"": group(), "x": group()}, "", "", false},
		{"then the only one", map[string]*StateDict{"state_dict": group()}, "", "state_dict", false},
		{"named", map[string]*StateDict{"net_g": group(), "net_d": group()}, "net_d", "net_d", false},
		{"in a dict", map[string]*StateDict{"net_g.params": group(), "net_g.params_ema": group()}, "", "net_g.params", false},
		{"part of a path", map[string]*StateDict{"a.net_g.params": group(), "b.net_g.params": group()}, "b.net_g", "b.net_g.params", false},
		{"part of a name", map[string]*StateDict{"net_g": group(), "net_g_ema": group()}, "net_g", "net_g", false},
		{"many in dicts", map[string]*StateDict{"a.params": group(), "b.params": group(), "c": group()}, "", `it holds "a.params", "b.params"`, true},
		{"wrong", map[string]*StateDict{"params": group(), "params_ema": group()}, "param", `f.pth: no weights under "param": it holds "params", "params_ema"`, true},
		{"wrong for bare", map[string]*StateDict{"": group()}, "params", `it holds a bare state_dict (key "")`, true},
		{"many", map[string]*StateDict{"net_g": group(), "net_d": group()}, "", `say which of its weights to use: it holds "net_d", "net_g"`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&File{Path: "f.pth", Groups: c.groups}).Weights(c.key)
			if c.fails {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.Same(t, c.groups[c.want], got)
		})
	}
}

func TestModulePrefixTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "twice.pth")
	state := NewStateDict()
	state.Set("module.a", NewArray([]int{1}, []float32{1}))
	state.Set("a", NewArray([]int{1}, []float32{2}))
	require.NoError(t, WritePTH(path, state))
	_, err := mustOpen(t, path).Weights("")
	require.ErrorContains(t, err, path+`: parameter "a" is there twice`)
}

// TestSharedFixtures reads every reference checkpoint, where they are at hand.
func TestSharedFixtures(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join(fixtures, "checkpoints", "*.pth"))
	if len(paths) == 0 {
		t.Skip("no shared folder beside the repository")
	}
	counts := map[string]int{"net_g": 170, "net_le": 26, "net_le_dm": 26, "net_d": 29}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".pth")
		t.Run(name, func(t *testing.T) {
			file, err := Open(t.Context(), path)
			if name == "bad_malicious" || name == "bad_truncated_net_d" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			weights, err := file.Weights("")
			require.NoError(t, err)
			want := counts[name[strings.LastIndex(name, "net_"):]]
			if strings.HasPrefix(name, "gopro_tiny_") {
				want = counts[strings.TrimPrefix(name, "gopro_tiny_")]
			}
			if name == "bad_missing_key_net_d" {
				want--
			}
			require.Equal(t, want, weights.Len())
		})
	}
}
