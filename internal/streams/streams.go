// Package streams gives everything that is drawn at random a stream of its own, by a seed and a name: who asks first, how
// often, or after which resume makes no difference. Their numbers never change, for runs are repeated from seeds.
package streams

import (
	"hash/fnv"
	"math/rand/v2"
)

// Named returns the random numbers of what is called name: noise of a photo, initial values of a parameter.
func Named(seed uint64, name string) *rand.Rand {
	return rand.New(rand.NewPCG(seed, Hash(name)))
}

// Numbered returns the random numbers for item n of what is called name: the crop of sample n, the order
// of epoch n.
//
// Seed, name and number are mixed by [SplitMix], which is a bijection, into the state of a PCG: streams of one name never
// share a state.
func Numbered(seed uint64, name string, n uint64) *rand.Rand {
	family := SplitMix(SplitMix(seed) ^ Hash(name))
	return rand.New(rand.NewPCG(SplitMix(family^n), family))
}

// Hash is the 64-bit FNV-1a hash of a name.
func Hash(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return h.Sum64()
}

// SplitMixStep is by how much splitmix64's state grows with each number.
const SplitMixStep = 0x9E3779B97F4A7C15

// SplitMix is the number that splitmix64 (Steele, Lea and Flood 2014) draws in a state.
func SplitMix(state uint64) uint64 {
	z := state + SplitMixStep
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
