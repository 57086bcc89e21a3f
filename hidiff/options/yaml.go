package options

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// optionReader reads one option file. It goes on after a mistake, so that one run tells all of them.
//
// Nodes that settings put in have a negative line: −1 for the first of them.
type optionReader struct {
	file     string
	settings []Setting
	lines    map[string]int // by path, such as train.scheduler.type
	mistakes []remark
	warnings []remark
	unread   map[string]bool // keys that were warned of

	open     map[*yaml.Node]bool // nodes with an anchor that tidy is in the middle of
	copied   int                 // nodes, for aliases
	referred map[string]bool     // anchors that aliases refer to
}

// newOptionReader returns a reader of one file.
func newOptionReader(file string, settings []Setting) *optionReader {
	return &optionReader{
		file: file, settings: settings, lines: map[string]int{}, unread: map[string]bool{}, open: map[*yaml.Node]bool{}, referred: map[string]bool{},
	}
}

type remark struct {
	line int
	path string // of the option, if there is one
	text string
}

func texts(remarks []remark) (out []string) {
	slices.SortStableFunc(remarks, func(a, b remark) int { return cmp.Compare(a.line, b.line) })
	for _, r := range remarks {
		out = append(out, r.text)
	}
	return out
}

// err returns all mistakes, a line each.
func (r *optionReader) err() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts(r.mistakes), "\n"))
}

// line is where the option stands or, if it stands nowhere, the section that lacks it.
func (r *optionReader) line(path string) int {
	for {
		if line, ok := r.lines[path]; ok {
			return line
		}
		dot := strings.LastIndexByte(path, '.')
		if dot < 0 {
			return 0
		}
		path = path[:dot]
	}
}

func (r *optionReader) place(line int) string {
	switch {
	case line < 0:
		s := r.settings[-line-1]
		return cmp.Or(s.From, s.Option)
	case line == 0:
		return r.file
	}
	return fmt.Sprintf("%s:%d", r.file, line)
}

// remark is of one line, whatever names and values hold.
func (r *optionReader) remark(line int, path, format string, args []any) remark {
	where := r.place(line)
	if path != "" {
		where += ": " + path
	}
	text := where + ": " + fmt.Sprintf(format, args...)
	return remark{line, path, strings.ReplaceAll(text, "\n", `\n`)}
}

func (r *optionReader) failAt(line int, path, format string, args ...any) {
	r.mistakes = append(r.mistakes, r.remark(line, path, format, args))
}

func (r *optionReader) fail(path, format string, args ...any) {
	r.failAt(r.line(path), path, format, args...)
}

func (r *optionReader) warnAt(line int, path, format string, args ...any) {
	r.warnings = append(r.warnings, r.remark(line, path, format, args))
}

// longestPath bounds what hostile nesting takes.
const longestPath = 1000

// tree parses the file's one document, without repeated keys, and with the forced values.
func (r *optionReader) tree(data []byte) *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document, more yaml.Node
	err := d.Decode(&document)
	if err == nil {
		err = d.Decode(&more)
	}
	root := &yaml.Node{Kind: yaml.MappingNode}
	switch {
	case err == nil:
		r.failAt(more.Line, "", "a second document begins: an option file is one")
	case !errors.Is(err, io.EOF):
		r.noYAML(0, data, err)
		return nil
	}
	if len(document.Content) > 0 {
		root = document.Content[0]
	}
	if root.Kind != yaml.MappingNode {
		r.failAt(root.Line, "", "an option file is a list of keys and values, not %s", describe(root))
		return nil
	}
	r.tidy("", root)
	for i, s := range r.settings {
		r.apply(root, s.Option, -i-1)
	}
	return root
}

// noYAML reports an error of the parser about data, which says "yaml: line 3: …".
func (r *optionReader) noYAML(line int, data []byte, err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var found int
	if _, scan := fmt.Sscanf(text, "line %d: ", &found); scan == nil && line == 0 {
		line = found
		_, text, _ = strings.Cut(text, ": ")
	}
	if strings.Contains(text, "tab character") || strings.Contains(text, "cannot start any token") {
		lines := strings.Split(string(data), "\n")
		for at := max(line, 1); at <= min(line+1, len(lines)); at++ { // the parser may mean the line before
			if rest := strings.TrimLeft(lines[at-1], " "); strings.HasPrefix(rest, "\t") {
				r.failAt(at, "", "this line begins with a tab, which YAML does not allow: use spaces")
				return
			}
		}
	}
	r.failAt(line, "", "this is no YAML: %s", text)
}

