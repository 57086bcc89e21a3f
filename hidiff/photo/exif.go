package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// EXIF is a TIFF structure without a picture, so one reader and one writer of directories (IFDs)
// serve EXIF blocks and TIFF files alike.

// Tags used here. The TIFF picture tags are in tiff_read.go.
const (
	tagXMP         = 700
	tagOrientation = 274
	tagICC         = 34675
	tagExifIFD     = 34665
	tagGPSIFD      = 34853
	tagInteropIFD  = 40965
	tagPixelX      = 40962
	tagPixelY      = 40963
	tagFocalX      = 41486 // focal plane resolution
	tagFocalY      = 41487

	tagXResolution    = 282
	tagYResolution    = 283
	tagResolutionUnit = 296
)

// Field types.
const (
	kindByte      = 1
	kindShort     = 3
	kindLong      = 4
	kindRational  = 5
	kindUndefined = 7
)

// keptTags are those of a first directory that say something about the photograph, not about how its
// pixels are laid out. They travel between TIFF files and EXIF blocks.
var keptTags = []uint16{
	269, 270, 271, 272, // document name, description, make, model
	tagXResolution, tagYResolution, tagResolutionUnit,
	305, 306, 315, 316, // software, date, artist, host
	tagWhitePoint, tagPrimaries,
	18246, 18249, // rating
	33432, // copyright
	tagExifIFD, tagGPSIFD,
	40091, 40092, 40093, 40094, 40095, // Windows title, comment, author, keywords, subject
}

// order reads and writes numbers of either byte order.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// block is a TIFF structure; offsets count from its start.
type block struct {
	data  []byte
	order order
	first int  // offset of the first directory
	big   bool // BigTIFF, which only picture files are: counts and offsets of 8 bytes
}

// field is one directory entry.
type field struct {
	tag, kind uint16
	count     uint32
	value     []byte // count values in the block's byte order; nil if it lies outside the block
	at        int    // offset of the entry, when read
}

var errBlock = errors.New("the TIFF structure is damaged")

func openBlock(data []byte) (block, error) {
	b := block{data: data}
	switch {
	case bytes.HasPrefix(data, []byte("II*\x00")):
		b.order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("MM\x00*")):
		b.order = binary.BigEndian
	default:
		return b, errBlock
	}
	if len(data) < 8 {
		return b, errBlock
	}
	b.first = int(b.order.Uint32(data[4:]))
	return b, nil
}

// fields reads the directory at an offset. next is the offset of the bytes that link to the following
// directory, or 0 where the block ends before them.
func (b block) fields(at int) (fields []field, next int, err error) {
	long, head, entry := 4, 2, 12 // bytes of an offset, of the number of entries, of an entry
	if b.big {
		long, head, entry = 8, 8, 20
	}
	if at < 8 || at > len(b.data)-head {
		return nil, 0, errBlock
	}
	n := b.uint(at, head)
	if n < 0 || n > int64((len(b.data)-at-head)/entry) {
		return nil, 0, errBlock
	}
	next = at + head + entry*int(n)
	seen := map[uint16]bool{}
	for e := at + head; e < next; e += entry {
		f := field{tag: b.order.Uint16(b.data[e:]), kind: b.order.Uint16(b.data[e+2:]), at: e}
		value := e + 4 + long
		count, room := b.uint(e+4, long), int64(len(b.data))
		f.count = uint32(min(uint64(count), math.MaxUint32))
		if size := int64(f.count) * kindSize(f.kind); size <= int64(long) {
			f.value = b.data[value : value+int(size)]
		} else if start := b.uint(value, long); start >= 0 && size <= room && start <= room-size {
			f.value = b.data[start : start+size]
		}
		if !seen[f.tag] { // tags occur once; repeating them could make much of little
			seen[f.tag] = true
			fields = append(fields, f)
		}
	}
	if next+long > len(b.data) {
		next = 0
	}
	return fields, next, nil
}

