package conformance

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hidiff/internal/ref"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"

	"github.com/stretchr/testify/require"
)

func TestOperatorsMatchFixtures(t *testing.T) {
	d := testgpu.Open(t)
	for _, f := range fixtures(t, "ops") {
		if _, ok := lookupOperator(f.Op); !ok {
			continue
		}
		t.Run(filepath.Base(f.Path), func(t *testing.T) {
			var shapes [][]int
			for _, x := range f.Tensors {
				shapes = append(shapes, x.Shape)
			}
			poison(d, shapes...)
			diffs, err := runOp(context.Background(), d, f)
			require.NoError(t, err)
			require.Len(t, diffs, 1+len(f.Under("grad.")))
			for what, diff := range diffs {
				require.NoError(t, diff.within(toleranceOf(what, opTolerance)), what)
			}
		})
	}
}

func TestEveryOperatorHasARow(t *testing.T) {
	for _, o := range ref.Ops {
		_, ok := lookupOperator(o.Name)
		require.True(t, ok, o.Name)
	}
	require.True(t, slices.IsSortedFunc(operators, func(a, b operator) int { return strings.Compare(a.Name, b.Name) }))
}

func TestOperatorsMatchReferenceAtOddSizes(t *testing.T) {
	testenv.Long(t)
	d := testgpu.Open(t)
	for _, o := range operators {
		t.Run(o.Name, func(t *testing.T) {
			_, err := o.sweep(t.Context(), d, allWidths)
			require.NoError(t, err)
		})
	}
}

// Misuse must come back as an error, whatever it is.
func TestOperatorsRefuseMisuse(t *testing.T) {
	d := testgpu.Open(t)
	for _, o := range operators {
		_, err := o.Run(context.Background(), d, map[string]array{}, nil)
		require.Error(t, err, o.Name)
	}
	require.NoError(t, d.Err(), "misuse must leave the device usable")
}
