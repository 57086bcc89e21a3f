package conformance

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/reference"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
)

// runAll returns the results of RunDir, and its error.
func runAll(t *testing.T, ctx context.Context, dir string) (results []Result, err error) {
	t.Helper()
	d := testgpu.Open(t)
	err = RunDir(ctx, d, dir, func(r Result) { results = append(results, r) })
	require.NoError(t, d.Err())
	return results, err
}

func requirePass(t *testing.T, results []Result) (count map[string]int) {
	t.Helper()
	count = map[string]int{}
	for _, r := range results {
		require.NoError(t, r.Err, r.Name)
		require.NotEmpty(t, r.Kind, r.Name)
		count[r.Kind]++
	}
	return count
}

func TestFixtures(t *testing.T) {
	testenv.Long(t)
	results, err := runAll(t, t.Context(), reference.Testdata())
	require.NoError(t, err)
	for kind, least := range map[string]int{
		"op": 41, "module": 20, "network": 6 * 5, "end_to_end": 2 * 3, "optim": 2 * 6, "clip_grad_norm": 2,
		"checkpoint": 4, "parameters": 4 * 4, "training": 5 * 4, "resume": 3 * 3, "lr_schedules": 6, "options": 10, "metrics": 4 * 10,
	} {
		require.GreaterOrEqual(t, requirePass(t, results)[kind], least, kind)
	}
}

// Where a folder of more fixtures lies beside the repository, they must pass too.
func TestSharedFixtures(t *testing.T) {
	testenv.Long(t)
	shared := filepath.Join(reference.Testdata(), "..", "..", "..", "shared", "fixtures")
	if _, err := os.Stat(shared); err != nil {
		t.Skip("no folder ../shared/fixtures beside the repository")
	}
	for _, folder := range []string{"ops", "modules", "networks", "end_to_end", "checkpoints", "training"} {
		t.Run(folder, func(t *testing.T) {
			results, err := runAll(t, t.Context(), filepath.Join(shared, folder))
			require.NotEmpty(t, requirePass(t, results))
			require.NoError(t, err)
		})
	}
}

// folder copies files of testdata to a folder of its own.
func folder(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		raw, err := os.ReadFile(reference.Testdata(filepath.FromSlash(name)))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(name)), raw, 0o600))
	}
	return dir
}

// tamper changes one float in the middle of a safetensors file's tensor.
func tamper(t *testing.T, path, name string) {
	t.Helper()
	f, err := openFixture(path)
	require.NoError(t, err)
	want, err := f.Tensor(name)
	require.NoError(t, err)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var bytes []byte
	for _, v := range want.Data {
		bytes, err = binary.Append(bytes, binary.LittleEndian, v)
		require.NoError(t, err)
	}
	at := strings.Index(string(raw), string(bytes))
	require.Positive(t, at)
	at += len(want.Data) / 2 * 4
	bytes, err = binary.Append(nil, binary.LittleEndian, want.Data[len(want.Data)/2]+0.01)
	require.NoError(t, err)
	copy(raw[at:], bytes)
	require.NoError(t, os.WriteFile(path, raw, 0o600))
}

func TestRunDirFindsFaults(t *testing.T) {
	testenv.Long(t)
	for _, c := range []struct {
		name   string
		file   string // the fixture
		tensor string // that is changed
		failed []string
	}{
		{"operator", "ops/gelu.safetensors", "out", []string{"gelu.safetensors out"}},
		{"gradient", "ops/gelu.safetensors", "grad.x", []string{"gelu.safetensors grad.x"}},
		{"module's gradient", "modules/downsample.safetensors", "param_grad.body.0.weight", []string{"downsample.safetensors param_grad.body.0.weight"}},
		{"network's gradient", "networks/realblur_tiny_1x32x32.safetensors", "s1.grad.net_le.end.0.weight",
			[]string{"realblur_tiny_1x32x32.safetensors s1.grad.net_le.end.0.weight"}},
		{"loss", "training/realblur_tiny_s2.safetensors", "iter4.l_pix_diff", []string{"realblur_tiny_s2.safetensors iter4.l_pix_diff"}},
		{"training", "training/realblur_tiny_s2.safetensors", "iter6.param.net_d.resmlp.0.weight", []string{"realblur_tiny_s2.safetensors iter6.param"}},
		{"learning rate", "training/realblur_tiny_s1.safetensors", "iter5.lr", []string{"realblur_tiny_s1.safetensors iter5.lr"}},
		{"optimizer", "ops/optim_adam.safetensors", "p3", []string{"optim_adam.safetensors p3"}},
		{"norm", "ops/clip_grad_norm.safetensors", "norm", []string{"clip_grad_norm.safetensors norm"}},
		{"clip", "ops/clip_grad_norm.safetensors", "clipped1", []string{"clip_grad_norm.safetensors clipped"}},
		{"module", "modules/downsample.safetensors", "out", []string{"downsample.safetensors out"}},
		{"schedule", "networks/realblur_tiny_1x32x32.safetensors", "schedule.posterior_mean_coef1",
			[]string{"realblur_tiny_1x32x32.safetensors schedule.posterior_mean_coef1"}},
		{"network", "networks/realblur_tiny_1x32x32.safetensors", "s1.out", []string{"realblur_tiny_1x32x32.safetensors s1.out"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.file)
			tamper(t, filepath.Join(dir, filepath.Base(c.file)), c.tensor)
			results, err := runAll(t, t.Context(), dir)
			require.ErrorContains(t, err, "1 of ")
			var failed []string
			for _, r := range results {
				if r.Err != nil {
					failed = append(failed, r.Name)
				}
			}
			require.Equal(t, c.failed, failed)
		})
	}
}

