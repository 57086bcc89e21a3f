package eval

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"

	"golang.org/x/sync/errgroup"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page is what the template shows.
type page struct {
	*Evaluation
	Sections      []section
	Amplification int
	BaselineNote  string // "" where there are none
}

type section struct {
	*Dataset
	Kept   bool // from an earlier run: there are no pictures
	Groups []group
	Failed []*Image
	Rows   []row
}

type group struct {
	Title string
	Cards []*card
}

// card is an image that is shown.
type card struct {
	*Image
	ID       string
	Scores   []named
	Restored picture
	Others   []picture // to compare it with: input, if there is one, target, error map
	Sides    string    // the file that shows input, restored and target side by side
}

// row is a line of the table of all images.
type row struct {
	*Image
	Card   string // its card's ID, if it has one
	Scores []named
}

type named struct {
	Protocol Protocol
	Score
	MeanPSNR, MeanSSIM Number
	Classics           []classic // in the order of the dataset's baselines
}

// classic is what a baseline scored.
type classic struct {
	Method Method
	Plain
}

// WritePage writes index.html and its pictures into a folder, in place of what was there: for each dataset, up to
// images of them are shown, half of them the worst and half the best by the first protocol. Of datasets that are
// kept there are scores alone. The page needs nothing beyond its folder. sources are those of the datasets, which
// must have been run.
func (e *Evaluation) WritePage(ctx context.Context, dir string, sources []Source, images int) (err error) {
	e.Summarise()
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".page-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	p := page{Evaluation: e, Amplification: Amplification}
	for _, d := range e.Kept {
		s, err := d.section(ctx, temp, 0, nil, 0)
		if err != nil {
			return err
		}
		s.Kept = true
		p.Sections = append(p.Sections, s)
	}
	for i, d := range e.Datasets {
		s, err := d.section(ctx, temp, i, sources[i], images)
		if err != nil {
			return fmt.Errorf("the report on %s: %w", d.Name, err)
		}
		p.Sections = append(p.Sections, s)
	}
	if e.methods() != nil {
		p.BaselineNote = BaselineNote
	}
	err = atomicfile.Write(filepath.Join(temp, "index.html"), func(w io.Writer) error { return pageTemplate.Execute(w, p) })
	if err != nil {
		return err
	}
	old := temp + ".old"
	if err := os.Rename(dir, old); err != nil && !os.IsNotExist(err) {
		return err
	}
	defer os.RemoveAll(old)
	return os.Rename(temp, dir)
}

func (d *Dataset) section(ctx context.Context, dir string, number int, s Source, images int) (section, error) {
	out := section{Dataset: d}
	ranked := d.ranked()
	shown := slices.DeleteFunc(slices.Clone(ranked), func(m *Image) bool { return m.Error != "" })
	images = min(images, len(shown))
	worst, best := shown[:(images+1)/2], slices.Clone(shown[len(shown)-images/2:])
	slices.Reverse(best)
	cards, err := inParallel(ctx, slices.Concat(worst, best), func(m *Image) (*card, error) {
		return d.card(dir, fmt.Sprintf("%d/%d", number+1, m.index+1), s, m)
	})
	if err != nil {
		return out, err
	}
	for _, g := range []group{{"Worst", cards[:len(worst)]}, {"Best", cards[len(worst):]}} {
		if len(g.Cards) > 0 {
			out.Groups = append(out.Groups, g)
		}
	}
	ids := map[*Image]string{}
	for _, c := range cards {
		ids[c.Image] = c.ID
	}
	for _, m := range ranked {
		out.Rows = append(out.Rows, row{m, ids[m], d.named(m)})
		if m.Failed() {
			out.Failed = append(out.Failed, m)
		}
	}
	return out, nil
}

// inParallel makes something of every item, in their order.
func inParallel[T, R any](ctx context.Context, items []T, of func(T) (R, error)) ([]R, error) {
	made, errs := make([]R, len(items)), make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, item := range items {
		g.Go(func() error {
			if errs[i] = ctx.Err(); errs[i] == nil {
				made[i], errs[i] = of(item)
			}
			return nil // all errors are wanted
		})
	}
	_ = g.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return made, errors.Join(errs...)
}

// ranked orders images from the worst to the best by the first protocol; those without a score come first.
func (d *Dataset) ranked() []*Image {
	rank := func(m *Image) float64 {
		if psnr := mean(m.score(d.Protocols[0].Protocol).PSNR); psnr.Known() {
			return float64(psnr)
		}
		return math.Inf(-1)
	}
	out := slices.Clone(d.Images)
	slices.SortStableFunc(out, func(a, b *Image) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

func (d *Dataset) named(m *Image) (out []named) {
	for _, s := range d.Protocols {
		score := *m.score(s.Protocol)
		n := named{Protocol: s.Protocol, Score: score, MeanPSNR: mean(score.PSNR), MeanSSIM: mean(score.SSIM)}
		for _, b := range d.Baselines {
			n.Classics = append(n.Classics, classic{b.Method, score.baseline(b.Method)})
		}
		out = append(out, n)
	}
	return out
}

// card writes the pictures of an image, whose id is the dataset's number and its own.
func (d *Dataset) card(dir, id string, s Source, m *Image) (*card, error) {
	photos, err := s.Photos(m.index)
	if err == nil && photos.Restored == nil {
		photos.Restored, err = photo.Open(d.File(m.Name))
	}
	if err != nil {
		return nil, err
	}
	c := &card{Image: m, ID: "image-" + strings.ReplaceAll(id, "/", "-"), Scores: d.named(m)}
	name := "images/" + id
	if c.Restored, err = savePicture(dir, name, "restored", photos.Restored); err != nil {
		return nil, err
	}
	for _, other := range []struct {
		label string
		photo *photo.Photo
	}{{"input", photos.Input}, {"target", photos.Target}, {"error", errorMap(photos.Restored, photos.Target)}} {
		if other.photo == nil {
			continue
		}
		pic, err := savePicture(dir, name, other.label, other.photo)
		if err != nil {
			return nil, err
		}
		c.Others = append(c.Others, pic)
	}
	c.Sides = name + "-side-by-side.jpg"
	sides := sideBySide(photos.Input, photos.Restored, photos.Target)
	return c, photo.Save(filepath.Join(dir, filepath.FromSlash(c.Sides)), sides, photo.EncodeOptions{Quality: 95})
}
