package progress

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// terminal may be written to by the bar's goroutine.
type terminal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

func TestBar(t *testing.T) {
	var screen terminal
	shows := func(part string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(screen.String(), part) }, 5*time.Second, 10*time.Millisecond, part)
	}
	b := New(&screen, 8)
	b.Set(2, "cutting", "")
	shows("cutting 25 %")
	shows("s left")
	fmt.Fprintln(b, "a line above")
	b.Set(4, "sewing", "8 seams a second")
	shows("sewing 50 %")
	shows("8 seams a second")
	b.Close()
	require.Contains(t, screen.String(), "a line above\n")
	after := screen.String()
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, after, screen.String(), "the bar is still drawn")
}

// Closing waits neither for the end nor after it.
func TestCloseAtAnyTime(t *testing.T) {
	for done := range int64(4) {
		b := New(&terminal{}, 3)
		b.Set(done, "", "")
		b.Close()
	}
	New(&terminal{}, 0).Close()
}
