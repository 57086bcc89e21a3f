package ref

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A parameter that is missing is named, and a prior of one token counts as a vector.
func TestAttentionUnderAPrior(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	x, prior := randomArray(rng, 2, 4, 3, 5), randomArray(rng, 2, 1, 6)
	p := Params{
		"other.qkv.weight": randomArray(rng, 12, 4, 1, 1), "other.qkv_dwconv.weight": randomArray(rng, 12, 1, 3, 3),
		"other.temperature": randomArray(rng, 2, 1, 1), "other.project_out.weight": randomArray(rng, 4, 4, 1, 1),
		"other.ln1.weight": randomArray(rng, 4, 6), "other.ln1.bias": randomArray(rng, 4), "other.ln2.weight": randomArray(rng, 4, 6),
	}
	at := p.Under("other.")
	y := at.Attention(x, prior, 2)
	require.Equal(t, y, at.Attention(x, prior.Reshape(2, 6), 2))
	require.NotEqual(t, y, at.Attention(x, nil, 2))
	require.ErrorContains(t, Try(func() { p.Attention(x, prior, 2) }), "ln1.weight is missing")
	require.Error(t, Try(func() { at.Attention(x, randomArray(rng, 2, 7), 2) }))
}

// At the last step ᾱ_{−1} = 1: the result is x0 alone, whatever x was.
func TestSampleEndsAtX0(t *testing.T) {
	betas := Betas(true, "linear", 4, 0.1, 0.99)
	times := []int{}
	y := Sample(true, betas, From([]float64{3, -2}, 2), func(x *Array, time int) *Array {
		times = append(times, time)
		return From([]float64{0.25, 7}, 2)
	})
	require.Equal(t, []int{3, 2, 1, 0}, times)
	require.InDeltaSlice(t, []float64{0.25, 7}, y.Data, 1e-6)

	times = nil
	y = Sample(false, betas, From([]float64{3, -2}, 2), func(x *Array, time int) *Array {
		times = append(times, time)
		return New(2)
	})
	require.Equal(t, []int{4, 3, 2, 1}, times)
	require.Equal(t, []float64{1, -1}, y.Data, "x0 is clamped")
}

func TestBetas(t *testing.T) {
	require.InEpsilonSlice(t, []float64{0.1, 0.1, 0.55, 1}, append([]float64{0.1}, Betas(false, "linear", 3, 0.1, 1)...), 1e-12)
	require.InEpsilon(t, 0.25, Betas(false, "quad", 3, 0.01, 0.81)[1], 1e-12)
	require.Equal(t, Betas(false, "quad", 5, 0.1, 0.9), Betas(true, "linear", 5, 0.1, 0.9))
	require.Equal(t, []float64{0.9, 0.9}, Betas(false, "const", 2, 0.1, 0.9))
	require.Equal(t, []float64{0.1, 0.9, 0.9, 0.9}, Betas(false, "warmup50", 4, 0.1, 0.9))
	require.ErrorContains(t, Try(func() { Betas(true, "quad", 4, 0.1, 0.9) }), "schedule is quad")
	last := Betas(false, "cosine", 8, 0, 0)[7]
	require.Equal(t, 0.999, last)
}
