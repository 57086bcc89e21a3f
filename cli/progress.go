package cli

import (
	"fmt"
	"io"
	"time"

	"hidiff/internal/progress"
)

// steps shows how far work is that has several steps: on terminals with a bar below the messages, elsewhere with a
// line now and then.
type steps struct {
	out    *messages
	screen io.Writer // the terminal; nil where there is none
	what   string
	last   time.Time // of a line
	bar    *progress.Bar
}

// items is told of every item of a step, by one goroutine at a time.
func (s *steps) items(what string, done, total int) {
	s.at(what, int64(done), int64(total), fmt.Sprintf("%s: %d of %d", what, done, total))
}

// at is told how far a step is, which text says in words, by one goroutine at a time.
func (s *steps) at(what string, done, total int64, text string) {
	const pause = 10 * time.Second
	if s.what != what {
		s.close()
		s.what, s.last = what, time.Now()
		if s.screen != nil {
			s.bar = progress.New(s.screen, max(total, 0))
			s.out.redirect(s.bar)
		}
	}
	switch {
	case s.bar != nil:
		s.bar.Set(done, text, "")
	case time.Since(s.last) > pause:
		s.last = time.Now()
		fmt.Fprintln(s.out, text)
	}
}

// close takes the bar off the screen.
func (s *steps) close() {
	if s.what = ""; s.bar != nil {
		s.bar.Close()
		s.out.redirect(s.screen)
		s.bar = nil
	}
}
