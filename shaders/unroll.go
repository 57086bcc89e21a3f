package shaders

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	unrollHead  = regexp.MustCompile(`for \(var (\w+) = ([^;]+); (\w+) < ([^;]+); (\w+)(?:\+\+| \+= ([^){]+))\) \{ // unroll\n`)
	scalarsDecl = regexp.MustCompile(`( *)var (\w+) = ((?:array<)+)(\w+)((?:, [^>,]+>)+)\(\); // scalars\n`)
	declaration = regexp.MustCompile(`(?m)^ *(?:let|var) `)
	u32Constant = regexp.MustCompile(`(?m)^const (\w+): u32 = ([^;]+);`)
	counted     = regexp.MustCompile(`[A-Za-z_]\w*|\b\d+u\b`) // in an expression to evaluate
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
	plain := counted.ReplaceAllStringFunc(expression, func(word string) string {
		if value, ok := u[word]; ok {
			return strconv.Itoa(value)
		}
		return strings.TrimSuffix(word, "u")
	})
	if value, err := strconv.Atoi(plain); err == nil {
		return value, nil
	}
	t, err := types.Eval(token.NewFileSet(), nil, token.NoPos, plain)
	if err != nil || t.Value == nil || t.Value.Kind() != constant.Int {
		return 0, fmt.Errorf("%q is no whole number before the shader runs", expression)
	}
	value, _ := constant.Int64Val(t.Value)
	return int(value), nil
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
		use := regexp.MustCompile(`(^|[^.\w])` + counter + `\b`) // v.x is no use of a counter x
		out.WriteString(code[:m[0]])
		for i := span[0]; i < span[1]; i += max(span[2], 1) {
			once, err := u.loops(use.ReplaceAllString(body, "${1}"+strconv.Itoa(i)+"u"))
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
	for {
		m := scalarsDecl.FindStringSubmatchIndex(code)
		if m == nil {
			return code, nil
		}
		name, element := code[m[4]:m[5]], code[m[8]:m[9]]
		var sizes []int
		for _, s := range strings.Split(code[m[10]:m[11]], ">") {
			if s == "" {
				continue
			}
			n, err := u.evaluate(strings.TrimPrefix(s, ", "))
			if err != nil {
				return "", fmt.Errorf("array %s: %w", name, err)
			}
			sizes = append(sizes, n)
		}
		slices.Reverse(sizes) // the last of the type is the first index
		var out strings.Builder
		out.WriteString(code[:m[0]])
		for i := range product(sizes) {
			suffix := ""
			for d := len(sizes) - 1; d >= 0; d-- {
				suffix = "_" + strconv.Itoa(i%sizes[d]) + suffix
				i /= sizes[d]
			}
			fmt.Fprintf(&out, "%svar %s%s = %s();\n", code[m[2]:m[3]], name, suffix, element)
		}
		end := closing(code, m[1])
		block, err := u.rename(code[m[1]:end], name, sizes)
		if err != nil {
			return "", err
		}
		out.WriteString(block)
		out.WriteString(code[end:])
		code = out.String()
	}
}

// rename puts variables in the place of an array's elements.
func (u unroller) rename(code, name string, sizes []int) (string, error) {
	use := regexp.MustCompile(`(?:^|[^.\w])` + name + `\b`) // v.x is no use of an array x
	var out strings.Builder
	for {
		m := use.FindStringIndex(code)
		if m == nil {
			out.WriteString(code)
			return out.String(), nil
		}
		out.WriteString(code[:m[1]])
		code = code[m[1]:]
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
