package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
	"hidiff/internal/eval"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
)

// evalEngine restores by adding the seed to every sample.
type evalEngine struct {
	fakeEngine
	seeds []uint64
	fail  func(name string, seed uint64) error
}

func (e *evalEngine) Restore(_ context.Context, p *photo.Photo, o hidiff.RestoreOptions) (*photo.Photo, error) {
	e.names, e.seeds = append(e.names, o.Name), append(e.seeds, o.Seed)
	if e.fail != nil {
		if err := e.fail(o.Name, o.Seed); err != nil {
			return nil, err
		}
	}
	q := *p
	q.Pix = make([]uint16, len(p.Pix))
	for i, v := range p.Pix {
		q.Pix[i] = min(v+uint16(o.Seed), p.Max)
	}
	return &q, nil
}

// runEval runs eval on an engine; nil is one that must not be opened.
func runEval(t *testing.T, ctx context.Context, engine *evalEngine, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdin: &bytes.Buffer{}, stdout: &stdout, stderr: &messages{w: &stderr}}
	a.open = func(context.Context, *hidiff.Weights, hidiff.Options) (restorer, error) {
		if engine == nil {
			t.Error("the GPU was opened")
			return &evalEngine{}, nil
		}
		return engine, nil
	}
	code := a.execute(ctx, append([]string{"eval"}, args...))
	return result{code, stdout.String(), stderr.String()}
}

// testSet is a folder Shots/test with four pairs, in input and target, in which a test works.
func testSet(t *testing.T) {
	t.Helper()
	workshop(t)
	require.NoError(t, os.MkdirAll("Shots/test", 0o777))
	require.NoError(t, os.Rename("input", "Shots/test/input"))
	require.NoError(t, os.Rename("target", "Shots/test/target"))
}

// folders are the arguments for it.
func folders(more ...string) []string {
	return append([]string{"--input", "Shots/test/input", "--target", "Shots/test/target"}, more...)
}

func readScores(t *testing.T, name string) *eval.Evaluation {
	t.Helper()
	e, err := eval.ReadJSON(filepath.Join("results", name, "scores.json"))
	require.NoError(t, err)
	return e
}

func eightBit(t *testing.T, path string) metrics.Image {
	t.Helper()
	p, err := photo.Open(path)
	require.NoError(t, err)
	m := metrics.Image{Width: p.Width, Height: p.Height, Channels: p.Channels}
	for _, v := range p.Pix {
		m.Pix = append(m.Pix, uint8(v))
	}
	return m
}

// TestEvalFolders restores and scores two folders, and holds the scores to the files that are left.
func TestEvalFolders(t *testing.T) {
	testSet(t)
	engine := &evalEngine{}
	got := runEval(t, t.Context(), engine, folders("-m", tiny, "--seed", "3", "--protocol", "matlab,basicsr", "--protocol", "matlab")...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.ElementsMatch(t, []string{"0.png", "1.png", "2.png", "3.png"}, engine.names)
	require.Equal(t, []uint64{3, 3, 3, 3}, engine.seeds)
	require.Contains(t, got.stdout, "weights 2ac1bf8842d9d83a\n")
	require.Regexp(t, `Shots +scored +PSNR .*\nmatlab +4 of 4 +\d+\.\d{3} +0\.\d{4} +\d+\.\d{3} +0\.\d{4} +– +\d+\.\d\d\nbasicsr +4 of 4 `, got.stdout)
	require.Regexp(t, `\[4/4\] Shots/\d: matlab \d+\.\d\d dB, 0\.\d{4}; basicsr `, got.stderr)

	found := files(t, "results")
	require.Subset(t, found, []string{"eval_Shots/scores.csv", "eval_Shots/scores.json", "eval_Shots/report/index.html", "eval_Shots/visualization/Shots/0_eval_Shots.png"})
	for _, name := range found {
		require.NotContains(t, name, "tmp")
	}
	e := readScores(t, "eval_Shots")
	require.True(t, e.Complete)
	require.Equal(t, "2ac1bf8842d9d83a", e.Restoring["weights"])
	require.Equal(t, "3", e.Restoring["seed"])
	require.Contains(t, e.Restoring["diffusion_schedule"], `"timesteps":8`)
	require.Contains(t, e.Weights["net_le_dm"], "gopro_tiny_net_le_dm.pth")
	require.Equal(t, []string{"matlab", "basicsr"}, []string{string(e.Datasets[0].Scores[0].Protocol), string(e.Datasets[0].Scores[1].Protocol)})
	var sum float64
	for _, m := range e.Datasets[0].Images {
		target := eightBit(t, "Shots/test/target/"+m.Name+".png")
		psnr, err := metrics.MatlabPSNR(eightBit(t, "results/eval_Shots/visualization/Shots/"+m.Name+"_eval_Shots.png"), target)
		require.NoError(t, err)
		ssim, err := metrics.MatlabSSIM(eightBit(t, "Shots/test/input/"+m.Name+".png"), target)
		require.NoError(t, err)
		require.Equal(t, []eval.Number{eval.Number(psnr)}, m.Scores[eval.Matlab].PSNR)
		require.Equal(t, eval.Number(ssim), m.Scores[eval.Matlab].InputSSIM)
		sum += psnr
	}
	require.Equal(t, eval.Number(sum/4), e.Datasets[0].Scores[0].PSNR)

	f, err := os.Open("results/eval_Shots/scores.csv")
	require.NoError(t, err)
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 1+4*2)

	// What is there is scored to the same numbers, wherever it lies, without weights.
	for _, dir := range []string{"results/eval_Shots", "results/eval_Shots/visualization", "results/eval_Shots/visualization/Shots"} {
		got = runEval(t, t.Context(), nil, folders("--results", dir, "--protocol", "matlab,basicsr")...)
		require.Equal(t, exitOK, got.code, got.stderr)
		again := readScores(t, "eval_Shots_scored")
		require.Empty(t, again.Restoring)
		for i, m := range again.Datasets[0].Images {
			require.Equal(t, e.Datasets[0].Images[i].Scores, m.Scores)
		}
	}
	got = runEval(t, t.Context(), nil, "--results", "Shots/test/input", "--target", "Shots/test/target", "--name", "blurry")
	require.Equal(t, exitOK, got.code, got.stderr)
	for i, m := range readScores(t, "blurry").Datasets[0].Images {
		before := e.Datasets[0].Images[i].Scores[eval.BasicSR]
		require.Equal(t, before.InputPSNR, m.Scores[eval.BasicSR].PSNR[0], "equal names, too")
		require.False(t, m.Scores[eval.BasicSR].InputPSNR.Known())
	}
}

