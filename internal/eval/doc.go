// Package eval scores restored photos against sharp ones as published results were scored, and writes what it
// finds as CSV, as JSON and as a page to look at. It needs no GPU: who restores is a function.
//
//	e := &eval.Evaluation{Name: "mine", Seeds: 1}
//	d := &eval.Dataset{Name: "GoPro", Folder: "results/mine/visualization/GoPro", Protocols: eval.Default("GoPro")}
//	err := d.Run(ctx, photos, eval.Options{Restore: restore})
//	e.Datasets = append(e.Datasets, d)
//	err = e.WriteJSON("results/mine/scores.json")
package eval

import (
	"time"

	"hidiff/hidiff/photo"
)

// Evaluation is one run over some datasets, and scores.json.
type Evaluation struct {
	Name    string    `json:"name"`
	Program string    `json:"program"`
	Date    time.Time `json:"date"`
	Options string    `json:"options,omitempty"` // the option file
	GPU     string    `json:"gpu,omitempty"`
	// Restoring is all that decides over the restored pixels, such as the weights' hash and the seed. Empty
	// where photos came restored. Published scores are beside ours unless "prior" is there and not "sampled".
	Restoring map[string]string `json:"restoring,omitempty"`
	Weights   map[string]string `json:"weights,omitempty"`    // the networks' files
	Trained   string            `json:"trained_on,omitempty"` // what the weights learnt from: GoPro or RealBlur, "" if that is unknown
	Seeds     int               `json:"seeds"`                // how often each photo is restored
	Complete  bool              `json:"complete"`             // false where the run was stopped
	Datasets  []*Dataset        `json:"datasets"`

	// Kept are datasets as an earlier run with the same Restoring and Seeds left them; see [Evaluation.Keep]. They are written
	// before Datasets.
	Kept []*Dataset `json:"-"`
}

// Dataset is a list of pairs and what they scored.
type Dataset struct {
	Name   string `json:"name"`
	Input  string `json:"input,omitempty"`  // where the blurry photos are
	Target string `json:"target,omitempty"` // where the sharp photos are
	Folder string `json:"folder"`           // where the restored photos are
	Suffix string `json:"suffix,omitempty"` // of their names

	Complete  bool       `json:"complete"` // false where the run was stopped
	Protocols []Scorer   `json:"-"`
	Baselines []Baseline `json:"baselines,omitempty"` // that are scored beside the results; see [Dataset.Choose]
	// Earlier is what an earlier run with the same Restoring, Input, Target and Suffix wrote: photos that it saved are not
	// restored again.
	Earlier *Dataset `json:"-"`

	Scores []Summary `json:"scores"` // by protocol; see [Evaluation.Summarise]
	Images []*Image  `json:"images"`
}

// Image is one pair and its scores.
type Image struct {
	Name    string              `json:"name"`
	Width   int                 `json:"width,omitempty"`
	Height  int                 `json:"height,omitempty"`
	Saved   bool                `json:"saved,omitempty"`   // the restored photo is in the dataset's folder
	Seconds float64             `json:"seconds,omitempty"` // to restore it once; 0 where it came restored
	Error   string              `json:"error,omitempty"`   // why it has no scores
	Scores  map[Protocol]*Score `json:"scores,omitempty"`

	index int // in the dataset
}

// Score is what one protocol says about one image.
type Score struct {
	PSNR       []Number `json:"psnr"` // by seed; empty where Error says why
	SSIM       []Number `json:"ssim"`
	InputPSNR  Number   `json:"input_psnr"` // of the blurry photo
	InputSSIM  Number   `json:"input_ssim"`
	Error      string   `json:"error,omitempty"`
	InputError string   `json:"input_error,omitempty"`

	Baselines map[Method]*Plain `json:"baselines,omitempty"` // of what the dataset's baselines make of the blurry photo
}

// Plain is the score of one photo.
type Plain struct {
	PSNR  Number `json:"psnr"`
	SSIM  Number `json:"ssim"`
	Error string `json:"error,omitempty"` // why there are no numbers
}

// Source gives the photos of a dataset. It is used by several goroutines.
type Source interface {
	Len() int
	Name(i int) string // a relative path with slashes, without extension
	Photos(i int) (Photos, error)
}

// Photos are one pair. Input is nil where there is none, Restored where it is to be made, or read from the
// dataset's folder.
type Photos struct {
	File                    string // the input's path below its folder, with slashes
	Input, Target, Restored *photo.Photo
}

// baseline returns what a method scored, none where it did not.
func (s *Score) baseline(m Method) Plain {
	if p := s.Baselines[m]; p != nil {
		return *p
	}
	return Plain{PSNR: none, SSIM: none}
}

// problem returns why an image has no score by a protocol, or nothing.
func (m *Image) problem(p Protocol) string {
	if s := m.Scores[p]; m.Error == "" && s != nil {
		return s.Error
	}
	return m.Error
}

// Failed says whether the image lacks a score.
func (m *Image) Failed() bool {
	for _, s := range m.Scores {
		if s.Error != "" {
			return true
		}
	}
	return m.Error != ""
}
