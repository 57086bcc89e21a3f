package shaders

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnroll(t *testing.T) {
	flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for _, c := range []struct{ code, want string }{
		{"fn f() { x.i = i; }", "fn f() { x.i = i; }"},
		{`
const N: u32 = 2;
const M: u32 = N * 2u - 1u;
for (var i = 1u; i < M; i++) { // unroll
    x.i += f(i, ij, M);
}
y = i;`, "const N: u32 = 2; const M: u32 = N * 2u - 1u; x.i += f(1u, ij, M); x.i += f(2u, ij, M); y = i;"},
		{`
for (var i = 0u; i < 4u; i += 3u) { // unroll
    let v = i;
    for (var j = i; j < i + 1u; j++) { // unroll
        w[j] = v * i;
    }
}`, "{ let v = 0u; w[0u] = v * 0u; } { let v = 3u; w[3u] = v * 3u; }"},
		{`
const R: u32 = 2;
if (a) {
    var s = array<array<vec4f, R + 1>, R>(); // scalars
    for (var r = 0u; r < R; r++) { // unroll
        s[r][(2u * r + 1u) / 2u][k] = ss[r] + b.s[1];
    }
}
s[0][0] = 1;`, `const R: u32 = 2; if (a) {
var s_0_0 = vec4f(); var s_0_1 = vec4f(); var s_0_2 = vec4f(); var s_1_0 = vec4f(); var s_1_1 = vec4f(); var s_1_2 = vec4f();
s_0_0[k] = ss[0u] + b.s[1]; s_1_1[k] = ss[1u] + b.s[1]; } s[0][0] = 1;`},
		{`
for (var r = 0u; r < 2u; r++) { // unroll
    var s = array<f32, 1>(); // scalars
    s[r - r] = 1.0; // s of r
}`, "{ var s_0 = f32(); s_0 = 1.0; // s of r } { var s_0 = f32(); s_0 = 1.0; // s of r }"},
		{`
for (var r = 0u; r < 2u; r++) { // unroll
    var s = array<f32, 1>(); // scalars
    s[r - r] = 1.0;
}`, "{ var s_0 = f32(); s_0 = 1.0; } { var s_0 = f32(); s_0 = 1.0; }"},
	} {
		got, err := unroll(c.code)
		require.NoError(t, err)
		require.Equal(t, flat(c.want), flat(got))
	}
}

func TestUnrollRefuses(t *testing.T) {
	const loop = "for (var i = 0u; i < 2u; i++) { // unroll\n    %\n}\n"
	for code, want := range map[string]string{
		"for (var i = 0u; i < n; i++) { // unroll\n}\n":                                               `loop over i: "n"`,
		"for (var i = 0u; j < 2u; i++) { // unroll\n}\n":                                              "another counter",
		"for (var i = 0u; i < 2u; j += 1u) { // unroll\n}\n":                                          "another counter",
		"var s = array<f32, 2>(); // scalars\n" + strings.Replace(loop, "%", "s[k] = 1.0;", 1):        `index of s: "k"`,
		"var s = array<f32, 1>(); // scalars\n" + strings.Replace(loop, "%", "s[i] = 1.0;", 1):        "index of s: 1 of 1",
		"var s = array<f32, n>(); // scalars\n" + strings.Replace(loop, "%", "", 1):                   `array s: "n"`,
		"var s = array<array<f32, 2>, 2>(); // scalars\n" + strings.Replace(loop, "%", "f(s[i]);", 1): "without 2 indices",
	} {
		_, err := unroll(code)
		require.ErrorContains(t, err, want)
	}
}