// testOptions is a test file of the tiny networks; %s is its val.suffix.
const testOptions = `
name: test_tiny
model_type: HI_Diff_S2
manual_seed: 5
datasets:
  test_1: {name: GoPro, type: PairedImageIRDataset, dataroot_gt: Shots/test/target, dataroot_lq: Shots/test/input, io_backend: {type: disk}}
  test_2: {name: RealBlur_J, type: PairedImageIRDataset, dataroot_gt: other/target, dataroot_lq: other/input, filename_tmpl: '{}_blur', io_backend: {type: disk}}
network_g: {type: Transformer, dim: 8, num_blocks: [1, 1, 1, 1], num_refinement_blocks: 1, heads: [1, 2, 4, 8], ffn_expansion_factor: 2.66, embed_dim: 8, group: 4}
network_le: {type: latent_encoder_gelu, in_chans: 6, embed_dim: 8, block_num: 2, group: 4, stage: 1}
network_le_dm: {type: latent_encoder_gelu, in_chans: 3, embed_dim: 8, block_num: 2, group: 4, stage: 2}
network_d: {type: denoising, in_channel: 32, out_channel: 32, inner_channel: 48, block_num: 4, group: 4}
diffusion_schedule: {apply_ldm: false, schedule: linear, timesteps: 4, linear_start: 0.1, linear_end: 0.99}
path:
  pretrain_network_g: models/gopro_tiny_net_g.pth
  pretrain_network_le_dm: models/gopro_tiny_net_le_dm.pth
  pretrain_network_d: models/gopro_tiny_net_d.pth
val:
  save_img: true
  suffix: '%s'
  metrics:
    psnr: {type: calculate_psnr, crop_border: 2, test_y_channel: true}
    ssim: {type: calculate_ssim, crop_border: 0, test_y_channel: false}
`

func testFile(t *testing.T) {
	t.Helper()
	testSet(t)
	require.NoError(t, os.Symlink(tiny, "models"))
	for _, name := range []string{"0", "1"} {
		p, err := photo.Open("Shots/test/target/" + name + ".png")
		require.NoError(t, err)
		writePhoto(t, "other/target/"+name+".png", p)
		writePhoto(t, "other/input/"+name+"_blur.png", smear(p, 3))
	}
	writeText(t, "test.yml", fmt.Sprintf(testOptions, ""))
}

// TestEvalOptionFile runs all datasets of an option file, each by its own protocol.
func TestEvalOptionFile(t *testing.T) {
	testFile(t)
	engine := &evalEngine{}
	got := runEval(t, t.Context(), engine, "-opt", "test.yml")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, []uint64{5, 5, 5, 5, 5, 5}, engine.seeds, "manual_seed")
	require.Contains(t, got.stderr, "the diffusion_schedule is that of test.yml")
	require.Regexp(t, `matlab +4 of 4 .* 33\.33 / 0\.964 \(trained on GoPro\)`, got.stdout)
	require.Regexp(t, `realblur +2 of 2 .* 29\.15 / 0\.890 \(trained on GoPro\), 33\.70 / 0\.941 \(trained on RealBlur\)`, got.stdout)
	require.Contains(t, got.stdout, "the published score is of 1111 pairs: 4 are not the same test")
	require.FileExists(t, "results/test_tiny/visualization/GoPro/3_test_tiny.png")
	require.FileExists(t, "results/test_tiny/visualization/RealBlur_J/0_test_tiny.png")
	e := readScores(t, "test_tiny")
	require.Contains(t, e.Restoring["diffusion_schedule"], `"timesteps":4`)
	require.Len(t, e.Datasets, 2)

	// val.suffix, one dataset, the metrics' options.
	writeText(t, "test.yml", fmt.Sprintf(testOptions, "mine"))
	got = runEval(t, t.Context(), &evalEngine{}, "-opt", "test.yml", "--dataset", "GoPro", "--protocol", "basicsr", "--name", "again")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.FileExists(t, "results/again/visualization/GoPro/3_mine.png")
	d := readScores(t, "again").Datasets
	require.Len(t, d, 1)
	require.Contains(t, d[0].Scores[0].Explanation, "of the Y channel, less a border of 2 pixels and RGB")
	want, err := metrics.PSNR(eightBit(t, "results/again/visualization/GoPro/3_mine.png"), eightBit(t, "Shots/test/target/3.png"), metrics.Options{CropBorder: 2, YChannel: true})
	require.NoError(t, err)
	require.Equal(t, eval.Number(want), d[0].Images[3].Scores[eval.BasicSR].PSNR[0])

	// Its results, by any program.
	got = runEval(t, t.Context(), nil, "-opt", "test.yml", "--results", "results/test_tiny")
	require.Equal(t, exitOK, got.code, got.stderr)
	for i, d := range readScores(t, "test_tiny_scored").Datasets {
		for k, m := range d.Images {
			require.Equal(t, e.Datasets[i].Images[k].Scores, m.Scores)
		}
	}
}

