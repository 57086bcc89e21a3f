package trainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/trainer/internal/experiment"
)

// TestIterLine compares with what BasicSR's format strings give in Python.
func TestIterLine(t *testing.T) {
	for _, test := range []struct {
		name string
		r    iterReport
		eta  time.Duration
		want string
	}{
		{
			"train_GoPro_S1", iterReport{Iter: 1000, LR: 2e-4, Time: 0.512, DataTime: 0.0031, Losses: []scalar{{"l_pix", 0.012345}}},
			93784*time.Second + 900*time.Millisecond,
			"[train..][epoch:  0, iter:   1,000, lr:(2.000e-04,)] [eta: 1 day, 2:03:04, time (data): 0.512 (0.003)] l_pix: 1.2345e-02 ",
		},
		{
			"abc", iterReport{
				Iter: 1234567, Epoch: 123, LR: 1e-6, Time: 12.3456,
				Losses: []scalar{{"l_pix", math.NaN()}, {"l_pix_diff", math.Inf(1)}},
			},
			59 * time.Second,
			"[abc..][epoch:123, iter:1,234,567, lr:(1.000e-06,)] [eta: 0:00:59, time (data): 12.346 (0.000)] l_pix: nan l_pix_diff: inf ",
		},
		{
			"äöüßé_x", iterReport{
				Iter: 100000000, Epoch: 1000, Time: 0.0005001, DataTime: 1e3,
				Losses: []scalar{{"l_pix", 1e-300}, {"l_pix_diff", -1.5e120}},
			},
			48 * time.Hour,
			"[äöüßé..][epoch:1000, iter:100,000,000, lr:(0.000e+00,)] [eta: 2 days, 0:00:00, time (data): 0.001 (1000.000)] l_pix: 1.0000e-300 l_pix_diff: -1.5000e+120 ",
		},
		{
			"train", iterReport{Iter: 8, Epoch: 3, LR: 1.23456e-4, Time: 0.1, DataTime: 0.1},
			86399 * time.Second,
			"[train..][epoch:  3, iter:       8, lr:(1.235e-04,)] [eta: 23:59:59, time (data): 0.100 (0.100)] ",
		},
	} {
		require.Equal(t, test.want, iterLine(test.name, test.r, test.eta))
	}
	require.Equal(t, "2026-01-02 15:04:05,678 INFO: text\n", logLine(testTime, "INFO", "text"))
	require.Equal(t, "-inf", pyFloat(math.Inf(-1), 'f', 3))
}

func TestValidationText(t *testing.T) {
	r := valReport{Dataset: "ValSet", Metrics: []scalar{{"psnr", 28.1234}, {"ssim", 0.9}}}
	require.Equal(t, "Validation ValSet\n\t # psnr: 28.1234\n\t # ssim: 0.9000\n", validationText(r))
	r.Best = []experiment.BestResult{{Value: 28.5, Iter: 4000}, {Value: 0.9, Iter: 8000}}
	require.Equal(t, "Validation ValSet\n\t # psnr: 28.1234\tBest: 28.5000 @ 4000 iter\n\t # ssim: 0.9000\tBest: 0.9000 @ 8000 iter\n", validationText(r))
	r.Note, r.Metrics = "centre crops", nil
	require.Equal(t, "Validation ValSet (centre crops)\n", validationText(r))
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 999999: "999,999", 1000000: "1,000,000"} {
		require.Equal(t, want, thousands(n))
	}
}

