package photo

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
)

// What can lie behind a JPEG's picture.
const (
	gainMap        = "gain map"
	motionVideo    = "motion video"
	depthMap       = "depth map"
	preview        = "preview"
	furtherPicture = "further picture"
	furtherData    = "data behind the picture"
)

const (
	mpfPrefix     = "MPF\x00"
	gainMapPrefix = "urn:iso:std:iso:ts:21496:-1\x00"
	maxParts      = 64

	tagMPFVersion = 0xB000
	tagMPFCount   = 0xB001
	tagMPFEntries = 0xB002
)

// behind is what a JPEG carries after its picture: XMP's container lists it (Ultra HDR, motion photos)
// or XMP's offset of a micro video, or the MPF index (CIPA DC-007).
type behind struct {
	data    []byte
	parts   []part // in order, apart from each other; what lies between is padding
	primary uint32 // the MPF attributes of the picture itself
}

// part is one file within behind.data.
type part struct {
	what       string
	from, to   int
	indexed    bool   // in MPF
	attributes uint32 // there
}

// findBehind fills m.behind from the file that follows the picture; mpf is the index, whose offsets
// count from base, a place before the file (thus negative).
func (m *Metadata) findBehind(rest, mpf []byte, base int) {
	if isPadding(rest) {
		return
	}
	claims := m.claims(rest)
	if b, fields, err := exifFields(mpf); err == nil {
		entries := find(fields, tagMPFEntries).value
		for i := 0; len(entries) >= 16 && i < maxParts; i, entries = i+1, entries[16:] {
			attributes, size, at := b.order.Uint32(entries), int(b.order.Uint32(entries[4:])), base+int(b.order.Uint32(entries[8:]))
			if i == 0 {
				m.behind.primary = attributes
				continue
			}
			p := part{from: at, to: at + size, indexed: true, attributes: attributes}
			p.what = p.guess(rest)
			claims = append(claims, p)
		}
	}
	slices.SortStableFunc(claims, func(a, b part) int { return a.from - b.from })
	end := 0
	for _, p := range claims {
		if last := len(m.behind.parts) - 1; last >= 0 && p.from == m.behind.parts[last].from && p.indexed {
			// Both XMP and the index name it.
			m.behind.parts[last].indexed, m.behind.parts[last].attributes = true, p.attributes
			continue
		}
		if p.from < end || !p.valid(rest) {
			m.addLost(p.what + " (damaged)")
			continue
		}
		end = p.to
		m.behind.parts = append(m.behind.parts, p)
	}
	m.behind.data = rest[:end]
	if !isPadding(rest[end:]) {
		m.addLost(furtherData)
	}
}

func isPadding(b []byte) bool { return len(bytes.Trim(b, "\x00\xff\r\n ")) == 0 }

// guess tells what a picture in the MPF index is.
func (p part) guess(rest []byte) string {
	if p.attributes>>16&0xFF == 1 { // large thumbnail
		return preview
	}
	if !p.valid(rest) {
		return furtherPicture
	}
	for _, mark := range []struct{ text, what string }{
		{"hdr-gain-map", gainMap}, {"hdrgainmap", gainMap}, {gainMapPrefix, gainMap},
		{"aux:depth", depthMap}, {"aux:disparity", depthMap},
	} {
		if bytes.Contains(rest[p.from:p.to], []byte(mark.text)) {
			return mark.what
		}
	}
	return furtherPicture
}

// valid reports whether a part lies within the file and begins as what it is said to be.
func (p part) valid(rest []byte) bool {
	if p.from < 0 || p.to > len(rest) || p.to-p.from < 12 {
		return false
	}
	start := rest[p.from:p.to]
	if p.what == motionVideo {
		return string(start[4:8]) == "ftyp"
	}
	return p.what == furtherData || p.what == depthMap || bytes.HasPrefix(start, []byte{0xFF, 0xD8, 0xFF})
}

