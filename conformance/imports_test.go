package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module  = "hidiff"
	binding = "github.com/oliverbestmann/webgpu" // only package wgpu may import it
)

// rooms says which packages of the module each package may import: the arrows
// of ARCHITECTURE.md. Devices are opened and sizes printed in the words of
// package wgpu (Options, Adapter, FormatBytes), so those who do that may enter
// it too; shaders are tensor's alone.
var rooms = map[string][]string{
	"shaders":             nil,
	"wgpu":                nil,
	"tensor":              {"shaders", "wgpu"},
	"autograd":            {"tensor"},
	"internal/atomicfile": nil,
	"internal/hostmemory": nil,
	"internal/lock":       nil,
	"internal/progress":   nil,
	"internal/streams":    nil,
	"internal/suggest":    nil,
	"internal/textfile":   nil,
	"internal/testenv":    nil,
	"internal/testgpu":    {"internal/testenv", "tensor", "wgpu"},
	"hidiff/checkpoint":   {"internal/atomicfile"},
	"hidiff/metrics":      nil,
	"hidiff/photo":        {"internal/atomicfile"},
	"internal/folder":     {"hidiff/photo"},
	"internal/eval":       {"hidiff/metrics", "hidiff/photo", "internal/atomicfile", "internal/textfile"},
	"hidiff/models":       {"hidiff", "internal/atomicfile", "internal/lock", "internal/suggest"},
	"internal/prepare":    {"hidiff/photo", "internal/atomicfile", "internal/folder", "internal/lock", "internal/textfile"},
	"hidiff/synth":        {"hidiff/photo", "internal/atomicfile", "internal/lock", "internal/textfile"},
	"hidiff/video":        {"hidiff/photo", "internal/atomicfile"},
	"hidiff":              {"autograd", "hidiff/checkpoint", "hidiff/metrics", "hidiff/photo", "internal/block", "internal/diffusion", "internal/hostmemory", "internal/streams", "tensor", "wgpu"},
	"trainer": {
		"autograd", "hidiff/checkpoint", "hidiff/metrics", "hidiff/photo", "internal/atomicfile", "internal/folder", "internal/lock", "internal/progress", "internal/streams", "internal/suggest", "internal/textfile", "tensor", "wgpu",
	},
	"internal/bench":     {"autograd", "hidiff", "hidiff/photo", "internal/reference", "tensor", "trainer", "wgpu"},
	"internal/block":     {"autograd", "hidiff/checkpoint", "tensor"},
	"internal/diffusion": nil,
	"internal/reference": {"internal/streams"},
	"internal/ref":       nil,
	"conformance": {
		"autograd", "hidiff", "hidiff/checkpoint", "hidiff/metrics", "hidiff/photo", "internal/block", "internal/diffusion", "internal/reference", "internal/ref", "internal/streams", "shaders", "tensor", "trainer", "wgpu",
	},
	"cli": {
		"conformance", "hidiff", "hidiff/checkpoint", "internal/eval", "hidiff/metrics", "hidiff/models", "hidiff/photo", "internal/prepare", "hidiff/synth", "hidiff/video",
		"internal/atomicfile", "internal/bench", "internal/folder", "internal/lock", "internal/progress", "internal/suggest", "tensor", "trainer", "wgpu",
	},
	"cli/hidiff": {"cli"},
	"scripts":    nil, // tests alone
}

// forbidden lists what breaks the arrows among imports, given by package path.
func forbidden(imports map[string][]string) (out []string) {
	complain := func(from, to, why string) { out = append(out, fmt.Sprintf("%s imports %s: %s", from, to, why)) }
	for _, from := range slices.Sorted(maps.Keys(imports)) {
		room, ours := strings.CutPrefix(from, module+"/")
		allowed, known := rooms[room]
		if !ours || !known {
			out = append(out, fmt.Sprintf("%s has no row in the table of rooms", from))
			continue
		}
		for _, to := range imports[from] {
			first, _, _ := strings.Cut(to, "/")
			target, inside := strings.CutPrefix(to, module+"/")
			switch {
			case inside && !slices.Contains(allowed, target):
				complain(from, to, "no arrow leads there")
			case (to == binding || strings.HasPrefix(to, binding+"/")) && room != "wgpu":
				complain(from, to, "only wgpu may")
			case strings.Contains(first, ".") && room == "internal/ref":
				complain(from, to, "the reference stands on the standard library alone")
			}
		}
	}
	return out
}

// listImports asks the go command for the imports, but for those of tests, of
// every package of the module.
func listImports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)
	imports := map[string][]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return imports
		}
		require.NoError(t, err)
		imports[p.ImportPath] = p.Imports
	}
}

func TestImportsFollowTheArrows(t *testing.T) {
	imports := listImports(t)
	require.Contains(t, imports[module+"/tensor"], module+"/shaders", "the list must hold what is there")
	require.Empty(t, forbidden(imports))
}

func TestForbiddenImportsAreFound(t *testing.T) {
	for _, c := range []struct {
		from, to string
		bad      bool
	}{
		{"cli/hidiff", "hidiff/cli", false},
		{"cli", "hidiff/hidiff", false},
		{"cli", "hidiff/trainer", false},
		{"cli", "hidiff/shaders", true},
		{"cli", "hidiff/autograd", true},
		{"cli", "hidiff/internal/ref", true},
		{"hidiff", "hidiff/hidiff/photo", false},
		{"hidiff", "hidiff/trainer", true},
		{"hidiff", "hidiff/shaders", true},
		{"hidiff", "hidiff/conformance", true},
		{"hidiff/photo", "hidiff/hidiff/checkpoint", true},
		{"hidiff/photo", "golang.org/x/image/bmp", false},
		{"trainer", "hidiff/autograd", false},
		{"trainer", "hidiff/hidiff", true},
		{"trainer", "hidiff/hidiff/checkpoint", false},
		{"trainer", "hidiff/wgpu", false},
		{"autograd", "hidiff/tensor", false},
		{"autograd", "hidiff/shaders", true},
		{"tensor", "hidiff/wgpu", false},
		{"tensor", "hidiff/hidiff", true},
		{"tensor", binding + "/wgpu", true},
		{"wgpu", binding + "/wgpu", false},
		{"wgpu", "hidiff/shaders", true},
		{"shaders", "hidiff/wgpu", true},
		{"conformance", "hidiff/hidiff", false},
		{"conformance", "hidiff/cli", true},
		{"internal/ref", "math", false},
		{"internal/ref", "encoding/json", false},
		{"internal/ref", "hidiff/tensor", true},
		{"internal/ref", "gonum.org/v1/gonum/mat", true},
		{"newcomer", "math", true},
	} {
		found := forbidden(map[string][]string{module + "/" + c.from: {"fmt", c.to}})
		require.Equal(t, c.bad, len(found) == 1, "%s imports %s: %q", c.from, c.to, found)
	}
}
