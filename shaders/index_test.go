package shaders

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	moduleConstant = regexp.MustCompile(`(?m)^(?:const|override) (\w+)\b`)
	local          = regexp.MustCompile(`\b(?:var|let) (\w+)\b|[(,]\s*(?:@[\w() ]+ )?(\w+): `)
	localConstant  = regexp.MustCompile(`\bconst (\w+)\b`)
	wgslNumber     = regexp.MustCompile(`\b\d\w*`)
	signature      = regexp.MustCompile(`(?m)^(?:@[^{};]*?)?fn (\w+)(\([^{]*)\{`)
)

// privateIndices lists, as "function variable[index]", where code indexes a function's own
// array, matrix or vector, or what a call returns, by what is no constant. The registers of a
// GPU have no addresses: such a variable goes to memory, or the index becomes a chain of moves.
func privateIndices(code string) (found []string) {
	code = stripComments(code)
	constants := map[string]bool{}
	for _, m := range moduleConstant.FindAllStringSubmatch(code, -1) {
		constants[m[1]] = true
	}
	bodies := functionBodies(code)
	for _, m := range signature.FindAllStringSubmatch(code, -1) {
		name, body := m[1], bodies[m[1]]
		own, known := map[string]bool{}, maps.Clone(constants)
		for _, l := range local.FindAllStringSubmatch(m[2]+body[strings.Index(body, "{"):], -1) {
			own[l[1]+l[2]] = true
		}
		for _, l := range localConstant.FindAllStringSubmatch(body, -1) {
			known[l[1]] = true
		}
		for at := range len(body) {
			if body[at] != '[' {
				continue
			}
			base, end := chain(body, at), partner(body, at, 1)
			root := identifier.FindString(strings.TrimLeft(base, "(*& "))
			if index := body[at+1 : end]; (own[root] || strings.HasSuffix(base, ")")) && !isConstant(index, known) {
				found = append(found, fmt.Sprintf("%s %s[%s]", name, base, strings.Join(strings.Fields(index), " ")))
			}
		}
	}
	return found
}

// chain returns what stands before the bracket at position at, and is indexed: an identifier or
// something in parentheses, and the members and indices behind it.
func chain(code string, at int) string {
	start := at
	for start > 0 {
		switch c := code[start-1]; {
		case c == ']' || c == ')':
			start = partner(code, start-1, -1)
		case c == '.' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			start--
		default:
			return code[start:at]
		}
	}
	return code[:at]
}

// partner returns where the bracket at a position is matched, step by step.
func partner(code string, at, step int) int {
	for depth, i := 0, at; ; i += step {
		switch code[i] {
		case '[', '(':
			depth += step
		case ']', ')':
			depth -= step
		}
		if depth == 0 {
			return i
		}
	}
}

// isConstant reports whether an index is made of numbers and constants alone.
func isConstant(index string, constants map[string]bool) bool {
	for _, word := range identifier.FindAllString(wgslNumber.ReplaceAllString(index, ""), -1) {
		if !constants[word] {
			return false
		}
	}
	return true
}

