// Package python finds Python for tests that have another program read our files.
package python

import (
	"os"
	"os/exec"
	"testing"
)

// With returns the python3 of PATH, which can import the module. A test without one is
// skipped; with REQUIRE_PYTORCH=1 it fails.
func With(t *testing.T, module string) string {
	t.Helper()
	program, err := exec.LookPath("python3")
	if err == nil {
		err = exec.Command(program, "-c", "import "+module).Run()
	}
	if err == nil {
		return program
	}
	const message = "no python3 with %s: nobody but us has read our files (make test-pytorch installs it)"
	if os.Getenv("REQUIRE_PYTORCH") == "1" {
		t.Fatalf("REQUIRE_PYTORCH=1, and there is "+message, module)
	}
	t.Skipf("SKIPPED: there is "+message, module)
	return ""
}
