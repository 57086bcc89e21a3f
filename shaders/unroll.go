package shaders

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	unrollHead  = regexp.MustCompile(`for \(var (\w+) = ([^;]+); (\w+) < ([^;]+); (\w+)(?:\+\+| \+= ([^){]+))\) \{ // unroll\n`)
	scalarsDecl = regexp.MustCompile(`var (\w+) = (?:array<)+(\w+)((?:, [^>,]+>)+)\(\); // scalars\n`)
	declaration = regexp.MustCompile(`(?m)^ *(?:let|var) `)
	u32Constant = regexp.MustCompile(`(?m)^const (\w+): u32 = ([^;]+);`)
	unsigned    = regexp.MustCompile(`\b(\d+)u\b`)
)

// unroll writes out what is marked in code:
//
//	for (var i = A; i < B; i += C) { // unroll      its body for each i, with a number in i's place
//	var v = array<array<f32, N>, M>(); // scalars   M*N variables v_0_0, v_0_1, … of that type
//
// A, B, C, N, M and the indices of scalars are expressions of numbers, the module's u32
// constants and counters of loops written out.
func unroll(code string) (string, error) {
	if !unrollHead.MatchString(code) {
		return code, nil
	}
	u := unroller{}
	for _, m := range u32Constant.FindAllStringSubmatch(code, -1) {
		value, err := u.evaluate(m[2])
		if err != nil {
			return "", err
		}
		u[m[1]] = value
	}
	code, err := u.loops(code)
	if err != nil {
		return "", err
	}
	return u.scalars(code)
}

// unroller knows the values of constants by name.
type unroller map[string]int

// evaluate computes an expression of u32 numbers and constants.
func (u unroller) evaluate(expression string) (int, error) {
	e, err := parser.ParseExpr(unsigned.ReplaceAllString(expression, "$1"))
	if err == nil {
		if value, ok := u.value(e); ok {
			return value, nil
		}
	}
	return 0, fmt.Errorf("%q is no whole number before the shader runs", expression)
}

func (u unroller) value(e ast.Expr) (int, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		value, err := strconv.Atoi(e.Value)
		return value, err == nil
	case *ast.Ident:
		value, ok := u[e.Name]
		return value, ok
	case *ast.ParenExpr:
		return u.value(e.X)
	case *ast.BinaryExpr:
		x, known := u.value(e.X)
		y, also := u.value(e.Y)
		if !known || !also {
			return 0, false
		}
		switch e.Op {
		case token.ADD:
			return x + y, true
		case token.SUB:
			return x - y, true
		case token.MUL:
			return x * y, true
		case token.QUO:
			return x / max(y, 1), y > 0
		case token.REM:
			return x % max(y, 1), y > 0
		}
	}
	return 0, false
}

// loops writes the marked loops out, outer ones first.
func (u unroller) loops(code string) (string, error) {
	var out strings.Builder
	for {
		m := unrollHead.FindStringSubmatchIndex(code)
		if m == nil {
			out.WriteString(code)
			return out.String(), nil
		}
		group := func(i int) string {
			if m[2*i] < 0 {
				return "1u"
			}
			return code[m[2*i]:m[2*i+1]]
		}
		counter := group(1)
		if group(3) != counter || group(5) != counter {
			return "", fmt.Errorf("the head of the loop over %s names another counter", counter)
		}
		var span [3]int // from, to, step
		for i, g := range []int{2, 4, 6} {
			value, err := u.evaluate(group(g))
			if err != nil {
				return "", fmt.Errorf("loop over %s: %w", counter, err)
			}
			span[i] = value
		}
		end := closing(code, m[1])
		body, rest := code[m[1]:end], code[end+1:]
		out.WriteString(code[:m[0]])
		for i := span[0]; i < span[1]; i += max(span[2], 1) {
			once, err := u.loops(replace(body, counter, strconv.Itoa(i)+"u"))
			if err != nil {
				return "", err
			}
			if declaration.MatchString(body) {
				once = "{\n" + once + "}\n"
			}
			out.WriteString(once)
		}
		code = rest
	}
}

