package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
	"hidiff/internal/eval"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
)

// TestEvalResultsOfAnotherKind names results that only a conversion would make comparable, and scores the others.
func TestEvalResultsOfAnotherKind(t *testing.T) {
	testSet(t)
	writePhoto(t, "r/0.png", &photo.Photo{Width: 64, Height: 64, Channels: 3, Max: 65535, Pix: make([]uint16, 64*64*3)})
	writePhoto(t, "r/1.png", &photo.Photo{Width: 64, Height: 64, Channels: 1, Max: 255, Pix: make([]uint16, 64*64)})
	writePhoto(t, "r/2.png", picture(64, 64))
	writePhoto(t, "r/3.png", picture(64, 64))
	got := runEval(t, t.Context(), nil, folders("--results", "r", "--baseline", "unsharp")...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "error: Shots/0: the result has 16 bits a sample and the target 8: convert one of them\n")
	require.Regexp(t, `basicsr +3 of 4 .*\n  unsharp, sigma \S+, amount \S+ +3 of 3 `, got.stdout)

	got = runEval(t, t.Context(), nil, folders("--results", "r", "--protocol", "matlab")...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "error: Shots/1: matlab: one image is grey and the other coloured: convert one of them\n")
}

// TestEvalBaselines scores classical methods beside a network, and beside results.
func TestEvalBaselines(t *testing.T) {
	testSet(t)
	got := runEval(t, t.Context(), &evalEngine{}, folders("-m", tiny, "--protocol", "basicsr,matlab", "--baseline", "richardson-lucy,unsharp", "--baseline", "unsharp")...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Regexp(t, `basicsr +4 of 4 .*\n  richardson-lucy, sigma \S+, iterations \S+ +4 of 4 .*\n  unsharp, sigma \S+, amount \S+ +4 of 4 .*\nmatlab +4 of 4 .*\n  richardson-lucy, `, got.stdout)
	require.Contains(t, got.stdout, eval.BaselineNote)
	require.Regexp(t, `Shots: baselines: richardson-lucy, sigma \S+, iterations \S+; unsharp, sigma \S+, amount \S+\n`, got.stderr)
	d := readScores(t, "eval_Shots").Datasets[0]
	require.Equal(t, []eval.Method{eval.RichardsonLucy, eval.Unsharp}, []eval.Method{d.Baselines[0].Method, d.Baselines[1].Method})
	for _, s := range d.Scores {
		for _, b := range s.Baselines {
			require.Greater(t, b.PSNR, s.InputPSNR-1e-9, "strength 0 is in the grid")
		}
	}

	again := runEval(t, t.Context(), nil, folders("--results", "results/eval_Shots", "--baseline", "unsharp", "--json")...)
	require.Equal(t, exitOK, again.code, again.stderr)
	require.Empty(t, again.stderr)
	after := readScores(t, "eval_Shots_scored").Datasets[0]
	require.Len(t, after.Baselines, 1)
	require.Equal(t, d.Images[0].Scores[eval.BasicSR].Baselines[eval.Unsharp], after.Images[0].Scores[eval.BasicSR].Baselines[eval.Unsharp])

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, exitInterrupted, runEval(t, ctx, &evalEngine{}, folders("-m", tiny, "--baseline", "unsharp")...).code)
}

