package cli

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/internal/bench"
)

func TestBenchOptions(t *testing.T) {
	for _, c := range []struct {
		args []string
		hint string
	}{
		{[]string{"--only", "steps"}, "there are forward, step, stage-two-step, small-step, forward-720p, stage-two-step-256"},
		{[]string{"--kernels"}, "name it with --only"},
		{[]string{"--only", "step", "--variant", "tiled"}, "--kernels times"},
		{[]string{"--only", "step", "--kernels", "--variant", "fast"}, "it must be tiled, direct, windowed, few, rows"},
		{[]string{"--only", "step", "--crops", "2x64"}, "leave out --size and --crops"},
		{[]string{"--only", "forward", "--size", "64x64"}, "leave out --size and --crops"},
		{[]string{"--size", "0x8"}, "--size 0x8 is no size"},
		{[]string{"--crops", "1x12"}, "multiple of 8"},
		{[]string{"--runs", "0"}, "too few"},
	} {
		got := run(t.Context(), nil, append([]string{"bench"}, c.args...)...)
		require.Equal(t, exitUsage, got.code, c.args)
		require.Contains(t, got.stderr, c.hint)
		require.Empty(t, got.stdout)
	}
}

func TestBenchWorkloads(t *testing.T) {
	all, err := (&benchOptions{Sizes: []string{"40x24", "8x8"}, Crops: []string{"3x16"}}).workloads()
	require.NoError(t, err)
	require.Len(t, all, 2*2+2*2)
	require.Equal(t, workload{"RealBlur", hidiff.RealBlur(), 0, 1, 40, 24}, all[1])
	require.Equal(t, workload{"GoPro", hidiff.GoPro(), 2, 3, 16, 16}, all[5])

	small, err := (&benchOptions{Only: "small-step"}).workloads()
	require.NoError(t, err)
	require.Len(t, small, 1)
	require.Equal(t, [4]int{1, 4, 64, 64}, [4]int{small[0].Stage, small[0].Count, small[0].Width, small[0].Height})
	require.Equal(t, 16, small[0].Config.G.Dim, "the model that is built in")
}

// What conformance/pytorch/bench.py reads.
func TestBenchJSON(t *testing.T) {
	var out bytes.Buffer
	r := &benchReport{w: &out, json: true}
	timing := bench.Timing{Name: "step, stage 1", Shape: "1x64x64", Seconds: 0.5}
	require.NoError(t, r.add("training", benchLine{Timing: timing, workload: &workload{"step", hidiff.GoPro(), 1, 1, 64, 64}, Peak: 7}))
	require.NoError(t, r.add("operator", benchLine{Timing: timing}))
	require.NoError(t, r.flush())
	text := lines(out.String())
	require.Len(t, text, 2)
	var got struct {
		Seconds              float64
		Workload             string
		Config               hidiff.Config
		Stage, Count         int
		Width, Height, Bands int
		Peak                 int64
	}
	require.NoError(t, json.Unmarshal([]byte(text[0]), &got))
	require.Equal(t, hidiff.GoPro(), got.Config)
	require.Equal(t, "step", got.Workload)
	require.Equal(t, []any{0.5, 1, 1, 64, 64, int64(7)}, []any{got.Seconds, got.Stage, got.Count, got.Width, got.Height, got.Peak})
	require.NotContains(t, text[1], "workload")
}

func TestBenchTables(t *testing.T) {
	var out bytes.Buffer
	r := &benchReport{w: &out}
	add := func(heading string, l benchLine) {
		l.Timing = bench.Timing{Name: "gelu", Shape: "8x8", Seconds: 0.5, Flops: 1e9, Bytes: 3e9, Dispatches: 2}
		require.NoError(t, r.add(heading, l))
	}
	add("operator", benchLine{})
	add("operator", benchLine{})
	add("network", benchLine{Bands: 3, Peak: 1 << 20})
	require.NoError(t, r.flush())
	text := lines(out.String())
	require.Len(t, text, 6) // a table of two rows, a blank line, a table of one
	require.Contains(t, text[0], "operator")
	require.Regexp(t, `gelu +8x8 +500\.000 +2\.0 +6\.00 +2 *$`, text[2])
	require.Empty(t, text[3])
	require.Contains(t, text[4], "network")
	require.Regexp(t, `gelu +8x8 +500\.000 +2\.0 +6\.00 +2 +3 +1\.0 MiB *$`, text[5])
}
