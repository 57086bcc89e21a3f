package conformance

import (
	"math"
	"strings"

	"hidiff/internal/streams"
)

// Uniform returns the first n draws of the stream that belongs to name, in [−1, 1):
// splitmix64 seeded with the 64-bit FNV-1a hash of name, its top 24 bits mapped
// linearly. Every value is exact in float32.
func Uniform(name string, n int) []float32 {
	state := streams.Hash(name)
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(int64(streams.SplitMix(state)>>40)-1<<23) / (1 << 23)
		state += streams.SplitMixStep
	}
	return out
}

// FillParam returns the values, row-major, that fixtures give the parameter key of
// network net (net_g, net_le, net_le_dm or net_d) under prefix, so that no fixture
// stores weights: a stream named "prefix/net/key", scaled and shifted by the kind of
// parameter.
func FillParam(prefix, net, key string, shape []int) []float32 {
	n := 1
	for _, d := range shape {
		n *= d
	}
	scale, offset := fillRange(key, shape)
	out := Uniform(prefix+"/"+net+"/"+key, n)
	for i, u := range out {
		// Rounded to float32 once, at the end; the inner conversion keeps Go from fusing
		// the multiplication with the addition on machines that can.
		out[i] = float32(float64(float64(u)*scale) + offset)
	}
	return out
}

// fillRange says how a parameter's draws are scaled and shifted: norms and temperatures
// lie about one, time_mlp is its initial value's size, biases are small, and weights
// keep the variance of what they multiply.
func fillRange(key string, shape []int) (scale, offset float64) {
	switch {
	case strings.HasSuffix(key, "temperature"):
		return 0.3, 1
	case strings.HasSuffix(key, "time_mlp"):
		return 0, 0.01
	case strings.HasSuffix(key, "weight") && len(shape) == 1:
		return 0.2, 1
	case strings.HasSuffix(key, "bias"):
		return 0.05, 0
	}
	fanIn := 1
	for i, d := range shape {
		if i > 0 {
			fanIn *= d
		}
	}
	return math.Sqrt(3 / float64(fanIn)), 0
}