func TestRunDirRefuses(t *testing.T) {
	photo := "end_to_end/gopro_tiny_astronaut_101x131"
	for _, c := range []struct {
		name string
		dir  func(t *testing.T) string
		want string // in the only failed result's error, or in RunDir's if there is none
	}{
		{"missing folder", func(t *testing.T) string { return filepath.Join(t.TempDir(), "no") }, "no such file"},
		{"empty folder", func(t *testing.T) string { return t.TempDir() }, "holds no fixtures"},
		{"nothing but a README", func(t *testing.T) string { return folder(t, "README.md") }, "holds no fixtures"},
		{"unknown kind of file", func(t *testing.T) string {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
			return dir
		}, "unknown kind"},
		{"photo without fixture", func(t *testing.T) string { return folder(t, photo+".png") }, "unknown kind"},
		{"fixture without photo", func(t *testing.T) string { return folder(t, photo+".safetensors", photo+"_expected.png") }, "no such file"},
		{"not safetensors", func(t *testing.T) string {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "x.safetensors"), []byte("{}"), 0o600))
			return dir
		}, "x.safetensors"},
		{"bad checkpoint that is good", func(t *testing.T) string {
			dir := folder(t, "checkpoints/gopro_tiny_net_d.pth")
			require.NoError(t, os.Rename(filepath.Join(dir, "gopro_tiny_net_d.pth"), filepath.Join(dir, "bad_net_d.pth")))
			return dir
		}, "accepted"},
		{"truncated checkpoint", func(t *testing.T) string {
			dir := folder(t, "checkpoints/gopro_tiny_net_d.pth")
			require.NoError(t, os.Truncate(filepath.Join(dir, "gopro_tiny_net_d.pth"), 5000))
			return dir
		}, "gopro_tiny_net_d.pth"},
		{"parameter in the wrong place", func(t *testing.T) string {
			return parameterFile(t, `"time_mlp",[1],0.0,0.01`, `"time_mlp",[1],0.0,0.02`)
		}, "is filled with"},
		{"huge parameter", func(t *testing.T) string { return parameterFile(t, `"time_mlp",[1]`, `"time_mlp",[999999999999]`) }, "too large"},
		{"no parameters", func(t *testing.T) string { return parameterFile(t, `"time_mlp",[1]`, `"time_mlp","1"`) }, "parameters.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			results, err := runAll(t, t.Context(), c.dir(t))
			require.Error(t, err)
			for _, r := range results {
				if r.Err != nil {
					err = r.Err
				}
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// parameterFile is the list of parameters with its first old replaced.
func parameterFile(t *testing.T, old, replacement string) string {
	dir := folder(t, "networks/parameters.json")
	path := filepath.Join(dir, "parameters.json")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.Contains(string(raw), old))
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(raw), old, replacement, 1)), 0o600))
	return dir
}

// A bad checkpoint that is refused passes.
func TestRunDirWantsBadCheckpointsRefused(t *testing.T) {
	dir := folder(t, "checkpoints/gopro_tiny_net_d.pth")
	bad := filepath.Join(dir, "bad_net_d.pth")
	require.NoError(t, os.Rename(filepath.Join(dir, "gopro_tiny_net_d.pth"), bad))
	require.NoError(t, os.Truncate(bad, 5000))
	results, err := runAll(t, t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"checkpoint": 1}, requirePass(t, results))
}

func TestRunDirStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := runAll(t, ctx, reference.Testdata("ops"))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, results)
}
