package cli

import (
	"io"
	"sync"
)

// messages is standard error: whole lines from several goroutines, in terminals above a
// progress bar.
type messages struct {
	mu sync.Mutex
	w  io.Writer
}

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.w.Write(p)
}

// redirect sends what follows to w.
func (m *messages) redirect(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.w = w
}
