package shaders

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testenv"
)

func Example() {
	p, err := Load("linear", "direct", Constants{"NORM": 1})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Name, p.Bindings[0].Name, p.Bindings[1].Name)
	// Output: linear/direct params x
}

func TestSpecialisation(t *testing.T) {
	_, err := Source("linear", Constants{"NO_SUCH": 1})
	require.ErrorContains(t, err, "NO_SUCH")
	_, err = Source("linear", Constants{"NORM": 1.5})
	require.ErrorContains(t, err, "NORM")
	_, err = Source("no_such", nil)
	require.ErrorContains(t, err, "no_such")
	_, err = Load("linear", "no_such", nil)
	require.ErrorContains(t, err, "no_such")
	code, err := Source("linear", Constants{"NORM": 2})
	require.NoError(t, err)
	require.Contains(t, code, "const NORM: Norm = 2u;")
}

// written are specialisations that unroll loops in other ways than the defaults.
var written = map[string][]Constants{
	"linear_rows":    {{"DEPTH": 8, "ROWS": 4, "NORM": 2}, {"DEPTH": 96, "ROWS": 3, "NORM": 1}},
	"linear":         {{"DEPTH": 96}},
	"gradient_lanes": {{"LEFT": 64, "RIGHT": 16}},
}

// sources writes every shader, imports resolved, into a temporary folder.
func sources(t *testing.T) map[string]string {
	t.Helper()
	dir, out := t.TempDir(), map[string]string{}
	for _, name := range Names() {
		for i, c := range append(written[name], nil) {
			code, err := Source(name, c)
			require.NoError(t, err)
			what := fmt.Sprint(name, i)
			out[what] = filepath.Join(dir, what+".wgsl")
			require.NoError(t, os.WriteFile(out[what], []byte(code), 0o644))
		}
	}
	return out
}

func TestNagaTranslatesEveryShader(t *testing.T) {
	naga := testenv.Program(t, "VALIDATORS", "naga")
	for name, path := range sources(t) {
		for _, target := range []string{"spv", "metal", "hlsl"} {
			out, err := exec.Command(naga, path, strings.TrimSuffix(path, "wgsl")+target).CombinedOutput()
			require.NoError(t, err, "%s to %s: %s", name, target, out)
		}
	}
}

func TestTintAcceptsEveryShader(t *testing.T) {
	tint := testenv.Program(t, "VALIDATORS", "tint")
	for name, path := range sources(t) {
		code, err := os.ReadFile(path)
		require.NoError(t, err)
		if len(EntryPoints(string(code))) == 0 {
			continue // a part others import: checked with them
		}
		if strings.Contains(string(code), "subgroup") { // naga knows no such directive, and needs none
			require.NoError(t, os.WriteFile(path, append([]byte("enable subgroups;\n"), code...), 0o644))
		}
		out, err := exec.Command(tint, "--format", "wgsl", "-o", os.DevNull, path).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
}

// TestPortableLimits holds every entry point to what WebGPU promises on every
// device, and to the house's binding order.
func TestPortableLimits(t *testing.T) {
	for _, name := range Names() {
		code, err := Source(name, nil)
		require.NoError(t, err)
		for _, entry := range EntryPoints(code) {
			p, err := Load(name, entry, nil)
			require.NoError(t, err, name)
			require.Equal(t, "params", p.Bindings[0].Name, p.Name)
			storage, uniform := 0, 0
			for i, b := range p.Bindings {
				if b.Access == Uniform {
					uniform++
				} else {
					storage++
				}
				if i > 1 {
					require.False(t, p.Bindings[i-1].Access == ReadWrite && b.Access != ReadWrite, "%s: read after read_write", p.Name)
				}
			}
			require.LessOrEqual(t, storage, 8, p.Name)
			require.LessOrEqual(t, uniform, 12, p.Name)
		}
	}
}