// scalars puts variables in the place of the marked arrays, to the end of their blocks.
func (u unroller) scalars(code string) (string, error) {
	var out strings.Builder
	for {
		m := scalarsDecl.FindStringSubmatchIndex(code)
		if m == nil {
			out.WriteString(code)
			return out.String(), nil
		}
		name, element := code[m[2]:m[3]], code[m[4]:m[5]]
		var sizes []int
		for s := range strings.SplitSeq(strings.TrimSuffix(code[m[6]:m[7]], ">"), ">") {
			n, err := u.evaluate(strings.TrimPrefix(s, ", "))
			if err != nil {
				return "", fmt.Errorf("array %s: %w", name, err)
			}
			sizes = append(sizes, n)
		}
		slices.Reverse(sizes) // the last of the type is the first index
		out.WriteString(code[:m[0]])
		for i := range product(sizes) {
			suffix := ""
			for d := len(sizes) - 1; d >= 0; d-- {
				suffix = "_" + strconv.Itoa(i%sizes[d]) + suffix
				i /= sizes[d]
			}
			fmt.Fprintf(&out, "var %s%s = %s();\n", name, suffix, element)
		}
		end := closing(code, m[1])
		block, err := u.rename(code[m[1]:end], name, sizes)
		if err != nil {
			return "", err
		}
		code = block + code[end:]
	}
}

// rename puts variables in the place of an array's elements.
func (u unroller) rename(code, name string, sizes []int) (string, error) {
	var out strings.Builder
	for {
		at := use(code, name)
		out.WriteString(code[:min(at+len(name), len(code))])
		if at == len(code) {
			return out.String(), nil
		}
		code = code[at+len(name):]
		for _, size := range sizes {
			if !strings.HasPrefix(code, "[") {
				return "", fmt.Errorf("array %s is used without %d indices", name, len(sizes))
			}
			end := matching(code, 1, '[', ']')
			i, err := u.evaluate(code[1:end])
			if err != nil {
				return "", fmt.Errorf("index of %s: %w", name, err)
			}
			if i < 0 || i >= size {
				return "", fmt.Errorf("index of %s: %d of %d", name, i, size)
			}
			out.WriteString("_" + strconv.Itoa(i))
			code = code[end+1:]
		}
	}
}

// replace puts value in the place of a name.
func replace(code, name, value string) string {
	var out strings.Builder
	for {
		at := use(code, name)
		out.WriteString(code[:at])
		if at == len(code) {
			return out.String()
		}
		out.WriteString(value)
		code = code[at+len(name):]
	}
}

// use returns where name is used first, or the end: v.x is no use of x, nor is a comment.
func use(code, name string) int {
	inside := func(i int) bool {
		return i >= 0 && i < len(code) && (code[i] == '_' || code[i] >= '0' && code[i] <= '9' || code[i]|0x20 >= 'a' && code[i]|0x20 <= 'z')
	}
	for at := 0; ; at += len(name) {
		next := strings.Index(code[at:], name)
		if next < 0 {
			return len(code)
		}
		at += next
		comment := strings.Contains(code[strings.LastIndexByte(code[:at], '\n')+1:at], "//")
		if !comment && !inside(at-1) && !inside(at+len(name)) && (at == 0 || code[at-1] != '.') {
			return at
		}
	}
}

// closing returns where the block that code is inside of from from on ends.
func closing(code string, from int) int { return matching(code, from, '{', '}') }

// matching returns where the bracket that was opened before from is closed.
func matching(code string, from int, open, close byte) int {
	depth := 1
	for i := from; i < len(code); i++ {
		switch code[i] {
		case open:
			depth++
		case close:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(code) - 1
}

func product(sizes []int) int {
	n := 1
	for _, s := range sizes {
		n *= s
	}
	return n
}
