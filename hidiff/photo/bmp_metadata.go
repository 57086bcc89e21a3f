package photo

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Offsets in a BMP file: its header has 14 bytes, then comes the information header, in versions 4 and 5
// with colour space (LCS_…), end points and gammas, in version 5 also with a profile.
const (
	bmpPixels     = 10
	bmpInfo       = 14
	bmpXDensity   = 38 // pixels a metre
	bmpYDensity   = 42
	bmpSpace      = 70
	bmpIntent     = 122
	bmpProfile    = 126 // its offset from the information header, and its length
	bmpInfoSize   = 40
	bmpInfoSizeV4 = 108
	bmpInfoSizeV5 = 124
	bmpEmbedded   = 'M'<<24 | 'B'<<16 | 'E'<<8 | 'D'
	bmpLinked     = 'L'<<24 | 'I'<<16 | 'N'<<8 | 'K'
)

// readBMP reads the metadata of a file whose header is whole.
func (m *Metadata) readBMP(data []byte) {
	le := binary.LittleEndian
	size := le.Uint32(data[bmpInfo:])
	if size < bmpInfoSize || len(data) < bmpInfo+bmpInfoSize {
		return
	}
	m.resolution = fromMetres(le.Uint32(data[bmpXDensity:]), le.Uint32(data[bmpYDensity:]))
	if size < bmpInfoSizeV4 || len(data) < bmpInfo+bmpInfoSizeV4 {
		return
	}
	colours := extra{BMP, "colours", "colour statement of the header", data[bmpSpace:bmpIntent]}
	space := le.Uint32(data[bmpSpace:])
	if space == 0 && !bytes.Equal(colours.data[4:], make([]byte, bmpIntent-bmpSpace-4)) { // calibrated: end points and gammas
		m.extras = append(m.extras, colours)
	}
	if size < bmpInfoSizeV5 || len(data) < bmpInfo+bmpInfoSizeV5 || space != bmpEmbedded && space != bmpLinked {
		return
	}
	at, n := bmpInfo+int64(le.Uint32(data[bmpProfile:])), int64(le.Uint32(data[bmpProfile+4:]))
	switch {
	case at+n > int64(len(data)):
		m.addLost("ICC profile (damaged)")
	case space == bmpEmbedded:
		m.ICC = data[at : at+n]
	default:
		m.extras = append(m.extras, extra{BMP, "link", "link to an ICC profile", data[at : at+n]})
	}
}

// intoBMP puts metadata into a file with an information header of 40 bytes, which becomes one of
// version 5 where there is more to say than the resolution.
func (m *Metadata) intoBMP(file []byte) []byte {
	le := binary.LittleEndian
	if m.resolution != (resolution{}) {
		x, y := m.resolution.metres()
		le.PutUint32(file[bmpXDensity:], x)
		le.PutUint32(file[bmpYDensity:], y)
	}
	colours, profile, space := m.extra(BMP, "colours"), m.ICC, uint32(bmpEmbedded)
	if profile == nil {
		profile, space = m.extra(BMP, "link"), bmpLinked
	}
	if profile == nil && colours == nil {
		return file
	}
	const more = bmpInfoSizeV5 - bmpInfoSize
	file = slices.Insert(file, bmpInfo+bmpInfoSize, make([]byte, more)...)
	le.PutUint32(file[bmpInfo:], bmpInfoSizeV5)
	le.PutUint32(file[bmpPixels:], le.Uint32(file[bmpPixels:])+more)
	le.PutUint32(file[bmpIntent:], 4) // LCS_GM_IMAGES
	copy(file[bmpSpace:], colours)
	if profile != nil {
		le.PutUint32(file[bmpSpace:], space)
		le.PutUint32(file[bmpProfile:], uint32(len(file)-bmpInfo))
		le.PutUint32(file[bmpProfile+4:], uint32(len(profile)))
		file = append(file, profile...)
	}
	le.PutUint32(file[2:], uint32(len(file)))
	return file
}
