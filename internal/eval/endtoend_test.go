package eval_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/cli"
	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/eval"
	"hidiff/internal/testgpu"
)

// command runs a command line as the program does, and requires success.
func command(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	var out, messages bytes.Buffer
	require.Zero(t, cli.Execute(t.Context(), args, &bytes.Buffer{}, &out, &messages), "%s", &messages)
	return out.String()
}

// mildWeights saves a small model whose results stay near the input, so that they can be aligned.
func mildWeights(t *testing.T, testdata, path string) {
	t.Helper()
	w, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, filepath.Join(testdata, "checkpoints"))
	require.NoError(t, err)
	last, ok := w.Nets[hidiff.NetG].Get("output.weight")
	require.True(t, ok)
	values := slices.Clone(last.Float32s())
	for i := range values {
		values[i] *= 0.02
	}
	w.Nets[hidiff.NetG].Set("output.weight", checkpoint.NewArray(last.Shape, values))
	require.NoError(t, w.Save(path, checkpoint.F32))
}

// TestEndToEnd makes blurry pairs of photos, restores and scores them by all protocols, and opens the report.
func TestEndToEnd(t *testing.T) {
	testgpu.Need(t)
	testdata, err := filepath.Abs("../../conformance/testdata")
	require.NoError(t, err)
	photos := filepath.Join(testdata, "metrics")
	t.Chdir(t.TempDir())
	mildWeights(t, testdata, "mild.safetensors")
	command(t, "synth", filepath.Join(photos, "00_astronaut_gt.png"), filepath.Join(photos, "02_chelsea_gt.png"), "-o", "pairs", "--per-photo", "2",
		"--crop", "64", "--strength", "4:8", "--sharp", "0", "--downscale", "1", "--detail", "0", "--seed", "4")
	args := []string{
		"eval", "-i", "pairs/input", "--target", "pairs/target", "-m", "mild.safetensors", "--name", "mine", "--protocol", "basicsr,matlab,realblur",
		"--baseline", "unsharp,richardson-lucy",
	}
	table := command(t, args...)
	e := readScores(t)
	require.True(t, e.Complete)
	require.NotEmpty(t, e.GPU)
	d := e.Datasets[0]
	require.Len(t, d.Images, 4)
	require.Len(t, d.Scores, 3)

	// The table and the report show the means of scores.json, and those are the means of scores.csv.
	report, err := os.ReadFile("results/mine/report/index.html")
	require.NoError(t, err)
	rows := readCSV(t)
	require.Len(t, rows, 4*3)
	for _, s := range d.Scores {
		require.Equal(t, 4, s.Scored)
		line := regexp.MustCompile(`(?m)^` + string(s.Protocol) + ` +4 of 4 +(\S+) +(\S+) +(\S+) +(\S+) `).FindStringSubmatch(table)
		require.Equal(t, []string{s.PSNR.Round(3), s.SSIM.Round(4), s.InputPSNR.Round(3), s.InputSSIM.Round(4)}, line[1:])
		require.Contains(t, string(report), fmt.Sprintf("<strong>%s</strong></td><td><strong>%s</strong></td>", line[1], line[2]))
		require.Contains(t, string(report), fmt.Sprintf("<td>%s</td><td>%s</td>", line[3], line[4]))
		of := func(column string) (sum float64) {
			for _, row := range rows {
				if row["protocol"] == string(s.Protocol) {
					v, err := strconv.ParseFloat(row[column], 64)
					require.NoError(t, err)
					require.False(t, math.IsInf(v, 0) || math.IsNaN(v))
					sum += v / 4
				}
			}
			return sum
		}
		near(t, float64(s.PSNR), of("psnr"))
		near(t, float64(s.SSIM), of("ssim"))
		near(t, float64(s.InputPSNR), of("input_psnr"))
		near(t, float64(s.InputSSIM), of("input_ssim"))
		require.Len(t, s.Baselines, 2)
		for _, b := range s.Baselines {
			near(t, float64(b.PSNR), of(strings.ReplaceAll(string(b.Method), "-", "_")+"_psnr"))
			require.Regexp(t, `(?m)^  `+regexp.QuoteMeta(b.String())+` +4 of 4 +`+regexp.QuoteMeta(b.PSNR.Round(3))+` `, table)
		}
		require.Greater(t, float64(s.InputPSNR), 15.0, "blurry, but the same scene")
		require.Less(t, float64(s.InputPSNR), 40.0, "blurry")
	}
	basic := d.Scores[0]
	require.Greater(t, basic.Baselines[1].PSNR, basic.InputPSNR+0.2, "deconvolution undoes some of it")

	// A photo that is gone is restored again, to the same scores; the others are not touched.
	saved := func(m *eval.Image) string {
		return filepath.Join("results", "mine", "visualization", "pairs", m.Name+"_mine.png")
	}
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, m := range d.Images {
		require.NoError(t, os.Chtimes(saved(m), long, long))
	}
	require.NoError(t, os.Remove(saved(d.Images[2])))
	said := command(t, append(args, "--skip-existing", "--json")...)
	for i, m := range readScores(t).Datasets[0].Images {
		require.Equal(t, d.Images[i].Scores, m.Scores)
		info, err := os.Stat(saved(m))
		require.NoError(t, err)
		require.Equal(t, i != 2, info.ModTime().Equal(long), m.Name)
	}
	var last struct {
		Event          string
		Photos, Scored int
	}
	require.NoError(t, json.Unmarshal([]byte(said[strings.LastIndexByte(said[:len(said)-1], '\n')+1:]), &last))
	require.Equal(t, "summary 4 4", fmt.Sprint(last.Event, " ", last.Photos, " ", last.Scored))

	t.Run("report", func(t *testing.T) {
		dir, err := filepath.Abs("results/mine/report")
		require.NoError(t, err)
		require.Equal(t, 4*6, eval.OpenReport(t, dir), "each photo in the slider, and small ones below")
	})
}

func readScores(t *testing.T) *eval.Evaluation {
	t.Helper()
	e, err := eval.ReadJSON("results/mine/scores.json")
	require.NoError(t, err)
	return e
}

// readCSV returns the lines of scores.csv by the names of their columns.
func readCSV(t *testing.T) (rows []map[string]string) {
	t.Helper()
	f, err := os.Open("results/mine/scores.csv")
	require.NoError(t, err)
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, name := range lines[0] {
			row[name] = line[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func near(t *testing.T, want, got float64) {
	t.Helper()
	if d := math.Abs(want - got); !(d < 1e-9) {
		t.Errorf("got %.12g, want %.12g", got, want)
	}
}
