package cli

import (
	"context"
	"encoding/json"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

func TestDeblurOptions(t *testing.T) {
	with := func(change func(*deblurOptions)) *deblurOptions {
		o := &deblurOptions{Inputs: []string{"a.jpg"}, Suffix: "_deblurred", Quality: 95, Workers: workers{2, 2}}
		if change != nil {
			change(o)
		}
		return o
	}
	for _, c := range []struct {
		args string
		want *deblurOptions
	}{
		{"a.jpg", with(nil)},
		{"-i a.jpg", with(nil)},
		{"-i a.jpg b.png -i c", with(func(o *deblurOptions) { o.Inputs = []string{"a.jpg", "c", "b.png"} })},
		{"a.jpg -o out", with(func(o *deblurOptions) { o.Output, o.Suffix = "out", "" })},
		{"a.jpg -o out --suffix _x", with(func(o *deblurOptions) { o.Output, o.Suffix = "out", "_x" })},
		{"a.jpg -m g.pth -m d.pth -m le.pth", with(func(o *deblurOptions) { o.Weights = []string{"g.pth", "d.pth", "le.pth"} })},
		{"a.jpg -g nvidia -t 256 --tile-overlap 32 -x -r", with(func(o *deblurOptions) {
			o.GPU, o.Tile, o.TileOverlap, o.Ensemble, o.Recursive = "nvidia", 256, 32, true, true
		})},
		{"a.jpg -f jpg --quality 80 --strip --skip-existing", with(func(o *deblurOptions) {
			o.Format, o.Quality, o.Strip, o.SkipExisting = photo.JPEG, 80, true, true
		})},
		{"a.jpg --background black", with(func(o *deblurOptions) { o.Background = background{color.NRGBA{0, 0, 0, 255}} })},
		{"a.jpg --background #fF8001", with(func(o *deblurOptions) { o.Background = background{color.NRGBA{255, 128, 1, 255}} })},
		{"a.jpg -f TIF", with(func(o *deblurOptions) { o.Format = photo.TIFF })},
		{"a.jpg --memory 1.5GiB --seed 18446744073709551615", with(func(o *deblurOptions) { o.Memory, o.Seed = 3<<29, 1<<64-1 })},
		{"a.jpg -j 3 --plan --json", with(func(o *deblurOptions) { o.Workers, o.Plan, o.JSON = workers{3, 3}, true, true })},
		{"a.jpg -j 1:2:4", with(func(o *deblurOptions) { o.Workers = workers{1, 4} })},
		{"-", with(func(o *deblurOptions) { o.Inputs = []string{"-"} })},
	} {
		t.Run(c.args, func(t *testing.T) {
			require.Equal(t, c.want, parseDeblur(t, strings.Fields(c.args)))
		})
	}
}

func TestConvertOptions(t *testing.T) {
	var got *convertOptions
	command := newConvertCommand(&app{}, func(_ context.Context, o *convertOptions) error {
		got = o
		return nil
	})
	command.SetArgs(strings.Fields("a.pth b.pth -o c.safetensors --f16 --param-key params_ema --force --opt d.yml --metadata a=b=c,d --metadata e="))
	require.NoError(t, command.Execute())
	require.Equal(t, &convertOptions{
		Weights: []string{"a.pth", "b.pth"}, Output: "c.safetensors", Options: "d.yml", F16: true, ParamKey: "params_ema", Force: true,
		Metadata: map[string]string{"a": "b=c,d", "e": ""},
	}, got)
}

func TestBackground(t *testing.T) {
	for text, want := range map[string]string{
		"white": "#ffffff", "black": "#000000", "#12aBc0": "#12abc0",
		"": "", "red": "", "123456": "", "#12345": "", "#1234567": "", "#12345g": "", "#+12345": "", "White": "",
	} {
		var b background
		if want == "" {
			require.ErrorContains(t, b.Set(text), "#rrggbb", text)
		} else {
			require.NoError(t, b.Set(text))
		}
		require.Equal(t, want, b.String())
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1048576": 1 << 20, "512B": 512, "1.5GiB": 3 << 29, "1500M": 1500 << 20, "2g": 2 << 30, "2 GB": 2 << 30, "3k": 3072, "1TiB": 1 << 40,
		"": -1, "G": -1, "-1": -1, "1.": -1, "1e9": -1, "5iB": -1, "1.5GiBs": -1, "99999999999T": -1, "inf": -1, "NaN": -1,
	} {
		var b byteSize
		err := b.Set(text)
		if want < 0 {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, int64(b), text)
	}
}

// TestUsage holds mistakes to exit code 2, one clear sentence, and nothing on stdout.
func TestUsage(t *testing.T) {
	t.Setenv("HIDIFF_MODEL", "")
	for _, c := range []struct{ args, want string }{
		{"deblr", `there is no command "deblr": did you mean deblur?`},
		{"frobnicate", `there is no command "frobnicate"`},
		{"deblur", "no photo to deblur"},
		{"deblur a.jpg --stirp", "there is no option --stirp: did you mean --strip?"},
		{"deblur a.jpg -q", "unknown shorthand flag: 'q'"},
		{"deblur a.jpg -s 2", "unknown shorthand flag: 's'"},
		{"deblur -dash.png", "unknown shorthand flag: 'd' in -dash.png; if -dash.png is a file, write ./-dash.png, or -- before it"},
		{"deblur a.jpg -j.jpg", "--jobs .jpg: this is no number of workers: write N or load:proc:save, each from 1 to 256; if -j.jpg is a file, write ./-j.jpg"},
		{"synth --dash.tif -o x", "there is no option --dash.tif; if --dash.tif is a file, write ./--dash.tif"},
		{"deblur a.jpg -o", "flag needs an argument: 'o'"},
		{"deblur a.jpg -t 63", "-t 63 is too small"},
		{"deblur a.jpg -t -1", "-t -1 is too small"},
		{"deblur a.jpg --tile-overlap 8", "--tile-overlap needs tiles"},
		{"deblur a.jpg -t 64 --tile-overlap 33", "--tile-overlap 33 is not from 0 to 32"},
		{"deblur a.jpg --quality 101", "--quality 101 is not from 1 to 100"},
		{"deblur a.jpg -f gif", "-f gif is no format"},
		{"deblur a.jpg --memory lots", "--memory lots: this is no size"},
		{"deblur a.jpg -t big", "--tile big: invalid syntax"},
		{"deblur a.jpg -j 0", "--jobs 0: this is no number of workers"},
		{"deblur a.jpg -j 1:2", "--jobs 1:2: this is no"},
		{"deblur a.jpg --suffix a/b", "--suffix a/b must not contain"},
		{"deblur - - -m x", "standard input can be read only once"},
		{"deblur [ -m x", "[ is no valid pattern"},
		{"deblur a.jpg b.jpg -o - -m x", "2 photos cannot go into one output"},
		{"gpus x", `unknown command "x" for "hidiff gpus"`},
		{"convert", "no weights to convert"},
		{"convert a.pth", "no file to write"},
		{"convert a.pth -o b.pth", "-o b.pth must end in .safetensors"},
		{"convert a.pth -o b.safetensors --metadata x", "--metadata x must be key=value"},
		{"convert a.pth -o b.safetensors --metadata =x", "--metadata =x must be key=value"},
		{"convert a.pth -o b.safetensors --metadata hidiff.config={}", "--metadata hidiff.config={} must be key=value, and set no hidiff.config"},
		{"models pul", `there is no command "pul" in models: did you mean pull?`},
		{"models pull", "give one address"},
		{"models pull https://a/b.pth", "--sha256 is missing"},
		{"man", "accepts 1 arg(s), received 0"},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := run(t.Context(), nil, strings.Fields(c.args)...)
			require.Equal(t, exitUsage, got.code, got.stderr)
			require.Contains(t, got.stderr, "hidiff: "+c.want)
			require.Contains(t, got.stderr, "--help'")
			require.Empty(t, got.stdout)
			require.Len(t, lines(got.stderr), 2)
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "-h", "deblur -h", "help convert", "completion bash", "--version", "version"} {
		got := run(t.Context(), nil, strings.Fields(args)...)
		require.Zero(t, got.code, args)
		require.Contains(t, got.stdout, "hidiff", args)
		require.Empty(t, got.stderr, args)
	}
}

func TestVersion(t *testing.T) {
	got := run(t.Context(), nil, "version", "--json")
	require.Zero(t, got.code)
	var v versionInfo
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &v))
	require.NotEmpty(t, v.Hidiff)
	require.Contains(t, v.Go, "go1.")
}

