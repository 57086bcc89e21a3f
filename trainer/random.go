package trainer

import (
	"hash/fnv"
	"math/rand/v2"
)

// stream returns the random numbers for item n of what is called what: the crop of sample n, the order
// of epoch n. They depend on these three and the run's seed alone, so who asks first, how often, or
// after which resume makes no difference.
//
// Seed, name and number are mixed by splitmix64's finaliser (Steele, Lea and Flood 2014), which is a
// bijection, into the state of a PCG: streams of one name never share a state.
func stream(seed uint64, what string, n uint64) *rand.Rand {
	name := fnv.New64a()
	name.Write([]byte(what))
	family := mix(mix(seed) ^ name.Sum64())
	return rand.New(rand.NewPCG(mix(family^n), family))
}

// mix is the finaliser of splitmix64 with its increment before.
func mix(z uint64) uint64 {
	z += 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