// tidy removes all but the last of repeated keys below n, and writes out what aliases refer to.
func (r *optionReader) tidy(path string, n *yaml.Node) {
	if len(path) > longestPath {
		r.failAt(n.Line, path[:40]+"…", "is nested too deeply")
		n.Content = nil
	}
	if n.Anchor != "" {
		r.open[n] = true
		defer delete(r.open, n)
	}
	switch n.Kind {
	case yaml.AliasNode:
		r.expand(path, n)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			r.tidy(fmt.Sprintf("%s[%d]", path, i), item)
		}
	case yaml.MappingNode:
		if path == "path" {
			r.ownParamKeys(n)
		}
		r.merge(path, n)
		r.lastWins(path, n)
		for key, value := range members(n) {
			r.tidy(join(path, key.Value), value)
		}
	}
}

func (r *optionReader) lastWins(path string, n *yaml.Node) {
	given := map[string][]string{} // lines
	last := map[string]*yaml.Node{}
	for key := range members(n) {
		if key.Kind == yaml.ScalarNode {
			given[key.Value], last[key.Value] = append(given[key.Value], fmt.Sprint(key.Line)), key
		} else {
			r.failAt(key.Line, path, "a key must be a word, not %s", describe(key))
		}
	}
	var kept []*yaml.Node
	for key, value := range members(n) {
		if key != last[key.Value] {
			continue
		}
		kept = append(kept, key, value)
		if lines := given[key.Value]; len(lines) > 1 {
			r.warnAt(key.Line, join(path, key.Value), "repeated on lines %s: the last one counts", strings.Join(lines, ", "))
		}
	}
	n.Content = kept
}

// ownParamKeys mends a slip of the released files: each pretrain_network_X is followed by the same
// param_key_g, where param_key_X was meant.
func (r *optionReader) ownParamKeys(n *yaml.Node) {
	const slip = "param_key_g"
	has := map[string]bool{}
	for key := range members(n) {
		has[key.Value] = true
	}
	net, first := "g", true
	for key := range members(n) {
		if after, ok := strings.CutPrefix(key.Value, "pretrain_network_"); ok {
			net = after
		}
		meant := "param_key_" + net
		if key.Value != slip {
			continue
		}
		if !first && meant != slip && !has[meant] {
			r.warnAt(key.Line, "path."+slip, "repeated after pretrain_network_%s: read as %s", net, meant)
			key.Value = meant
		}
		first = false
	}
}

// apply puts in a setting, section:key=value.
func (r *optionReader) apply(root *yaml.Node, setting string, line int) {
	keys, text, ok := strings.Cut(setting, "=")
	if !ok {
		r.failAt(line, "", "write section:key=value, such as train:total_iter=1000")
		return
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		r.noYAML(line, nil, err)
		return
	}
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	if len(document.Content) > 0 {
		value = document.Content[0]
	}
	setLine(value, line)
	path := strings.ReplaceAll(keys, ":", ".")
	r.tidy(path, value)
	at := root
	steps := strings.Split(keys, ":")
	for i, step := range steps {
		if isNull(at) {
			*at = yaml.Node{Kind: yaml.MappingNode, Line: line}
		}
		if at.Kind != yaml.MappingNode || step == "" {
			r.failAt(line, "", "there is no section %q to put it in", strings.Join(steps[:i], ":"))
			return
		}
		var key *yaml.Node
		if key, at = member(at, step, line); i == len(steps)-1 {
			key.Line = line
		}
	}
	*at = *value
}

// member returns a key and its value, which it adds at line if need be.
func member(n *yaml.Node, name string, line int) (key, value *yaml.Node) {
	for key, value := range members(n) {
		if key.Value == name {
			return key, value
		}
	}
	key = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Line: line}
	value = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: line}
	n.Content = append(n.Content, key, value)
	return key, value
}

func setLine(n *yaml.Node, line int) {
	n.Line = line
	for _, child := range n.Content {
		setLine(child, line)
	}
}

// members yields the keys and values of a mapping.
func members(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// lookup returns the value below a mapping at the keys, or nil.
func lookup(n *yaml.Node, keys ...string) *yaml.Node {
	for _, name := range keys {
		var found *yaml.Node
		if n.Kind == yaml.MappingNode {
			for key, value := range members(n) {
				if key.Value == name {
					found = value
				}
			}
		}
		if found == nil {
			return nil
		}
		n = found
	}
	return n
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe says in words what a node is.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	text := n.Value
	if runes := []rune(text); len(runes) > 40 {
		text = string(runes[:40]) + "…"
	}
	// With a tag of the author's own, any text is no !!str: what must be escaped stays one line.
	if quoted := strconv.Quote(text); n.ShortTag() == "!!str" || len(quoted) > len(text)+2 {
		return "the text " + quoted
	}
	return text
}
