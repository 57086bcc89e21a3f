// Command hidiff deblurs photos; see package hidiff/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"hidiff/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first Ctrl-C ends the work in order, a second one at once
	os.Exit(cli.Execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
