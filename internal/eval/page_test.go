package eval

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
)

// readPage writes a report and returns its text.
func readPage(t *testing.T, e *Evaluation, sources []Source, images int) (dir, text string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "results", "report")
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o777))
	require.NoError(t, e.WritePage(t.Context(), dir, sources, images))
	data, err := os.ReadFile(filepath.Join(dir, "index.html"))
	require.NoError(t, err)
	return dir, string(data)
}

func TestPage(t *testing.T) {
	e, sources := whole(t)
	dir, text := readPage(t, e, sources, 24)
	for _, want := range []string{
		"<title>whole: evaluation</title>", "23 November 2026, 08:00 UTC by hidiff v1", "<dt>options</dt><dd>my.yml</dd>", "<dt>weights</dt><dd>0123456789abcdef</dd>",
		"<dt>net_g</dt><dd>net_g.pth</dd>", "<dt>GPU</dt><dd>a GPU</dd>", "33.33 / 0.964", "(1111 pairs, trained on GoPro)", "29.15 / 0.890", "1 of 3", "2 of 3",
		"MATLAB&#39;s psnr and ssim", "the largest difference of a channel", "8 times as bright",
		"Without a score: 2", "gone: the result has 16 bits a sample and the target 8", "the result cannot be aligned with its target: it is black",
		"&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;", "prefers-color-scheme: dark", `role="slider" tabindex="0"`,
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "<script>alert")
	require.NotContains(t, text, "33.70", "the weights were trained on GoPro")
	require.NotRegexp(t, `(?i)(https?:)?//[a-z]`, text, "nothing is loaded from elsewhere")

	// Every picture that is named is there, and no other.
	named := map[string]bool{"index.html": true}
	for _, m := range regexp.MustCompile(`(?:src|href|data-view)="([^"#]+)"`).FindAllStringSubmatch(text, -1) {
		require.FileExists(t, filepath.Join(dir, filepath.FromSlash(m[1])))
		named[m[1]] = true
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if name, _ := filepath.Rel(dir, path); err == nil && !entry.IsDir() {
			require.Contains(t, named, filepath.ToSlash(name))
		}
		return err
	}))
	require.Len(t, named, 1+6*5)
	restored, err := photo.Open(filepath.Join(dir, "images", "1", "1-restored.png"))
	require.NoError(t, err)
	require.Equal(t, sources[0].(album)[0].Restored.Pix, restored.Pix)
	sides, err := photo.Open(filepath.Join(dir, "images", "1", "1-side-by-side.jpg"))
	require.NoError(t, err)
	require.Equal(t, 3*restored.Width+2*8, sides.Width)
	require.Equal(t, restored.Height, sides.Height)
	shown := make([]uint16, 0, len(restored.Pix))
	for y := range restored.Height { // between the input and the target
		at := (y*sides.Width + restored.Width + 8) * 3
		shown = append(shown, sides.Pix[at:at+3*restored.Width]...)
	}
	between := eightBits(&photo.Photo{Width: restored.Width, Height: restored.Height, Channels: 3, Max: 255, Pix: shown})
	psnr := func(p *photo.Photo) float64 {
		psnr, err := metrics.PSNR(*between, *eightBits(p), metrics.Options{})
		require.NoError(t, err)
		return psnr
	}
	require.Greater(t, psnr(restored), 30.0, "a JPEG of it")
	pair := sources[0].(album)[0]
	require.Greater(t, psnr(restored), psnr(pair.Input)+3)
	require.Greater(t, psnr(restored), psnr(pair.Target)+3)

	// Worst first, in the table and in the cards.
	order := names(e.Datasets[0].ranked())
	require.Equal(t, "01_coffee", order[3], "of equal photos")
	table := text[strings.Index(text, "sortable"):]
	last := 0
	for _, name := range order {
		at := strings.Index(table, name)
		require.Greater(t, at, last, name)
		last = at
	}
	worst, best := strings.Index(text, "<h3>Worst</h3>"), strings.Index(text, "<h3>Best</h3>")
	require.Less(t, worst, strings.Index(text, "<h4>"+order[0]))
	require.Less(t, strings.Index(text, "<h4>"+order[1]), best)
	require.Less(t, best, strings.Index(text, "<h4>"+order[3]))
	require.Less(t, strings.Index(text, "<h4>"+order[3]), strings.Index(text, "<h4>"+order[2]), "the best first")

	// Again, over what is there, with fewer pictures and without any.
	require.NoError(t, e.WritePage(t.Context(), dir, sources, 1))
	entries, err := filepath.Glob(filepath.Join(dir, "images", "*", "*"))
	require.NoError(t, err)
	require.Len(t, entries, 2*5, "the worst of each dataset")
	_, text = readPage(t, e, sources, 0)
	require.NotContains(t, text, "<h3>Worst</h3>")
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing but the report")
}

