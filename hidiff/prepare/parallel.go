package prepare

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// parallel calls work for 0 … n-1, several at a time; workers 0 is one for each CPU. No more is begun after
// an error, which is returned, or once outer is done; then its error is.
func parallel(outer context.Context, n, workers int, work func(i int) error) error {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, stop := context.WithCancelCause(outer)
	defer stop(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, n) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := work(i); err != nil {
					stop(err)
				}
			}
		})
	}
	wg.Wait()
	if outer.Err() != nil {
		return outer.Err()
	}
	return context.Cause(ctx)
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
