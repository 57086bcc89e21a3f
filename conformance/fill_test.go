package conformance

import (
	"encoding/json"
	"os"
	"testing"

	"hidiff/hidiff/checkpoint"

	"github.com/stretchr/testify/require"
)

// parameter is one row of networks/parameters.json.
type parameter struct {
	key           string
	shape         []int
	scale, offset float64
}

func (p *parameter) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&p.key, &p.shape, &p.scale, &p.offset})
}

// parameters reads networks/parameters.json: configuration, network, parameters in order.
func parameters(t *testing.T) map[string]map[string][]parameter {
	t.Helper()
	data, err := os.ReadFile(Testdata("networks", "parameters.json"))
	require.NoError(t, err)
	var out map[string]map[string][]parameter
	require.NoError(t, json.Unmarshal(data, &out))
	require.Len(t, out, 4)
	return out
}

func TestFillRange(t *testing.T) {
	for config, networks := range parameters(t) {
		require.Len(t, networks, 4)
		for net, rows := range networks {
			require.NotEmpty(t, rows)
			for _, p := range rows {
				scale, offset := fillRange(p.key, p.shape)
				require.Equal(t, []float64{p.scale, p.offset}, []float64{scale, offset}, "%s %s %s", config, net, p.key)
			}
		}
	}
}

// The released code's own checkpoints of the tiny configuration, bit for bit.
func TestFillParamReproducesCheckpoints(t *testing.T) {
	for net, rows := range parameters(t)["gopro_tiny"] {
		file, err := checkpoint.Open(t.Context(), Testdata("checkpoints", "gopro_tiny_"+net+".pth"))
		require.NoError(t, err)
		weights, err := file.Weights("params")
		require.NoError(t, err)
		require.Equal(t, len(rows), weights.Len())
		for _, p := range rows {
			want, ok := weights.Get(p.key)
			require.True(t, ok, p.key)
			require.Equal(t, p.shape, want.Shape, p.key)
			require.Equal(t, want.Float32s(), FillParam("gopro_tiny", net, p.key, p.shape), p.key)
		}
	}
}

func TestUniform(t *testing.T) {
	u := Uniform("some name", 1<<16)
	low, high, sum := u[0], u[0], 0.0
	for _, v := range u {
		low, high, sum = min(low, v), max(high, v), sum+float64(v)
	}
	require.True(t, low >= -1 && low < -0.999 && high < 1 && high > 0.999, "range [%g, %g]", low, high)
	require.Less(t, sum*sum, 16*float64(len(u))/3, "the sum is four of its standard deviations √(n/3) from zero")
	require.Equal(t, u[:10], Uniform("some name", 10))
	require.NotEqual(t, u[:10], Uniform("some names", 10))
	require.Empty(t, Uniform("x", 0))
}