// TestEvalWeights says what is wrong with the weights that an option file names.
func TestEvalWeights(t *testing.T) {
	testFile(t)
	try := func(engine *evalEngine, force ...string) result {
		t.Helper()
		args := []string{"-opt", "test.yml", "--dataset", "GoPro", "--report-images", "0"}
		for _, f := range force {
			args = append(args, "--force_yml", f)
		}
		return runEval(t, t.Context(), engine, args...)
	}
	for _, c := range []struct{ force, want string }{
		{"path:pretrain_network_d=nowhere/net_d.pth", "path.pretrain_network_d: nowhere/net_d.pth is not there"},
		{"path:pretrain_network_d=~", "test.yml lacks path.pretrain_network_d"},
		{"path:param_key_d=params_ema", "different param_keys for the networks (params, params_ema)"},
		{"network_g:dim=16", "test.yml describes another net_g than models/gopro_tiny_net_g.pth is"},
		{"model_type=HI_Diff_S1", "test.yml is of stage one"},
		{"network_d:type=magic", "magic"},
	} {
		got := try(nil, c.force)
		require.Equal(t, exitFailed, got.code, c.force)
		require.Contains(t, got.stderr, c.want)
	}
	t.Setenv("HIDIFF_MODEL", "nobody")
	none := []string{"path:pretrain_network_g=~", "path:pretrain_network_le_dm=~", "path:pretrain_network_d=~"}
	got := try(nil, none...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, `no model "nobody"`)
	t.Setenv("HIDIFF_MODEL", tiny)
	require.Equal(t, exitOK, try(&evalEngine{}, none...).code)

	got = runEval(t, t.Context(), &evalEngine{}, "-opt", "test.yml", "--dataset", "GoPro", "-m", tiny, "--force_yml", "network_g:dim=16")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stderr, "note: test.yml describes other networks than -m gives")
	require.Contains(t, readScores(t, "test_tiny").Restoring["diffusion_schedule"], `"timesteps":8`)
}

// TestEvalInTheWay finds what is in the way of results before the GPU is opened.
func TestEvalInTheWay(t *testing.T) {
	for at, want := range map[string]string{
		"results/eval_Shots/scores.json/x":                          "scores.json: cannot write: this is a folder",
		"results/eval_Shots/visualization/Shots/2_eval_Shots.png/x": "2_eval_Shots.png: cannot write: this is a folder",
		"results": "scores.json: cannot write: not a directory",
	} {
		t.Run(want, func(t *testing.T) {
			testSet(t)
			writeText(t, at, "")
			got := runEval(t, t.Context(), nil, folders("-m", tiny)...)
			require.Equal(t, exitFailed, got.code)
			require.Contains(t, got.stderr, want)
		})
	}
}

