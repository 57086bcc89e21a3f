package trainer

import (
	"fmt"
	"io"
	"strings"
	"time"

	"hidiff/internal/progress"
)

// progressBar is a training's: iterations before it, losses, speed and the time left behind it.
type progressBar struct {
	*progress.Bar
	total  int
	latest string // losses and speed
}

func newProgressBar(w io.Writer, start, total int) *progressBar {
	p := &progressBar{Bar: progress.New(w, int64(total)), total: total}
	p.step(start, 0)
	return p
}

func (p *progressBar) step(iter int, left time.Duration) {
	p.Set(int64(iter), fmt.Sprintf("iter %d/%d", iter, p.total), fmt.Sprintf("%s eta %s", p.latest, timedelta(left)))
}

func (p *progressBar) report(r iterReport) {
	var b strings.Builder
	for _, l := range r.Losses {
		fmt.Fprintf(&b, " %s %s", l.Name, pyFloat(l.Value, 'e', 2))
	}
	fmt.Fprintf(&b, " %s images/s", pyFloat(r.ImagesPerSecond, 'f', 1))
	p.latest = b.String()
}
