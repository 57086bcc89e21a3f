package tensor

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"hidiff/shaders"

	"github.com/stretchr/testify/require"
)

// wgsl is what a shader declares: fields of Params, the constants right behind
// it, and the values of enumerations by their alias of u32.
type wgsl struct {
	params, constants []declaredField
	enums             map[string]map[string]int
}

type declaredField struct{ name, kind string }

var (
	wgslComment  = regexp.MustCompile(`//[^\n]*`)
	wgslParams   = regexp.MustCompile(`(?s)struct Params \{(.*?)\}((?:\s*const \w+: \w+ = [^;]+;)*)`)
	wgslField    = regexp.MustCompile(`(\w+): (\w+),`)
	wgslConstant = regexp.MustCompile(`const (\w+): (\w+) = ([^;]+);`)
	wgslAlias    = regexp.MustCompile(`alias (\w+) = u32;`)
)

// readWGSL reads a shader with its imports.
func readWGSL(t *testing.T, name string) (code string, w wgsl) {
	t.Helper()
	code, err := shaders.Source(name, nil)
	require.NoError(t, err)
	code = wgslComment.ReplaceAllString(code, "")
	w.enums = map[string]map[string]int{}
	for _, m := range wgslAlias.FindAllStringSubmatch(code, -1) {
		w.enums[m[1]] = map[string]int{}
	}
	rest := code
	if m := wgslParams.FindStringSubmatch(code); m != nil {
		for _, f := range wgslField.FindAllStringSubmatch(m[1], -1) {
			w.params = append(w.params, declaredField{f[1], f[2]})
		}
		require.Len(t, w.params, strings.Count(m[1], ":"), "%s: fields of another form", name)
		for _, c := range wgslConstant.FindAllStringSubmatch(m[2], -1) {
			w.constants = append(w.constants, declaredField{c[1], c[2]})
		}
		rest = strings.Replace(code, m[2], "", 1)
	}
	for _, c := range wgslConstant.FindAllStringSubmatch(rest, -1) {
		if values, ok := w.enums[c[2]]; ok {
			values[c[1]], err = strconv.Atoi(c[3])
			require.NoError(t, err, "%s: %s", name, c[0])
		}
	}
	return code, w
}

// goFields says in WGSL what a struct of this package declares. An int or a
// bool is a u32 among parameters; types are those of WGSL in constants.
func goFields(s reflect.Type, constants bool) (fields []declaredField) {
	for i := range s.NumField() {
		f := s.Field(i)
		name, kind := wgslName(f.Name), "u32"
		switch f.Type.Kind() {
		case reflect.Float32:
			kind = "f32"
		case reflect.Uint32:
			kind = enumName(f.Type.Name())
		case reflect.Bool:
			if constants {
				kind = "bool"
			}
		}
		if constants {
			name = strings.ToUpper(name)
		}
		fields = append(fields, declaredField{name, kind})
	}
	return fields
}

