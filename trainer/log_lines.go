package trainer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The lines are BasicSR's, to the letter: scripts read them.

// logLine puts the time and level before a message, as BasicSR's logger does.
func logLine(now time.Time, level, text string) string {
	return now.Format("2006-01-02 15:04:05,000 ") + level + ": " + text + "\n"
}

// iterLine is what BasicSR's MessageLogger prints every print_freq iterations.
func iterLine(name string, r iterReport, eta time.Duration) string {
	var b strings.Builder
	start := []rune(name)
	fmt.Fprintf(&b, "[%s..][epoch:%3d, iter:%8s, lr:(%s,)] [eta: %s, time (data): %s (%s)] ",
		string(start[:min(len(start), 5)]), r.Epoch, thousands(r.Iter), pyFloat(r.LR, 'e', 3),
		timedelta(eta), pyFloat(r.Time, 'f', 3), pyFloat(r.DataTime, 'f', 3))
	for _, l := range r.Losses {
		fmt.Fprintf(&b, "%s: %s ", l.Name, pyFloat(l.Value, 'e', 4))
	}
	return b.String()
}

// validationText is what BasicSR prints after a validation.
func validationText(r valReport) string {
	var b strings.Builder
	b.WriteString("Validation " + r.Dataset)
	if r.Note != "" {
		b.WriteString(" (" + r.Note + ")")
	}
	b.WriteByte('\n')
	for i, m := range r.Metrics {
		fmt.Fprintf(&b, "\t # %s: %s", m.Name, pyFloat(m.Value, 'f', 4))
		if i < len(r.Best) {
			fmt.Fprintf(&b, "\tBest: %s @ %d iter", pyFloat(r.Best[i].Value, 'f', 4), r.Best[i].Iter)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// thousands groups digits by commas, as Python's format "," does.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// pyFloat formats as Python does, whose words for what is no number are its own.
func pyFloat(v float64, format byte, digits int) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	}
	return strconv.FormatFloat(v, format, digits, 64)
}

// timedelta is str(datetime.timedelta) of whole seconds: "1 day, 2:03:04".
func timedelta(d time.Duration) string {
	s := int64(d / time.Second)
	days, s := s/86400, s%86400
	clock := fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	switch days {
	case 0:
		return clock
	case 1:
		return "1 day, " + clock
	}
	return fmt.Sprintf("%d days, %s", days, clock)
}
