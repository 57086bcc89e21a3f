// Package prepare finds datasets of blurry and sharp photos, checks them, and cuts GoPro into the crops that
// HI-Diff is trained on.
//
//	work, err := prepare.FindGoPro(ctx, prepare.GoProOptions{Source: "GOPRO_Large", Output: "datasets/GoPro"})
//	// … look at work.Problems …
//	err = work.Run(ctx)
package prepare

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"
	"hidiff/internal/folder"
)

// Cutting says how photos are cut, in pixels. In training photos a crop begins at every stride, and ends at
// the far edge; of a validation photo the centre is kept.
type Cutting struct {
	Crop   int `json:"crop"`
	Stride int `json:"stride"`
	Val    int `json:"val_crop"`
}

// Released is how the release cuts GoPro.
var Released = Cutting{Crop: 512, Stride: 256, Val: 256}

// GoProOptions say what to cut.
type GoProOptions struct {
	Source string // GoPro, or a folder with GoPro in it
	Output string // crops go to crop/{train,val}/{input_crops,target_crops} in it
	Cutting
	Workers  int                                // pairs at a time; 0: one for each CPU
	Progress func(what string, done, total int) // called by one goroutine at a time; may be nil
}

// Work is what is to be done: it has been looked at, and not begun.
type Work struct {
	Splits   []*Split  `json:"splits"`   // train and val, or one of them
	Notes    []string  `json:"notes"`    // what the user should know
	Problems []Problem `json:"problems"` // must be none before Run; Run adds photos that it could not read

	o GoProOptions
}

// Split is the training or the validation part. Crops are counted in each of its two folders.
type Split struct {
	Name    string `json:"name"` // train or val
	Input   string `json:"input"`
	Target  string `json:"target"`
	Pairs   int    `json:"pairs"`
	Output  string `json:"output"` // the folder with input_crops and target_crops
	Crops   int    `json:"crops"`  // those there will be
	Written int    `json:"written"`
	Kept    int    `json:"kept"` // there already

	size  int // of a crop
	tasks []task
}

// task is a pair and its crops.
type task struct {
	pair
	info  photo.Info
	crops []crop
}

// The names of the release.
const (
	inputCrops  = "input_crops"
	targetCrops = "target_crops"
)

// FindGoPro finds the photos, reads their headers and lays out the crops. It writes nothing.
func FindGoPro(ctx context.Context, o GoProOptions) (*Work, error) {
	if _, err := folder.Enter(o.Source, nil); err != nil {
		return nil, err
	}
	p := &Work{o: o, Notes: []string{}, Problems: []Problem{}}
	for _, part := range []struct {
		name, folder string
		pairs        int // of GoPro
		size         int
	}{{"train", "train", 2103, o.Crop}, {"val", "test", 1111, o.Val}} {
		f, err := findPart(o.Source, part.folder)
		if err != nil {
			return nil, err
		}
		if f == nil {
			p.Notes = append(p.Notes, fmt.Sprintf("%s has no folder %s with photos, so there will be no crops for %s", o.Source, part.folder, part.name))
			continue
		}
		s := &Split{Name: part.name, Input: f.Input(), Target: f.Target(), Output: filepath.Join(o.Output, "crop", part.name), size: part.size}
		if err := p.add(ctx, s, *f); err != nil {
			return nil, err
		}
		if f.others != nil {
			p.Notes = append(p.Notes, fmt.Sprintf("%s: beside %s and %s, %s is left out", s.Name, s.Input, s.Target, strings.Join(f.others, ", ")))
		}
		if s.Pairs != part.pairs {
			p.Notes = append(p.Notes, fmt.Sprintf("%s: GoPro has %d pairs, here are %d", s.Name, part.pairs, s.Pairs))
		}
	}
	if len(p.Splits) == 0 {
		return nil, fmt.Errorf("%s has no folder train or test in which there are folders called %s: give the folder that GoPro was unpacked into", o.Source, called())
	}
	return p, p.checkOutput()
}

// findPart finds train or test, wherever the release's files and README, and other projects, have it:
// in GoPro itself, or in a folder with GoPro in it; test may be GoPro's alone, or lie in a folder of
// test sets beside GoPro's.
func findPart(source, part string) (*Folders, error) {
	var places []string
	for _, dir := range []string{".", "GoPro", "GOPRO_Large", "Deblurring"} {
		places = append(places, dir+"/"+part, dir+"/"+part+"/GoPro")
	}
	if part == "test" {
		places = append(places, "../test/GoPro")
	}
	for _, place := range places {
		dir := resolve(source, place)
		if dir == "" {
			continue
		}
		f, ok, err := at(dir)
		switch {
		case err != nil:
			return nil, err
		case ok && f.crops:
			return nil, fmt.Errorf("%s and %s hold crops already: give the folder of the whole photos", f.Input(), f.Target())
		case ok:
			return &f, nil
		}
	}
	return nil, nil
}

// add looks at the photos of a split and lays out its crops.
func (p *Work) add(ctx context.Context, s *Split, f Folders) error {
	var outputs atomicfile.Checker
	for _, dir := range s.folders() {
		if err := outputs.Check(filepath.Join(dir, "any")); err != nil {
			return err
		}
	}
	pairs, problems, passedOver, err := f.pairs()
	if err != nil {
		return err
	}
	o := CheckOptions{Workers: p.o.Workers}
	if p.o.Progress != nil {
		o.Progress = func(done, total int) { p.o.Progress("checking "+s.Name, done, total) }
	}
	seen, err := look(ctx, pairs, o)
	if err != nil {
		return err
	}
	s.Pairs = len(pairs)
	if len(passedOver) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s: passed over: %s", s.Name, passedOver))
	}
	if files := unmanaged(pairs, seen); files != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("%s: %s", s.Name, folder.Unmanaged(files...)))
	}
	for i, pair := range pairs {
		info := seen[i][0].Info
		wrong := problemsOf(pair, seen[i])
		if wrong == nil && min(info.Width, info.Height) < s.size {
			wrong = []Problem{{Small, []string{pair.input, pair.target}, fmt.Sprintf("%s is %s, smaller than %d×%d", pair.input, dimensions(info), s.size, s.size)}}
		}
		problems = append(problems, wrong...)
		if wrong != nil {
			continue
		}
		t := task{pair, info, centre(pair.name, info.Width, info.Height, s.size)}
		if s.Name == "train" {
			t.crops = grid(pair.name, info.Width, info.Height, s.size, p.o.Stride)
		}
		last := t.crops[len(t.crops)-1].file // none is longer
		if err := outputs.Check(filepath.Join(s.folders()[0], last)); err != nil {
			problems = append(problems, Problem{Unwritable, []string{pair.input, pair.target}, fmt.Sprintf("%s: %v", pair.input, err)})
		}
		s.Crops += len(t.crops)
		s.tasks = append(s.tasks, t)
	}
	p.Splits = append(p.Splits, s)
	p.Problems = append(p.Problems, problems...)
	return nil
}