// TestPageFails leaves the older report alone.
func TestPageFails(t *testing.T) {
	e, sources := whole(t)
	dir, _ := readPage(t, e, sources, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, e.WritePage(ctx, dir, sources, 24), context.Canceled)
	sources[0].(album)[2].err = fmt.Errorf("x.png: gone")
	require.ErrorContains(t, e.WritePage(t.Context(), dir, sources, 24), "the report on GoPro: x.png: gone")
	require.FileExists(t, filepath.Join(dir, "index.html"))
	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// TestPageSaved shows what was saved, large photos also small, without a word on where they were taken.
func TestPageSaved(t *testing.T) {
	large := texture(2*viewWidth+1, 30, 3, 65535)
	large.Meta.EXIF = []byte("MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00")
	a := album{{name: "large", Photos: Photos{Input: large, Target: large}}}
	d := &Dataset{Name: "x", Folder: t.TempDir(), Protocols: []Scorer{{Protocol: BasicSR}}}
	restore := func(_ context.Context, p Photos, _ uint64) (*photo.Photo, error) { return p.Input, nil }
	require.NoError(t, d.Run(t.Context(), a, Options{Restore: restore}))
	dir, text := readPage(t, &Evaluation{Datasets: []*Dataset{d}, Seeds: 5}, []Source{a}, 24)
	require.Contains(t, text, `<a href="images/1/1-restored.png"><img src="images/1/1-restored-view.jpg"`)
	require.Contains(t, text, "stopped before the end")
	require.Contains(t, text, "<dt>seeds</dt>")
	full, err := photo.Open(filepath.Join(dir, "images", "1", "1-restored.png"))
	require.NoError(t, err)
	require.Equal(t, large.Pix, full.Pix)
	require.Nil(t, full.Meta.EXIF)
	view, err := photo.Open(filepath.Join(dir, "images", "1", "1-restored-view.jpg"))
	require.NoError(t, err)
	require.Equal(t, [2]int{viewWidth, 14}, [2]int{view.Width, view.Height})
}

func TestErrorMap(t *testing.T) {
	a := &photo.Photo{Width: 5, Height: 1, Channels: 3, Max: 255, Pix: []uint16{9, 9, 9, 10, 9, 9, 9, 9, 89, 30, 9, 5, 250, 9, 9}}
	b := &photo.Photo{Width: 5, Height: 1, Channels: 3, Max: 255, Pix: []uint16{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 9, 9}}
	want := []uint16{0, 0, 0, 24, 0, 0, 255, 255, 255, 255, 249, 0, 255, 255, 255}
	require.Equal(t, want, errorMap(a, b).Pix)
	require.Equal(t, want, errorMap(b, a).Pix)
	grey := &photo.Photo{Width: 1, Height: 1, Channels: 1, Max: 65535, Pix: []uint16{257 * 2}}
	require.Equal(t, []uint16{48, 0, 0}, errorMap(grey, &photo.Photo{Width: 1, Height: 1, Channels: 1, Max: 65535, Pix: []uint16{0}}).Pix)
}

func TestShrink(t *testing.T) {
	p := texture(2*viewWidth, 2, 3, 255)
	q := shrink(p)
	require.Equal(t, [2]int{viewWidth, 1}, [2]int{q.Width, q.Height})
	for x := range viewWidth {
		for c := range 3 {
			sum := 0
			for _, y := range []int{0, 1} {
				for k := range 2 {
					sum += int(p.Pix[(y*p.Width+2*x+k)*3+c])
				}
			}
			require.EqualValues(t, (sum+2)/4, q.Pix[3*x+c])
		}
	}
	odd := shrink(texture(viewWidth+viewWidth/2+1, 7, 1, 255))
	require.Len(t, odd.Pix, viewWidth*4)
	require.Equal(t, 1, shrink(texture(5*viewWidth, 1, 3, 255)).Height)
}
