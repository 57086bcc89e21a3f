package folder

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnmanaged(t *testing.T) {
	const all = "the ICC profiles of the inks of 12 photos cannot be read, so colours will be off: convert them to sRGB first: a, b, c, d, e, f, g, h, i, j, and 2 more"
	require.Equal(t, all, Unmanaged(strings.Split("abcdefghijkl", "")...))
	require.Contains(t, Unmanaged("a", "b"), "of 2 photos cannot be read, so colours will be off: convert them to sRGB first: a, b")
	require.Equal(t, "a: the ICC profile of its inks cannot be read, so colours will be off: convert it to sRGB first", Unmanaged("a"))
}
