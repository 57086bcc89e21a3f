package prepare

import (
	"encoding/binary"
	"hash/crc32"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

// picture makes a photo whose samples depend on the place and on the seed.
func picture(w, h, channels int, max uint16, seed string) *photo.Photo {
	hash := fnv.New32a()
	hash.Write([]byte(seed))
	state := hash.Sum32()
	p := &photo.Photo{Width: w, Height: h, Channels: channels, Max: max, Pix: make([]uint16, w*h*channels)}
	for i := range p.Pix {
		state = state*1664525 + 1013904223
		p.Pix[i] = uint16(state>>16) & max
	}
	return p
}

func put(t testing.TB, p *photo.Photo, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
	require.NoError(t, photo.Save(file, p, photo.EncodeOptions{}))
	return file
}

// putTurned saves a PNG that EXIF, after the pixels, turns by a quarter.
func putTurned(t testing.TB, p *photo.Photo, path ...string) {
	t.Helper()
	file := put(t, p, path...)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	chunk := []byte("eXIfII*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00")
	late := slices.Clip(data[:len(data)-len(pngEnd)])
	late = append(binary.BigEndian.AppendUint32(late, uint32(len(chunk)-4)), chunk...)
	late = binary.BigEndian.AppendUint32(late, crc32.ChecksumIEEE(chunk))
	require.NoError(t, os.WriteFile(file, append(late, pngEnd...), 0o666))
}

// tree makes 8-bit photos in colour, of w×h pixels, all different: every path gets one. Paths may
// have alternatives in braces, as train/{blur,sharp}/{1,2}.png.
func tree(t testing.TB, w, h int, patterns ...string) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, pattern := range patterns {
		for _, path := range braces(pattern) {
			put(t, picture(w, h, 3, 255, path), root, path)
		}
	}
	return root
}

func braces(pattern string) (out []string) {
	before, rest, ok := strings.Cut(pattern, "{")
	if !ok {
		return []string{pattern}
	}
	inside, after, _ := strings.Cut(rest, "}")
	for _, choice := range strings.Split(inside, ",") {
		out = append(out, braces(before+choice+after)...)
	}
	return out
}

// below lists all files below a folder, hidden ones too.
func below(t testing.TB, dir string) []string {
	t.Helper()
	found := []string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			found = append(found, filepath.ToSlash(name))
		}
		return err
	}))
	return found
}

// messages are the kinds of problems, and what they say.
func messages(problems []Problem) (out []string) {
	for _, p := range problems {
		out = append(out, p.Kind+": "+p.Message)
	}
	return out
}
