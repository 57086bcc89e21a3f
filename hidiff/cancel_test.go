package hidiff_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/internal/reference"
)

// looks is a context that ends when it was looked at so many times.
type looks struct {
	context.Context
	left int
}

func (c *looks) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// endsEarly calls f with contexts that end after none, one, … of so many looks, and sees that it does, too.
func endsEarly(t *testing.T, upTo int, f func(ctx context.Context) error) {
	t.Helper()
	for n := range upTo {
		require.ErrorIs(t, f(&looks{t.Context(), n}), context.Canceled, "after %d looks", n)
	}
}

func TestLoadingEndsWithItsContext(t *testing.T) {
	endsEarly(t, 10, func(ctx context.Context) error {
		_, err := hidiff.LoadWeights(ctx, hidiff.LoadOptions{}, reference.Testdata("checkpoints"))
		return err
	})
}

func TestPreparingAndPlanningEndWithTheirContext(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	endsEarly(t, 4, func(ctx context.Context) error {
		_, err := hidiff.NewModel(ctx, m.Weights, hidiff.Options{GPU: m.Device().Adapter().Name})
		return err
	})
	plan := func(ctx context.Context) error {
		_, err := m.Plan(ctx, 64, 48, hidiff.RestoreOptions{})
		return err
	}
	endsEarly(t, 4, plan) // before there is a device for plans
	require.ErrorIs(t, plan(&looks{t.Context(), 300}), context.Canceled)
	require.NoError(t, plan(t.Context()))
	_, err := m.Restore(t.Context(), picture(64, 48, 3, 255), hidiff.RestoreOptions{})
	require.NoError(t, err)
}

// Nobody waits for a busy model longer than his context.
func TestWaitingForABusyModelEnds(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	p := picture(64, 64, 3, 255)
	waited := false
	_, err := m.Restore(t.Context(), p, hidiff.RestoreOptions{Progress: func(float64) {
		if waited {
			return
		}
		waited = true
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := m.Restore(ctx, p, hidiff.RestoreOptions{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = m.Plan(ctx, 64, 64, hidiff.RestoreOptions{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}})
	require.NoError(t, err)
	require.True(t, waited)
}
