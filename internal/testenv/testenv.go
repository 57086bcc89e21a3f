// Package testenv is what tests say where something is missing that not every machine has: a GPU, ffmpeg,
// a browser. Such a test is skipped, but fails where the environment variable REQUIRE_GPU, REQUIRE_FFMPEG,
// … is set, as it is where all of them are known to be there.
package testenv

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// GPU names the adapter that tests run on, as option -g of the commands does; "" is the first.
func GPU() string { return os.Getenv("HIDIFF_GPU") }

// required tells whether REQUIRE_what is set.
func required(what string) bool { return os.Getenv("REQUIRE_"+what) != "" }

// Missing ends a test that cannot run for want of what, a word such as GPU. why says what is not there.
func Missing(t testing.TB, what string, why any) {
	t.Helper()
	if required(what) {
		t.Fatalf("REQUIRE_%s is set, but %v", what, why)
	}
	t.Skipf("SKIPPED: %v", why)
}

// Long ends a test that takes long, or loads the GPU for long, under -short.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short leaves out what takes long")
	}
}

// Program returns the path of the first of some programs that is installed, and ends a test where none is.
func Program(t testing.TB, what string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, what, fmt.Sprintf("there is no %s", strings.Join(names, ", nor ")))
	return ""
}

// Python returns a python3 that can import a module, and ends a test, by which another program reads our files, where
// none can.
func Python(t testing.TB, module string) string {
	t.Helper()
	program := Program(t, "PYTORCH", "python3")
	if exec.Command(program, "-c", "import "+module).Run() != nil {
		Missing(t, "PYTORCH", fmt.Sprintf("there is no python3 with %s: nobody but us has read our files (make test-pytorch installs it)", module))
	}
	return program
}

// Main runs a package's tests: all of them where what is there, else without the examples, which can neither
// skip themselves nor fail but by printing something else.
func Main(m *testing.M, what string, there bool) {
	if !there && !required(what) {
		flag.Parse()
		skip := flag.Lookup("test.skip").Value
		skip.Set(strings.TrimPrefix(skip.String()+"|^Example", "|")) // a string takes every value
	}
	os.Exit(m.Run())
}
