package eval

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteTable prints the summaries of a dataset, and the names of images without a score. Evaluation.Summarise comes first.
func (d *Dataset) WriteTable(w io.Writer) error {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tscored\tPSNR\tSSIM\tinput PSNR\tSSIM\tpublished\ts/image\n", d.Name)
	for _, s := range d.Scores {
		fmt.Fprintf(t, "%s\t%d of %d\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Protocol, s.Scored, s.Images,
			withSpread(s.PSNR, s.PSNRSpread, 3), withSpread(s.SSIM, s.SSIMSpread, 4),
			s.InputPSNR.Round(3), s.InputSSIM.Round(4), publishedText(s.Published), s.Seconds.Round(2))
		for _, b := range s.Baselines {
			fmt.Fprintf(t, "  %s\t%d of %d\t%s\t%s\t\t\t\t\n", b.Baseline, b.Scored, s.Scored, b.PSNR.Round(3), b.SSIM.Round(4))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(table.String()) { // empty cells at the end leave spaces
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	for _, s := range d.Scores {
		if err := listNames(w, s.Unscored, "without a score by %s", s.Protocol); err != nil {
			return err
		}
		if err := listNames(w, s.BadInputs, "whose input has no score by %s", s.Protocol); err != nil {
			return err
		}
		for _, b := range s.Baselines {
			if err := listNames(w, b.Unscored, "whose "+string(b.Method)+" has no score by %s", s.Protocol); err != nil {
				return err
			}
		}
		for _, p := range s.Published {
			if p.Pairs != s.Images {
				if _, err := fmt.Fprintf(w, "the published score is of %d pairs: %d are not the same test\n", p.Pairs, s.Images); err != nil {
					return err
				}
				break
			}
		}
	}
	if len(d.Baselines) > 0 {
		_, err := fmt.Fprintln(w, BaselineNote)
		return err
	}
	return nil
}

// BaselineNote says what the scores of baselines are.
const BaselineNote = "The parameters of the classical methods were chosen by the sharp photos of this very dataset, which flatters them."

func listNames(w io.Writer, names []string, what string, protocol Protocol) error {
	if len(names) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%d "+what+": %s\n", len(names), protocol, strings.Join(names, ", "))
	return err
}

func withSpread(n, spread Number, digits int) string {
	if !spread.Known() {
		return n.Round(digits)
	}
	return n.Round(digits) + " ± " + spread.Round(digits)
}

func publishedText(rows []Published) string {
	var texts []string
	for _, p := range rows {
		texts = append(texts, fmt.Sprintf("%.2f / %.3f (trained on %s)", p.PSNR, p.SSIM, p.Trained))
	}
	if texts == nil {
		return "–"
	}
	return strings.Join(texts, ", ")
}
