// Package shaders holds hidiff's compute shaders, one WGSL file per operator,
// and prepares them for a device: it pulls in shared functions, specialises
// constants and reads off which bindings an entry point uses. It calls no GPU
// API.
//
// What is prepared is valid WGSL: with the values that the file declares, a
// validator sees all that runs but for the values chosen. Preparing does three things:
//   - A line `// import: name` is replaced by the file of that name.
//   - Specialisation replaces the value of a module-scope `override NAME: T =
//     value;` or `const NAME: T = value;` line. Those to specialise stand right
//     behind struct Params, and package tensor mirrors both.
//   - Loops marked `// unroll` and arrays marked `// scalars` are written out; see
//     unroll.go. Only then are linear_rows and mdta_gram valid: a broadcast wants
//     its lane as a number, not as a loop's counter. All others are valid before.
//
// Shaders that use subgroups lack the directive `enable subgroups;`, which
// WebGPU's text wants and naga, the compiler inside wgpu, does not know.
package shaders

import (
	"embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed *.wgsl
var files embed.FS

// Constants are the values to specialise, by name. Values are bool, int or
// float64.
type Constants map[string]any

// Access says how an entry point uses a binding.
type Access int

// The address spaces a binding can be in.
const (
	Uniform Access = iota
	Read
	ReadWrite
)

// Binding is one buffer an entry point uses.
type Binding struct {
	Index  int
	Name   string
	Access Access
}

// Program is one entry point, ready to compile.
type Program struct {
	Name       string // file and entry point, "linear/tiled"
	Code       string
	EntryPoint string
	Bindings   []Binding // by index; the first is the uniform block of parameters
}

// Names lists the shader files, without their ending.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".wgsl"))
	}
	return names
}

var (
	importLine   = regexp.MustCompile(`(?m)^// import: (\w+)$`)
	constantLine = regexp.MustCompile(`(?m)^(?:override|const) (\w+): (u32|i32|f32|bool|[A-Z]\w*) = [^;]+;`)
	bindingDecl  = regexp.MustCompile(`@group\(0\) @binding\((\d+)\)\s+var<(uniform|storage, read|storage, read_write)> (\w+):`)
	functionHead = regexp.MustCompile(`(?m)^(?:@compute[^{}]*?)?fn (\w+)\(`)
	identifier   = regexp.MustCompile(`[A-Za-z_]\w*`)
	entryPoint   = regexp.MustCompile(`@compute[^{}]*?fn (\w+)\(`)
)

// Source returns the file name with its imports pulled in and constants
// specialised. An unknown file or constant is an error.
func Source(name string, constants Constants) (string, error) {
	raw, err := files.ReadFile(name + ".wgsl")
	if err != nil {
		return "", fmt.Errorf("no shader %q, there are %s", name, strings.Join(Names(), ", "))
	}
	code := string(raw)
	imported := map[string]bool{}
	for m := importLine.FindStringSubmatch(code); m != nil; m = importLine.FindStringSubmatch(code) {
		part, err := files.ReadFile(m[1] + ".wgsl")
		if err != nil {
			return "", fmt.Errorf("shader %s imports %q, which does not exist", name, m[1])
		}
		if imported[m[1]] { // by another import
			part = nil
		}
		imported[m[1]] = true
		code = strings.Replace(code, m[0], string(part), 1)
	}
	used := map[string]bool{}
	var failure error
	code = constantLine.ReplaceAllStringFunc(code, func(line string) string {
		m := constantLine.FindStringSubmatch(line)
		value, ok := constants[m[1]]
		if !ok {
			return line
		}
		used[m[1]] = true
		text, err := literal(m[2], value)
		if err != nil {
			failure = fmt.Errorf("shader %s: constant %s: %w", name, m[1], err)
		}
		return fmt.Sprintf("const %s: %s = %s;", m[1], m[2], text)
	})
	for c := range constants {
		if !used[c] {
			return "", fmt.Errorf("shader %s has no constant %q", name, c)
		}
	}
	if failure != nil {
		return "", failure
	}
	if code, failure = unroll(code); failure != nil {
		return "", fmt.Errorf("shader %s: %w", name, failure)
	}
	return code, nil
}

