package photo

import (
	"bytes"
	"encoding/xml"
	"slices"
)

// Metadata holds raw payloads as files carry them; nil means absent. What is not exported travels
// with the photo, too: print resolution, IPTC, what one format alone can say (PNG's text and colour
// statements, a JPEG's comment) and what lies behind a JPEG's picture.
//
// Orientation has already been applied to the pixels and reads 1 in EXIF and XMP, and the embedded
// EXIF thumbnail is unlinked: it would show the picture before editing.
type Metadata struct {
	EXIF []byte // a TIFF block, without the "Exif\0\0" some containers put before it
	XMP  []byte // an XMP packet (XML), a JPEG's extended XMP joined to it
	ICC  []byte // an ICC profile

	resources  []byte // Photoshop's image resources, IPTC among them
	resolution resolution
	extras     []extra
	behind     behind
	lost       []string // what reading found and could not keep
}

// extra is something that files of one format alone can say.
type extra struct {
	format Format
	key    string // a PNG chunk's type, "COM" or "APP2" of a JPEG, "colours" of a BMP, "transfer" of a TIFF
	what   string // names it where it is lost; "" if nothing is lost, as it says what goes without saying
	data   []byte
}

// fits reports whether an extra can stand in a file of a format, and speaks of samples such as the photo has.
func (e extra) fits(p *Photo, f Format) bool {
	switch e.key {
	case "transfer":
		n := len(e.data) / 2
		return f == TIFF && (n == int(p.Max)+1 || n == 3*(int(p.Max)+1))
	case "bKGD": // of palettes, an index
		return f == PNG && len(e.data) == 2*p.Channels
	}
	return e.format == f
}

func (m *Metadata) addLost(what string) {
	if what != "" && !slices.Contains(m.lost, what) {
		m.lost = append(m.lost, what)
	}
}

// extra returns the data of the first extra of a format under a key, or nil.
func (m *Metadata) extra(f Format, key string) []byte {
	for _, e := range m.extras {
		if e.format == f && e.key == key {
			return e.data
		}
	}
	return nil
}

// ColourOnly returns what says how the colours are to be shown, and nothing of the photographer: the
// ICC profile and the statements of the photo's format.
func (m Metadata) ColourOnly() Metadata {
	c := Metadata{ICC: m.ICC}
	for _, e := range m.extras {
		if slices.Contains(pngColour, e.key) || e.format == BMP || e.format == TIFF {
			c.extras = append(c.extras, e)
		}
	}
	return c
}

// Losses names the metadata that Encode leaves out in this format, together with what Decode found in
// the file and could not keep. It is nil if nothing is lost. Alpha and depth are not metadata: see
// [Format.KeepsAlpha] and [Format.KeepsDepth16].
func (p *Photo) Losses(f Format) []string {
	return p.metadataFor(f).lost
}

// metadataFor is the one place that decides what a format's file will hold; lost names the rest.
func (p *Photo) metadataFor(f Format) Metadata {
	m := p.Meta
	m.lost = slices.Clone(m.lost)
	m.EXIF, m.XMP, m.ICC = notEmpty(m.EXIF), notEmpty(m.XMP), notEmpty(m.ICC)
	drop := func(block *[]byte, what string, fits bool) {
		if *block != nil && !fits {
			*block = nil
			m.addLost(what)
		}
	}
	if f != JPEG {
		m.keepBehind(func(what string) string { return what })
	}
	drop(&m.EXIF, "EXIF", f != BMP && (f != JPEG || len(exifPrefix)+len(m.EXIF) <= maxSegment))
	drop(&m.XMP, "XMP", f != BMP)
	if f == JPEG && m.XMP != nil {
		_, _, err := splitXMP(m.XMP)
		drop(&m.XMP, "XMP", err == nil)
	}
	drop(&m.resources, "IPTC", f != BMP && f != WebP)
	channels := p.Channels
	if f == WebP {
		channels = 3
	}
	drop(&m.ICC, "ICC profile", profileFits(m.ICC, channels) && (f != JPEG || len(m.ICC) <= 255*iccPart))
	m.extras = nil
	for _, e := range p.Meta.extras {
		if e.fits(p, f) {
			m.extras = append(m.extras, e)
		} else if e.what != gainMap { // whose loss is told where the map itself is lost
			m.addLost(e.what)
		}
	}
	switch r := m.resolution; {
	case r == (resolution{}):
	case f == WebP: // EXIF alone can tell it there
		if exifResolution(m.EXIF) != r {
			m.EXIF = setEXIFResolution(m.EXIF, r)
		}
	case !r.fits(f):
		m.resolution = resolution{}
		m.addLost("print resolution")
	}
	return m
}

// settle makes the metadata of a file agree with its picture once that is upright: it returns the
// orientation to turn by (stored is a TIFF's own, 0 if none) and has it reset everywhere. Where EXIF
// says nothing, XMP's orientation counts, as in Pillow.
func (m *Metadata) settle(stored int) (orientation int) {
	m.EXIF = bytes.TrimPrefix(m.EXIF, []byte(exifPrefix)) // which some programs write in WebP and PNG, too
	orientation = stored
	if orientation == 0 {
		orientation = exifOrientation(m.EXIF)
	}
	if orientation == 0 {
		orientation = orientationOfXMP(m.XMP)
	}
	orientation = max(1, orientation)
	if m.resolution == (resolution{}) {
		m.resolution = exifResolution(m.EXIF)
	}
	if orientation >= 5 {
		m.resolution.X, m.resolution.Y = m.resolution.Y, m.resolution.X
	}
	exif := normaliseEXIF(m.EXIF, orientation)
	if len(m.EXIF) > 0 && exif == nil {
		m.addLost("EXIF (damaged)")
	}
	// The rest are slices of the file; copies keep the photo independent of it.
	m.EXIF, m.XMP, m.ICC = exif, notEmpty(resetXMPOrientation(m.XMP)), notEmpty(bytes.Clone(m.ICC))
	m.resources = usefulResources(m.resources, orientation)
	for i := range m.extras {
		m.extras[i].data = bytes.Clone(m.extras[i].data)
	}
	if m.dropXMP(func(x xml.Name) bool { return x.Space == nsNote && x.Local == "HasExtendedXMP" }) {
		m.addLost("extended XMP (damaged or too long)")
	}
	m.dropXMP(func(x xml.Name) bool { return x.Space == nsXMP && x.Local == "Thumbnails" })
	if orientation > 1 && m.dropXMP(func(x xml.Name) bool { return x.Space == nsDepth }) {
		m.addLost(depthMap + " (the picture is turned)")
	}
	m.keepBehind(func(what string) string {
		switch {
		case what == preview:
			return preview + " (of the picture before)"
		case orientation > 1 && what != motionVideo:
			return what + " (the picture is turned)"
		}
		return ""
	})
	return orientation
}
