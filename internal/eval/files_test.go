package eval

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// whole is an evaluation with everything in it: two datasets, a failure, an unaligned result, equal photos.
func whole(t *testing.T) (*Evaluation, []Source) {
	t.Helper()
	a := realPhotos(t)
	a[1].Restored = a[1].Target
	good := texture(48, 40, 3, 255)
	b := album{
		{name: `<script>alert("x")</script>`, Photos: Photos{Input: smear(good), Target: good, Restored: smear(good)}},
		{name: "dark, \"very\"", Photos: Photos{Input: flat(48, 40), Target: good, Restored: flat(48, 40)}},
		{name: "gone", Photos: Photos{Target: good, Restored: texture(48, 40, 3, 65535)}},
	}
	one, two := scored(t, "GoPro", a, fast()), scored(t, "RealBlur_J", b, []Scorer{{Protocol: RealBlur}, {Protocol: Matlab}})
	one.Images[2].Seconds = 1.25
	return &Evaluation{
		Name: "whole", Program: "v1", Date: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), Options: "my.yml", GPU: "a GPU", Seeds: 1, Complete: true,
		Restoring: map[string]string{"weights": "0123456789abcdef", "seed": "7"}, Weights: map[string]string{"net_g": "net_g.pth"}, Trained: "GoPro",
		Datasets: []*Dataset{one, two},
	}, []Source{a, b}
}

func TestJSONRoundTrip(t *testing.T) {
	e, _ := whole(t)
	file := filepath.Join(t.TempDir(), "scores.json")
	require.NoError(t, e.WriteJSON(file))
	back, err := ReadJSON(file)
	require.NoError(t, err)
	second := filepath.Join(t.TempDir(), "scores.json")
	for i, d := range back.Datasets {
		for k, m := range d.Images {
			for p, s := range e.Datasets[i].Images[k].Scores {
				same(t, mean(s.PSNR), mean(m.Scores[p].PSNR), m.Name)
				same(t, s.InputSSIM, m.Scores[p].InputSSIM, m.Name)
			}
		}
		d.Protocols = e.Datasets[i].Protocols
	}
	require.NoError(t, back.WriteJSON(second))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	again, err := os.ReadFile(second)
	require.NoError(t, err)
	require.Equal(t, string(text), string(again))

	var plain struct {
		Datasets []struct {
			Scores []struct {
				Images, Scored int
				Unscored       []string
			}
			Images []struct{ Name, Error string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &plain), "it is JSON for others, too")
	require.Equal(t, []string{`dark, "very"`, "gone"}, plain.Datasets[1].Scores[0].Unscored)
	require.Equal(t, []string{"gone"}, plain.Datasets[1].Scores[1].Unscored)
	require.Equal(t, [2]int{3, 1}, [2]int{plain.Datasets[1].Scores[0].Images, plain.Datasets[1].Scores[0].Scored})
	require.Equal(t, "the result has 16 bits a sample and the target 8: convert one of them", plain.Datasets[1].Images[2].Error)
	require.Contains(t, string(text), `"inf"`)

	require.NoError(t, os.WriteFile(file, []byte(`{"name": 1}`), 0o666))
	_, err = ReadJSON(file)
	require.ErrorContains(t, err, "scores.json is not what an evaluation writes")
	require.ErrorContains(t, e.WriteJSON(filepath.Join(file, "x")), "cannot write")
}

func TestCSV(t *testing.T) {
	e, _ := whole(t)
	e.Datasets[0].Images[0].Scores[Matlab].PSNR = []Number{30, 31}
	file := filepath.Join(t.TempDir(), "scores.csv")
	require.NoError(t, e.WriteCSV(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), "dataset,image,protocol,psnr,ssim,input_psnr,input_ssim,seconds,error\n"))
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 1+4*2+3*2)
	row := 1
	read := func(text string) Number {
		if text == "" {
			return none
		}
		v, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		return Number(v)
	}
	for _, d := range e.Datasets {
		for _, m := range d.Images {
			for _, s := range d.Protocols {
				line, score := lines[row], m.score(s.Protocol)
				require.Equal(t, []string{d.Name, m.Name, string(s.Protocol)}, line[:3])
				for i, want := range []Number{mean(score.PSNR), mean(score.SSIM), score.InputPSNR, score.InputSSIM} {
					same(t, want, read(line[3+i]), strings.Join(line, " "))
				}
				row++
			}
		}
	}
	require.Equal(t, "30.5", lines[2][3])
	require.True(t, math.IsInf(float64(read(lines[3][3])), 1), "Python reads inf, too")
	require.Equal(t, "1.250", lines[5][7])
	require.Equal(t, "the result cannot be aligned with its target: it is black", lines[11][8])
	require.Equal(t, "the result has 16 bits a sample and the target 8: convert one of them", lines[13][8])
	require.Empty(t, lines[12][8], "MATLAB scores black photos")
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left there")
}

func TestTable(t *testing.T) {
	e, _ := whole(t)
	e.Summarise()
	var out bytes.Buffer
	require.NoError(t, e.Datasets[0].WriteTable(&out))
	require.Regexp(t, `GoPro +scored +PSNR +SSIM +input PSNR +SSIM +published +s/image\nbasicsr +4 of 4 +∞ +0\.\d{4} +\d\d\.\d{3} +0\.\d{4} +– +1\.25\nmatlab +4 of 4 .* 33\.33 / 0\.964 \(trained on GoPro\)`, out.String())
	require.Contains(t, out.String(), "\nthe published score is of 1111 pairs: 4 are not the same test\n")
	out.Reset()
	e.Datasets[1].Scores[1].PSNRSpread = 0.25
	require.NoError(t, e.Datasets[1].WriteTable(&out))
	require.Contains(t, out.String(), " ± 0.250 ")
	require.Contains(t, out.String(), "\n2 without a score by realblur: dark, \"very\", gone\n")
}

// Scores that an editor of Windows saved.
func TestReadJSONOfWindows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scores.json")
	require.NoError(t, os.WriteFile(path, []byte("\uFEFF{\r\n\"name\": \"x\"\r\n}\r\n"), 0o666))
	e, err := ReadJSON(path)
	require.NoError(t, err)
	require.Equal(t, "x", e.Name)
}
