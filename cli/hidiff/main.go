// Command hidiff deblurs photos; see package hidiff/cli.
package main

import (
	"os"

	"hidiff/cli"
)

func main() {
	os.Exit(cli.Execute(cli.Signals(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
