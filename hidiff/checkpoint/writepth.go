package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"hidiff/internal/atomicfile"
)

// WritePTH writes value as torch.save does, in the zip format, for torch.load
// with or without weights_only: usually a *Dict of "params" and a *StateDict, or
// a training state. See the package comment for the values it takes. Equal
// values give equal bytes.
//
// The write is atomic: after any error an older file at path is unchanged.
func WritePTH(path string, value any) error {
	return atomicfile.Write(path, func(w io.Writer) error { return writeZip(w, value) })
}

// writeZip writes the archive of readZip.
func writeZip(w io.Writer, value any) error {
	p := &pickler{memo: map[string]int{}, arrays: &orderedMap[*Array, string]{}}
	p.out.Write([]byte{opProto, 2})
	if err := p.value(value, 0); err != nil {
		return err
	}
	p.out.WriteByte(opStop)
	if p.out.Len() > maxPickle {
		return fmt.Errorf("%d MiB of values that are no tensors are too many", p.out.Len()>>20)
	}

	out := &alignedZip{zip: zip.NewWriter(w)}
	if err := out.add("data.pkl", p.out.Bytes()); err != nil {
		return err
	}
	if err := out.add("byteorder", []byte("little")); err != nil {
		return err
	}
	for array, key := range p.arrays.All() {
		if err := out.add("data/"+key, array.Data); err != nil {
			return err
		}
	}
	if err := out.add("version", []byte("3\n")); err != nil {
		return err
	}
	return out.zip.Close()
}

// alignedZip stores entries uncompressed, each at a multiple of 64 bytes as
// torch.save does, so that the file can be mapped into memory.
type alignedZip struct {
	zip    *zip.Writer
	offset int
}

func (z *alignedZip) add(name string, data []byte) error {
	const align, fixedHeader, extraHeader = 64, 30, 4
	if uint64(len(data)) >= math.MaxUint32 {
		return fmt.Errorf("a tensor of %d bytes is too large for this format (4 GiB)", len(data))
	}
	name = "archive/" + name
	start := z.offset + fixedHeader + len(name) + extraHeader
	padding := (align - start%align) % align
	// An extra field "FB" of filler, PyTorch's own trick.
	extra := append([]byte{'F', 'B', byte(padding), 0}, bytes.Repeat([]byte{'Z'}, padding)...)
	entry, err := z.zip.CreateRaw(&zip.FileHeader{
		Name:               name,
		Method:             zip.Store,
		CRC32:              crc32.ChecksumIEEE(data),
		CompressedSize64:   uint64(len(data)),
		UncompressedSize64: uint64(len(data)),
		Extra:              extra,
	})
	if err != nil {
		return err
	}
	z.offset = start + padding + len(data)
	_, err = entry.Write(data)
	return err
}

// pickler writes protocol 2 with the opcodes of unpickler.
type pickler struct {
	out    bytes.Buffer
	memo   map[string]int // what was written once, by its bytes
	arrays *orderedMap[*Array, string]
}

