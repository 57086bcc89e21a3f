package serve

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/testenv"
)

// TestDocs runs the examples of docs/SERVE.md as they stand, but for the port.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/SERVE.md")
	require.NoError(t, err)
	s := start(t, &fakeEngine{}, Options{})
	data := somePNG(t)
	want := negative(t, data, photo.EncodeOptions{Format: photo.PNG})
	ran := 0
	for _, m := range regexp.MustCompile("(?s)```(sh|go)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "holiday.png"), data, 0o666))
		example := strings.ReplaceAll(m[2], "http://127.0.0.1:8470", s.url)
		require.Contains(t, example, s.url)
		var c *exec.Cmd
		switch m[1] {
		case "sh":
			if _, err := exec.LookPath("curl"); err != nil {
				testenv.Missing(t, "CURL", err)
			}
			c = exec.Command("sh", "-e", "-c", example)
		case "go":
			require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(example), 0o666))
			c = exec.Command("go", "run", "main.go")
		}
		c.Dir = dir
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s\n%s", example, out)
		got, err := os.ReadFile(filepath.Join(dir, "sharp.png"))
		require.NoError(t, err)
		require.Equal(t, want, got)
		ran++
	}
	require.Equal(t, 3, ran)
	s.heldNothing()
}
