package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends with the first Ctrl-C, SIGTERM or SIGHUP, so that the work ends in order; a second
// Ctrl-C ends the process at once. SIGHUP stays ignored where it was from the start, as nohup has it.
func Signals() context.Context {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	// A closing terminal hangs up more than once, and takes along the program that messages are piped into: neither is to
	// end the process while it saves.
	harmless := []os.Signal{syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) {
		ends, harmless = append(ends, syscall.SIGHUP), append(harmless, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop)
	signal.Notify(make(chan os.Signal, 1), harmless...)
	return ctx
}