func (p *pickler) value(v any, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch v := v.(type) {
	case nil:
		p.out.WriteByte(opNone)
	case bool:
		p.boolean(v)
	case int64:
		p.integer(v)
	case float64:
		p.out.WriteByte(opBinFloat)
		p.out.Write(binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
	case string:
		return p.text(v)
	case []any:
		p.out.Write([]byte{opEmptyList, opMark})
		if err := p.items(v, depth); err != nil {
			return err
		}
		p.out.WriteByte(opAppends)
	case Tuple:
		p.out.WriteByte(opMark)
		if err := p.items(v, depth); err != nil {
			return err
		}
		p.out.WriteByte(opTuple)
	case *Dict:
		p.out.Write([]byte{opEmptyDict, opMark})
		for key, item := range v.All() {
			if !isKey(key) {
				return fmt.Errorf("a %T cannot be a dict key: use string, int64, float64, bool or nil", key)
			}
			if err := p.entry(key, item, depth); err != nil {
				return err
			}
		}
		p.out.WriteByte(opSetItems)
	case *StateDict:
		p.orderedDict()
		p.out.WriteByte(opMark)
		for key, array := range v.All() {
			if err := p.entry(key, array, depth); err != nil {
				return err
			}
		}
		p.out.WriteByte(opSetItems)
	case *Array:
		return p.tensor(v)
	default:
		return fmt.Errorf("a %T cannot be written: use nil, bool, int64, float64, string, []any, Tuple, *Dict, *StateDict or *Array", v)
	}
	return nil
}

func (p *pickler) items(items []any, depth int) error {
	for i, item := range items {
		if err := p.value(item, depth+1); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func (p *pickler) entry(key, value any, depth int) error {
	err := p.value(key, depth+1)
	if err == nil {
		err = p.value(value, depth+1)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", fmt.Sprint(key), err)
	}
	return nil
}

func (p *pickler) boolean(v bool) {
	op := byte(opNewFalse)
	if v {
		op = opNewTrue
	}
	p.out.WriteByte(op)
}

func (p *pickler) integer(v int64) {
	switch {
	case v >= 0 && v <= math.MaxUint8:
		p.out.Write([]byte{opBinInt1, byte(v)})
	case v >= 0 && v <= math.MaxUint16:
		p.out.Write([]byte{opBinInt2, byte(v), byte(v >> 8)})
	case v >= math.MinInt32 && v <= math.MaxInt32:
		p.out.WriteByte(opBinInt)
		p.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(v)))
	default:
		p.out.Write([]byte{opLong1, 8})
		p.out.Write(binary.LittleEndian.AppendUint64(nil, uint64(v)))
	}
}

func (p *pickler) text(s string) error {
	if !utf8.ValidString(s) || uint64(len(s)) > maxPickle {
		return errors.New("a string is too long or not UTF-8")
	}
	p.once(append(binary.LittleEndian.AppendUint32([]byte{opBinUnicode}, uint32(len(s))), s...))
	return nil
}

// name writes a reference to a Python name.
func (p *pickler) name(module, name string) {
	p.once([]byte(string(opGlobal) + module + "\n" + name + "\n"))
}

// once writes what pushes an immutable value, or fetches it from the memo.
func (p *pickler) once(code []byte) {
	index, known := p.memo[string(code)]
	op, longOp := byte(opBinGet), byte(opLongBinGet)
	if !known {
		index = len(p.memo)
		p.memo[string(code)] = index
		p.out.Write(code)
		op, longOp = opBinPut, opLongBinPut
	}
	if index <= math.MaxUint8 {
		p.out.Write([]byte{op, byte(index)})
		return
	}
	p.out.WriteByte(longOp)
	p.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(index)))
}

func (p *pickler) orderedDict() {
	p.name("collections", "OrderedDict")
	p.out.Write([]byte{opEmptyTuple, opReduce})
}

// storageNames are PyTorch's storage classes by element type.
var storageNames = map[DType]string{
	F16: "HalfStorage", BF16: "BFloat16Storage", F32: "FloatStorage", F64: "DoubleStorage",
	I8: "CharStorage", I16: "ShortStorage", I32: "IntStorage", I64: "LongStorage",
	U8: "ByteStorage", BOOL: "BoolStorage",
}

// tensor writes _rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict()).
// One Array in two places is one storage, as in PyTorch.
func (p *pickler) tensor(a *Array) error {
	if a == nil {
		return errors.New("a nil *Array cannot be written")
	}
	if err := a.check(); err != nil {
		return err
	}
	key, known := p.arrays.Get(a)
	if !known {
		key = strconv.Itoa(p.arrays.Len())
		p.arrays.Set(a, key)
	}
	p.name("torch._utils", "_rebuild_tensor_v2")
	p.out.Write([]byte{opMark, opMark})
	p.text("storage")
	p.name("torch", storageNames[a.DType])
	p.text(key)
	p.text("cpu")
	p.integer(int64(a.Len()))
	p.out.Write([]byte{opTuple, opBinPersID})
	p.integer(0)
	stride, step := make([]int, len(a.Shape)), 1
	for d := len(stride) - 1; d >= 0; d-- {
		stride[d] = step
		step *= max(a.Shape[d], 1)
	}
	for _, dims := range [][]int{a.Shape, stride} {
		p.out.WriteByte(opMark)
		for _, d := range dims {
			p.integer(int64(d))
		}
		p.out.WriteByte(opTuple)
	}
	p.boolean(false)
	p.orderedDict()
	p.out.Write([]byte{opTuple, opReduce})
	return nil
}
