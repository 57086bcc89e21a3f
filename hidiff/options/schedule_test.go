package options

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// requireRate compares learning rates; NaN is never right.
func requireRate(t *testing.T, want, got float64, iteration int) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-12*math.Abs(want)) {
		t.Fatalf("iteration %d: the rate is %v, and must be %v", iteration, got, want)
	}
}

func TestSchedulersAreBasicSRs(t *testing.T) {
	text, err := os.ReadFile("../../conformance/testdata/training/lr_schedules.json")
	require.NoError(t, err)
	var cases []struct {
		Type       string         `json:"type"`
		Args       map[string]any `json:"args"`
		BaseLR     float64        `json:"base_lr"`
		WarmupIter int            `json:"warmup_iter"`
		LR         []float64      `json:"lr"`
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	require.Len(t, cases, 6)
	for _, c := range cases {
		t.Run(c.Type, func(t *testing.T) {
			require.NotEmpty(t, c.LR)
			delete(c.Args, "total_iter") // BasicSR takes train's
			args, err := yaml.Marshal(c.Args)
			require.NoError(t, err)
			o := SchedulerOptions{Type: c.Type}
			require.NoError(t, yaml.Unmarshal(args, &o))
			s, err := NewScheduler(o, c.BaseLR, len(c.LR), c.WarmupIter)
			require.NoError(t, err)
			for i := len(c.LR); i >= 1; i-- { // backwards: no rate may depend on the one before
				requireRate(t, c.LR[i-1], s.LR(i), i)
			}
		})
	}
}

func TestConstantRate(t *testing.T) {
	s, err := NewScheduler(SchedulerOptions{}, 0.25, 10, 4)
	require.NoError(t, err)
	for i, want := range []float64{0.0625, 0.125, 0.1875, 0.25, 0.25, 0.25} {
		requireRate(t, want, s.LR(i+1), i+1)
	}
	for _, warmup := range []int{-1, 0, 1} {
		s, err := NewScheduler(SchedulerOptions{}, 0.25, 10, warmup)
		require.NoError(t, err)
		requireRate(t, 0.25, s.LR(1), 1)
	}
}

// stepByStep plays BasicSR's update_learning_rate with a scheduler that derives a rate from the one before.
func stepByStep(base float64, warmup, total int, step func(rate float64, step int) float64) (out []float64) {
	rate := step(base, 0)
	for i := 1; i <= total; i++ {
		if i > 1 {
			rate = step(rate, i-1)
		}
		if i < warmup {
			rate = base / float64(warmup) * float64(i)
		}
		out = append(out, rate)
	}
	return out
}

func TestCosineAnnealingIsPyTorchsRecursion(t *testing.T) {
	const base, least, period = 3e-4, 1e-5, 20
	for _, warmup := range []int{-1, 2, 7, period} {
		want := stepByStep(base, warmup, 95, func(rate float64, step int) float64 {
			cos := func(step int) float64 { return math.Cos(math.Pi * float64(step) / period) }
			switch {
			case step == 0:
				return rate
			case (step-1-period)%(2*period) == 0:
				return rate + (base-least)*(1-math.Cos(math.Pi/period))/2
			}
			return (1+cos(step))/(1+cos(step-1))*(rate-least) + least
		})
		s, err := NewScheduler(SchedulerOptions{Type: "TrueCosineAnnealingLR", TMax: period, EtaMin: least}, base, 95, warmup)
		require.NoError(t, err)
		for i, want := range want {
			if got := s.LR(i + 1); !(math.Abs(got-want) <= 1e-9*base) { // the recursion divides by nearly 0
				t.Fatalf("warmup %d, iteration %d: the rate is %v, and must be %v", warmup, i+1, got, want)
			}
		}
	}
}

func TestMultiStepGoesOnFromTheWarmup(t *testing.T) {
	const base, gamma = 1e-3, 0.5
	milestones := map[int]int{0: 1, 5: 1, 12: 2, 30: 1}
	restarts := map[int]float64{3: 0.75, 20: 0.25, 30: 2}
	o := SchedulerOptions{
		Type: "MultiStepLR", Milestones: []int{0, 12, 5, 12, 30}, Gamma: gamma, Restarts: []int{20, 3, 30}, RestartWeights: []float64{0.25, 0.75, 2},
	}
	for _, warmup := range []int{-1, 1, 2, 4, 5, 6, 7, 15, 22, 32} {
		want := stepByStep(base, warmup, 40, func(rate float64, step int) float64 {
			if weight, ok := restarts[step]; ok {
				return base * weight
			}
			return rate * math.Pow(gamma, float64(milestones[step]))
		})
		s, err := NewScheduler(o, base, 40, warmup)
		require.NoError(t, err)
		for i, want := range want {
			requireRate(t, want, s.LR(i+1), i+1)
		}
	}
}

func TestSchedulerDefaults(t *testing.T) {
	s, err := NewScheduler(SchedulerOptions{Type: "MultiStepLR", Milestones: []int{2}}, 1, 10, -1)
	require.NoError(t, err)
	requireRate(t, 1, s.LR(2), 2)
	requireRate(t, 0.1, s.LR(3), 3)

	s, err = NewScheduler(SchedulerOptions{Type: "CosineAnnealingRestartCyclicLR", Periods: []int{4, 4}}, 1, 9, -1)
	require.NoError(t, err)
	requireRate(t, 0, s.LR(5), 5) // the last step of a period is its end
	requireRate(t, (1+math.Cos(math.Pi/4))/2, s.LR(6), 6)
	requireRate(t, 0, s.LR(1000), 1000)
}

func TestSchedulerOfReleasedTraining(t *testing.T) {
	o, err := Load("GoPro_S1", nil)
	require.NoError(t, err)
	s, err := o.Train.NewScheduler()
	require.NoError(t, err)
	for iteration, want := range map[int]float64{
		1: 2e-4, 100_001: 2e-4, 200_001: (2e-4 + 1e-6) / 2, 300_000: 1e-6 + (2e-4-1e-6)*0.5*(1-math.Cos(math.Pi/200_000)),
	} {
		requireRate(t, want, s.LR(iteration), iteration)
	}
}

func TestNewSchedulerTellsEveryMistake(t *testing.T) {
	_, err := NewScheduler(SchedulerOptions{
		Type: "CosineAnnealingRestartCyclicLR", Periods: []int{4, 0}, RestartWeights: []float64{1}, EtaMins: []float64{0, 0, -1},
	}, 1, 10, -1)
	require.EqualError(t, err, `scheduler.eta_mins[2]: is -1: it must not be negative
scheduler.periods[1]: is missing or 0: it must be at least 1
scheduler.periods: end after 4 iterations, and total_iter is 10: their sum must reach it
scheduler.restart_weights: has 1 numbers, and periods 2: they must agree
scheduler.eta_mins: has 3 numbers, and periods 2: they must agree`)
	for o, want := range map[*SchedulerOptions]string{
		{Periods: []int{10}}:                         "scheduler.type: is missing",
		{Type: "CosineAnnealingRestartLR"}:           "scheduler.periods: is missing",
		{Type: "CosineLR"}:                           "scheduler.type: CosineLR is not known",
		{Type: "LinearLRR"}:                          "did you mean LinearLR?",
		{Type: "TrueCosineAnnealingLR"}:              "scheduler.T_max: is missing or 0",
		{Type: "TrueCosineAnnealingLR", TMax: 4}:     "warmup_iter, 5, must not exceed it",
		{Type: "VibrateLR"}:                          "needs a total_iter of 160",
		{Type: "MultiStepLR", Gamma: -1}:             "scheduler.gamma: is -1",
		{Type: "MultiStepLR", Milestones: []int{-1}}: "scheduler.milestones[0]: is -1",
		{Type: "MultiStepLR", Restarts: []int{-1}}:   "scheduler.restarts[0]: is -1",
		{Type: "MultiStepLR", Restarts: []int{0, 5}, RestartWeights: []float64{1}}:                   "has 1 numbers, and restarts 2",
		{Type: "CosineAnnealingRestartLR", Periods: []int{9}, RestartWeights: []float64{math.NaN()}}: "scheduler.restart_weights[0]: is NaN",
		{Type: "CosineAnnealingRestartLR", Periods: []int{8}, EtaMin: -0.5}:                          "scheduler.eta_min: is -0.5",
	} {
		_, err := NewScheduler(*o, 1, 10, 5)
		require.ErrorContains(t, err, want)
	}
}

func TestPhases(t *testing.T) {
	d := &DatasetSection{GTSize: 384, BatchSizePerGPU: 16}
	require.Equal(t, []Phase{{1, 384, 16}}, d.Phases())
	index, phase := d.PhaseAt(1_000_000)
	require.Equal(t, 0, index)
	require.Equal(t, Phase{1, 384, 16}, phase)

	d.Iters, d.GTSizes, d.MiniBatchSizes = []int{10, 0, 20}, []int{128, 160, 384}, []int{16, 10, 2}
	require.Equal(t, []Phase{{1, 128, 16}, {11, 160, 10}, {11, 384, 2}}, d.Phases())
	for iteration, want := range map[int]int{1: 0, 10: 0, 11: 2, 30: 2, 31: 2, 1_000_000: 2} {
		index, phase := d.PhaseAt(iteration)
		require.Equal(t, want, index, "iteration %d", iteration)
		require.Equal(t, d.GTSizes[want], phase.GTSize)
		require.Equal(t, d.MiniBatchSizes[want], phase.MiniBatchSize)
	}
}