// enumName is a Go type's name in WGSL.
func enumName(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// goEnums are the constants of this package's types that are a uint32, with names as in WGSL.
func goEnums(t *testing.T) map[string]map[string]int {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	require.NoError(t, err)
	fset, files := token.NewFileSet(), []*ast.File{}
	for _, p := range paths {
		if !strings.HasSuffix(p, "_test.go") {
			f, err := parser.ParseFile(fset, p, nil, 0)
			require.NoError(t, err)
			files = append(files, f)
		}
	}
	// Imports fail and leave types unknown, but constants need none.
	config := types.Config{IgnoreFuncBodies: true, Importer: noImports{}, Error: func(error) {}}
	pkg, _ := config.Check("tensor", fset, files, nil)
	enums := map[string]map[string]int{}
	for _, name := range pkg.Scope().Names() {
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		if !ok {
			continue
		}
		named, ok := c.Type().(*types.Named)
		if !ok || named.Underlying() != types.Typ[types.Uint32] {
			continue
		}
		kind := enumName(named.Obj().Name())
		if enums[kind] == nil {
			enums[kind] = map[string]int{}
		}
		value, exact := constant.Int64Val(c.Val())
		require.True(t, exact, name)
		enums[kind][strings.ToUpper(wgslName(name))] = int(value)
	}
	return enums
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

// Every shader is called with what it declares: names, types and order, constants
// that default to zero, and enumerations with the same values under the same names.
func TestShadersDeclareWhatGoPasses(t *testing.T) {
	enums, used := goEnums(t), map[string]bool{}
	for _, name := range shaders.Names() {
		code, w := readWGSL(t, name)
		for alias, values := range w.enums {
			used[alias] = true
			require.Equal(t, enums[alias], values, "%s: %s", name, alias)
		}
		d, ok := declared[name]
		if entries := shaders.EntryPoints(code); !ok {
			require.Empty(t, entries, "no newShader(%q)", name)
			continue
		}
		require.Equal(t, goFields(d.params, false), w.params, "%s: Params", name)
		require.Equal(t, goFields(d.constants, true), w.constants, "%s: constants behind Params", name)
		require.LessOrEqual(t, 4*len(w.params), 256, name)
		for _, f := range append(w.params, w.constants...) {
			values, ok := w.enums[f.kind]
			if !ok {
				continue
			}
			require.NotRegexp(t, `\b`+f.name+` *(==|!=|<|>|<=|>=) *\d`, code, "%s compares a %s with a number", name, f.kind)
			if strings.ToUpper(f.name) == f.name {
				zero := regexp.MustCompile(`const ` + f.name + `: \w+ = (\w+);`).FindStringSubmatch(code)
				value, ok := values[zero[1]]
				require.True(t, ok && value == 0, "%s: %s must be declared as the %s that is zero", name, f.name, f.kind)
			}
		}
		require.NotRegexp(t, `case \d`, code, name)
		require.NotRegexp(t, `const \w+: bool = true`, code, name)
	}
	for name := range declared {
		require.Contains(t, shaders.Names(), name)
	}
	for alias := range enums {
		require.True(t, used[alias], "no shader has an alias %s", alias)
	}
}

func TestWGSLNames(t *testing.T) {
	for name, want := range map[string]string{
		"Rows": "rows", "OutPart": "out_part", "C4": "c4", "PerHead4": "per_head4", "X0": "x0", "QBias": "q_bias", "NAll": "n_all",
		"TA": "ta", "MSELoss": "mse_loss", "L1Loss": "l1_loss", "actGELU": "act_gelu", "NoNorm": "no_norm",
	} {
		require.Equal(t, want, wgslName(name))
	}
}

type someParams struct {
	Count int
	Flag  bool
	Eps   float32
	Kind  actKind
}

func TestParametersArePacked(t *testing.T) {
	s := &shader[someParams, none]{name: "some", params: fieldsOf(reflect.TypeFor[someParams]())}
	pack := func(p someParams) []byte { return s.pack(nil, unsafe.Pointer(&p)) }
	require.Equal(t, []byte{4, 3, 2, 0xff, 1, 0, 0, 0, 0, 0, 0x80, 0x3f, 2, 0, 0, 0}, pack(someParams{0xff020304, true, 1, actLeaky}))
	require.PanicsWithValue(t, "tensor: some: parameter Count is -1", func() { pack(someParams{Count: -1}) })
	require.PanicsWithValue(t, "tensor: some: parameter Count is 4294967296", func() { pack(someParams{Count: 1 << 32}) })
	require.Panics(t, func() { fieldsOf(reflect.TypeFor[struct{ Half float64 }]()) })
}

// oneDispatch returns a function that dispatches one of two kernels by turns on a
// device that only counts.
func oneDispatch(tb testing.TB) func() {
	tb.Helper()
	d := openDevice(tb).DryRun(0)
	x, y := New(d, 64, 48), New(d, 64, 48)
	bound, n := views(x.whole(), x.whole(), x.whole(), x.whole(), y.whole()), 0
	dispatch := func() {
		n++
		linearShader.run(d, "tiled", linearConstants{Norm: Norm(n % 2)}, linearParams{
			Rows: 64 + n, K4: 12, N4: 12, K: 48, Xs: 12, Rs: 12, Ys: 12, PerWindow: 1, Act: actGELU, Add: residualAdded, Eps: LayerNormEps,
		}, call{views: bound, groups: [3]int{1, 1, 1}, work: 1000})
	}
	dispatch() // both kernels are compiled
	dispatch()
	return dispatch
}

func TestDispatchesAllocateNothing(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(100, oneDispatch(t)))
}

func BenchmarkDispatch(b *testing.B) {
	dispatch := oneDispatch(b)
	b.ReportAllocs()
	for b.Loop() {
		dispatch()
	}
}
