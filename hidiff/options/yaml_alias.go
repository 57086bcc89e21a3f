package options

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// mostCopied bounds what aliases may unfold to: aliases of lists of aliases can make a short file a huge one.
const mostCopied = 100_000

// expand puts a copy of what an alias refers to in its place. An alias that would never end, or unfold to too
// much, becomes nothing.
func (r *optionReader) expand(path string, alias *yaml.Node) {
	to, name, line := alias.Alias, alias.Value, alias.Line
	*alias = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: line}
	r.referred[name] = true
	if r.open[to] {
		r.failAt(line, path, "*%s refers to itself", name)
		return
	}
	if r.copied > mostCopied {
		return // as has been said
	}
	if r.copied += size(to); r.copied > mostCopied {
		r.failAt(line, path, "aliases such as *%s unfold to more than %d values", name, mostCopied)
		return
	}
	*alias = *clone(to)
	r.tidy(path, alias) // for what lastWins removed, and nobody has tidied
}

// merge writes out the keys << of a mapping: the members of the sections that they name, but for keys that are
// there already. Of several sections the first counts, as YAML's merge type says.
func (r *optionReader) merge(path string, n *yaml.Node) {
	isMerge := func(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" }
	has := map[string]bool{}
	for key := range members(n) {
		has[key.Value] = has[key.Value] || !isMerge(key)
	}
	var content []*yaml.Node
	for key, value := range members(n) {
		if !isMerge(key) {
			content = append(content, key, value)
			continue
		}
		r.tidy(join(path, "<<"), value)
		sections := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			sections = value.Content
		}
		for _, s := range sections {
			if s.Kind != yaml.MappingNode {
				r.failAt(key.Line, join(path, "<<"), "must name a section of keys and values, or a list of such, not %s", describe(s))
				continue
			}
			for key, value := range members(s) {
				if !has[key.Value] {
					has[key.Value] = true
					content = append(content, key, value)
				}
			}
		}
	}
	n.Content = content
}

// clone copies a node with all that is below it.
func clone(n *yaml.Node) *yaml.Node {
	out := *n
	out.Anchor = ""
	out.Content = slices.Clone(n.Content)
	for i, child := range out.Content {
		out.Content[i] = clone(child)
	}
	return &out
}

// size counts a node and all below it.
func size(n *yaml.Node) int {
	count := 1
	for _, child := range n.Content {
		count += size(child)
	}
	return count
}