func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	require.Zero(t, run(t.Context(), nil, "man", dir).code)
	page, err := os.ReadFile(filepath.Join(dir, "hidiff-deblur.1"))
	require.NoError(t, err)
	require.Contains(t, string(page), "skip-existing")

	file := filepath.Join(t.TempDir(), "file")
	writeText(t, file, "")
	got := run(t.Context(), nil, "man", file)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "the folder cannot be made")
}

func TestCompletion(t *testing.T) {
	got := run(t.Context(), nil, "__complete", "deblur", "-f", "")
	require.Contains(t, got.stdout, "webp")
	got = run(t.Context(), nil, "__complete", "de")
	require.Contains(t, got.stdout, "deblur")
}

func TestInfo(t *testing.T) {
	got := run(t.Context(), nil, "info", tiny)
	require.Zero(t, got.code, got.stderr)
	for _, want := range []string{
		"hash: ", "net_le_dm:\n", "parameters: 234690\n", "dtype: F32\n", "gopro_tiny_net_g.pth",
		"network_g:\n  type: Transformer\n", "  num_blocks: [1, 1, 1, 1]\n", "  LayerNorm_type: WithBias\n",
		"network_d:\n  type: denoising\n", "diffusion_schedule:\n  apply_ldm: false\n",
	} {
		require.Contains(t, got.stdout, want)
	}
	got = run(t.Context(), nil, "info", "--json", tiny)
	var info struct {
		Networks map[string]networkSummary `json:"networks"`
		G        struct {
			Type string `json:"type"`
			Dim  int    `json:"dim"`
		} `json:"network_g"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &info))
	require.Len(t, info.Networks, 4)
	require.Equal(t, 8, info.G.Dim)
	require.Equal(t, "Transformer", info.G.Type)
}

func TestConvert(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "model.safetensors")
	got := run(t.Context(), nil, "convert", tiny, "-o", out, "--f16")
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, "network_g:")
	require.Contains(t, got.stderr, "wrote "+out+" (F16)")
	require.Contains(t, run(t.Context(), nil, "info", out).stdout, "dtype: F16")

	before, err := os.ReadFile(out)
	require.NoError(t, err)
	got = run(t.Context(), nil, "convert", tiny, "-o", out)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "exists: replace it with --force")
	after, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.Zero(t, run(t.Context(), nil, "convert", tiny, "-o", out, "--force").code)
	require.Contains(t, run(t.Context(), nil, "info", out).stdout, "dtype: F32")
	require.Equal(t, []string{"model.safetensors"}, files(t, dir))
}

func TestBadWeights(t *testing.T) {
	dir := t.TempDir()
	empty, text := filepath.Join(dir, "empty.pth"), filepath.Join(dir, "text.pth")
	writeText(t, empty, "")
	writeText(t, text, "<!doctype html>")
	bad := func(name string) string { return filepath.Join("..", "hidiff", "testdata", name) }
	for _, c := range []struct {
		weights []string
		want    string
	}{
		{[]string{filepath.Join(dir, "none.pth")}, "no such file"},
		{[]string{empty}, "the file is empty"},
		{[]string{text}, "a web page, not weights"},
		{[]string{dir}, "the file is empty"},
		{[]string{filepath.Join(tiny, "gopro_tiny_net_g.pth")}, "weights lack net_le_dm, net_d"},
		{[]string{bad("bad_shape_net_d.pth")}, "parameters do not fit"},
		{[]string{bad("bad_missing_key_net_d.pth")}, "1 missing"},
	} {
		got := run(t.Context(), nil, append([]string{"info"}, c.weights...)...)
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.stderr, c.want)
		require.Empty(t, got.stdout)

		photo := filepath.Join(dir, "a.png")
		write(t, photo, picture(4, 4))
		got = runFake(t, t.Context(), nil, nil, "deblur", photo, "-m", c.weights[0])
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.stderr, c.want)
	}
}

func TestModelFromEnvironment(t *testing.T) {
	t.Setenv("HIDIFF_MODEL", tiny)
	path := filepath.Join(t.TempDir(), "a.png")
	write(t, path, picture(4, 4))
	require.Zero(t, runFake(t, t.Context(), &fakeEngine{}, nil, "deblur", path).code)
	require.Zero(t, run(t.Context(), nil, "info").code)
}
