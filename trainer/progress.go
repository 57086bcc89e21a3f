package trainer

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressBar is the last line of a terminal. What is written to it appears above.
type progressBar struct {
	*mpb.Progress
	bar *mpb.Bar

	mu     sync.Mutex // the bar is drawn by another goroutine
	latest string     // losses and speed
	left   time.Duration
}

func newProgressBar(w io.Writer, start, total int) *progressBar {
	p := &progressBar{Progress: mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh())}
	p.bar = p.AddBar(int64(total), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.CountersNoUnit("iter %d/%d ")),
		mpb.AppendDecorators(decor.Any(p.text)))
	p.bar.SetCurrent(int64(start))
	return p
}

func (p *progressBar) text(decor.Statistics) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%s eta %s", p.latest, timedelta(p.left))
}

func (p *progressBar) step(iter int, left time.Duration) {
	p.mu.Lock()
	p.left = left
	p.mu.Unlock()
	p.bar.SetCurrent(int64(iter))
}

func (p *progressBar) report(r IterReport) {
	var b strings.Builder
	for _, l := range r.Losses {
		fmt.Fprintf(&b, " %s %s", l.Name, pyFloat(l.Value, 'e', 2))
	}
	fmt.Fprintf(&b, " %s images/s", pyFloat(r.ImagesPerSecond, 'f', 1))
	p.mu.Lock()
	p.latest = b.String()
	p.mu.Unlock()
}

// close takes the bar off the screen.
func (p *progressBar) close() {
	p.bar.Abort(true)
	p.Wait()
}
