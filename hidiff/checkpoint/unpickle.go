package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// errTruncated starts every message about missing bytes.
var errTruncated = errors.New("the file ends early (truncated download?)")

// maxPickle bounds the memory a pickle can ask for: its values take up to about
// a hundred bytes for each of its own. Real ones are well below a megabyte.
const maxPickle = 8 << 20

// What a pickle is made of, until resolve turns it into the values callers see.
type (
	// global is a Python name such as "collections.OrderedDict": a mere word.
	global string
	// sequence is a list or tuple; a pointer, since pickles share and extend lists.
	sequence struct {
		items []any
		tuple bool
	}
	mapping struct {
		dict    *Dict
		ordered bool
	}
	// storage is the flat memory behind one or several tensors.
	storage struct {
		key   string
		dtype DType
		count int
		data  []byte // filled in after unpickling
	}
	// tensor is a strided view of a storage; offset and strides count elements.
	tensor struct {
		storage       *storage
		offset        int
		shape, stride []int
	}
	// opaque is what no state_dict is made of: name would make it, if anything were run.
	opaque struct{ name string }
)

// unpickler runs the pickle machine (protocol 2, the one of torch.save) on data.
type unpickler struct {
	data     []byte
	pos      int
	stack    []any
	marks    []int // stack heights
	memo     map[uint32]any
	storages *orderedMap[string, *storage]
}

// unpickle reads one pickle at the start of data and returns its value in raw
// form, the storages it names in order of first use, and its length.
func unpickle(data []byte) (value any, storages *orderedMap[string, *storage], n int, err error) {
	if len(data) > maxPickle {
		data = data[:maxPickle]
	}
	u := &unpickler{data: data, memo: map[uint32]any{}, storages: &orderedMap[string, *storage]{}}
	for {
		at := u.pos
		op, err := u.byte()
		if err == nil && op == opStop {
			value, err = u.pop()
			if err == nil {
				return value, u.storages, u.pos, nil
			}
		}
		if err == nil {
			err = u.step(op)
		}
		if err != nil {
			return nil, nil, 0, fmt.Errorf("%w (byte %d of the pickle)", err, at)
		}
	}
}

// The opcodes of pickle protocol 2 that PyTorch's own restricted loader knows, and those of
// the objects that trainers store beside weights.
const (
	opMark, opStop, opBinFloat, opBinInt, opBinInt1, opBinInt2   = '(', '.', 'G', 'J', 'K', 'M'
	opNone, opBinPersID, opReduce, opBinUnicode, opAppend        = 'N', 'Q', 'R', 'X', 'a'
	opBuild, opGlobal, opEmptyDict, opAppends, opBinGet          = 'b', 'c', '}', 'e', 'h'
	opLongBinGet, opEmptyList, opBinPut, opLongBinPut, opSetItem = 'j', ']', 'q', 'r', 's'
	opTuple, opEmptyTuple, opSetItems                            = 't', ')', 'u'
	opProto, opTuple1, opTuple2, opTuple3                        = 0x80, 0x85, 0x86, 0x87
	opNewTrue, opNewFalse, opLong1, opLong4                      = 0x88, 0x89, 0x8a, 0x8b
	opNewObj                                                     = 0x81
)

// step carries out one opcode.
func (u *unpickler) step(op byte) error {
	switch op {
	case opProto:
		version, err := u.byte()
		if err == nil && version != 2 {
			err = fmt.Errorf("pickle protocol %d is not supported: save the file again with torch.save and its default protocol 2", version)
		}
		return err
	case opMark:
		u.marks = append(u.marks, len(u.stack))
		return nil
	case opNone:
		return u.push(nil)
	case opNewTrue:
		return u.push(true)
	case opNewFalse:
		return u.push(false)
	case opBinInt1, opBinInt2, opBinInt, opLong1, opLong4:
		return u.integer(op)
	case opBinFloat:
		b, err := u.take(8)
		if err != nil {
			return err
		}
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case opBinUnicode:
		return u.text()
	case opEmptyDict:
		return u.push(&mapping{dict: NewDict()})
	case opEmptyList:
		return u.push(&sequence{})
	case opEmptyTuple:
		return u.push(&sequence{tuple: true})
	case opTuple1, opTuple2, opTuple3:
		return u.tuple(int(op-opTuple1) + 1)
	case opTuple:
		items, err := u.popMark()
		if err != nil {
			return err
		}
		return u.push(&sequence{items: append([]any{}, items...), tuple: true})
	case opAppend, opAppends, opSetItem, opSetItems:
		return u.extend(op)
	case opBinPut, opLongBinPut, opBinGet, opLongBinGet:
		return u.remember(op)
	case opGlobal:
		return u.global()
	case opBinPersID:
		id, err := u.pop()
		if err != nil {
			return err
		}
		return u.persistent(id)
	case opReduce, opNewObj:
		return u.reduce()
	case opBuild:
		return u.build()
	}
	return fmt.Errorf("unknown pickle opcode 0x%02x: not a file of torch.save, or a damaged one", op)
}

func (u *unpickler) push(v any) error {
	u.stack = append(u.stack, v)
	return nil
}

// floor is the stack height below which nothing may be popped.
func (u *unpickler) floor() int {
	if len(u.marks) == 0 {
		return 0
	}
	return u.marks[len(u.marks)-1]
}

var errStack = errors.New("damaged pickle: a value is missing")

