package photo

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Namespaces in XMP packets.
const (
	nsRDF       = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
	nsXMP       = "http://ns.adobe.com/xap/1.0/"
	nsNote      = "http://ns.adobe.com/xmp/note/"
	nsContainer = "http://ns.google.com/photos/1.0/container/"
	nsItem      = "http://ns.google.com/photos/1.0/container/item/"
	nsDepth     = "http://ns.google.com/photos/1.0/depthmap/"
	nsCamera    = "http://ns.google.com/photos/1.0/camera/"
)

var xmpOrientation = regexp.MustCompile(`(tiff:Orientation(?:\s*=\s*["']|>\s*))([1-8])`)

// orientationOfXMP is 0 if the packet has none.
func orientationOfXMP(xmp []byte) int {
	if m := xmpOrientation.FindSubmatch(xmp); m != nil {
		return int(m[2][0] - '0')
	}
	return 0
}

// resetXMPOrientation makes XMP agree with pixels that were turned upright. The result is a copy.
func resetXMPOrientation(xmp []byte) []byte {
	return xmpOrientation.ReplaceAll(xmp, []byte("${1}1"))
}

// xmpNode is an element of a packet, or an attribute, and where it stands in the text.
type xmpNode struct {
	name      xml.Name
	text      string // an attribute's value, an element's first text
	from, to  int    // of an attribute with the space before it
	body, end int    // of an element: what lies between its tags
	nodes     []*xmpNode
}

var errXMP = errors.New("the XMP cannot be read")

var xmlAttribute = regexp.MustCompile(`\s+[^\s=>/]+\s*=\s*(?:"[^"]*"|'[^']*')`)

// parseXMP reads a packet. Size, nodes and depth are bounded: nodes take far more memory than their
// text, and are visited recursively.
func parseXMP(xmp []byte) (*xmpNode, error) {
	if len(xmp) > maxMetadata {
		return nil, errXMP
	}
	d := xml.NewDecoder(bytes.NewReader(xmp))
	root := &xmpNode{}
	open := []*xmpNode{root}
	for count := 0; ; count++ {
		from := int(d.InputOffset())
		token, err := d.Token()
		if err != nil || len(open) > 64 || count > 1<<18 {
			return nil, errXMP
		}
		to := int(d.InputOffset())
		top := open[len(open)-1]
		switch t := token.(type) {
		case xml.StartElement:
			n := &xmpNode{name: t.Name, from: from, body: to}
			places := xmlAttribute.FindAllIndex(xmp[from:to], -1)
			if len(places) != len(t.Attr) {
				return nil, errXMP
			}
			for i, a := range t.Attr {
				n.nodes = append(n.nodes, &xmpNode{name: a.Name, text: a.Value, from: from + places[i][0], to: from + places[i][1]})
			}
			top.nodes = append(top.nodes, n)
			open = append(open, n)
		case xml.EndElement:
			top.end, top.to = from, to
			if open = open[:len(open)-1]; len(open) == 1 {
				root.to = to
				return root, nil
			}
		case xml.CharData:
			if top.text == "" {
				top.text = strings.TrimSpace(string(t))
			}
		}
	}
}

// all returns the nodes below n, in order, that a test accepts.
func (n *xmpNode) all(test func(xml.Name) bool) (found []*xmpNode) {
	for _, c := range n.nodes {
		if test(c.name) {
			found = append(found, c)
		}
		found = append(found, c.all(test)...)
	}
	return found
}

func (n *xmpNode) named(space, local string) []*xmpNode {
	return n.all(func(x xml.Name) bool { return x.Space == space && x.Local == local })
}

// value returns the text of the first node of a name, "" if there is none.
func (n *xmpNode) value(space, local string) string {
	if all := n.named(space, local); len(all) > 0 {
		return all[0].text
	}
	return ""
}

