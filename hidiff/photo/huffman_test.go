package photo

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Fibonacci counts give the deepest trees; lengths must stay in the limit and fill the code exactly.
func TestPrefixCodeLimit(t *testing.T) {
	for _, limit := range []int{7, 15} {
		for n := 2; n <= 40; n++ {
			freq := make([]int, 256)
			a, b := 1, 1
			for i := range n {
				freq[(i*37)%256] = a
				a, b = b, a+b
			}
			c := newPrefixCode(freq, limit)
			sum := 0
			for s, l := range c.lengths {
				require.Equal(t, freq[s] > 0, l > 0)
				require.LessOrEqual(t, int(l), limit)
				if l > 0 {
					sum += 1 << (limit - int(l))
				}
			}
			require.Equal(t, 1<<limit, sum, "Kraft's sum is not one")
		}
	}
}

// Pictures whose Huffman codes take every form: one symbol, two, all of equal length, very skewed.
func TestVP8LCodes(t *testing.T) {
	skewed := newPhoto(200, 160, 1, 255, false)
	for i, at, n, m := 0, 0, 1, 1; i < 20; i++ {
		for range min(n, len(skewed.Pix)-at) {
			skewed.Pix[at] = uint16(i * 11 % 256)
			at++
		}
		n, m = m, n+m
	}
	even := newPhoto(16, 16, 1, 255, false)
	for i := range even.Pix {
		even.Pix[i] = uint16(i * 167 % 256)
	}
	for name, p := range map[string]*Photo{
		"flat": newPhoto(300, 200, 3, 255, false), "skewed": skewed, "even": even, "noise": noise(64, 64, 3, 255, true),
	} {
		require.Zero(t, worst(t, expected(p, WebP), mustDecode(t, mustEncode(t, p, WebP))), name)
	}
}
