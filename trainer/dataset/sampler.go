package dataset

import (
	"hidiff/internal/streams"
)

// sampler says which pair is sample number s of a run, as BasicSR's EnlargedSampler: an epoch is a
// random permutation of enlarge_ratio copies of the pairs. Here epochs join without a gap, so every
// sample is used, and the place in the data is one number.
type sampler struct {
	seed     uint64
	n, total int // pairs; samples of an epoch, n times enlarge_ratio
	epoch    int
	order    []int32 // of epoch: the pair of each sample; nil before the first call of at
}

// at returns the epoch of a sample, the pairs of that epoch in order, and the sample's position in it.
func (s *sampler) at(sample uint64) (epoch int, order []int32, position int) {
	epoch, position = int(sample/uint64(s.total)), int(sample%uint64(s.total))
	if s.order == nil || s.epoch != epoch {
		s.epoch, s.order = epoch, make([]int32, s.total) // never in the old one's place: it may still be in use
		for i := range s.order {
			s.order[i] = int32(i % s.n)
		}
		streams.Numbered(s.seed, "epoch", uint64(epoch)).Shuffle(s.total, func(i, j int) {
			s.order[i], s.order[j] = s.order[j], s.order[i]
		})
	}
	return epoch, s.order, position
}
