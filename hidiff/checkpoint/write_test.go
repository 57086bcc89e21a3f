package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testenv"
)

// roundTrip writes value, reads it back, and writes that again.
func roundTrip(t *testing.T, value any) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "value.pth")
	require.NoError(t, WritePTH(path, value))
	got, err := LoadPickle(path)
	require.NoError(t, err)
	require.Equal(t, value, got)

	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, WritePTH(path, got))
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first, second), "equal values give different bytes")
}

func TestWritePTHRoundTrip(t *testing.T) {
	for _, file := range []string{"torch_values.pth", "torch_tensors.pth", "torch_model.pth", "torch_2.state", "with_ema_net_d.pth", "net_le_3.pth"} {
		t.Run(file, func(t *testing.T) {
			value, err := LoadPickle("testdata/" + file)
			require.NoError(t, err)
			roundTrip(t, value)
		})
	}
	for _, value := range []any{nil, true, int64(-7), 0.5, math.Inf(1), "", []any{}, Tuple{}, NewDict(), dict("a", Tuple{nil, []any{int64(300)}})} {
		roundTrip(t, value)
	}
	many := NewStateDict() // more than 256 memo entries
	for i := range 300 {
		many.Set(strings.Repeat("x", i), NewArray([]int{1, i % 3}, make([]float32, i%3)))
	}
	roundTrip(t, many)
}

// TestWritePTHLayout checks what torch.load's memory mapping needs.
func TestWritePTHLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net_d.pth")
	state := trueWeights(t)
	require.NoError(t, WritePTH(path, dict("params", state)))
	requireSame(t, state, mustWeights(t, path, "params"))

	r, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer r.Close()
	require.Equal(t, "archive/data.pkl", r.File[0].Name)
	require.Equal(t, "archive/version", r.File[len(r.File)-1].Name)
	require.Len(t, r.File, state.Len()+3)
	for _, f := range r.File {
		offset, err := f.DataOffset()
		require.NoError(t, err)
		require.Zero(t, offset%64, f.Name)
		require.Equal(t, zip.Store, f.Method)
	}
}

func TestSharedArrayIsOneStorage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tied.pth")
	a := NewArray([]int{2}, []float32{1, 2})
	require.NoError(t, WritePTH(path, dict("a", a, "b", a)))
	r, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer r.Close()
	require.Len(t, r.File, 4)
	require.Equal(t, 2, mustWeights(t, path, "").Len())
}

func TestWritePTHErrors(t *testing.T) {
	var deep any
	for range 200 {
		deep = []any{deep}
	}
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"int", dict("a", []any{1}), `"a": [0]: a int cannot be written`},
		{"map", map[string]any{}, "cannot be written"},
		{"key", dict(Tuple(nil) == nil, 1.0, float32(1), 2.0), "a float32 cannot be a dict key"},
		{"NaN key", dict(math.NaN(), 1.0), "cannot be a dict key"},
		{"deep", deep, "nested deeper"},
		{"text", "\xff", "not UTF-8"},
		{"nil array", []any{(*Array)(nil)}, "nil *Array"},
		{"type", &Array{DType: "F8", Data: nil}, `unknown type "F8"`},
		{"data", &Array{DType: F32, Shape: []int{2}, Data: make([]byte, 4)}, "4 bytes of data instead of 8"},
		{"shape", &Array{DType: F32, Shape: []int{-2}}, "impossible shape"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.pth")
			err := WritePTH(path, c.value)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// onlyFile requires that dir holds one file of this content.
func onlyFile(t *testing.T, path, content string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, string(got))
}

func TestWriteAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.pth")
	require.NoError(t, os.WriteFile(path, []byte("new"), 0o666))
	bad := []any{make(chan int)}
	require.Error(t, WritePTH(path, bad))
	onlyFile(t, path, "new")
	require.Error(t, WriteSafetensors(path, map[string]*StateDict{"g": func() *StateDict {
		s := NewStateDict()
		s.Set("x", NewArray([]int{1}, []float32{1}))
		return s
	}()}, nil))
	onlyFile(t, path, "new")
}

func TestWriteToBadPlaces(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "folder")
	require.NoError(t, os.Mkdir(target, 0o755))
	require.ErrorContains(t, WritePTH(target, NewDict()), "this is a folder")
	require.ErrorContains(t, WritePTH(filepath.Join(dir, "absent", "x.pth"), NewDict()), "cannot write")

	locked := filepath.Join(dir, "locked")
	require.NoError(t, os.Mkdir(locked, 0o755))
	path := filepath.Join(locked, "x.pth")
	require.NoError(t, WritePTH(path, NewDict()))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(locked, 0o555))
	defer os.Chmod(locked, 0o755)
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("this user may write anywhere")
	}
	require.ErrorContains(t, WritePTH(path, "other"), path)
	onlyFile(t, path, string(before))
}

// TestTorchReads has PyTorch read what WritePTH wrote.
func TestTorchReads(t *testing.T) {
	program := testenv.Python(t, "torch")
	dir := t.TempDir()
	var values []string
	for _, name := range []string{"torch_values.pth", "torch_tensors.pth", "torch_2.state", "with_ema_net_d.pth"} {
		value, err := LoadPickle("testdata/" + name)
		require.NoError(t, err)
		require.NoError(t, WritePTH(filepath.Join(dir, name), value))
		values = append(values, name)
	}
	shared := filepath.Join(fixtures, "training", "resume", "3.state")
	if value, err := LoadPickle(shared); err == nil {
		require.NoError(t, WritePTH(filepath.Join(dir, "3.state"), value))
		data, err := os.ReadFile(shared)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "want_3.state"), data, 0o600))
		values = append(values, "3.state")
	}
	names, err := json.Marshal(values)
	require.NoError(t, err)
	const script = `
import json, os, sys, torch
def same(a, b):
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) and b.is_contiguous()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, type(a) if type(a) is not torch.Size else tuple) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b
dir = sys.argv[1]
for name in json.loads(sys.argv[2]):
    want = os.path.join(dir, "want_" + name)
    want = torch.load(want if os.path.exists(want) else "testdata/" + name, weights_only=False)
    # Before PyTorch 2, weights_only knows no float outside a tensor.
    safe = int(torch.__version__.split(".")[0]) >= 2 or name in ("torch_tensors.pth", "with_ema_net_d.pth")
    for weights_only in [False, True][:1 + safe]:
        got = torch.load(os.path.join(dir, name), weights_only=weights_only)
        assert same(want, got), (name, weights_only)
        print(name, weights_only, "same")
    # A change must be seen.
    if name == "torch_2.state":
        got["optimizers"][0]["state"][1]["exp_avg"][0] += 1e-3
        assert not same(want, got)
`
	out, err := exec.Command(program, "-c", script, dir, string(names)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}
