package eval

// Published is a row of the paper (HI-Diff, NeurIPS 2023).
type Published struct {
	Trained  string   `json:"trained_on"`
	Dataset  string   `json:"-"`
	Protocol Protocol `json:"-"`
	PSNR     float64  `json:"psnr"`
	SSIM     float64  `json:"ssim"`
	Pairs    int      `json:"pairs"` // of the dataset's test set
}

var published = []Published{
	{"GoPro", "gopro", Matlab, 33.33, 0.964, 1111},
	{"GoPro", "hide", Matlab, 31.46, 0.945, 2025},
	{"GoPro", "realblur_r", RealBlur, 36.28, 0.958, 980},
	{"GoPro", "realblur_j", RealBlur, 29.15, 0.890, 980},
	{"RealBlur", "realblur_r", RealBlur, 41.01, 0.978, 980},
	{"RealBlur", "realblur_j", RealBlur, 33.70, 0.941, 980},
}

// PublishedScores returns the paper's scores on a dataset by a protocol, of weights trained on GoPro or RealBlur,
// or of both where trained is "".
func PublishedScores(dataset string, p Protocol, trained string) []Published {
	var rows []Published
	for _, row := range published {
		if row.Dataset == plainName(dataset) && row.Protocol == p && (trained == "" || row.Trained == trained) {
			rows = append(rows, row)
		}
	}
	return rows
}
