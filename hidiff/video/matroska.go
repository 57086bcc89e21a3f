package video

import (
	"encoding/binary"
	"io"
	"math/bits"

	"hidiff/hidiff/photo"
)

// frameWriter hands frames to ffmpeg. Pipes of bare pixels carry no times, so it writes Matroska (RFC 9559): one
// track of uncompressed RGB or RGBA, counted in nanoseconds, with a cluster for every frame, since a cluster's time has
// 64 bits and a block's 16.
type frameWriter struct {
	w       io.Writer
	base    Rational // of the times given
	samples []byte
}

// Matroska's elements.
const (
	idEBML            = 0x1A45DFA3
	idDocType         = 0x4282
	idSegment         = 0x18538067
	idInfo            = 0x1549A966
	idTimestampScale  = 0x2AD7B1
	idMuxingApp       = 0x4D80
	idWritingApp      = 0x5741
	idTracks          = 0x1654AE6B
	idTrackEntry      = 0xAE
	idTrackNumber     = 0xD7
	idTrackUID        = 0x73C5
	idTrackType       = 0x83
	idFlagLacing      = 0x9C
	idDefaultDuration = 0x23E383
	idCodecID         = 0x86
	idVideo           = 0xE0
	idPixelWidth      = 0xB0
	idPixelHeight     = 0xBA
	idFourCC          = 0x2EB524
	idCluster         = 0x1F43B675
	idTimestamp       = 0xE7
	idSimpleBlock     = 0xA3
)

// newFrameWriter writes what goes before the frames. channels is 3 or 4, depth 8 or 16, rate nominal.
func newFrameWriter(w io.Writer, width, height, channels, depth int, base, rate Rational) (*frameWriter, error) {
	format := []byte{'R', 'G', 'B', byte(3 * depth)}
	switch {
	case channels == 4 && depth == 16:
		format = []byte{'R', 'B', 'A', 64}
	case channels == 4:
		format = []byte("RGBA")
	}
	head := element(idEBML, element(idDocType, []byte("matroska")))
	head = append(head, id(idSegment)...)
	head = append(head, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF) // as long as it may get
	head = append(head, element(idInfo,
		unsigned(idTimestampScale, 1),
		element(idMuxingApp, []byte("hidiff")),
		element(idWritingApp, []byte("hidiff")))...)
	head = append(head, element(idTracks, element(idTrackEntry,
		unsigned(idTrackNumber, 1),
		unsigned(idTrackUID, 1),
		unsigned(idTrackType, 1), // video
		unsigned(idFlagLacing, 0),
		unsigned(idDefaultDuration, nanoseconds(1, Rational{rate.Den, rate.Num})),
		element(idCodecID, []byte("V_UNCOMPRESSED")),
		element(idVideo,
			unsigned(idPixelWidth, uint64(width)),
			unsigned(idPixelHeight, uint64(height)),
			element(idFourCC, format))))...)
	_, err := w.Write(head)
	return &frameWriter{w: w, base: base, samples: make([]byte, width*height*channels*depth/8)}, err
}

// write writes one frame; time is at least 0.
func (f *frameWriter) write(p *photo.Photo, time int64) error {
	samples := f.samples[:0]
	put := func(v uint16) {
		if p.Max == 255 {
			samples = append(samples, byte(v))
		} else {
			samples = binary.LittleEndian.AppendUint16(samples, v)
		}
	}
	for i := range p.Width * p.Height {
		for _, v := range p.Pix[3*i : 3*i+3] {
			put(v)
		}
		if p.Alpha != nil {
			put(p.Alpha[i])
		}
	}
	block := []byte{0x81, 0, 0, 0x80} // track 1, at the cluster's time, a key frame
	inner := unsigned(idTimestamp, nanoseconds(time, f.base))
	inner = append(inner, id(idSimpleBlock)...)
	inner = append(inner, size(len(block)+len(f.samples))...)
	inner = append(inner, block...)
	outer := append(id(idCluster), size(len(inner)+len(f.samples))...)
	if _, err := f.w.Write(append(outer, inner...)); err != nil {
		return err
	}
	_, err := f.w.Write(f.samples)
	return err
}

// nanoseconds rounds times base to nanoseconds, without overflow on the way.
func nanoseconds(time int64, base Rational) uint64 {
	hi, lo := bits.Mul64(uint64(time)*uint64(base.Num), 1e9)
	lo, carry := bits.Add64(lo, uint64(base.Den)/2, 0)
	quotient, _ := bits.Div64(hi+carry, lo, uint64(base.Den))
	return quotient
}

// element is an element of parts.
func element(name uint32, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := append(id(name), size(n)...)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// unsigned is an element that holds a number.
func unsigned(name uint32, value uint64) []byte {
	return element(name, binary.BigEndian.AppendUint64(nil, value))
}

// id is a name, whose first bits tell its length.
func id(name uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, name)
	return b[bits.LeadingZeros32(name)/8:]
}

// size is a length, of eight bytes.
func size(n int) []byte { return binary.BigEndian.AppendUint64(nil, 1<<56|uint64(n)) }
