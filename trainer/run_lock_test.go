package trainer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/trainer/internal/experiment"
)

// A second run of an experiment is refused before it touches anything, whatever it is told to do with it.
func TestTwoRunsOfOneExperiment(t *testing.T) {
	d := openDevice(t)
	o, model, _ := tintRun(t, d)
	tried := 0
	model.before = func(call int) {
		if call != 8 { // after the first checkpoint
			return
		}
		before := snapshot(t, o.Root)
		require.Contains(t, before, "experiments/tint/training_states/3.state")
		for _, mode := range []func(*RunOptions){func(*RunOptions) {}, func(o *RunOptions) { o.AutoResume = true }, func(o *RunOptions) { o.Restart = true }} {
			second := o
			mode(&second)
			err := Run(t.Context(), second)
			require.ErrorContains(t, err, fmt.Sprintf("%s is in use by process %d on ", filepath.Join(o.Root, "experiments/tint"), os.Getpid()))
			require.ErrorContains(t, err, "wait for that to end, or give another name")
			require.Equal(t, before, snapshot(t, o.Root))
			tried++
		}
		other, err := experiment.Lock(o.Root, "tint_2")
		require.NoError(t, err)
		other.Release()
	}
	require.NoError(t, Run(t.Context(), o))
	require.Equal(t, 3, tried)
	left, err := filepath.Glob(filepath.Join(o.Root, "experiments", ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "a lock")
	require.NoError(t, Run(t.Context(), again(o)), "and it is free again")
}
