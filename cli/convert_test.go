package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
)

// bundle writes a whole model into one file as a trainer does that wraps its networks, and keeps two net_g.
func bundle(t *testing.T, path string) *hidiff.Weights {
	t.Helper()
	w, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, tiny)
	require.NoError(t, err)
	sd := checkpoint.NewStateDict()
	for net, state := range w.Nets {
		for key, array := range state.All() {
			sd.Set("model."+string(net)+"._orig_mod."+key, array)
			if net == hidiff.NetG {
				sd.Set("model.net_g_ema."+key, array)
			}
		}
	}
	file := checkpoint.NewDict()
	file.Set("epoch", int64(3))
	file.Set("state_dict", sd)
	require.NoError(t, checkpoint.WritePTH(path, file))
	return w
}

// Every command that takes weights takes them wrapped, and lets --param-key choose.
func TestWrappedWeights(t *testing.T) {
	testSet(t)
	w := bundle(t, "one.ckpt")
	const ambiguous = `one.ckpt: say which of its weights to use: it holds "state_dict.model.net_g._orig_mod", "state_dict.model.net_g_ema"`
	write(t, "photo.png", picture(16, 16))
	for name, args := range map[string][]string{
		"info":    {"info", "one.ckpt"},
		"convert": {"convert", "one.ckpt", "-o", "one.safetensors"},
		"deblur":  {"deblur", "photo.png", "-m", "one.ckpt"},
		"eval":    append([]string{"eval"}, folders("-m", "one.ckpt")...),
	} {
		try := func(more ...string) result {
			if name == "eval" {
				return runEval(t, t.Context(), &evalEngine{}, append(args[1:], more...)...)
			}
			return runFake(t, t.Context(), &fakeEngine{}, nil, append(args, more...)...)
		}
		got := try()
		require.Equal(t, exitFailed, got.code, name)
		require.Contains(t, got.stderr, ambiguous, name)
		got = try("--param-key", "none")
		require.Contains(t, got.stderr, `no weights under "none"`, name)
		got = try("--param-key", "net_g_ema")
		require.Equal(t, exitOK, got.code, "%s: %s", name, got.stderr)
		if name == "info" {
			require.Contains(t, got.stdout, w.Hash())
		}
	}
	require.Equal(t, w.Hash(), run(t.Context(), nil, "info", "one.safetensors").stdout[len("hash: "):][:16])
	got := run(t.Context(), nil, append([]string{"eval", "--results", "x"}, folders("--param-key", "params_ema")...)...)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "--param-key")
}

// A network that torch.compile wrapped is recognised, alone as well as in DataParallel.
func TestInfoOfCompiled(t *testing.T) {
	files, err := filepath.Glob("testdata/net_d_orig_mod*.pth")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, file := range files {
		got := run(t.Context(), nil, "info", file)
		require.Equal(t, exitFailed, got.code)
		require.Equal(t, "hidiff: weights lack net_g, net_le_dm: deblurring needs net_g, net_le_dm and net_d, and given were: net_d "+file, strings.TrimSpace(got.stderr))
	}
}