func (u *unpickler) pop() (any, error) {
	top := len(u.stack) - 1
	if top < u.floor() {
		return nil, errStack
	}
	v := u.stack[top]
	u.stack = u.stack[:top]
	return v, nil
}

// top returns the topmost value and leaves it there.
func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errStack
	}
	return u.stack[len(u.stack)-1], nil
}

// popN returns the n topmost values; the slice is valid until the next push.
func (u *unpickler) popN(n int) ([]any, error) {
	from := len(u.stack) - n
	if from < u.floor() {
		return nil, errStack
	}
	items := u.stack[from:]
	u.stack = u.stack[:from]
	return items, nil
}

// popMark returns the values above the last mark; the slice is valid until the
// next push.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, errStack
	}
	items := u.stack[u.floor():]
	u.stack = u.stack[:u.floor()]
	u.marks = u.marks[:len(u.marks)-1]
	return items, nil
}

// take returns the next n bytes of the pickle.
func (u *unpickler) take(n uint32) ([]byte, error) {
	rest := u.data[u.pos:]
	switch {
	case uint64(n) <= uint64(len(rest)):
		u.pos += int(n)
		return rest[:n], nil
	case len(u.data) == maxPickle:
		return nil, fmt.Errorf("the pickle is longer than %d MiB: not weights", maxPickle>>20)
	}
	return nil, errTruncated
}

func (u *unpickler) byte() (byte, error) {
	b, err := u.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// integer pushes a little-endian integer of the opcode's width. Only BININT, LONG1 and
// LONG4 carry a sign. What exceeds 64 bits, such as a seed, is opaque.
func (u *unpickler) integer(op byte) error {
	var width uint32
	var err error
	switch op {
	case opBinInt1:
		width = 1
	case opBinInt2:
		width = 2
	case opBinInt:
		width = 4
	case opLong1:
		var n byte
		n, err = u.byte()
		width = uint32(n)
	case opLong4:
		var b []byte
		if b, err = u.take(4); err == nil {
			width = binary.LittleEndian.Uint32(b)
		}
	}
	if err != nil {
		return err
	}
	b, err := u.take(width)
	if err != nil {
		return err
	}
	if width > 8 {
		return u.push(&opaque{"int"})
	}
	var buf [8]byte
	if signed := op != opBinInt1 && op != opBinInt2; signed && width > 0 && b[width-1]&0x80 != 0 {
		buf = [8]byte(bytes.Repeat([]byte{0xff}, 8))
	}
	copy(buf[:], b)
	return u.push(int64(binary.LittleEndian.Uint64(buf[:])))
}

func (u *unpickler) text() error {
	head, err := u.take(4)
	if err != nil {
		return err
	}
	b, err := u.take(binary.LittleEndian.Uint32(head))
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return errors.New("damaged pickle: a string is not UTF-8")
	}
	return u.push(string(b))
}

func (u *unpickler) tuple(n int) error {
	items, err := u.popN(n)
	if err != nil {
		return err
	}
	return u.push(&sequence{items: append([]any{}, items...), tuple: true})
}

// extend adds one or several values to the list or dict below them.
func (u *unpickler) extend(op byte) error {
	var items []any
	var err error
	switch op {
	case opAppend:
		items, err = u.popN(1)
	case opSetItem:
		items, err = u.popN(2)
	default:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	target, err := u.top()
	if err != nil {
		return err
	}
	if _, passed := target.(*opaque); passed {
		return nil
	}
	list, isList := target.(*sequence)
	dict, isDict := target.(*mapping)
	switch appending := op == opAppend || op == opAppends; {
	case appending && isList && !list.tuple:
		list.items = append(list.items, items...)
		return nil
	case !appending && isDict && len(items)%2 == 0:
		for i := 0; i < len(items); i += 2 {
			switch {
			case isKey(items[i]):
				dict.dict.Set(items[i], items[i+1])
			case !isHashable(items[i]):
				return errors.New("a dict key is neither a number nor a string")
			}
		}
		return nil
	}
	return errors.New("damaged pickle: items without their list or dict")
}

// isKey reports whether v can be a key of a Dict. NaN equals nothing, so it
// could never be found again.
func isKey(v any) bool {
	switch v := v.(type) {
	case nil, bool, int64, string:
		return true
	case float64:
		return !math.IsNaN(v)
	}
	return false
}

// isHashable reports whether v can be the key of a Python dict, though not of a Dict: its item is passed over.
func isHashable(v any) bool {
	switch v := v.(type) {
	case global, *opaque:
		return true
	case *sequence:
		return v.tuple
	}
	return false
}

// remember stores the top of the stack in the memo, or pushes a stored value.
func (u *unpickler) remember(op byte) error {
	width := uint32(1)
	if op == opLongBinPut || op == opLongBinGet {
		width = 4
	}
	b, err := u.take(width)
	if err != nil {
		return err
	}
	var buf [4]byte
	copy(buf[:], b)
	index := binary.LittleEndian.Uint32(buf[:])
	if op == opBinGet || op == opLongBinGet {
		v, ok := u.memo[index]
		if !ok {
			return fmt.Errorf("damaged pickle: nothing was stored as %d", index)
		}
		return u.push(v)
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	u.memo[index] = v
	return nil
}

// line returns the text up to the next newline.
func (u *unpickler) line() (string, error) {
	end := bytes.IndexByte(u.data[u.pos:], '\n')
	if end < 0 {
		return "", errTruncated
	}
	b, err := u.take(uint32(end) + 1)
	return string(b[:end]), err
}
