package options

import (
	"bytes"
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML writes the options as they are in effect: forced values in place, absent ones spelt
// out, unread ones left out. [Parse] reads it back.
func (o *Options) YAML() ([]byte, error) {
	var root yaml.Node
	if err := root.Encode(o); err != nil {
		return nil, err
	}
	asFloats(&root)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&root); err != nil {
		return nil, err
	}
	return out.Bytes(), e.Close()
}

// asFloats gives numbers such as 1e-06 a point: without one, YAML 1.1 takes them for text.
func asFloats(n *yaml.Node) {
	if n.ShortTag() == "!!float" && !strings.Contains(n.Value, ".") {
		n.Value = strings.Replace(n.Value, "e", ".0e", 1)
	}
	for _, child := range n.Content {
		asFloats(child)
	}
}

// MarshalYAML writes auto or the number.
func (g NumGPU) MarshalYAML() (any, error) {
	if g == 0 {
		return "auto", nil
	}
	return int(g), nil
}

// MarshalYAML writes auto or a boolean.
func (s Switch) MarshalYAML() (any, error) {
	if s == Auto {
		return string(s), nil
	}
	return s == On, nil
}

// MarshalYAML writes a mapping from keys to datasets.
func (s DatasetSections) MarshalYAML() (any, error) {
	return mapping(s, func(d DatasetSection) string { return d.Key })
}

// MarshalYAML writes a mapping from keys to metrics.
func (s MetricSections) MarshalYAML() (any, error) {
	return mapping(s, func(m MetricSection) string { return m.Key })
}

func mapping[T any](items []T, key func(T) string) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, item := range items {
		var k, v yaml.Node
		if err := errors.Join(k.Encode(key(item)), v.Encode(item)); err != nil {
			return nil, err
		}
		n.Content = append(n.Content, &k, &v)
	}
	return n, nil
}

// MarshalYAML writes the section as the file has it.
func (s NetworkSection) MarshalYAML() (any, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(s.JSON, &document); err != nil {
		return nil, err
	}
	root := document.Content[0]
	plainYAML(root)
	return root, nil
}

// plainYAML takes JSON's quotes and braces from a node, but for lists, which stay on one line, and
// for text that without its quotes would be something else.
func plainYAML(n *yaml.Node) {
	switch n.Kind {
	case yaml.SequenceNode:
		n.Style = yaml.FlowStyle
	case yaml.MappingNode:
		n.Style = 0
	case yaml.ScalarNode:
		bare := yaml.Node{Kind: yaml.ScalarNode, Value: n.Value}
		if _, isBool := boolean(&bare); !isBool && bare.ShortTag() == n.ShortTag() {
			n.Style = 0
		}
	}
	for _, child := range n.Content {
		plainYAML(child)
	}
}