// TestEvalBadInput holds every kind of bad folders to exit code 1 and a sentence, before the GPU is opened.
func TestEvalBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T)
		args   []string
		want   []string
	}{
		"no folder":               {nil, []string{"--input", "nowhere", "--target", "Shots/test/target", "-m", tiny}, []string{"--input: there is no folder nowhere"}},
		"empty folder":            {func(t *testing.T) { require.NoError(t, os.Mkdir("empty", 0o777)) }, []string{"--input", "empty", "--target", "Shots/test/target", "-m", tiny}, []string{"--input: the folder empty holds no photo"}},
		"empty target":            {func(t *testing.T) { require.NoError(t, os.Mkdir("empty", 0o777)) }, []string{"--input", "Shots/test/input", "--target", "empty", "-m", tiny}, []string{"--target: the folder empty holds no photo"}},
		"empty target of results": {func(t *testing.T) { require.NoError(t, os.Mkdir("empty", 0o777)) }, []string{"--results", "Shots/test/input", "--target", "empty"}, []string{"hidiff: --target: the folder empty holds no photo"}},
		"no target of results":    {nil, []string{"--results", "Shots/test/input", "--target", "nowhere"}, []string{"hidiff: --target: there is no folder nowhere"}},
		"name too long":           {nil, folders("-m", tiny, "--name", strings.Repeat("x", 256)), []string{"scores.json: cannot write: file name too long: choose a shorter name"}},
		"photo's name too long":   {nil, folders("-m", tiny, "--name", strings.Repeat("x", 250)), []string{"0_" + strings.Repeat("x", 250) + ".png: cannot write: file name too long"}},
		"empty results":           {func(t *testing.T) { require.NoError(t, os.Mkdir("empty", 0o777)) }, folders("--results", "empty"), []string{"--results: the folder empty holds no photo"}},
		"result of another size": {func(t *testing.T) {
			for i := range 4 {
				writePhoto(t, fmt.Sprintf("r/%d.png", i), picture(64, 64-i/3))
			}
		}, folders("--results", "r"), []string{"1 of 4 pairs", "r/3.png is 64×63 pixels, but its partner Shots/test/target/3.png is 64×64"}},
		"oracle without net_le": {nil, folders("--prior", "oracle", "-m", filepath.Join(tiny, "gopro_tiny_net_g.pth"), "-m", filepath.Join(tiny, "gopro_tiny_net_d.pth")), []string{"weights lack net_le: the prior oracle needs net_g and net_le, and given were: net_g"}},
		"oracle by default":     {func(t *testing.T) { t.Setenv("HIDIFF_MODEL", "") }, folders("--prior", "oracle"), []string{"weights lack net_le: the prior oracle needs net_g and net_le, and given were: net_g built-in model small"}},
		"oracle built in":       {nil, folders("--prior", "oracle", "-m", "small"), []string{"weights lack net_le: the prior oracle needs net_g and net_le"}},
		"sampled without net_d": {nil, folders("-m", filepath.Join(tiny, "gopro_tiny_net_g.pth"), "-m", filepath.Join(tiny, "gopro_tiny_net_le.pth")), []string{"weights lack net_le_dm, net_d: deblurring needs net_g, net_le_dm and net_d"}},
		"no target":             {nil, []string{"--input", "Shots/test/input", "--target", "nowhere", "-m", tiny}, []string{"--target: there is no folder nowhere"}},
		"missing input":         {func(t *testing.T) { require.NoError(t, os.Remove("Shots/test/input/2.png")) }, folders("-m", tiny), []string{"--input Shots/test/input lacks 1 of 4 photos", ": 2"}},
		"missing target":        {func(t *testing.T) { require.NoError(t, os.Remove("Shots/test/target/2.png")) }, folders("-m", tiny), []string{"--input Shots/test/input holds 1 photos without a partner in --target", ": 2"}},
		"missing result":        {func(t *testing.T) { writePhoto(t, "r/1_x.png", picture(64, 64)) }, folders("--results", "r"), []string{"--results r lacks"}},
		"no results":            {nil, folders("--results", "nowhere"), []string{"--results: there is no folder nowhere"}},
		"size":                  {func(t *testing.T) { writePhoto(t, "Shots/test/input/2.png", picture(64, 63)) }, folders("-m", tiny), []string{"Shots/test/input/2.png is 64×63 pixels, but its partner Shots/test/target/2.png is 64×64"}},
		"missing dataset":       {func(t *testing.T) { require.NoError(t, os.RemoveAll("other")) }, []string{"-opt", "test.yml"}, []string{"dataset RealBlur_J: dataroot_lq: there is no folder other/input", "--dataset chooses others"}},
		"weights":               {nil, folders("-m", "nowhere.pth"), []string{"nowhere.pth: no such file"}},
		"no options":            {nil, []string{"-opt", "tset.yml"}, []string{"there is no option file or preset tset.yml"}},
		"nothing to test": {func(t *testing.T) {
			writeText(t, "test.yml", strings.NewReplacer("test_1", "train", "  test_2", "#").Replace(fmt.Sprintf(testOptions, "")))
		}, []string{"-opt", "test.yml", "--force_yml", "datasets:train:batch_size_per_gpu=1", "--force_yml", "datasets:train:gt_size=64"}, []string{"test.yml has no dataset to test"}},
	} {
		t.Run(name, func(t *testing.T) {
			testFile(t)
			if c.damage != nil {
				c.damage(t)
			}
			got := runEval(t, t.Context(), nil, c.args...)
			require.Equal(t, exitFailed, got.code, got.stderr)
			for _, want := range c.want {
				require.Contains(t, filepath.ToSlash(got.stderr), want)
			}
			require.Empty(t, got.stdout)
			require.NoDirExists(t, "results")
		})
	}
}