// without returns the packet less some of its nodes, in any order; they may lie within each other.
func (n *xmpNode) without(xmp []byte, gone []*xmpNode) []byte {
	gone = slices.Clone(gone)
	slices.SortStableFunc(gone, func(a, b *xmpNode) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, g := range gone {
		if g.from >= at {
			out = append(out, xmp[at:g.from]...)
		}
		at = max(at, g.to)
	}
	return append(out, xmp[at:]...)
}

// descriptions are the elements within rdf:RDF, each with the declarations that it owes to its parents.
func (n *xmpNode) descriptions(xmp []byte) (rdf *xmpNode, children []*xmpNode, texts [][]byte) {
	var declared []byte
	for rdf = n; rdf.name != (xml.Name{Space: nsRDF, Local: "RDF"}); {
		var inner *xmpNode
		for _, c := range rdf.nodes {
			if c.body > 0 && inner == nil {
				inner = c
			}
		}
		if rdf = inner; rdf == nil {
			return nil, nil, nil
		}
		for _, a := range rdf.nodes {
			if a.body == 0 && a.name.Space == "xmlns" {
				declared = append(declared, xmp[a.from:a.to]...)
			}
		}
	}
	if len(declared) > maxSegment {
		return nil, nil, nil
	}
	for _, c := range rdf.nodes {
		if c.body == 0 {
			continue
		}
		children = append(children, c)
		var own []byte
		for _, m := range xmlAttribute.FindAll(declared, -1) {
			name, _, _ := bytes.Cut(bytes.TrimSpace(m), []byte("="))
			if !bytes.Contains(xmp[c.from:c.body], append(bytes.TrimSpace(name), '=')) && !bytes.Contains(own, name) {
				own = append(own, m...)
			}
		}
		tag := c.from + 1 + bytes.IndexAny(xmp[c.from+1:c.body], " \t\r\n/>")
		texts = append(texts, slices.Concat(xmp[c.from:tag], own, xmp[tag:c.to]))
	}
	return rdf, children, texts
}

// joinXMP puts the extension of a JPEG's XMP into the packet that announces it.
func joinXMP(main, extension []byte) ([]byte, error) {
	a, err := parseXMP(main)
	if err != nil {
		return nil, err
	}
	b, err := parseXMP(extension)
	if err != nil {
		return nil, err
	}
	rdf, _, _ := a.descriptions(main)
	if _, _, texts := b.descriptions(extension); rdf != nil && rdf.end < rdf.to && texts != nil {
		added := slices.Concat(texts...)
		joined := slices.Concat(main[:rdf.end], added, main[rdf.end:])
		return a.without(joined, a.named(nsNote, "HasExtendedXMP")), nil // which stands before the end
	}
	return nil, errXMP
}

// xmpExtension collects the segments of a JPEG's extended XMP: a GUID of 32 digits, the length of
// all, the offset of this one, data. They come in order.
type xmpExtension map[string][]byte

func (x *xmpExtension) add(b []byte) {
	if len(b) < 40 {
		return
	}
	if *x == nil {
		*x = xmpExtension{}
	}
	guid, offset := string(b[:32]), int(binary.BigEndian.Uint32(b[36:]))
	if offset == len((*x)[guid]) {
		(*x)[guid] = append((*x)[guid], b[40:]...)
	}
}

// joinXMP puts the extension that XMP announces into the packet. What cannot be joined stays
// announced, and settle says so.
func (m *Metadata) joinXMP(x xmpExtension) {
	n, err := parseXMP(m.XMP)
	if err != nil {
		return
	}
	if joined, err := joinXMP(m.XMP, x[n.value(nsNote, "HasExtendedXMP")]); err == nil {
		m.XMP = joined
	}
}

// splitXMP divides a packet between a JPEG's first segment and its extension, which is nil where the
// segment holds all. Whole descriptions move, the last first.
func splitXMP(xmp []byte) (main, extension []byte, err error) {
	const room = maxSegment - len(xmpPrefix)
	if len(xmp) <= room {
		return xmp, nil, nil
	}
	n, err := parseXMP(xmp)
	if err != nil {
		return nil, nil, err
	}
	rdf, children, texts := n.descriptions(xmp)
	const notice = `<rdf:Description xmlns:rdf="` + nsRDF + `" rdf:about="" xmlns:xmpNote="` + nsNote + `" xmpNote:HasExtendedXMP="%X"/>`
	length := len(xmp) + len(notice) + 2*md5.Size
	first := len(children)
	for ; length > room && first > 0; first-- {
		length -= children[first-1].to - children[first-1].from
	}
	if length > room {
		return nil, nil, errXMP
	}
	extension = slices.Concat([]byte(`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="`+nsRDF+`">`),
		slices.Concat(texts[first:]...), []byte(`</rdf:RDF></x:xmpmeta>`))
	announced := slices.Concat(xmp[:rdf.end], fmt.Appendf(nil, notice, md5.Sum(extension)), xmp[rdf.end:])
	return n.without(announced, children[first:]), extension, nil
}