// privateIndicesLeft are those there are, by why they may stay until their kernel is written anew.
var privateIndicesLeft = map[string][]string{
	"once an invocation, where its results are stored": {
		"conv3x3 conv a[j]",
		"dwconv3x3 back sums_0[k]", "dwconv3x3 back sums_1[k]", "dwconv3x3 back sums_2[k]",
		"dwconv3x3 collect all[i]",
		"dwconv3x3 gate a[p]", "dwconv3x3 gate b[p]", "dwconv3x3 gate_back a[p]", "dwconv3x3 gate_back b[p]", "dwconv3x3 plain out[p]",
		"gradient direct sums[j]", "gradient direct sums[j][q]", "gradient tiled sums[j]", "gradient tiled sums[j][q]",
		"linear direct a[j]", "linear windowed a[j]", "linear tiled acc[i]", "linear tiled acc[2u * r + j]",
		"matmul matmul acc[i]",
		"mdta attend m[g][i]", "mdta gram g[r]", "mdta kept m[r]", "mdta products_back m[r][i]",
	},
	"a loop of constant length in the kernel's main loop, which a driver unrolls or not": {
		"gradient direct sums[4u * j]", "gradient direct sums[4u * j + 1u]", "gradient direct sums[4u * j + 2u]", "gradient direct sums[4u * j + 3u]",
		"gradient direct u[j]",
		"him apply s[t]", "him attend (*s)[h + t]", "him backward a[t]", "him backward ds[t]", "him backward s[t]", "him project (*s)[t]",
		"linear tiled acc[2u * r]", "linear tiled acc[2u * r + 1u]",
		"mdta apply_back at[p]", "mdta apply_back left[p]", "mdta apply_back right[p]", "mdta attend m[g]", "mdta products_back m[i]", "mdta products_back m[r]",
		"tokens mixer normal[l]", "tokens mixer sums[l]",
	},
	"a value's channel, once a value": {"photo level v[i % 3u]"},
	"a kernel for software Vulkan alone, where private arrays lie in a CPU's cache": {
		"dwconv3x3_strips taps_of t.t[k]",
		"gradient_lanes products g[o]", "gradient_lanes products g[o][j]", "gradient_lanes products to[j]",
		"linear_rows conv v[0u][q]", "linear_rows conv v[1u][q]", "linear_rows conv v[2u][q]", "linear_rows conv v[3u][q]",
		"linear_rows rows v[0u][q - params.part]", "linear_rows rows v[1u][q - params.part]",
		"linear_rows rows v[2u][q - params.part]", "linear_rows rows v[3u][q - params.part]",
		"mdta_gram gram channel[j]", "mdta_gram gram g[i]", "mdta_gram gram g[i][j]", "mdta_gram gram k2[j]", "mdta_gram gram pixel[j]",
		"mdta_gram gram q2[j]", "mdta_gram gram tap[j]", "mdta_gram gram tap[j][t]",
	},
}

func TestPrivateIndicesAreConstant(t *testing.T) {
	var found []string
	for _, name := range Names() {
		code, err := Source(name, nil)
		require.NoError(t, err)
		for _, at := range privateIndices(code) {
			found = append(found, name+" "+at)
		}
	}
	slices.Sort(found)
	var left []string
	for _, some := range privateIndicesLeft {
		left = append(left, some...)
	}
	slices.Sort(left)
	require.Equal(t, left, slices.Compact(found), "index a function's own arrays and matrices by constants alone: "+
		"have such loops unrolled, or write them out. What is gone from a shader goes from privateIndicesLeft, too")
}

func TestPrivateIndicesAreFound(t *testing.T) {
	for body, want := range map[string][]string{
		"var a: array<f32, 4>; a[1] = 2.0; a[N - 1u] += a[2u * N];":      nil,
		"var a: array<f32, 4>; a[i] = 2.0;":                              {"f a[i]"},
		"var a = array<mat4x4f, 2>(); y[0] = a[1][ 2u  *\ni ].x;":        {"f a[1][2u * i]"},
		"var t: Tile; t.rows[i + 1u] = vec4f(); y[i] = t.rows[1];":       {"f t.rows[i + 1u]"},
		"let m = mat4x4f(); y[i] = m[i].x;":                              {"f m[i]"},
		"y[i] = (*given)[i] + turned[lane];":                             {"f (*given)[i]", "f turned[lane]"},
		"y[i] = x[i].x; shared_rows[y[i]] = 1.0;":                        nil,
		"y[i] = square(x[i])[lane % 4u];":                                {"f square(x[i])[lane % 4u]"},
		"const K = 3u; var a = vec4f(); y[i] = a[K];":                    nil,
		"var a = vec4f(); for (var j = 0u; j < 4u; j++) { a[j] = 1.0; }": {"f a[j]"},
		"var a = vec4f(); y[0] = a[u32(x[i])];":                          {"f a[u32(x[i])]"},
	} {
		code := "const N: u32 = 2;\nfn g(v: f32) -> f32 { return v; }\n" +
			"fn f(i: u32, given: ptr<function, vec4f>, turned: vec4f, @builtin(local_invocation_index) lane: u32) { " + body + " }\n"
		require.Equal(t, want, privateIndices(code), body)
	}
}