// TestEvalJSON reads every line, of a run in which one photo fails.
func TestEvalJSON(t *testing.T) {
	testSet(t)
	writeText(t, "Shots/test/input/2.png", "this is no photo")
	got := runEval(t, t.Context(), &evalEngine{}, folders("-m", tiny, "--json", "--baseline", "unsharp", "--seeds", "2")...)
	require.Equal(t, exitFailed, got.code)
	require.Empty(t, got.stderr)
	e := readScores(t, "eval_Shots")
	images := map[string]*eval.Image{}
	for _, m := range e.Datasets[0].Images {
		images[m.Name] = m
	}
	var events []string
	for _, line := range lines(got.stdout) {
		var kind struct{ Event string }
		require.NoError(t, json.Unmarshal([]byte(line), &kind), line)
		events = append(events, kind.Event)
		switch kind.Event {
		case "done", "error":
			var m evalImage
			require.NoError(t, json.Unmarshal([]byte(line), &m))
			require.Equal(t, "Shots", m.Dataset)
			require.Equal(t, images[m.Name], m.Image)
			require.Equal(t, m.Name == "2", kind.Event == "error")
			require.Equal(t, m.Name == "2", strings.Contains(m.Error, "2.png: not a PNG"))
		case "dataset":
			var d evalDataset
			require.NoError(t, json.Unmarshal([]byte(line), &d))
			require.Equal(t, e.Datasets[0].Scores, d.Scores)
			require.Equal(t, filepath.Join("results", "eval_Shots", "visualization", "Shots"), d.Folder)
		case "summary":
			var s evalSummary
			require.NoError(t, json.Unmarshal([]byte(line), &s))
			require.Positive(t, s.Seconds)
			s.Seconds = 0
			at := filepath.Join("results", "eval_Shots")
			require.Equal(t, evalSummary{
				Event: "summary", Photos: 4, Scored: 3, Failed: 1, Restoring: e.Restoring,
				Wrote: []string{filepath.Join(at, "scores.json"), filepath.Join(at, "scores.csv"), filepath.Join(at, "report", "index.html")},
			}, s)
		}
	}
	require.ElementsMatch(t, []string{"done", "done", "done", "error"}, events[:4])
	require.Equal(t, []string{"dataset", "summary"}, events[4:])

	ctx, cancel := context.WithCancel(t.Context())
	engine := &evalEngine{fail: func(string, uint64) error {
		cancel()
		return ctx.Err()
	}}
	got = runEval(t, ctx, engine, folders("-m", tiny, "--json")...)
	require.Equal(t, exitInterrupted, got.code)
	said := lines(got.stdout)
	require.Contains(t, said[len(said)-1], `"event":"summary","photos":4,"scored":0,`)
	require.NotContains(t, said[len(said)-1], "wrote")
}

// priorEngine takes down what it is to restore with.
type priorEngine struct {
	evalEngine
	asked []hidiff.RestoreOptions
}

func (e *priorEngine) Restore(ctx context.Context, p *photo.Photo, o hidiff.RestoreOptions) (*photo.Photo, error) {
	e.asked = append(e.asked, o)
	return e.evalEngine.Restore(ctx, p, o)
}

// TestEvalPriors keeps studies of the prior apart from results: other names, no published scores beside them, and no going
// on from one with another.
func TestEvalPriors(t *testing.T) {
	testFile(t)
	var weights *hidiff.Weights
	try := func(args ...string) (result, *priorEngine) {
		t.Helper()
		engine := &priorEngine{}
		var stdout, stderr bytes.Buffer
		a := &app{stdin: &bytes.Buffer{}, stdout: &stdout, stderr: &messages{w: &stderr}}
		a.open = func(_ context.Context, w *hidiff.Weights, _ hidiff.Options) (restorer, error) {
			weights = w
			return engine, nil
		}
		code := a.execute(t.Context(), append([]string{"eval", "--report-images", "0"}, args...))
		return result{code, stdout.String(), stderr.String()}, engine
	}
	got, engine := try("-opt", "test.yml", "--dataset", "GoPro", "--prior", "zero")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, "\nprior zero: an ablation, not HI-Diff as published\n")
	require.NotContains(t, got.stdout, "33.33")
	require.NotContains(t, got.stderr, "diffusion_schedule")
	require.Len(t, weights.Nets, 1)
	require.Equal(t, hidiff.ZeroPrior, engine.asked[0].Prior)
	require.Nil(t, engine.asked[0].Target)
	zero := readScores(t, "test_tiny_zero")
	require.Equal(t, "zero", zero.Restoring["prior"])
	require.NotContains(t, zero.Restoring, "seed")
	require.NotContains(t, zero.Restoring, "diffusion_schedule")
	require.Empty(t, zero.Datasets[0].Scores[0].Published)
	require.FileExists(t, "results/test_tiny_zero/visualization/GoPro/0_test_tiny_zero.png")

	got, _ = try("-opt", "test.yml", "--dataset", "GoPro", "--name", "test_tiny_zero", "--skip-existing")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "is of a run with another diffusion_schedule, prior, seed, weights: choose another --name")

	// Of stage one net_g and net_le are enough, which the option file may name.
	oracle := []string{"--prior", "oracle", "--force_yml", "path:pretrain_network_le=models/gopro_tiny_net_le.pth"}
	for _, force := range []string{"val:suffix=", "model_type=HI_Diff_S1"} {
		got, engine = try(append([]string{"-opt", "test.yml", "--dataset", "GoPro", "--force_yml", force}, oracle...)...)
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Contains(t, got.stdout, "\nprior oracle: it sees the sharp photos, so this is no deblurring\n")
		require.Len(t, weights.Nets, 2)
		for _, o := range engine.asked {
			require.Equal(t, hidiff.OraclePrior, o.Prior)
			sharp, err := photo.Open("Shots/test/target/" + o.Name)
			require.NoError(t, err)
			require.Equal(t, sharp.Pix, o.Target.Pix)
		}
		require.Equal(t, "oracle", readScores(t, "test_tiny_oracle").Restoring["prior"])
	}
	byFile := readScores(t, "test_tiny_oracle").Restoring
	got, _ = try(folders("--prior", "oracle", "-m", filepath.Join(tiny, "gopro_tiny_net_g.pth"), "-m", filepath.Join(tiny, "gopro_tiny_net_le.pth"))...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, byFile, readScores(t, "eval_Shots_oracle").Restoring)
	require.NotEqual(t, byFile["weights"], zero.Restoring["weights"], "net_le decides, too")

	got, _ = try("-opt", "test.yml", "--dataset", "GoPro", "--prior", "oracle")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "test.yml lacks path.pretrain_network_le: --prior oracle needs 2 networks; or name the weights with -m")
	got, _ = try(append([]string{"-opt", "test.yml", "--dataset", "GoPro", "--force_yml", "network_g:dim=16"}, oracle...)...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "test.yml describes another net_g than models/gopro_tiny_net_g.pth is")
}

