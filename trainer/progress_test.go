package trainer

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lockedBuffer may be written to by the bar's goroutine.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestProgressBar(t *testing.T) {
	var screen lockedBuffer
	now := testTime
	w, err := newWatcher(watchOptions{Screen: &screen, Terminal: true, Start: 10, Total: 100, Now: func() time.Time { return now }})
	require.NoError(t, err)
	now = now.Add(20 * time.Second)
	w.Iter(iterReport{Iter: 20, ImagesPerSecond: 12.34, Losses: []scalar{{"l_pix", 0.0123}}})
	w.Step(21)
	for _, part := range []string{"iter 21/100", "l_pix 1.23e-02 12.3 images/s eta 0:02:23"} {
		require.Eventually(t, func() bool { return strings.Contains(screen.String(), part) }, 5*time.Second, 10*time.Millisecond, part)
	}
	w.Info("a line above the bar")
	require.NoError(t, w.Close())
	require.Contains(t, screen.String(), "INFO: a line above the bar\n")
	after := screen.String()
	now = now.Add(time.Hour)
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, after, screen.String(), "the bar is still drawn")
}

// TestProgressBarReachesTheEnd: closing does not wait for more.
func TestProgressBarReachesTheEnd(t *testing.T) {
	var screen lockedBuffer
	w, err := newWatcher(watchOptions{Screen: &screen, Terminal: true, Total: 3})
	require.NoError(t, err)
	for i := range 3 {
		w.Step(i + 1)
	}
	w.Done(3, false)
	require.NoError(t, w.Close())
	require.Contains(t, screen.String(), "End of training.")
}