// uint reads an unsigned integer of 2, 4 or 8 bytes; those beyond 63 bits are negative.
func (b block) uint(at, size int) int64 {
	switch size {
	case 2:
		return int64(b.order.Uint16(b.data[at:]))
	case 4:
		return int64(b.order.Uint32(b.data[at:]))
	}
	return int64(b.order.Uint64(b.data[at:]))
}

func kindSize(kind uint16) int64 {
	sizes := [...]int64{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8}
	if int(kind) < len(sizes) {
		return sizes[kind]
	}
	return 0
}

// numbers returns all values of a field of unsigned integers.
func (b block) numbers(f field) (all []int64) {
	for i := 0; ; i++ {
		v, ok := b.number(f, i)
		if !ok {
			return all
		}
		all = append(all, v)
	}
}

// find returns the field with a tag, or an empty one.
func find(fields []field, tag uint16) field {
	for _, f := range fields {
		if f.tag == tag {
			return f
		}
	}
	return field{}
}

// number returns value i of a field of unsigned integers.
func (b block) number(f field, i int) (int64, bool) {
	size := int(kindSize(f.kind))
	if i < 0 || size == 0 || (i+1)*size > len(f.value) {
		return 0, false
	}
	switch v := f.value[i*size:]; f.kind {
	case kindByte:
		return int64(v[0]), true
	case kindShort:
		return int64(b.order.Uint16(v)), true
	case kindLong, 13:
		return int64(b.order.Uint32(v)), true
	case 16, 18: // BigTIFF's
		n := int64(b.order.Uint64(v))
		return n, n >= 0
	}
	return 0, false
}

// exifFields reads the first directory of a block.
func exifFields(exif []byte) (block, []field, error) {
	b, err := openBlock(exif)
	if err != nil {
		return b, nil, err
	}
	fields, _, err := b.fields(b.first)
	return b, fields, err
}

// exifOrientation returns a block's orientation, 1..8, or 0 if it has none that means anything.
func exifOrientation(exif []byte) int {
	b, fields, err := exifFields(exif)
	f := find(fields, tagOrientation)
	if v, ok := b.number(f, 0); err == nil && ok && f.count == 1 && v >= 1 && v <= 8 {
		return int(v)
	}
	return 0
}

// normaliseEXIF returns a copy of an EXIF block for pixels that are about to be turned upright: its
// orientation becomes 1, what it says of width and height changes places if the picture is laid on
// its side, and the thumbnail is unlinked. It is nil for a block without a readable first directory
// and for one whose directories overlap so that these edits would break it; values outside the block
// are left alone.
func normaliseEXIF(raw []byte, orientation int) []byte {
	kept := bytes.Clone(raw)
	b, fields, err := exifFields(kept)
	if err != nil {
		return nil
	}
	f := find(fields, tagOrientation)
	if _, ok := b.number(f, 0); ok && f.count == 1 {
		b.setNumber(f, 1)
	}
	if _, next, _ := b.fields(b.first); next != 0 {
		b.order.PutUint32(kept[next:], 0)
	}
	if orientation >= 5 {
		b.swap(find(fields, tagWidth), find(fields, tagHeight))
		b.swap(find(fields, tagXResolution), find(fields, tagYResolution))
		if exif, err := b.child(fields, tagExifIFD); err == nil {
			b.swap(find(exif, tagPixelX), find(exif, tagPixelY))
			b.swap(find(exif, tagFocalX), find(exif, tagFocalY))
		}
	}
	after, _, err := b.fields(b.first)
	if v, ok := b.number(find(after, tagOrientation), 0); err != nil || ok && f.count == 1 && v != 1 || len(after) != len(fields) {
		return nil
	}
	return kept
}

func (b block) setNumber(f field, v uint32) {
	switch f.kind {
	case kindByte:
		f.value[0] = byte(v)
	case kindShort:
		b.order.PutUint16(f.value, uint16(v))
	default:
		b.order.PutUint32(f.value, v)
	}
}

// swap exchanges type, count and value of two entries.
func (b block) swap(x, y field) {
	if x.tag == 0 || y.tag == 0 {
		return
	}
	for i := 2; i < 12; i++ {
		b.data[x.at+i], b.data[y.at+i] = b.data[y.at+i], b.data[x.at+i]
	}
}