// TestEvalGoesOn names photos that fail, and scores the others.
func TestEvalGoesOn(t *testing.T) {
	testSet(t)
	deep := &photo.Photo{Width: 64, Height: 64, Channels: 3, Max: 65535, Pix: make([]uint16, 64*64*3)}
	for name, p := range map[string]*photo.Photo{"deep": deep, "tired": picture(64, 64), "broken": picture(64, 64)} {
		writePhoto(t, "Shots/test/input/"+name+".png", p)
		writePhoto(t, "Shots/test/target/"+name+".png", picture(64, 64))
	}
	writeText(t, "Shots/test/target/broken.png", "this is no photo")
	engine := &evalEngine{fail: func(name string, _ uint64) error {
		if name == "tired.png" {
			return errors.New("the GPU is tired")
		}
		return nil
	}}
	got := runEval(t, t.Context(), engine, folders("-m", tiny)...)
	require.Equal(t, exitFailed, got.code)
	for _, want := range []string{
		"error: Shots/tired: the GPU is tired\n", "error: Shots/deep: the input has 16 bits a sample and the target 8: convert one of them\n",
		"error: Shots/broken: Shots/test/target/broken.png: not a PNG",
		"hidiff: photos without a score, or not with all of them: 3\n",
	} {
		require.Contains(t, filepath.ToSlash(got.stderr), want)
	}
	require.Regexp(t, `basicsr +4 of 7 `, got.stdout)
	require.Contains(t, got.stdout, "3 without a score by basicsr: broken, deep, tired\n")
	require.Len(t, files(t, "results/eval_Shots/visualization"), 4)
	text, err := os.ReadFile("results/eval_Shots/report/index.html")
	require.NoError(t, err)
	require.Contains(t, string(text), "Without a score: 3")
	csv, err := os.ReadFile("results/eval_Shots/scores.csv")
	require.NoError(t, err)
	require.Contains(t, string(csv), "Shots,tired,basicsr,,,,,,the GPU is tired\n")
}

// TestEvalUnaligned reports what cannot be aligned by name, and counts it.
func TestEvalUnaligned(t *testing.T) {
	testSet(t)
	black := &photo.Photo{Width: 64, Height: 64, Channels: 3, Max: 255, Pix: make([]uint16, 64*64*3)}
	writePhoto(t, "Shots/test/input/1.png", black)
	got := runEval(t, t.Context(), &evalEngine{}, folders("-m", tiny, "--dataset", "RealBlur_R", "--protocol", "realblur,basicsr")...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "error: RealBlur_R/1: realblur: the result cannot be aligned with its target: it is black\n")
	require.Regexp(t, `realblur +3 of 4 `, got.stdout)
	require.Regexp(t, `basicsr +4 of 4 `, got.stdout)
	require.Contains(t, got.stdout, "1 without a score by realblur: 1\n")
	require.Contains(t, got.stderr, "not with all of them: 1\n")
	s := readScores(t, "eval_RealBlur_R").Datasets[0]
	require.Equal(t, []string{"1"}, s.Scores[0].Unscored)
	require.Equal(t, 4, s.Scores[0].Images)
}

func TestEvalSkipExisting(t *testing.T) {
	testSet(t)
	args := folders("-m", tiny, "--report-images", "2")
	again := append(slices.Clone(args), "--skip-existing")
	tired := errors.New("tired")
	first := &evalEngine{fail: func(name string, _ uint64) error {
		if name == "2.png" {
			return tired
		}
		return nil
	}}
	require.Equal(t, exitFailed, runEval(t, t.Context(), first, again...).code, "with nothing to go on from")
	second := &evalEngine{}
	got := runEval(t, t.Context(), second, again...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, []string{"2.png"}, second.names)
	got = runEval(t, t.Context(), nil, again...) // nothing left: no GPU
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Regexp(t, `basicsr +4 of 4 `, got.stdout)

	got = runEval(t, t.Context(), nil, append(again, "--seed", "1", "-x")...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, filepath.ToSlash(got.stderr), "results/eval_Shots/scores.json is of a run with another seed, self-ensemble: choose another --name")
	third := &evalEngine{}
	require.Equal(t, exitOK, runEval(t, t.Context(), third, args...).code)
	require.Len(t, third.names, 4, "without the option everything is restored")
}

// TestEvalSkipExistingOfOtherFolders goes on with no other photos than those that were restored, however their folders are spelt.
func TestEvalSkipExistingOfOtherFolders(t *testing.T) {
	testFile(t)
	for i := range 4 {
		for _, root := range []string{"input", "target"} {
			p, err := photo.Open(fmt.Sprintf("Shots/test/%s/%d.png", root, i))
			require.NoError(t, err)
			writePhoto(t, fmt.Sprintf("Shots/test/strong_%s/%d.png", root, i), smear(p, 5))
		}
	}
	require.Equal(t, exitOK, runEval(t, t.Context(), &evalEngine{}, folders("-m", tiny)...).code)
	require.Equal(t, exitOK, runEval(t, t.Context(), &evalEngine{}, "-opt", "test.yml", "--dataset", "GoPro").code)
	refused := func(name, another string, args ...string) {
		t.Helper()
		before, err := os.ReadFile("results/" + name + "/scores.json")
		require.NoError(t, err)
		got := runEval(t, t.Context(), nil, append(args, "--skip-existing")...)
		require.Equal(t, exitFailed, got.code)
		require.Equal(t, "results/"+name+"/scores.json is of a run with another "+another+": choose another --name, or leave out --skip-existing to replace it",
			strings.TrimPrefix(lines(filepath.ToSlash(got.stderr))[len(lines(got.stderr))-1], "hidiff: "))
		after, err := os.ReadFile("results/" + name + "/scores.json")
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	refused("eval_Shots", "input of Shots", "-m", tiny, "--input", "Shots/test/strong_input", "--target", "Shots/test/target")
	refused("eval_Shots", "target of Shots", "-m", tiny, "--input", "Shots/test/input", "--target", "Shots/test/strong_target")
	refused("eval_Shots", "input of Shots, seed, target of Shots", "-m", tiny, "--input", "Shots/test/strong_input", "--target", "Shots/test/strong_target", "--seed", "2")
	refused("test_tiny", "input of GoPro", "-opt", "test.yml", "--force_yml", "datasets:test_1:dataroot_lq=Shots/test/strong_input")

	there, err := filepath.Abs("Shots/test")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(there, "link"))
	for _, args := range [][]string{
		{"--input", filepath.Join(there, "input"), "--target", "./Shots/test/target/"},
		{"--input", "link/input", "--target", "link/target", "--dataset", "Shots", "--name", "eval_Shots"},
	} {
		got := runEval(t, t.Context(), nil, append(args, "-m", tiny, "--skip-existing")...)
		require.Equal(t, exitOK, got.code, got.stderr)
	}
}

