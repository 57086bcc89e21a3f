package prepare

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// parallel calls work for 0 … n-1, several at a time; workers 0 is one for each CPU. No more is begun after
// an error, which is returned, or once outer is done; then its error is.
func parallel(outer context.Context, n, workers int, work func(i int) error) error {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	g, ctx := errgroup.WithContext(outer)
	g.SetLimit(workers)
	for i := range n {
		g.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			return work(i)
		})
	}
	err := g.Wait()
	if outer.Err() != nil {
		return outer.Err()
	}
	return err
}

// counter returns a function that counts to total and reports it.
func counter(total int, report func(done, total int)) func() {
	var mu sync.Mutex
	n := 0
	return func() {
		mu.Lock()
		defer mu.Unlock()
		n++
		if report != nil {
			report(n, total)
		}
	}
}