// clock runs a second ahead at each look.
func clock() func() time.Time {
	now := testTime
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

var testTime = time.Date(2026, 1, 2, 15, 4, 5, 678_900_000, time.UTC)

func newExperiment(t *testing.T, name string) *experiment.Experiment {
	t.Helper()
	e, err := experiment.Open(t.TempDir(), name, experiment.Fresh, testTime)
	require.NoError(t, err)
	return e
}

func TestWatcher(t *testing.T) {
	e := newExperiment(t, "train_x")
	var screen, lines bytes.Buffer
	now := testTime
	w, err := newWatcher(watchOptions{
		Experiment: e, TensorBoard: true, Screen: &screen, JSON: &lines, Start: 100, Total: 300, Now: func() time.Time { return now },
	})
	require.NoError(t, err)
	w.Info("%d parameters", 3)
	now = now.Add(50 * time.Second)
	w.Step(149)
	w.Iter(iterReport{
		Iter: 150, Epoch: 1, LR: 2e-4, Losses: []scalar{{"l_pix", 0.5}, {"l_pix_diff", math.NaN()}},
		GradNorm: 0.25, ImagesPerSecond: 8, Time: 1, DataTime: 0.125, GPUBytes: 1 << 30,
	})
	w.Validation(valReport{Iter: 150, Dataset: "Val", Note: "crops", Metrics: []scalar{{"psnr", 28}}, Best: []experiment.BestResult{{Value: 28.5, Iter: 140}}})
	w.Image(150, "Val/1", image.NewGray(image.Rect(0, 0, 5, 3)))
	w.Saved(150, "150.state")
	w.Warn("one photo skipped")
	w.Done(150, true)
	w.Done(300, false)
	require.NoError(t, w.Close())

	log, err := os.ReadFile(e.Log)
	require.NoError(t, err)
	require.Equal(t, screen.String(), string(log))
	require.Equal(t, strings.ReplaceAll(`2026-01-02 15:04:05,678 INFO: 3 parameters
AT INFO: [train..][epoch:  1, iter:     150, lr:(2.000e-04,)] [eta: 0:02:30, time (data): 1.000 (0.125)] l_pix: 5.0000e-01 l_pix_diff: nan 
AT INFO: Validation Val (crops)
	 # psnr: 28.0000	Best: 28.5000 @ 140 iter

AT INFO: Saved iteration 150: 150.state
AT WARNING: one photo skipped
AT INFO: Training stopped after iteration 150. Time consumed: 0:00:50
AT INFO: End of training. Time consumed: 0:00:50
`, "AT", "2026-01-02 15:04:55,678"), string(log))

	require.Equal(t, []string{
		`{"event":"iter","iter":150,"epoch":1,"lr":0.0002,"losses":{"l_pix":0.5,"l_pix_diff":null},"grad_norm":0.25,"images_per_second":8,"eta_seconds":150,"time":1,"data_time":0.125,"gpu_bytes":1073741824}`,
		`{"event":"validation","iter":150,"dataset":"Val","note":"crops","metrics":{"psnr":28},"best":{"psnr":{"value":28.5,"iter":140}}}`,
		`{"event":"checkpoint","iter":150,"state":"150.state"}`,
		`{"event":"warning","message":"one photo skipped"}`,
		`{"event":"done","iter":150,"seconds":50}`,
		`{"event":"done","iter":300,"seconds":50}`,
	}, strings.Split(strings.TrimSpace(lines.String()), "\n"))
	for line := range strings.Lines(lines.String()) {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

// failing fails every write.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestWatcherOutputsFail: each output that fails is given up with one warning.
func TestWatcherOutputsFail(t *testing.T) {
	e := newExperiment(t, "x")
	var screen bytes.Buffer
	w, err := newWatcher(watchOptions{Experiment: e, TensorBoard: true, Screen: &screen, JSON: failing{}, Total: 10, Now: clock()})
	require.NoError(t, err)
	require.NoError(t, w.file.Close())
	require.NoError(t, w.events.Close())
	for i := range 3 {
		w.Iter(iterReport{Iter: i + 1})
		w.Validation(valReport{Iter: i + 1})
		w.Image(i+1, "x", image.NewGray(image.Rect(0, 0, 1, 1)))
	}
	require.NoError(t, w.Close())
	for _, text := range []string{"WARNING: the log file ends here", "WARNING: TensorBoard's events end here", "WARNING: the JSON lines end here"} {
		require.Equal(t, 1, strings.Count(screen.String(), text), screen.String())
	}
	require.Equal(t, 3, strings.Count(screen.String(), "INFO: [x.."))
}

func TestNobodyWatches(t *testing.T) {
	w, err := newWatcher(watchOptions{})
	require.NoError(t, err)
	w.Step(1)
	w.Iter(iterReport{})
	w.Validation(valReport{})
	w.Image(1, "", image.NewGray(image.Rect(0, 0, 1, 1)))
	w.Warn("x")
	w.Done(1, true)
	require.NoError(t, w.Close())
}

func TestETA(t *testing.T) {
	now := testTime
	w, err := newWatcher(watchOptions{Start: 100, Total: 200, Now: func() time.Time { return now }})
	require.NoError(t, err)
	now = now.Add(10 * time.Second)
	require.Equal(t, 90*time.Second, w.eta(110))
	require.Zero(t, w.eta(100))
	require.Zero(t, w.eta(200))
	require.Zero(t, w.eta(201))
}
