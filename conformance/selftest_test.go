package conformance

import (
	"context"
	"fmt"
	"testing"

	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
	"hidiff/tensor"

	"github.com/stretchr/testify/require"
)

func TestSelfTest(t *testing.T) {
	testenv.Long(t)
	d := testgpu.Open(t)
	var results []Result
	require.NoError(t, SelfTest(t.Context(), d, func(r Result) {
		t.Logf("%-10s %-28s %.1e %.2fs", r.Kind, r.Name, r.Diff.MaxRel, r.Seconds)
		results = append(results, r)
	}))
	count := requirePass(t, results)
	require.Equal(t, map[string]int{"op": len(operators), "network": 2 * 5}, count)
	for _, r := range results {
		require.Positive(t, r.Tolerance, r.Name)
	}
}

// Whatever an operator panics with is that check's failure, and the others go on.
func TestSelfTestSurvivesPanics(t *testing.T) {
	d := testgpu.Open(t)
	dispatches := 0
	before := func() {
		if dispatches++; dispatches == 1 {
			panic("buffer used after release")
		}
	}
	var results []Result
	err := SelfTest(t.Context(), d.With(tensor.Execution{Before: before}), func(r Result) { results = append(results, r) })
	require.EqualError(t, err, fmt.Sprintf("1 of %d checks failed", len(operators)+10))
	require.ErrorContains(t, results[0].Err, "buffer used after release")
	require.NotEmpty(t, requirePass(t, results[1:]))
}

func TestSelfTestStops(t *testing.T) {
	d := testgpu.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	results := 0
	err := SelfTest(ctx, d, func(Result) { results++; cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, results)
}
