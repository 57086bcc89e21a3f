package eval

import "slices"

// Summary is what one protocol says about a dataset: means over the images that it could score.
type Summary struct {
	Protocol    Protocol          `json:"protocol"`
	Explanation string            `json:"explanation"`
	Images      int               `json:"images"` // pairs there are
	Scored      int               `json:"scored"`
	Unscored    []string          `json:"unscored,omitempty"` // their names
	PSNR        Number            `json:"psnr"`               // mean over seeds of the mean over images
	SSIM        Number            `json:"ssim"`
	PSNRSpread  Number            `json:"psnr_std"` // over seeds, of the mean over images; null for one seed
	SSIMSpread  Number            `json:"ssim_std"`
	InputPSNR   Number            `json:"input_psnr"` // of the blurry photos
	InputSSIM   Number            `json:"input_ssim"`
	BadInputs   []string          `json:"unscored_inputs,omitempty"` // blurry photos without a score, though the result has one
	Seconds     Number            `json:"seconds_per_image"`         // the median
	Published   []Published       `json:"published,omitempty"`
	Baselines   []BaselineSummary `json:"baselines,omitempty"`
}

// BaselineSummary is what a baseline scored, as the mean over the images whose results could be scored.
type BaselineSummary struct {
	Baseline
	Scored   int      `json:"scored"`
	Unscored []string `json:"unscored,omitempty"` // of the images whose results have a score
	PSNR     Number   `json:"psnr"`
	SSIM     Number   `json:"ssim"`
}

// Summarise brings the summaries of all datasets up to date.
func (e *Evaluation) Summarise() {
	for _, d := range e.Datasets {
		d.Scores = nil
		for _, s := range d.Protocols {
			sum := d.summary(s)
			if e.sampled() {
				sum.Published = PublishedScores(d.Name, s.Protocol, e.Trained)
			}
			d.Scores = append(d.Scores, sum)
		}
	}
}

// sampled says whether the prior was HI-Diff's, so that published scores can stand beside these.
func (e *Evaluation) sampled() bool {
	prior := e.Restoring["prior"]
	return prior == "" || prior == "sampled"
}

func (d *Dataset) summary(s Scorer) Summary {
	sum := Summary{Protocol: s.Protocol, Explanation: s.Sentence(), Images: len(d.Images), Seconds: d.seconds()}
	var psnr, ssim [][]Number // by image, then seed
	var inputPSNR, inputSSIM []Number
	for _, m := range d.Images {
		if m.problem(s.Protocol) != "" {
			sum.Unscored = append(sum.Unscored, m.Name)
			continue
		}
		score := m.Scores[s.Protocol]
		psnr, ssim = append(psnr, score.PSNR), append(ssim, score.SSIM)
		if score.InputError != "" {
			sum.BadInputs = append(sum.BadInputs, m.Name)
		} else {
			inputPSNR, inputSSIM = append(inputPSNR, score.InputPSNR), append(inputSSIM, score.InputSSIM)
		}
	}
	sum.Scored = len(psnr)
	sum.PSNR, sum.PSNRSpread = overSeeds(psnr)
	sum.SSIM, sum.SSIMSpread = overSeeds(ssim)
	sum.InputPSNR, sum.InputSSIM = mean(inputPSNR), mean(inputSSIM)
	for _, b := range d.Baselines {
		sum.Baselines = append(sum.Baselines, d.baseline(b, s.Protocol))
	}
	return sum
}

func (d *Dataset) baseline(b Baseline, p Protocol) BaselineSummary {
	sum := BaselineSummary{Baseline: b}
	var psnr, ssim []Number
	for _, m := range d.Images {
		if m.problem(p) != "" {
			continue
		}
		if one := m.Scores[p].baseline(b.Method); one.PSNR.Known() {
			psnr, ssim = append(psnr, one.PSNR), append(ssim, one.SSIM)
		} else {
			sum.Unscored = append(sum.Unscored, m.Name)
		}
	}
	sum.Scored, sum.PSNR, sum.SSIM = len(psnr), mean(psnr), mean(ssim)
	return sum
}

// overSeeds returns mean and spread over the seeds of the mean over the images.
func overSeeds(scores [][]Number) (m, s Number) {
	if len(scores) == 0 {
		return none, none
	}
	means := make([]Number, len(scores[0]))
	for seed := range means {
		var values []Number
		for _, image := range scores {
			values = append(values, image[seed])
		}
		means[seed] = mean(values)
	}
	return mean(means), spread(means)
}

// seconds is the median, which the compilation of kernels for the first photo does not sway.
func (d *Dataset) seconds() Number {
	var all []float64
	for _, m := range d.Images {
		if m.Seconds > 0 {
			all = append(all, m.Seconds)
		}
	}
	n := len(all)
	if n == 0 {
		return none
	}
	slices.Sort(all)
	return Number(all[(n-1)/2]+all[n/2]) / 2
}

// Failures is how many images lack a score.
func (e *Evaluation) Failures() (n int) {
	for _, d := range e.Datasets {
		for _, m := range d.Images {
			if m.Failed() {
				n++
			}
		}
	}
	return n
}
