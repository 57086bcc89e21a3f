package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/models"
	"hidiff/hidiff/options"
)

// ownModels makes a new folder the user's folder of models.
func ownModels(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "models")
	t.Setenv("HIDIFF_MODELS", dir)
	t.Setenv("HIDIFF_MODEL", "")
	return dir
}

func TestModels(t *testing.T) {
	dir := ownModels(t)
	require.NoError(t, os.Mkdir(dir, 0o777))
	mine := filepath.Join(dir, "mine.safetensors")
	got := run(t.Context(), nil, "convert", tiny, "-o", mine, "--f16", "--metadata", models.DescriptionKey+"=made up, all of it", "--metadata", models.LicenseKey+"=Apache-2.0")
	require.Zero(t, got.code, got.stderr)
	writeText(t, filepath.Join(dir, "broken.pth"), "<!doctype html>")
	require.NoError(t, os.Symlink(tiny, filepath.Join(dir, "gopro")))

	got = run(t.Context(), nil, "models")
	require.Zero(t, got.code, got.stderr)
	require.Regexp(t, `\n  mine +\d+\.\d KiB +268115 +made up, all of it \(Apache-2.0\) +`+mine+`\n`, got.stdout)
	require.Regexp(t, `\n  gopro +1\.1 MiB +268115 +- +`+filepath.Join(dir, "gopro")+`\n`, got.stdout)
	require.Regexp(t, `\n  broken +15 B +- +unusable, see below +`, got.stdout)
	require.Contains(t, got.stdout, "\nbroken: "+filepath.Join(dir, "broken.pth")+": a web page")
	require.Contains(t, got.stdout, "\nyour folder of models: "+dir+"\n")
	require.Contains(t, got.stdout, "\nnot here, but released by HI-Diff's authors: realblur_r, realblur_j: download one from https://")

	t.Setenv("HIDIFF_MODEL", "mine")
	require.Contains(t, run(t.Context(), nil, "models").stdout, "\n* mine ")
	got = run(t.Context(), nil, "models", "--json")
	require.Zero(t, got.code, got.stderr)
	var list modelList
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &list))
	require.Equal(t, dir, list.Folder)
	require.Len(t, list.Absent, 2)
	last := list.Models[len(list.Models)-1]
	require.Equal(t, "mine", last.Name)
	require.True(t, last.Default)
	t.Setenv("HIDIFF_MODEL", mine)
	require.Contains(t, run(t.Context(), nil, "models").stderr, "used where none is named: "+mine)
}

// TestModelNames: every command that takes weights takes names.
func TestModelNames(t *testing.T) {
	dir := ownModels(t)
	require.NoError(t, os.Mkdir(dir, 0o777))
	t.Chdir(t.TempDir())
	write(t, "a.png", picture(4, 4))
	require.NoError(t, os.Symlink(tiny, filepath.Join(dir, "mine")))
	write(t, "in/a.png", picture(16, 16))
	write(t, "out/a.png", picture(16, 16))
	folders := []string{"--input", "in", "--target", "out", "-m"}
	require.Zero(t, run(t.Context(), nil, "info", "mine").code)
	require.Zero(t, run(t.Context(), nil, "convert", "mine", "-o", "x.safetensors").code)
	require.Zero(t, runFake(t, t.Context(), &fakeEngine{}, nil, "deblur", "a.png", "-m", "mine").code)
	require.Zero(t, runEval(t, t.Context(), &evalEngine{}, append(folders, "mine")...).code)
	for _, got := range []result{
		run(t.Context(), nil, "info", "mime"),
		run(t.Context(), nil, "convert", "mime", "-o", "y.safetensors"),
		runFake(t, t.Context(), nil, nil, "deblur", "a.png", "-m", "mime"),
		runEval(t, t.Context(), nil, append(folders, "mime")...),
	} {
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.stderr, `there is no file and no model "mime": did you mean mine?`)
	}
	t.Setenv("HIDIFF_MODEL", "mine")
	require.Zero(t, runFake(t, t.Context(), &fakeEngine{}, nil, "deblur", "a.png", "--suffix", "_2").code)
}

// TestDefaultModel is of the built-in model.
func TestDefaultModel(t *testing.T) {
	ownModels(t)
	photo := filepath.Join(t.TempDir(), "a.png")
	write(t, photo, picture(4, 4))
	deblur := runFake(t, t.Context(), &fakeEngine{}, nil, "deblur", photo)
	require.Zero(t, deblur.code, deblur.stderr)
	info := run(t.Context(), nil, "info")
	require.Zero(t, info.code, info.stderr)
	require.Contains(t, info.stdout, "source: built-in model "+models.Default+"\n")
	require.Contains(t, info.stdout, "dtype: F16\n")
	list := run(t.Context(), nil, "models")
	require.Zero(t, list.code)
	require.Regexp(t, `\n\* `+models.Default+` .* built in\n`, list.stdout)
	require.Empty(t, list.stderr)
}