// TestEvalSkipExistingOfAnotherSuffix takes no photos that lie there from a run before the last, under another seed.
func TestEvalSkipExistingOfAnotherSuffix(t *testing.T) {
	testFile(t)
	for _, c := range []struct {
		args     []string
		restored int
	}{
		{[]string{"--force_yml", "val:suffix=a"}, 4},
		{[]string{"--force_yml", "val:suffix=b", "--seed", "9"}, 4},
		{[]string{"--force_yml", "val:suffix=a", "--seed", "9", "--skip-existing"}, 4},
		{[]string{"--force_yml", "val:suffix=a", "--seed", "9", "--skip-existing"}, 0},
	} {
		engine := &evalEngine{}
		got := runEval(t, t.Context(), engine, append([]string{"-opt", "test.yml", "--dataset", "GoPro", "--protocol", "basicsr"}, c.args...)...)
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Len(t, engine.names, c.restored, c.args)
	}
}

// TestEvalKeepsDatasets evaluates the datasets of a file one at a time, as if at once.
func TestEvalKeepsDatasets(t *testing.T) {
	testFile(t)
	try := func(engine *evalEngine, args ...string) result {
		t.Helper()
		got := runEval(t, t.Context(), engine, append([]string{"-opt", "test.yml", "--report-images", "2"}, args...)...)
		require.Equal(t, exitOK, got.code, got.stderr)
		return got
	}
	goPro, realBlur := []string{"--dataset", "GoPro", "--protocol", "basicsr", "--baseline", "unsharp"}, []string{"--dataset", "RealBlur_J", "--protocol", "matlab"}
	text := func(d *eval.Dataset) string { // as no number equals itself where there is none
		data, err := json.Marshal(d)
		require.NoError(t, err)
		return string(data)
	}
	try(&evalEngine{}, goPro...)
	first := readScores(t, "test_tiny").Datasets[0]
	csv, err := os.ReadFile("results/test_tiny/scores.csv")
	require.NoError(t, err)
	require.NotContains(t, try(&evalEngine{}, realBlur...).stderr, "replaced")
	both := readScores(t, "test_tiny")
	require.True(t, both.Complete)
	require.Len(t, both.Datasets, 2)
	require.Equal(t, text(first), text(both.Datasets[0]), "as it was, the explanation of its options included")
	require.Equal(t, "RealBlur_J", both.Datasets[1].Name)
	more, err := os.ReadFile("results/test_tiny/scores.csv")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(more), string(csv)), "%s", more)
	require.Len(t, lines(string(more)), 1+4+2)
	page, err := os.ReadFile("results/test_tiny/report/index.html")
	require.NoError(t, err)
	require.Contains(t, string(page), "<strong>"+first.Scores[0].PSNR.Round(3)+"</strong>")
	require.Contains(t, string(page), "kept from an earlier run")
	require.Contains(t, string(page), `<h2 id="RealBlur_J">`)
	try(nil, "--skip-existing") // of neither anything is left to restore

	// One of them again: the other stays.
	try(&evalEngine{}, goPro...)
	require.Equal(t, []string{"RealBlur_J", "GoPro"}, []string{readScores(t, "test_tiny").Datasets[0].Name, readScores(t, "test_tiny").Datasets[1].Name})

	// Under other settings it cannot.
	for setting, args := range map[string][]string{"seed": {"--seed", "9"}, "number of seeds": {"--seeds", "2"}} {
		got := runEval(t, t.Context(), nil, append([]string{"-opt", "test.yml", "--skip-existing"}, append(args, goPro...)...)...)
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, filepath.ToSlash(got.stderr), "results/test_tiny/scores.json is of a run with another "+setting+": choose another --name")
	}
	got := try(&evalEngine{}, append(realBlur, "--seed", "9")...)
	require.Contains(t, filepath.ToSlash(got.stderr), "note: results/test_tiny/scores.json is of another run and is replaced, with its scores of GoPro: --name writes elsewhere\n")
	require.Len(t, readScores(t, "test_tiny").Datasets, 1)
	try(&evalEngine{}, append(goPro, "--seed", "9")...)
	require.Len(t, readScores(t, "test_tiny").Datasets, 2)
	results := []string{"--results", "results/test_tiny", "--name", "test_tiny", "--dataset", "RealBlur_J"}
	require.Contains(t, try(nil, results...).stderr, "with its scores of GoPro", "nobody knows who restored these")
	require.NotContains(t, try(nil, results...).stderr, "replaced", "nothing else was there")
}