// claims are the parts that XMP announces.
func (m *Metadata) claims(rest []byte) (claims []part) {
	n, err := parseXMP(m.XMP)
	if err != nil {
		return nil
	}
	for _, item := range containerItems(n) {
		claims = append(claims, item.part)
	}
	if back, err := strconv.Atoi(n.value(nsCamera, "MicroVideoOffset")); err == nil && back > 0 && back <= len(rest) {
		p := part{what: motionVideo, from: len(rest) - back, to: len(rest)}
		if !slices.ContainsFunc(claims, func(c part) bool { return c.from == p.from }) {
			claims = append(claims, p)
		}
	}
	return claims
}

// item is an entry of XMP's container, other than the picture itself.
type item struct {
	part
	node *xmpNode // the rdf:li
}

// containerItems reads the directory. Items follow the picture in its order, each with padding.
func containerItems(n *xmpNode) (items []item) {
	at := 0
	for _, directory := range n.named(nsContainer, "Directory") {
		for _, li := range directory.named(nsRDF, "li") {
			number := func(name string) int {
				v, err := strconv.ParseUint(li.value(nsItem, name), 10, 31)
				if err != nil {
					return 0
				}
				return int(v)
			}
			semantic, mime := li.value(nsItem, "Semantic"), li.value(nsItem, "Mime")
			p := part{from: at, to: at + number("Length")}
			at = p.to + number("Padding")
			switch {
			case semantic == "Primary":
				at = number("Padding")
				continue
			case semantic == "GainMap":
				p.what = gainMap
			case strings.HasPrefix(mime, "video/"):
				p.what = motionVideo
			case strings.Contains(strings.ToLower(semantic), "depth"):
				p.what = depthMap
			case mime == "image/jpeg":
				p.what = furtherPicture
			default:
				p.what = furtherData
			}
			if items = append(items, item{p, li}); len(items) > maxParts {
				return nil
			}
		}
	}
	return items
}

// keepBehind drops the parts for which loss finds words, and takes back what XMP and other segments
// promise of parts that are not there.
func (m *Metadata) keepBehind(loss func(what string) string) {
	old := m.behind
	m.behind = behind{primary: old.primary}
	has, stays := map[string]bool{}, map[int]bool{} // what is kept, and where it was
	for i, p := range old.parts {
		if words := loss(p.what); words != "" {
			m.addLost(words)
			continue
		}
		has[p.what], stays[p.from] = true, true
		if m.behind.parts == nil { // the picture's own padding
			m.behind.data = bytes.Clone(old.data[:old.parts[0].from])
		}
		next := len(old.data)
		if i+1 < len(old.parts) {
			next = old.parts[i+1].from
		}
		shift := len(m.behind.data) - p.from
		m.behind.data = append(m.behind.data, old.data[p.from:next]...)
		p.from, p.to = p.from+shift, p.to+shift
		m.behind.parts = append(m.behind.parts, p)
	}
	m.takeBack(has, stays)
}