// child reads the directory that a field points to.
func (b block) child(fields []field, tag uint16) ([]field, error) {
	at, ok := b.number(find(fields, tag), 0)
	if !ok {
		return nil, errBlock
	}
	children, _, err := b.fields(int(at))
	return children, err
}

// exifOf builds an EXIF block from the first directory of a TIFF file: the kept tags, and the Exif,
// GPS and interoperability directories. It returns nil if there is nothing to keep, or if the block
// would exceed the file, as only overlapping values and directories can make it.
func exifOf(b block, fields []field) []byte {
	x := exifBuilder{from: b, budget: len(b.data) - 8, out: []byte("II*\x00\x00\x00\x00\x00")}
	if b.order == binary.BigEndian {
		x.out = []byte("MM\x00*\x00\x00\x00\x00")
	}
	fields = slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return !slices.Contains(keptTags, f.tag) })
	first, ok := x.directory(fields, tagExifIFD, tagGPSIFD)
	if !ok || x.budget < 0 {
		return nil
	}
	b.order.PutUint32(x.out[4:], uint32(first))
	return x.out
}

type exifBuilder struct {
	from   block
	out    []byte
	budget int // bytes that out may still grow by
}

// directory appends a copy of fields and returns its offset. Fields tagged as pointers are followed
// and their directories copied first; those that cannot be are left out.
func (x *exifBuilder) directory(fields []field, pointers ...uint16) (at int, ok bool) {
	var kept []field
	x.budget -= 2 + 4 // count and link
	for _, f := range fields {
		if f.value == nil || f.kind >= 16 && !slices.Contains(pointers, f.tag) { // BigTIFF's kinds have no place in EXIF
			continue
		}
		x.budget -= 12
		if n := len(f.value); n > 4 {
			x.budget -= n + n%2
		}
		if x.budget < 0 {
			break
		}
		if slices.Contains(pointers, f.tag) {
			children, err := x.from.child(fields, f.tag)
			if err != nil {
				continue
			}
			var nested []uint16
			if f.tag == tagExifIFD {
				nested = []uint16{tagInteropIFD}
			}
			at, ok := x.directory(children, nested...)
			if !ok {
				continue
			}
			f = x.from.longField(f.tag, uint32(at))
		}
		kept = append(kept, f)
	}
	if len(kept) == 0 {
		return 0, false
	}
	x.out, at = appendFields(x.out, x.from.order, kept)
	return at, true
}

func (b block) longField(tag uint16, v ...uint32) field {
	f := field{tag: tag, kind: kindLong, count: uint32(len(v))}
	for _, x := range v {
		f.value = b.order.AppendUint32(f.value, x)
	}
	return f
}

func (b block) shortField(tag uint16, v ...uint16) field {
	f := field{tag: tag, kind: kindShort, count: uint32(len(v))}
	for _, x := range v {
		f.value = b.order.AppendUint16(f.value, x)
	}
	return f
}

// appendFields appends a directory, its long values before it, and returns the directory's offset.
func appendFields(out []byte, o order, fields []field) ([]byte, int) {
	slices.SortStableFunc(fields, func(a, b field) int { return int(a.tag) - int(b.tag) })
	even := func() {
		if len(out)%2 == 1 {
			out = append(out, 0)
		}
	}
	even()
	offsets := make([]int, len(fields))
	for i, f := range fields {
		if len(f.value) > 4 {
			offsets[i] = len(out)
			out = append(out, f.value...)
			even()
		}
	}
	at := len(out)
	out = o.AppendUint16(out, uint16(len(fields)))
	for i, f := range fields {
		out = o.AppendUint32(o.AppendUint16(o.AppendUint16(out, f.tag), f.kind), f.count)
		if len(f.value) > 4 {
			out = o.AppendUint32(out, uint32(offsets[i]))
		} else {
			out = append(out, append(f.value[:len(f.value):len(f.value)], 0, 0, 0, 0)[:4]...)
		}
	}
	return o.AppendUint32(out, 0), at
}
