package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff/options"
	"hidiff/internal/eval"
	"hidiff/internal/folder"
	"hidiff/trainer/dataset"
)

// openPhotos pairs the photos of all datasets, before anything is restored.
func (e *evaluation) openPhotos(ctx context.Context) (opened []*dataset.Dataset, err error) {
	open := func(o dataset.Options) (*dataset.Dataset, error) {
		o.SkipBad = true // it is named when its turn comes
		d, err := dataset.Open(ctx, o)
		if err != nil {
			return nil, err
		}
		opened = append(opened, d)
		e.passedOver.Add(d.PassedOver())
		if files := d.Unmanaged(); files != nil {
			fmt.Fprintf(e.stderr, "warning: %s\n", folder.Unmanaged(files...))
		}
		return d, nil
	}
	for _, d := range e.result.Datasets {
		o := dataset.Options{DatarootLQ: d.Input, LQName: "--input", DatarootGT: d.Target, GTName: "--target"}
		if e.options != nil {
			s := e.options.Datasets[slices.IndexFunc(e.options.Datasets, func(s options.DatasetSection) bool { return s.Name == d.Name && s.Phase() != "train" })]
			o.FilenameTmpl, o.MetaInfoFile, o.LQName, o.GTName = s.FilenameTmpl, s.MetaInfoFile, "", ""
		}
		if o.DatarootLQ == "" { // --results alone is scored: what there is of pairs are the targets
			o.DatarootLQ, o.LQName = d.Target, o.GTName
		}
		pairs, err := open(o)
		if err != nil {
			if len(e.result.Datasets) > 1 {
				return opened, fmt.Errorf("dataset %s: %w (--dataset chooses others)", d.Name, err)
			}
			return opened, err
		}
		source := evalPhotos{input: pairs}
		if e.Results != "" {
			if d.Folder, err = e.resultsOf(d.Name); err != nil {
				return opened, err
			}
			d.Suffix = ""
			o.DatarootLQ, o.LQName, o.FilenameTmpl = d.Folder, "--results", resultTemplate(d.Folder, pairs.Name(0))
			if source.results, err = open(o); err != nil {
				return opened, err
			}
			if d.Input == "" {
				source.input = nil
			}
		}
		e.sources = append(e.sources, source)
	}
	return opened, nil
}

// resultsOf finds the folder of one dataset's results: as eval and BasicSR leave them, or, of a single dataset, --results itself.
func (e *evaluation) resultsOf(dataset string) (string, error) {
	candidates := []string{filepath.Join(e.Results, "visualization", dataset), filepath.Join(e.Results, dataset)}
	if len(e.result.Datasets) == 1 {
		candidates = append(candidates, e.Results)
	}
	for _, dir := range candidates {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", fmt.Errorf("--results: there is no folder %s", candidates[len(candidates)-1])
}

// resultTemplate finds how results are named after the sharp photo of that name: equally, or with a suffix after _.
func resultTemplate(folder, name string) string {
	entries, err := os.ReadDir(filepath.Join(folder, filepath.Dir(filepath.FromSlash(name))))
	if err != nil {
		return "{}"
	}
	base, shortest := filepath.Base(filepath.FromSlash(name)), ""
	for _, entry := range entries {
		stem := strings.TrimSuffix(entry.Name(), filepath.Ext(entry.Name()))
		tail, ok := strings.CutPrefix(stem, base)
		switch {
		case !ok || !isPhoto(entry.Name()):
		case tail == "":
			return "{}"
		case tail[0] == '_' && (shortest == "" || len(tail) < len(shortest)):
			shortest = tail
		}
	}
	return "{}" + shortest
}

// evalPhotos are the photos of a dataset.
type evalPhotos struct {
	input   *dataset.Dataset // pairs of input and target; nil where there is no input
	results *dataset.Dataset // pairs of result and target; nil where results are to be made
}

func (s evalPhotos) any() *dataset.Dataset {
	if s.results != nil {
		return s.results
	}
	return s.input
}

func (s evalPhotos) Len() int          { return s.any().Len() }
func (s evalPhotos) Name(i int) string { return s.any().Name(i) }

func (s evalPhotos) Photos(i int) (p eval.Photos, err error) {
	if s.results != nil {
		pair, err := s.results.Pair(i)
		if err != nil {
			return p, err
		}
		p.Restored, p.Target = pair.LQ, pair.GT
	}
	if s.input != nil {
		pair, err := s.input.Pair(i)
		if err != nil {
			return p, err
		}
		p.File, p.Input, p.Target = s.input.LQFile(i), pair.LQ, pair.GT
	}
	return p, nil
}
