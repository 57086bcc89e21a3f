package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
	"hidiff/wgpu"
)

func TestDeviceGPUs(t *testing.T) {
	testgpu.Need(t)
	got := run(t.Context(), nil, "gpus")
	require.Zero(t, got.code)
	require.Contains(t, got.stdout, wgpu.Adapters()[0].Name)
	got = run(t.Context(), nil, "gpus", "--json")
	var list []adapterInfo
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &list))
	require.Len(t, list, len(wgpu.Adapters()))
	got = run(t.Context(), nil, "__complete", "deblur", "-g", "")
	require.Contains(t, got.stdout, wgpu.Adapters()[0].Name)
}

// TestDeviceDeblur restores the smallest photos, two ways to the same result.
func TestDeviceDeblur(t *testing.T) {
	testgpu.Need(t)
	t.Chdir(t.TempDir())
	for name, p := range map[string]*photo.Photo{"one.png": picture(1, 1), "odd.png": picture(7, 5), "c.tif": picture(40, 33)} {
		write(t, filepath.Join("in", name), p)
	}
	require.Zero(t, run(t.Context(), nil, "convert", tiny, "-o", "tiny.safetensors").code)
	got := run(t.Context(), nil, "deblur", "in", "-o", "out", "-m", "tiny.safetensors")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.ElementsMatch(t, []string{"c.tif", "odd.png", "one.png"}, files(t, "out"))
	for name, size := range map[string][2]int{"one.png": {1, 1}, "odd.png": {7, 5}, "c.tif": {40, 33}} {
		p, err := photo.Open(filepath.Join("out", name))
		require.NoError(t, err)
		require.Equal(t, size, [2]int{p.Width, p.Height})
	}

	again := run(t.Context(), nil, "deblur", "in/odd.png", "-o", "again.png",
		"-m", filepath.Join(tiny, "gopro_tiny_net_g.pth"), "-m", filepath.Join(tiny, "gopro_tiny_net_le_dm.pth"), "-m", filepath.Join(tiny, "gopro_tiny_net_d.pth"))
	require.Equal(t, exitOK, again.code, again.stderr)
	first, err := os.ReadFile("out/odd.png")
	require.NoError(t, err)
	second, err := os.ReadFile("again.png")
	require.NoError(t, err)
	require.Equal(t, first, second)
}

func TestDevicePlan(t *testing.T) {
	testgpu.Need(t)
	path := filepath.Join(t.TempDir(), "a.png")
	write(t, path, picture(64, 48))
	got := run(t.Context(), nil, "deblur", path, "--plan", "--json", "-m", tiny)
	require.Equal(t, exitOK, got.code, got.stderr)
	var plan planLine
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &plan))
	require.True(t, plan.Exact)
	require.Positive(t, plan.Dispatches)
	require.Greater(t, plan.Peak, plan.Weights)
	require.Len(t, files(t, filepath.Dir(path)), 1)
}

func TestDeviceErrors(t *testing.T) {
	testgpu.Need(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.png")
	write(t, path, picture(64, 48))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-g", "no such GPU"}, `no GPU matches "no such GPU"`},
		{[]string{"-g", "99"}, wgpu.Adapters()[0].Name},
		{[]string{"--memory", "1MiB"}, "(option --memory)\n"},
		{[]string{"--memory", "1MiB", "--plan"}, "(option --memory)\n"},
	} {
		got := run(t.Context(), nil, append([]string{"deblur", path, "-m", tiny}, c.args...)...)
		require.Equal(t, exitFailed, got.code, c.args)
		require.Contains(t, got.stderr, c.want)
		require.Empty(t, got.stdout)
		require.Equal(t, []string{"a.png"}, files(t, dir))
	}
	got := run(t.Context(), nil, "doctor", "-g", "no such GPU")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "no GPU matches")
}

// TestDeviceInterrupted ends a restoration on its way.
func TestDeviceInterrupted(t *testing.T) {
	testgpu.Need(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in", "a.png"), picture(200, 160))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil { // a fast GPU restores it several times before that
		got := run(ctx, nil, "deblur", filepath.Join(dir, "in"), "-o", filepath.Join(dir, "out"), "-m", tiny)
		if got.code == exitOK {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "out")))
			continue
		}
		require.Equal(t, exitInterrupted, got.code, got.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		require.Empty(t, files(t, filepath.Join(dir, "out")))
	}
}

func TestDeviceDoctor(t *testing.T) {
	testenv.Long(t)
	testgpu.Need(t)
	got := run(t.Context(), nil, "doctor")
	require.Equal(t, exitOK, got.code, got.stdout+got.stderr)
	require.Contains(t, got.stdout, "* 0: "+wgpu.Adapters()[0].Name)
	require.Regexp(t, `\n[1-9]\d* checks passed, 0 failed\n$`, got.stdout)
}