// TestEvalKeepsHalfADataset says of a dataset that was interrupted that it is not complete, until it is.
func TestEvalKeepsHalfADataset(t *testing.T) {
	testFile(t)
	ctx, cancel := context.WithCancel(t.Context())
	half := &evalEngine{}
	half.fail = func(string, uint64) error {
		if len(half.names) == 3 {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	args := []string{"-opt", "test.yml", "--protocol", "basicsr", "--dataset"}
	require.Equal(t, exitInterrupted, runEval(t, ctx, half, append(args, "GoPro")...).code)
	require.Equal(t, exitOK, runEval(t, t.Context(), &evalEngine{}, append(args, "RealBlur_J")...).code)
	e := readScores(t, "test_tiny")
	require.False(t, e.Complete)
	require.Len(t, e.Datasets[0].Images, 2)
	rest := &evalEngine{}
	require.Equal(t, exitOK, runEval(t, t.Context(), rest, append(args, "GoPro", "--skip-existing")...).code)
	require.Len(t, rest.names, 2)
	require.True(t, readScores(t, "test_tiny").Complete)
}

// TestEvalInterrupted stops in the middle, and goes on.
func TestEvalInterrupted(t *testing.T) {
	testSet(t)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := ""
	first := &evalEngine{}
	first.fail = func(name string, _ uint64) error {
		if len(first.names) == 3 {
			stopped = name
			cancel()
			return ctx.Err()
		}
		return nil
	}
	got := runEval(t, ctx, first, folders("-m", tiny)...)
	require.Equal(t, exitInterrupted, got.code, got.stderr)
	require.NotContains(t, got.stderr, "error:")
	e := readScores(t, "eval_Shots")
	require.False(t, e.Complete)
	require.Len(t, e.Datasets[0].Images, 2)
	second := &evalEngine{}
	require.Equal(t, exitOK, runEval(t, t.Context(), second, folders("-m", tiny, "--skip-existing")...).code)
	require.Len(t, second.names, 2)
	require.Contains(t, second.names, stopped)
	require.True(t, readScores(t, "eval_Shots").Complete)
}

func TestEvalSeeds(t *testing.T) {
	testSet(t)
	engine := &evalEngine{}
	got := runEval(t, t.Context(), engine, folders("-m", tiny, "--seeds", "3")...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, []uint64{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}, engine.seeds)
	require.Regexp(t, `basicsr +4 of 4 +\d+\.\d{3} ± \d\.\d{3} +0\.\d{4} ± 0\.\d{4} `, got.stdout)
	e := readScores(t, "eval_Shots")
	require.Len(t, e.Datasets[0].Images[0].Scores[eval.BasicSR].PSNR, 3)
	require.Positive(t, float64(e.Datasets[0].Scores[0].PSNRSpread))
	require.Equal(t, eightBit(t, "Shots/test/input/0.png"), eightBit(t, "results/eval_Shots/visualization/Shots/0_eval_Shots.png"), "the first seed's is saved")

	more := &evalEngine{}
	require.Equal(t, exitOK, runEval(t, t.Context(), nil, folders("-m", tiny, "--seeds", "3", "--skip-existing")...).code)
	require.Equal(t, exitOK, runEval(t, t.Context(), more, folders("-m", tiny, "--seeds", "4", "--skip-existing")...).code)
	require.NotContains(t, more.seeds, uint64(0), "of the first seed there is a photo")
}

func TestEvalUsage(t *testing.T) {
	t.Setenv("HIDIFF_MODEL", "")
	testFile(t)
	for args, want := range map[string]string{
		"":                                                        "say what to evaluate",
		"--input a":                                               "say what to evaluate",
		"--target a":                                              "say which photos to restore with --input",
		"--input a --target a":                                    "--input and --target are the same folder",
		"-opt x.yml --target a":                                   "-opt says which photos",
		"--input a --target b --force_yml a=b":                    "--force_yml changes an option file",
		"--input a --target b --dataset c,d":                      "give one name",
		"--input a --target b --dataset c/d":                      "--dataset c/d cannot name a folder",
		"--input a --target b --name ..":                          "--name .. cannot name a folder",
		"--input a --target b --protocol psnr":                    "--protocol: psnr is no protocol: it must be basicsr, matlab or realblur",
		"--input a --target b --seeds 0":                          "--seeds 0: it must be at least 1",
		"--input a --target b --report-images -1":                 "--report-images -1",
		"--results a --target b -m c":                             "--results scores what is there",
		"--results a --target b --skip-existing":                  "--results scores what is there",
		"--results a --target b --seeds 5":                        "--results scores what is there",
		"--results a --target b --prior zero":                     "--results scores what is there",
		"--input a --target b --prior best":                       "--prior best must be sampled, zero or oracle",
		"--input a --target b --prior zero --seed 1":              "--prior zero starts from no noise: leave out --seed and --seeds",
		"--input a --target b --prior oracle --seeds 2":           "--prior oracle starts from no noise",
		"--input a --target b --baseline wiener":                  "--baseline: wiener is no classical method: it must be unsharp or richardson-lucy",
		"--results a --target b --baseline unsharp":               "--baseline sharpens the blurry photos: name their folder with --input",
		"-opt test.yml --dataset GoPor":                           "--dataset GoPor is not in test.yml: it has GoPro, RealBlur_J",
		"--input a --target b --protcol basicsr":                  "there is no option --protcol: did you mean --protocol?",
		"--input Shots/test/input --target Shots/test/target xyz": "unknown command",
	} {
		got := runEval(t, t.Context(), nil, strings.Fields(args)...)
		require.Equal(t, exitUsage, got.code, "%s: %s", args, got.stderr)
		require.Contains(t, got.stderr, want, args)
		require.Empty(t, got.stdout)
	}
	require.NoDirExists(t, "results")
}

func TestEvalNames(t *testing.T) {
	for target, want := range map[string]string{
		"/data/HIDE/target": "HIDE", "/data/GoPro/test/target": "GoPro", "/target": "photos", "/data/RealBlur_J/test/gt/": "RealBlur_J",
	} {
		require.Equal(t, want, datasetName(target), target)
	}
	dir := t.TempDir()
	for _, name := range []string{"1_x_GoPro.png", "1_b_x_GoPro.png", "1_notes.txt", "2.png", "2_x.png", "deep/3_y.jpg"} {
		writeText(t, filepath.Join(dir, name), "")
	}
	for name, want := range map[string]string{"1": "{}_x_GoPro", "1_b": "{}_x_GoPro", "2": "{}", "deep/3": "{}_y", "4": "{}", "none/5": "{}"} {
		require.Equal(t, want, resultTemplate(dir, name), name)
	}
	require.Equal(t, []string{"GoPro", "RealBlur_J", "RealBlur_R", "Small"}, presets(false))
}

// TestDeviceEval evaluates a small set from end to end, restored by a real network, report included.
func TestDeviceEval(t *testing.T) {
	testenv.Long(t)
	testgpu.Need(t)
	testFile(t)
	for i, name := range []string{"00_astronaut", "01_coffee"} {
		for what, root := range map[string]string{"gt": "target", "out": "input"} {
			p, err := photo.Open(filepath.Join(tiny, "..", "metrics", name+"_"+what+".png"))
			require.NoError(t, err)
			writePhoto(t, fmt.Sprintf("Shots/test/%s/%d.png", root, i), p)
		}
	}
	got := run(t.Context(), nil, "eval", "-opt", "test.yml", "--seeds", "2", "--dataset", "GoPro", "--protocol", "basicsr,matlab,realblur")
	if got.code == exitFailed { // these weights are random: their results may be beyond alignment
		require.Contains(t, got.stderr, "cannot be aligned")
	}
	require.Regexp(t, `basicsr +4 of 4 `, got.stdout, got.stderr)
	require.Regexp(t, `matlab +4 of 4 `, got.stdout)
	e := readScores(t, "test_tiny")
	require.NotEmpty(t, e.GPU)
	require.Len(t, e.Datasets[0].Images[1].Scores[eval.Matlab].PSNR, 2)
	require.FileExists(t, "results/test_tiny/report/index.html")

	again := run(t.Context(), nil, "eval", "-opt", "test.yml", "--seeds", "2", "--dataset", "GoPro", "--protocol", "basicsr", "--name", "again")
	require.Equal(t, exitOK, again.code, again.stderr)
	for i, m := range readScores(t, "again").Datasets[0].Images {
		require.Equal(t, e.Datasets[0].Images[i].Scores[eval.BasicSR], m.Scores[eval.BasicSR], "the same bits again")
	}
}

// A second run into one name is refused before it restores anything, one into another name is not.
func TestTwoEvaluationsIntoOneName(t *testing.T) {
	testSet(t)
	tried := false
	first := &evalEngine{}
	first.fail = func(string, uint64) error {
		if tried {
			return nil
		}
		tried = true
		second := &evalEngine{}
		for _, more := range [][]string{{"-m", tiny}, {"-m", tiny, "--skip-existing"}} {
			got := runEval(t, t.Context(), second, folders(more...)...)
			require.Equal(t, exitFailed, got.code)
			require.Contains(t, got.stderr, fmt.Sprintf("%s is in use by process %d on ", filepath.Join("results", "eval_Shots"), os.Getpid()))
			require.Contains(t, got.stderr, "choose another --name")
		}
		require.Empty(t, second.names)
		got := runEval(t, t.Context(), second, folders("-m", tiny, "--name", "other")...)
		require.Equal(t, exitOK, got.code, got.stderr)
		return nil
	}
	got := runEval(t, t.Context(), first, folders("-m", tiny)...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.True(t, tried)
	require.NoFileExists(t, "results/.eval_Shots.lock")
}
