package options

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlReader is a type that reads itself.
type yamlReader interface {
	readYAML(r *optionReader, path string, n *yaml.Node)
}

// value reads a node into a field. Nothing, YAML's null, leaves the default.
func (r *optionReader) value(path string, n *yaml.Node, into reflect.Value) {
	if isNull(n) {
		return
	}
	if custom, ok := into.Addr().Interface().(yamlReader); ok {
		custom.readYAML(r, path, n)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		if d, ok := into.Interface().(interface{ setDefaults() }); ok {
			d.setDefaults()
		}
		r.value(path, n, into.Elem())
	case reflect.Struct:
		r.section(path, n, into)
	case reflect.Slice:
		if r.isList(path, n) {
			into.Set(reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content)))
			r.items(path, n, into)
		}
	case reflect.Array:
		if !r.isList(path, n) {
			return
		}
		if len(n.Content) != into.Len() {
			r.fail(path, "must have %d numbers, not %d", into.Len(), len(n.Content))
			return
		}
		r.items(path, n, into)
	case reflect.String:
		if n.Kind != yaml.ScalarNode {
			r.fail(path, "must be text, not %s", describe(n))
			return
		}
		into.SetString(n.Value)
	case reflect.Bool:
		b, ok := boolean(n)
		if !ok {
			r.fail(path, "must be true or false, not %s", describe(n))
			return
		}
		into.SetBool(b)
	case reflect.Int:
		f, ok := number(n)
		if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			r.fail(path, "must be a whole number, not %s", describe(n))
			return
		}
		into.SetInt(int64(f))
	case reflect.Float64:
		f, ok := number(n)
		if !ok {
			r.fail(path, "must be a number, not %s", describe(n))
			return
		}
		into.SetFloat(f)
	default:
		panic(fmt.Sprintf("options: values of type %s cannot be read", into.Type()))
	}
}

// section reads a mapping into the fields of a struct, by their tags.
func (r *optionReader) section(path string, n *yaml.Node, into reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.fail(path, "must be a section of keys and values, not %s", describe(n))
		return
	}
	fields := map[string]reflect.StructField{}
	for i := range into.NumField() {
		f := into.Type().Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" && name != "-" {
			fields[name] = f
		}
	}
	for key, value := range members(n) {
		at := join(path, key.Value)
		r.lines[at] = key.Line
		f, known := fields[key.Value]
		switch {
		case !known && path == "" && r.referred[value.Anchor]: // there for its aliases alone
		case !known:
			r.fail(at, "there is no such option%s", suggestion(key.Value, slices.Sorted(maps.Keys(fields))))
		case f.Type != reflect.TypeFor[unread]():
			r.value(at, value, into.FieldByIndex(f.Index))
		case !r.unread[key.Value]:
			r.unread[key.Value] = true
			r.warnAt(key.Line, at, "has no effect: %s", f.Tag.Get("why"))
		}
	}
}

func (r *optionReader) isList(path string, n *yaml.Node) bool {
	if n.Kind == yaml.SequenceNode {
		return true
	}
	r.fail(path, "must be a list, such as [1, 2], not %s", describe(n))
	return false
}

func (r *optionReader) items(path string, n *yaml.Node, into reflect.Value) {
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.lines[at] = item.Line
		if isNull(item) {
			r.fail(at, "must not be empty")
			continue
		}
		r.value(at, item, into.Index(i))
	}
}

func isPlain(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// boolean reads YAML 1.1's booleans.
func boolean(n *yaml.Node) (value, ok bool) {
	if !isPlain(n) {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// number reads a finite number in any spelling of YAML, and such as 4e3, which YAML 1.1 takes for text.
func number(n *yaml.Node) (f float64, ok bool) {
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" {
		return 0, false
	}
	text := strings.ReplaceAll(n.Value, "_", "")
	if i, err := strconv.ParseInt(text, 0, 64); err == nil {
		return float64(i), true
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

func (g *NumGPU) readYAML(r *optionReader, path string, n *yaml.Node) {
	if n.Value == "auto" {
		*g = 0
		return
	}
	f, ok := number(n)
	if !ok || f < 1 || f > math.MaxInt32 || f != math.Trunc(f) {
		r.fail(path, "must be auto or a number from 1, not %s", describe(n))
		return
	}
	*g = NumGPU(f)
}

func (s *Switch) readYAML(r *optionReader, path string, n *yaml.Node) {
	on, ok := boolean(n)
	switch {
	case ok && on:
		*s = On
	case ok:
		*s = Off
	case n.Value == string(Auto):
		*s = Auto
	default:
		r.fail(path, "must be auto, true or false, not %s", describe(n))
	}
}

func (s *DatasetSections) readYAML(r *optionReader, path string, n *yaml.Node) {
	r.eachSection(path, n, func(key, at string, value *yaml.Node) {
		d := defaultDataset(key)
		r.value(at, value, reflect.ValueOf(&d).Elem())
		*s = append(*s, d)
	})
}

func (s *MetricSections) readYAML(r *optionReader, path string, n *yaml.Node) {
	r.eachSection(path, n, func(key, at string, value *yaml.Node) {
		m := MetricSection{Key: key}
		r.value(at, value, reflect.ValueOf(&m).Elem())
		*s = append(*s, m)
	})
}

// eachSection reads a mapping whose keys the user chose.
func (r *optionReader) eachSection(path string, n *yaml.Node, read func(key, at string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fail(path, "must be a section of keys and values, not %s", describe(n))
		return
	}
	for key, value := range members(n) {
		at := join(path, key.Value)
		r.lines[at] = key.Line
		read(key.Value, at, value)
	}
}

func (o *OptimOptions) readYAML(r *optionReader, path string, n *yaml.Node) {
	if kind := lookup(n, "type"); kind != nil { // the default of weight_decay depends on it
		*o = defaultOptim(kind.Value)
	}
	r.section(path, n, reflect.ValueOf(o).Elem())
}

func (s *NetworkSection) readYAML(r *optionReader, path string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		r.fail(path, "must be a section of keys and values, not %s", describe(n))
		return
	}
	if kind := lookup(n, "type"); kind != nil {
		s.Type = kind.Value
	}
	var b bytes.Buffer
	r.writeJSON(&b, path, n)
	s.JSON = b.Bytes()
	s.where = r.place(r.line(path)) + ": " + path
}

// writeJSON writes a node, the keys in their order.
func (r *optionReader) writeJSON(b *bytes.Buffer, path string, n *yaml.Node) {
	write := func(v any) {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // no finite number or text can fail
		}
		b.Write(text)
	}
	separator := ""
	switch {
	case n.Kind == yaml.MappingNode:
		b.WriteByte('{')
		for key, value := range members(n) {
			b.WriteString(separator)
			write(key.Value)
			b.WriteByte(':')
			at := join(path, key.Value)
			r.lines[at] = key.Line
			r.writeJSON(b, at, value)
			separator = ","
		}
		b.WriteByte('}')
	case n.Kind == yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			b.WriteString(separator)
			r.writeJSON(b, fmt.Sprintf("%s[%d]", path, i), item)
			separator = ","
		}
		b.WriteByte(']')
	case isNull(n):
		b.WriteString("null")
	default:
		if v, ok := boolean(n); ok {
			write(v)
		} else if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" {
			write(n.Value)
		} else if v, ok := number(n); ok {
			write(v)
		} else {
			r.fail(path, "must be a finite number, not %s", describe(n))
			b.WriteString("null")
		}
	}
}