func literal(kind string, value any) (string, error) {
	switch v := value.(type) {
	case bool:
		if kind == "bool" {
			return strconv.FormatBool(v), nil
		}
	case int:
		switch {
		case kind == "i32":
			return strconv.Itoa(v), nil
		case kind != "f32" && kind != "bool" && v >= 0: // u32, or an enumeration's alias of it
			return strconv.Itoa(v) + "u", nil
		}
	case float64:
		if kind == "f32" {
			return fmt.Sprintf("f32(%g)", v), nil
		}
	}
	return "", fmt.Errorf("%v (%T) is no %s", value, value, kind)
}

// Load returns an entry point with its constants specialised.
func Load(name, entry string, constants Constants) (Program, error) {
	code, err := Source(name, constants)
	if err != nil {
		return Program{}, err
	}
	bindings, err := usedBindings(code, entry)
	if err != nil {
		return Program{}, fmt.Errorf("shader %s: %w", name, err)
	}
	return Program{Name: name + "/" + entry, Code: code, EntryPoint: entry, Bindings: bindings}, nil
}

// EntryPoints lists the compute entry points of WGSL code.
func EntryPoints(code string) []string {
	var out []string
	for _, m := range entryPoint.FindAllStringSubmatch(stripComments(code), -1) {
		out = append(out, m[1])
	}
	return out
}

var bindingCache sync.Map // stripped declarations are costly to parse; keyed by code and entry

// usedBindings returns the bindings that entry names, directly or through
// functions it calls. They must be numbered 0, 1, 2, … with the parameter
// block first, which lets callers pass buffers by position.
func usedBindings(code, entry string) ([]Binding, error) {
	type key struct{ code, entry string }
	if b, ok := bindingCache.Load(key{code, entry}); ok {
		return b.([]Binding), nil
	}
	plain := stripComments(code)
	bodies := functionBodies(member.ReplaceAllString(plain, ""))
	if _, ok := bodies[entry]; !ok {
		return nil, fmt.Errorf("no entry point %q, there are %s", entry, strings.Join(EntryPoints(code), ", "))
	}
	declared := map[string][]Binding{}
	for _, m := range bindingDecl.FindAllStringSubmatch(plain, -1) {
		index, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, err
		}
		access := map[string]Access{"uniform": Uniform, "storage, read": Read, "storage, read_write": ReadWrite}[m[2]]
		declared[m[3]] = append(declared[m[3]], Binding{index, m[3], access})
	}
	found := map[int]Binding{}
	seen := map[string]bool{}
	var visit func(fn string) error
	visit = func(fn string) error {
		if seen[fn] {
			return nil
		}
		seen[fn] = true
		for _, word := range identifier.FindAllString(bodies[fn], -1) {
			for _, b := range declared[word] {
				if other, ok := found[b.Index]; ok && other.Name != b.Name {
					return fmt.Errorf("%s uses %s and %s, both at binding %d", entry, other.Name, b.Name, b.Index)
				}
				found[b.Index] = b
			}
			if _, ok := bodies[word]; ok {
				if err := visit(word); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := visit(entry); err != nil {
		return nil, err
	}
	out := make([]Binding, 0, len(found))
	for _, i := range slices.Sorted(maps.Keys(found)) {
		if i != len(out) {
			return nil, fmt.Errorf("%s leaves binding %d unused", entry, len(out))
		}
		out = append(out, found[i])
	}
	if len(out) == 0 || out[0].Access != Uniform {
		return nil, fmt.Errorf("%s has no parameter block at binding 0", entry)
	}
	bindingCache.Store(key{code, entry}, out)
	return out, nil
}

var (
	comment = regexp.MustCompile(`//[^\n]*`)
	member  = regexp.MustCompile(`\.[A-Za-z_]\w*`) // v.x names no binding x
)

func stripComments(code string) string { return comment.ReplaceAllString(code, "") }

// functionBodies maps every function to the text between its name and its
// closing brace.
func functionBodies(code string) map[string]string {
	out := map[string]string{}
	for _, m := range functionHead.FindAllStringSubmatchIndex(code, -1) {
		name, depth := code[m[2]:m[3]], 0
		for i := m[1]; i < len(code); i++ {
			switch code[i] {
			case '{':
				depth++
			case '}':
				depth--
				if depth == 0 {
					out[name] = code[m[1]:i]
				}
			}
			if out[name] != "" {
				break
			}
		}
	}
	return out
}
