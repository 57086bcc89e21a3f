package streams

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStreamsDiffer(t *testing.T) {
	require.Equal(t, Numbered(1, "a", 2).Uint64(), Numbered(1, "a", 2).Uint64())
	seen := map[uint64]bool{}
	for seed := range uint64(20) {
		for _, what := range []string{"", "a", "b", "ab"} {
			for n := range uint64(100) {
				seen[Numbered(seed, what, n).Uint64()] = true
			}
		}
	}
	require.Len(t, seen, 20*4*100, "streams must differ in seed, name and number")

	// The first numbers of neighbouring streams must look random, too: here their mean and how they go together.
	const n = 20000
	var sum, product float64
	last := 0.5
	for i := range uint64(n) {
		v := Numbered(7, "sample", i).Float64()
		sum += v
		product += (v - 0.5) * (last - 0.5)
		last = v
	}
	require.Less(t, math.Abs(sum/n-0.5), 5*math.Sqrt(1.0/12/n))
	require.Less(t, math.Abs(product/n), 5.0/12/math.Sqrt(n))
}

// A change of these numbers would change what resumed runs go on with.
func TestStreamsStayAsTheyAre(t *testing.T) {
	require.Equal(t, uint64(0xE220A8397B1DCDAF), SplitMix(0), "splitmix64's published first output for seed 0")
	r := Numbered(100, "sample", 3)
	require.Equal(t, []int{371, 283, 502, 600}, []int{r.IntN(1000), r.IntN(1000), r.IntN(1000), r.IntN(1000)})
	r = Numbered(100, "sample", 1<<40+12345)
	require.Equal(t, []int{937, 679, 563, 937}, []int{r.IntN(1000), r.IntN(1000), r.IntN(1000), r.IntN(1000)})
	r = Named(100, "sample")
	require.Equal(t, []int{46, 847, 974, 184}, []int{r.IntN(1000), r.IntN(1000), r.IntN(1000), r.IntN(1000)})
}
