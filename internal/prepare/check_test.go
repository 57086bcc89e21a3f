package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

func check(t *testing.T, dir string, o CheckOptions) *Report {
	t.Helper()
	f, ok, err := at(dir)
	require.NoError(t, err)
	require.True(t, ok)
	r, err := Check(t.Context(), f, o)
	require.NoError(t, err)
	return r
}

func TestCheckWell(t *testing.T) {
	dir := tree(t, 5, 4, "{input,target}/{1,2,3}.png")
	put(t, picture(7, 2, 1, 65535, "a"), dir, "input/4.png")
	put(t, picture(7, 2, 1, 65535, "b"), dir, "target/4.tif")
	for _, decode := range []bool{false, true} {
		var calls [][2]int
		r := check(t, dir, CheckOptions{Decode: decode, Workers: 3, Progress: func(done, total int) {
			calls = append(calls, [2]int{done, total})
		}})
		require.Equal(t, [][2]int{{1, 4}, {2, 4}, {3, 4}, {4, 4}}, calls)
		require.Equal(t, &Report{
			Input: filepath.Join(dir, "input"), Target: filepath.Join(dir, "target"), Pairs: 4,
			Smallest: SizeCount{7, 2, 2}, Largest: SizeCount{5, 4, 6}, Common: SizeCount{5, 4, 6},
			Depths: map[string]int{"8": 6, "16": 2}, Colours: map[string]int{"colour": 6, "grey": 2}, Problems: []Problem{},
		}, r)
	}
}

func TestCheckProblems(t *testing.T) {
	dir := tree(t, 30, 20, "{input,target}/{fine,size,depth,colour,all,text,empty,cut}.png")
	in := func(name string) string { return filepath.Join(dir, "input", name+".png") }
	gt := func(name string) string { return filepath.Join(dir, "target", name+".png") }
	put(t, picture(20, 30, 3, 255, "s"), in("size"))
	put(t, picture(30, 20, 3, 65535, "d"), gt("depth"))
	put(t, picture(30, 20, 1, 255, "c"), in("colour"))
	put(t, picture(31, 20, 1, 65535, "a"), gt("all"))
	require.NoError(t, os.WriteFile(in("text"), []byte("no photo"), 0o666))
	require.NoError(t, os.WriteFile(gt("empty"), nil, 0o666))
	info, err := os.Stat(in("cut"))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(in("cut"), info.Size()-40)) // inside of the pixels
	headers := []string{
		"size: " + in("all") + " is 30×20, " + gt("all") + " is 31×20",
		"depth: " + in("all") + " has 8 bits, " + gt("all") + " has 16 bits",
		"depth: " + in("depth") + " has 8 bits, " + gt("depth") + " has 16 bits",
		"size: " + in("size") + " is 20×30, " + gt("size") + " is 30×20",
		"unreadable: " + in("text") + ": not a PNG, JPEG, TIFF, WebP or BMP picture; convert it to one of these first",
		"unreadable: " + gt("empty") + ": the file is empty",
	}
	r := check(t, dir, CheckOptions{})
	require.ElementsMatch(t, headers, messages(r.Problems))
	require.Equal(t, 8, r.Pairs)

	// Only decoding finds the rest: damage, a blurry photo that is the sharp one, and one that is there twice.
	put(t, picture(30, 20, 3, 255, "same"), in("same"))
	put(t, picture(30, 20, 3, 255, "same"), dir, "target", "same.bmp")
	put(t, picture(30, 20, 3, 255, "input/fine.png"), in("twin"))
	put(t, picture(30, 20, 3, 255, "other"), gt("twin"))
	require.ElementsMatch(t, headers, messages(check(t, dir, CheckOptions{}).Problems))
	_, err = photo.Open(in("cut"))
	require.ErrorContains(t, err, in("cut"))
	all := append(headers,
		"unreadable: "+err.Error(),
		"duplicate: "+in("same")+" and "+filepath.Join(dir, "target", "same.bmp"),
		"duplicate: "+in("fine")+" and "+in("twin"),
	)
	require.ElementsMatch(t, all, messages(check(t, dir, CheckOptions{Decode: true}).Problems))
}

// TestCheckLateHeaders has headers that the first page of a file does not hold, or not all of.
func TestCheckLateHeaders(t *testing.T) {
	dir := t.TempDir()
	sharp := picture(40, 50, 3, 255, "x")
	put(t, sharp, dir, "target/a.png")
	put(t, sharp, dir, "target/b.tif") // its header is at its end
	put(t, sharp, dir, "input/b.png")
	put(t, sharp, dir, "target/c.png")
	putTurned(t, picture(50, 40, 3, 255, "x"), dir, "input/c.png")
	sharp.Meta.ICC = append(make([]byte, 16, 9000), "RGB "...)[:9000]
	put(t, sharp, dir, "input/a.jpg") // its size comes after the profile
	r := check(t, dir, CheckOptions{})
	require.Empty(t, r.Problems)
	require.Equal(t, SizeCount{40, 50, 6}, r.Common)
}

func TestCheckStops(t *testing.T) {
	dir := tree(t, 2, 2, "{input,target}/{1,2,3,4,5,6}.png")
	ctx, cancel := context.WithCancelCause(t.Context())
	f, _, err := at(dir)
	require.NoError(t, err)
	most := 0
	_, err = Check(ctx, f, CheckOptions{Workers: 1, Progress: func(done, _ int) {
		most = done
		if done == 2 {
			cancel(errors.New("Ctrl-C"))
		}
	}})
	require.Equal(t, 2, most)
	require.Equal(t, ctx.Err(), err) // not the cause: callers compare
}

func TestDescribe(t *testing.T) {
	var problems []Problem
	for i := range 12 {
		problems = append(problems, Problem{Missing, nil, fmt.Sprint("photo ", i)})
	}
	problems = append(problems, Problem{Size, nil, "a is 1×1, b is 1×2"})
	got := strings.Split(Describe(problems), "\n")
	require.Equal(t, "photos without a partner (12): add the partners, or remove these photos", got[0])
	require.Equal(t, "  photo 9", got[10])
	require.Equal(t, "  and 2 more", got[11])
	require.Equal(t, "pairs of two sizes (1): replace or remove the pairs", got[12])
	require.Equal(t, []string{"  a is 1×1, b is 1×2", ""}, got[13:])
	for _, kind := range []string{Missing, Name, Case, Unreadable, Size, Depth, Duplicate, Small, Foreign} {
		require.NotEmpty(t, Describe([]Problem{{Kind: kind}}), kind)
	}
}
