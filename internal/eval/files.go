package eval

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"hidiff/internal/atomicfile"
	"hidiff/internal/textfile"
)

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(path string) (*Evaluation, error) {
	data, err := textfile.Read(path)
	if err != nil {
		return nil, err
	}
	e := &Evaluation{}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("%s is not what an evaluation writes: %w", path, err)
	}
	return e, nil
}

// Keep adds a dataset of [ReadJSON] to Kept, if it has scores.
func (e *Evaluation) Keep(d *Dataset) {
	if len(d.Scores) == 0 {
		return
	}
	d.Protocols = nil
	for _, s := range d.Scores {
		d.Protocols = append(d.Protocols, Scorer{Protocol: s.Protocol}) // to know the columns; what it was scored by in full is not known
	}
	e.Kept = append(e.Kept, d)
}

// all are the datasets to write.
func (e *Evaluation) all() []*Dataset { return slices.Concat(e.Kept, e.Datasets) }

// WriteJSON writes everything, summaries included, at once or not at all. Before a dataset is complete, what the run
// has not come to yet is there as the earlier run left it.
func (e *Evaluation) WriteJSON(path string) error {
	e.Summarise()
	out := *e
	out.Datasets = slices.Clone(e.Kept)
	for _, d := range e.Datasets {
		full := *d
		if !d.Complete {
			full.Images = append(slices.Clip(d.Images), d.leftFromEarlier()...)
		}
		out.Datasets = append(out.Datasets, &full)
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", " ")
		return encoder.Encode(out)
	})
}

func (d *Dataset) leftFromEarlier() (left []*Image) {
	if d.Earlier == nil {
		return nil
	}
	done := map[string]bool{}
	for _, m := range d.Images {
		done[m.Name] = true
	}
	for _, m := range d.Earlier.Images {
		if !done[m.Name] {
			known := *m
			known.Scores = d.usable(m)
			left = append(left, &known)
		}
	}
	return left
}

// usable are an earlier image's scores that d's protocols would give again.
func (d *Dataset) usable(m *Image) map[Protocol]*Score {
	scores := map[Protocol]*Score{}
	for _, s := range d.Protocols {
		same := func(before Summary) bool { return before.Protocol == s.Protocol && before.Explanation == s.Sentence() }
		if score := m.Scores[s.Protocol]; score != nil && slices.ContainsFunc(d.Earlier.Scores, same) {
			scores[s.Protocol] = score
		}
	}
	return scores
}

// csvColumns begin the first line of scores.csv; PSNR and SSIM of each baseline follow.
var csvColumns = []string{"dataset", "image", "protocol", "psnr", "ssim", "input_psnr", "input_ssim", "seconds", "error"}

// WriteCSV writes one line for each image and protocol, at once or not at all. The scores of several seeds are
// averaged; what is not known is empty.
func (e *Evaluation) WriteCSV(path string) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		c := csv.NewWriter(w)
		columns := slices.Clone(csvColumns)
		methods := e.methods()
		for _, m := range methods {
			columns = append(columns, m.column()+"_psnr", m.column()+"_ssim")
		}
		lines := [][]string{columns}
		for _, d := range e.all() {
			for _, m := range d.Images {
				for _, s := range d.Protocols {
					lines = append(lines, csvLine(d.Name, m, s.Protocol, methods))
				}
			}
		}
		return c.WriteAll(lines)
	})
}

// methods are those of the baselines of all datasets.
func (e *Evaluation) methods() (out []Method) {
	for _, d := range e.all() {
		for _, b := range d.Baselines {
			if !slices.Contains(out, b.Method) {
				out = append(out, b.Method)
			}
		}
	}
	return out
}

func csvLine(dataset string, m *Image, p Protocol, methods []Method) []string {
	score := m.score(p)
	seconds := ""
	if m.Seconds > 0 {
		seconds = strconv.FormatFloat(m.Seconds, 'f', 3, 64)
	}
	problem := m.problem(p)
	if problem == "" && score.InputError != "" {
		problem = "the input: " + score.InputError
	}
	line := []string{
		dataset, m.Name, string(p), mean(score.PSNR).text(), mean(score.SSIM).text(),
		score.InputPSNR.text(), score.InputSSIM.text(), seconds, problem,
	}
	for _, method := range methods {
		b := score.baseline(method)
		line = append(line, b.PSNR.text(), b.SSIM.text())
	}
	return line
}

// score returns an image's score, one without numbers if it has none.
func (m *Image) score(p Protocol) *Score {
	if s := m.Scores[p]; s != nil {
		return s
	}
	return &Score{InputPSNR: none, InputSSIM: none}
}