// TestDeviceEvalDeblur holds eval and deblur to the same bytes of the same folder, subfolders included.
func TestDeviceEvalDeblur(t *testing.T) {
	testgpu.Need(t)
	t.Chdir(t.TempDir())
	for i, name := range []string{"a.png", "deep/a.png", "deep/er/b.c.png"} {
		sharp := picture(24+i, 17)
		write(t, "sharp/"+name, sharp)
		write(t, "blurry/"+name, smear(sharp, 3))
	}
	got := run(t.Context(), nil, "eval", "-i", "blurry", "--target", "sharp", "-m", tiny, "--seed", "7", "--name", "mine")
	require.Equal(t, exitOK, got.code, got.stderr)
	got = run(t.Context(), nil, "deblur", "blurry", "-r", "-o", "restored", "-m", tiny, "--seed", "7")
	require.Equal(t, exitOK, got.code, got.stderr)
	visual := filepath.Join("results", "mine", "visualization", readScores(t, "mine").Datasets[0].Name)
	for _, name := range []string{"a", "deep/a", "deep/er/b.c"} {
		want, err := os.ReadFile(filepath.Join("restored", name+".png"))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(visual, name+"_mine.png"))
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	other, err := os.ReadFile("restored/deep/a.png")
	require.NoError(t, err)
	require.Zero(t, run(t.Context(), nil, "deblur", "blurry", "-r", "-o", "restored", "-m", tiny, "--seed", "8").code)
	again, err := os.ReadFile("restored/deep/a.png")
	require.NoError(t, err)
	require.NotEqual(t, other, again, "another seed, another picture: the comparison can fail")
}

// TestDeviceEvalPriors restores under all priors, to three different results, with no more networks than each needs.
func TestDeviceEvalPriors(t *testing.T) {
	testenv.Long(t)
	testgpu.Need(t)
	testSet(t)
	net := func(name string) string { return filepath.Join(tiny, "gopro_tiny_"+name+".pth") }
	seen := map[string]string{}
	for prior, nets := range map[string][]string{"sampled": {"net_g", "net_le_dm", "net_d"}, "zero": {"net_g"}, "oracle": {"net_g", "net_le"}} {
		args := append([]string{"eval", "--prior", prior, "--name", prior, "--protocol", "basicsr"}, folders()...)
		for _, n := range nets {
			args = append(args, "-m", net(n))
		}
		got := run(t.Context(), nil, args...)
		require.Equal(t, exitOK, got.code, got.stderr)
		d := readScores(t, prior).Datasets[0]
		key := fmt.Sprint(d.Scores[0].PSNR)
		require.Empty(t, seen[key], prior)
		seen[key] = prior
	}
}
