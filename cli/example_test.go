package cli_test

import (
	"context"
	"fmt"
	"os"

	"hidiff/cli"
)

func ExampleExecute() {
	code := cli.Execute(context.Background(), []string{"deblur", "photo.jpg", "-t", "10"}, os.Stdin, os.Stdout, os.Stdout)
	fmt.Println("exit code", code)
	// Output:
	// hidiff: -t 10 is too small: tiles have at least 64 pixels, and 0 is the whole photo
	// See 'hidiff deblur --help'.
	// exit code 2
}