// takeBack removes from XMP what it says of parts that are not kept, and the segment that announces a
// gain map. A promise of what never was in the file is a loss, too.
func (m *Metadata) takeBack(has map[string]bool, stays map[int]bool) {
	missing := func(what string) {
		if !slices.ContainsFunc(m.lost, func(l string) bool { return strings.HasPrefix(l, what) }) {
			m.addLost(what + " (announced, but not there)")
		}
	}
	m.extras = slices.DeleteFunc(slices.Clone(m.extras), func(e extra) bool {
		if e.what == gainMap && !has[gainMap] {
			missing(gainMap)
			return true
		}
		return false
	})
	if !bytes.Contains(m.XMP, []byte("http://ns.google.com/photos/")) && !bytes.Contains(m.XMP, []byte("gain-map")) && !bytes.Contains(m.XMP, []byte("HDRGainMap")) {
		return
	}
	n, err := parseXMP(m.XMP)
	if err != nil {
		m.XMP = nil
		m.addLost("XMP (damaged)")
		return
	}
	var gone []*xmpNode
	items, left := containerItems(n), 0
	for _, i := range items {
		if stays[i.from] {
			left++
		} else {
			missing(i.what)
			gone = append(gone, i.node)
		}
	}
	if left == 0 {
		gone = append(gone, n.named(nsContainer, "Directory")...)
	}
	if !has[gainMap] {
		found := n.all(func(x xml.Name) bool {
			return strings.Contains(x.Space, "//ns.adobe.com/hdr-gain-map/") || strings.Contains(x.Space, "//ns.apple.com/HDRGainMap/")
		})
		if len(found) > 0 {
			missing(gainMap)
		}
		gone = append(gone, found...)
	}
	if !has[motionVideo] {
		if n.value(nsCamera, "MicroVideo") == "1" || n.value(nsCamera, "MotionPhoto") == "1" {
			missing(motionVideo)
		}
		gone = append(gone, n.all(func(x xml.Name) bool {
			return x.Space == nsCamera && (strings.HasPrefix(x.Local, "MicroVideo") || strings.HasPrefix(x.Local, "MotionPhoto"))
		})...)
	}
	m.XMP = n.without(m.XMP, gone)
}

// dropXMP removes properties of some namespaces, and reports whether there were any.
func (m *Metadata) dropXMP(test func(xml.Name) bool) bool {
	n, err := parseXMP(m.XMP)
	if err != nil {
		return false
	}
	gone := n.all(test)
	m.XMP = n.without(m.XMP, gone)
	return len(gone) > 0
}

// appendMPF appends the segment with the index of the picture and its parts, and returns a function
// that writes the offsets into the finished file, once it is known where the picture ends.
func (b behind) appendMPF(out []byte) ([]byte, func(file []byte, end int)) {
	var indexed []part
	for _, p := range b.parts {
		if p.indexed {
			indexed = append(indexed, p)
		}
	}
	if indexed == nil {
		return out, func([]byte, int) {}
	}
	x := block{order: binary.BigEndian}
	entries := make([]byte, 16*(1+len(indexed)))
	index, first := appendFields([]byte("MM\x00*\x00\x00\x00\x00"), x.order, []field{
		{tag: tagMPFVersion, kind: kindUndefined, count: 4, value: []byte("0100")},
		x.longField(tagMPFCount, uint32(1+len(indexed))),
		{tag: tagMPFEntries, kind: kindUndefined, count: uint32(len(entries)), value: entries}})
	x.order.PutUint32(index[4:], uint32(first))
	out = append(out, 0xFF, 0xE2)
	out = binary.BigEndian.AppendUint16(out, uint16(2+len(mpfPrefix)+len(index)))
	base := len(out) + len(mpfPrefix)
	return append(append(out, mpfPrefix...), index...), func(file []byte, end int) {
		at := file[base+8:] // the entries are the directory's only long value, and so come first
		x.order.PutUint32(at, b.primary)
		x.order.PutUint32(at[4:], uint32(end))
		for i, p := range indexed {
			entry := at[16*(i+1):]
			x.order.PutUint32(entry, p.attributes)
			x.order.PutUint32(entry[4:], uint32(p.to-p.from))
			x.order.PutUint32(entry[8:], uint32(end+p.from-base))
		}
	}
}

// pictureEnd returns where the entropy-coded picture whose first scan starts at an offset ends: after its
// EOI marker, or 0 if that is missing.
func pictureEnd(data []byte, at int) int {
	for at < len(data) {
		i := bytes.IndexByte(data[at:], 0xFF)
		if i < 0 || at+i+1 >= len(data) {
			return 0
		}
		at += i + 1
		switch marker := data[at]; {
		case marker == 0xD9:
			return at + 1
		case marker == 0xFF: // fill byte
		case marker <= 0x01 || marker >= 0xD0 && marker <= 0xD8: // data, or a restart
			at++
		default: // tables between the scans, or the next scan's header
			if at+3 > len(data) {
				return 0
			}
			at += 1 + int(be16(data[at+1:]))
		}
	}
	return 0
}
