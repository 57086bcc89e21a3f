package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { Main(m, "NOTHING", !gone()) }

func gone() bool { return os.Getenv("TESTENV_GONE") != "" }

func Example() {
	fmt.Println(gone())
	// Output: false
}

// recorder is a test that remembers how it ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Skipf(f string, a ...any)  { r.skipped = fmt.Sprintf(f, a...) }
func (r *recorder) Fatalf(f string, a ...any) { r.failed = fmt.Sprintf(f, a...); panic(r) }

func TestProgram(t *testing.T) {
	t.Setenv("REQUIRE_NOTHING", "")
	r := &recorder{TB: t}
	path := Program(r, "NOTHING", "no-such-program", "go")
	want, err := exec.LookPath("go")
	require.NoError(t, err)
	require.Equal(t, want, path)
	require.Empty(t, r.skipped)
	Program(r, "NOTHING", "no-such-program", "nor-this")
	require.Equal(t, "SKIPPED: there is no no-such-program, nor nor-this", r.skipped)

	t.Setenv("REQUIRE_NOTHING", "1")
	require.PanicsWithValue(t, r, func() { Program(r, "NOTHING", "no-such-program") })
	require.Equal(t, "REQUIRE_NOTHING is set, but there is no no-such-program", r.failed)
}

// An example that cannot run is left out where it may be, and with it nothing else.
func TestMainLeavesOutExamples(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	run := func(environment ...string) (string, error) {
		c := exec.Command(self, "-test.v", "-test.run", "^Example$|^TestProgram$", "-test.skip", "Other")
		c.Env = append(os.Environ(), environment...)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	out, err := run()
	require.NoError(t, err, out)
	require.Contains(t, out, "--- PASS: Example")

	out, err = run("TESTENV_GONE=1")
	require.NoError(t, err, out)
	require.NotContains(t, out, "Example")
	require.Contains(t, out, "--- PASS: TestProgram")

	out, err = run("TESTENV_GONE=1", "REQUIRE_NOTHING=1")
	require.Error(t, err)
	require.Contains(t, out, "--- FAIL: Example")
}
