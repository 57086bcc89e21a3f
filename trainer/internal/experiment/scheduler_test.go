package experiment

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
)

func TestSchedulerAttributes(t *testing.T) {
	c, err := Load(filepath.Join(resumeFixture, "3.state"), tinyParams(t, "net_g", "net_le"))
	require.NoError(t, err)
	want := c.Scheduler.Attributes
	want.Set("restart_weights", []any{1.0, 1.0}) // whole numbers in the option file
	require.Equal(t, want, options.SchedulerOptions{
		Type: "CosineAnnealingRestartCyclicLR", Periods: []int{3, 5}, RestartWeights: []float64{1, 1}, EtaMins: []float64{2e-4, 1e-6},
	}.Attributes(8))

	milestones := checkpoint.NewDict()
	milestones.Set(int64(10), int64(1))
	milestones.Set(int64(20), int64(2))
	for kind, want := range map[string]*checkpoint.Dict{
		"CosineAnnealingRestartLR": checkpoint.NewDict("periods", []any{int64(3), int64(5)}, "restart_weights", []any{1.0, 0.5},
			"eta_min", 1e-7, "cumulative_period", []any{int64(3), int64(8)}),
		"MultiStepRestartLR":    checkpoint.NewDict("milestones", milestones, "gamma", 0.5, "restarts", []any{int64(0)}, "restart_weights", []any{1.0, 0.5}),
		"TrueCosineAnnealingLR": checkpoint.NewDict("T_max", int64(90), "eta_min", 1e-7),
		"LinearLR":              checkpoint.NewDict("total_iter", int64(77)),
		"VibrateLR":             checkpoint.NewDict("total_iter", int64(77)),
		"":                      checkpoint.NewDict(),
	} {
		require.Equal(t, want, options.SchedulerOptions{
			Type: kind, Periods: []int{3, 5}, RestartWeights: []float64{1, 0.5}, EtaMin: 1e-7, TMax: 90,
			Milestones: []int{10, 20, 20}, Gamma: 0.5, Restarts: []int{0},
		}.Attributes(77), kind)
	}
}
