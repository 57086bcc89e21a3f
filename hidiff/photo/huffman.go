package photo

import (
	"math/bits"
	"slices"
)

// bitWriter packs bits, least significant first.
type bitWriter struct {
	out  []byte
	acc  uint64
	used uint
}

// write appends the low n bits of v; n is at most 32.
func (b *bitWriter) write(v uint64, n uint) {
	b.acc |= v << b.used
	b.used += n
	for b.used >= 8 {
		b.out = append(b.out, byte(b.acc))
		b.acc >>= 8
		b.used -= 8
	}
}

func (b *bitWriter) bytes() []byte {
	if b.used > 0 {
		b.write(0, 8-b.used)
	}
	return b.out
}

// prefixCode is a canonical Huffman code as VP8L stores it.
type prefixCode struct {
	lengths []uint8  // by symbol; 0 where unused, and for the only symbol, which takes no bits
	codes   []uint64 // bit-reversed, ready to write
	symbols []int    // those used
}

// newPrefixCode builds the code for the given symbol counts with no length above limit.
func newPrefixCode(freq []int, limit int) prefixCode {
	c := prefixCode{lengths: make([]uint8, len(freq)), codes: make([]uint64, len(freq))}
	for s, n := range freq {
		if n > 0 {
			c.symbols = append(c.symbols, s)
		}
	}
	if len(c.symbols) < 2 {
		return c
	}
	// Raising the rarest counts flattens the tree; in the end all are equal, which is within any limit.
	for floor := 1; ; floor *= 2 {
		if huffmanLengths(c.lengths, freq, c.symbols, floor) <= limit {
			break
		}
	}
	next := uint64(0)
	for n := 1; n <= limit; n++ {
		next <<= 1
		for _, s := range c.symbols {
			if int(c.lengths[s]) == n {
				c.codes[s] = bits.Reverse64(next) >> (64 - n)
				next++
			}
		}
	}
	return c
}

// huffmanLengths fills in code lengths for two or more symbols, counting each at least floor times,
// and returns the longest.
func huffmanLengths(lengths []uint8, freq []int, symbols []int, floor int) int {
	type node struct{ weight, parent int }
	count := func(s int) int { return max(freq[s], floor) }
	leaves := slices.Clone(symbols)
	slices.SortStableFunc(leaves, func(a, b int) int { return count(a) - count(b) })
	nodes := make([]node, 0, 2*len(leaves))
	for _, s := range leaves {
		nodes = append(nodes, node{weight: count(s)})
	}
	// Two queues, each in rising order: leaves, then the joined nodes after them.
	leaf, joined := 0, len(leaves)
	lightest := func() int {
		if leaf < len(leaves) && (joined == len(nodes) || nodes[leaf].weight <= nodes[joined].weight) {
			leaf++
			return leaf - 1
		}
		joined++
		return joined - 1
	}
	for range len(leaves) - 1 {
		a, b := lightest(), lightest()
		nodes[a].parent, nodes[b].parent = len(nodes), len(nodes)
		nodes = append(nodes, node{weight: nodes[a].weight + nodes[b].weight})
	}
	depth := make([]int, len(nodes))
	longest := 0
	for i := len(nodes) - 2; i >= 0; i-- {
		depth[i] = depth[nodes[i].parent] + 1
		longest = max(longest, depth[i])
	}
	for i, s := range leaves {
		lengths[s] = uint8(depth[i])
	}
	return longest
}

func (c prefixCode) put(b *bitWriter, symbol int) { b.write(c.codes[symbol], uint(c.lengths[symbol])) }

// writeTo writes the code itself: a short form for up to two symbols, else all lengths, themselves
// Huffman-coded with runs of zeros shortened.
func (c prefixCode) writeTo(b *bitWriter) {
	switch n := len(c.symbols); {
	case n == 0:
		b.write(0b0001, 4) // short form, one symbol, of one bit: 0
		return
	case n <= 2: // pixels are all literals, so symbols fit in 8 bits
		b.write(1, 1)
		b.write(uint64(n-1), 1)
		b.write(1, 1)
		for _, s := range c.symbols {
			b.write(uint64(s), 8)
		}
		return
	}

	type step struct{ symbol, extra, extraBits int }
	var steps []step
	freq := make([]int, 19)
	for i := 0; i < len(c.lengths); {
		run := 1
		for i+run < len(c.lengths) && run < 138 && c.lengths[i] == 0 && c.lengths[i+run] == 0 {
			run++
		}
		s := step{symbol: int(c.lengths[i])}
		switch {
		case run >= 11:
			s = step{18, run - 11, 7}
		case run >= 3:
			s = step{17, run - 3, 3}
		default:
			run = 1
		}
		steps = append(steps, s)
		freq[s.symbol]++
		i += run
	}
	lengths := newPrefixCode(freq, 7)
	stored := slices.Clone(lengths.lengths)
	if len(lengths.symbols) == 1 {
		stored[lengths.symbols[0]] = 1 // an only symbol is marked so, though it takes no bits
	}
	b.write(0, 1)
	order := [19]int{17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	b.write(19-4, 4)
	for _, s := range order {
		b.write(uint64(stored[s]), 3)
	}
	b.write(0, 1) // lengths of the whole alphabet follow
	for _, s := range steps {
		lengths.put(b, s.symbol)
		b.write(uint64(s.extra), uint(s.extraBits))
	}
}
