// Package progress draws how far work is into the last line of a terminal.
package progress

import (
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Bar is the last line of a terminal, from New to Close. What is written to it appears above.
type Bar struct {
	*mpb.Progress
	bar *mpb.Bar

	mu            sync.Mutex // another goroutine draws
	before, after string
}

// New draws a bar of so many steps.
func New(screen io.Writer, total int64) *Bar {
	b := &Bar{Progress: mpb.New(mpb.WithOutput(screen), mpb.WithAutoRefresh())}
	left := decor.AverageETA(decor.ET_STYLE_GO)
	b.bar = b.AddBar(total, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			before, _ := b.texts()
			return before
		}), decor.Percentage(decor.WC{W: 5})),
		mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string {
			if _, after := b.texts(); after != "" {
				return after
			}
			time, _ := left.Decor(s)
			return time + " left"
		})))
	return b
}

func (b *Bar) texts() (before, after string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.before, b.after
}

// Set says how far the work is: one text for before the bar, and one for behind it, which is the time left at the average
// pace where it is empty.
func (b *Bar) Set(done int64, before, after string) {
	b.mu.Lock()
	b.before, b.after = before, after
	b.mu.Unlock()
	b.bar.SetCurrent(done)
}

// Close takes the bar off the screen.
func (b *Bar) Close() {
	b.bar.Abort(true)
	b.Wait()
}