func TestPull(t *testing.T) {
	dir := ownModels(t)
	source := filepath.Join(t.TempDir(), "x.safetensors")
	require.Zero(t, run(t.Context(), nil, "convert", tiny, "-o", source).code)
	data, err := os.ReadFile(source)
	require.NoError(t, err)
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	ctx, cancel := context.WithCancel(t.Context())
	slow := true
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slow {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
		_, _ = w.Write(data[:1000])
		w.(http.Flusher).Flush()
		for range 500 { // Ctrl-C comes when something has
			if parts, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(parts) > 0 {
				if info, err := os.Stat(parts[0]); err == nil && info.Size() > 0 {
					break
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	pullClient = server.Client()
	defer func() { pullClient = nil }()

	pull := []string{"models", "pull", server.URL + "/x.safetensors", "--name", "mine", "--sha256", sum}
	got := run(ctx, nil, pull...)
	require.Equal(t, exitInterrupted, got.code, got.stderr)
	require.Equal(t, []string{"1000 B are kept: the same command goes on from there", "hidiff: interrupted"}, lines(got.stderr))
	slow = false
	got = run(t.Context(), nil, pull...)
	require.Zero(t, got.code, got.stderr)
	require.Regexp(t, `^mine is there, 1\.1 MiB in .*mine.safetensors: use it with -m mine\n$`, got.stderr)
	require.Empty(t, got.stdout)
	require.Equal(t, []string{"mine.safetensors"}, files(t, dir))
	require.Zero(t, run(t.Context(), nil, "info", "mine").code)

	got = run(t.Context(), nil, "models", "pull", server.URL+"/x.safetensors", "--sha256", strings.Repeat("0", 64))
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "another SHA-256, "+sum)

	got = run(t.Context(), nil, "models", "pull", server.URL+"/x.safetensors", "--sha256", sum, "--name", models.Default)
	require.Contains(t, got.stderr, "choose another name (option --name)\n")
	got = run(t.Context(), nil, "models", "pull", server.URL+"/x.safetensors", "--sha256", "7d86")
	require.Contains(t, got.stderr, "whoever offers the file tells it (option --sha256)\n")

	data, err = os.ReadFile(filepath.Join(tiny, "gopro_tiny_net_g.pth"))
	require.NoError(t, err)
	got = run(t.Context(), nil, "models", "pull", server.URL+"/g.pth", "--name", "parts", "--sha256", fmt.Sprintf("%x", sha256.Sum256(data)))
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stderr, "parts is not complete yet: weights lack net_le_dm, net_d")
}

// TestReadingModelsInterrupted: whoever reads weights ends with Ctrl-C.
func TestReadingModelsInterrupted(t *testing.T) {
	dir := ownModels(t)
	mine := filepath.Join(dir, "mine.safetensors")
	require.NoError(t, os.MkdirAll(dir, 0o777))
	require.Zero(t, run(t.Context(), nil, "convert", tiny, "-o", mine).code)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"models"}, {"info", mine}, {"convert", mine, "-o", "x.safetensors"}} {
		require.Equal(t, result{exitInterrupted, "", "hidiff: interrupted\n"}, run(ctx, nil, args...), args)
	}
}

// TestBuiltInIsAsTrained: the weights alone do not tell the steps of diffusion.
func TestBuiltInIsAsTrained(t *testing.T) {
	w, err := models.Load(t.Context(), hidiff.LoadOptions{})
	require.NoError(t, err)
	for _, preset := range []string{"Small_S2", "Small"} {
		o, err := options.Load(preset, nil)
		require.NoError(t, err)
		_, c, err := hidiff.ConfigOf(o)
		require.NoError(t, err)
		require.Equal(t, c, w.Config, preset)
	}
}

// TestModelsWithoutAFolder: those that are built in are listed, and used, wherever the folder of the others is.
func TestModelsWithoutAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeText(t, file, "")
	for _, c := range []struct{ home, models, want string }{
		{"", "", "there is no folder for models: name one in the environment variable HIDIFF_MODELS"},
		{"", file, "the folder of models cannot be read"},
	} {
		t.Setenv("HIDIFF_MODEL", "")
		t.Setenv("XDG_CACHE_HOME", "")
		t.Setenv("HOME", c.home)
		t.Setenv("HIDIFF_MODELS", c.models)
		got := run(t.Context(), nil, "models")
		require.Zero(t, got.code, got.stderr)
		require.Contains(t, got.stdout, "* "+models.Default+" ")
		require.Contains(t, got.stderr, "warning: only built-in models are listed: "+c.want)
		got = run(t.Context(), nil, "models", "--json")
		require.Zero(t, got.code, got.stderr)
		require.NotEmpty(t, summaryOf[modelList](t, got.stdout).Models)
		require.Zero(t, run(t.Context(), nil, "info", "small").code)
		got = run(t.Context(), nil, "info", "smal")
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.stderr, `there is no file and no built-in model "smal": did you mean small?; `+c.want)
	}
	own := ownModels(t)
	require.NoError(t, os.Mkdir(own, 0o777))
	require.NoError(t, os.Symlink(tiny, filepath.Join(own, "mine")))
	t.Setenv("HOME", "")
	got := run(t.Context(), nil, "models")
	require.Empty(t, got.stderr)
	require.Contains(t, got.stdout, "  mine ")
}
