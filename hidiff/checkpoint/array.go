package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
)

// DType is the element type of an [Array], by its safetensors name.
type DType string

// The element types of weights files.
const (
	F16  DType = "F16"
	BF16 DType = "BF16"
	F32  DType = "F32"
	F64  DType = "F64"
	I8   DType = "I8"
	I16  DType = "I16"
	I32  DType = "I32"
	I64  DType = "I64"
	U8   DType = "U8"
	BOOL DType = "BOOL"
)

// size is the number of bytes of one element; 0 for an unknown type.
func (d DType) size() int {
	switch d {
	case F64, I64:
		return 8
	case F32, I32:
		return 4
	case F16, BF16, I16:
		return 2
	case I8, U8, BOOL:
		return 1
	}
	return 0
}

// Array is one dense tensor in row-major (PyTorch's contiguous) order. A scalar
// has an empty Shape. Data holds the elements as little-endian bytes.
//
// The arrays of a file may share memory where the tensors did; treat Data as
// read-only.
type Array struct {
	Shape []int
	DType DType
	Data  []byte
}

// NewArray returns an F32 array of a copy of values. It panics if the shape does not hold
// exactly that many values.
func NewArray(shape []int, values []float32) *Array {
	n, err := elements(shape)
	if err != nil || n != len(values) {
		panic(fmt.Sprintf("checkpoint.NewArray: shape %v does not hold %d values", shape, len(values)))
	}
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return &Array{Shape: append([]int{}, shape...), DType: F32, Data: data}
}

// Len returns the number of elements.
func (a *Array) Len() int {
	n := 1
	for _, d := range a.Shape {
		n *= d
	}
	return n
}

// Float32s returns the elements as a new slice, rounded to nearest where the
// type is wider. Booleans are 0 and 1.
func (a *Array) Float32s() []float32 {
	out := make([]float32, a.Len())
	if a.DType == F32 {
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(a.Data[4*i:]))
		}
		return out
	}
	for i := range out {
		out[i] = float32(a.at(i))
	}
	return out
}

// Float64s returns the elements as a new slice. Every type but I64 is exact.
func (a *Array) Float64s() []float64 {
	out := make([]float64, a.Len())
	for i := range out {
		out[i] = a.at(i)
	}
	return out
}

// As returns the array in the floating-point type d (F16, BF16, F32 or F64),
// each element rounded once, to nearest, ties to even; what is too large
// becomes infinite. It returns a itself if that is its type already, and panics
// if d is no floating-point type.
func (a *Array) As(d DType) *Array {
	if a.DType == d {
		return a
	}
	n := a.Len()
	data := make([]byte, 0, n*d.size())
	le := binary.LittleEndian
	for i := range n {
		v := a.at(i)
		switch d {
		case F16:
			data = le.AppendUint16(data, float16.pack(v))
		case BF16:
			data = le.AppendUint16(data, bfloat16.pack(v))
		case F32:
			data = le.AppendUint32(data, math.Float32bits(float32(v)))
		case F64:
			data = le.AppendUint64(data, math.Float64bits(v))
		default:
			panic(fmt.Sprintf("checkpoint: Array.As: %q is not a floating-point type", d))
		}
	}
	return &Array{Shape: append([]int{}, a.Shape...), DType: d, Data: data}
}

// at returns element i in row-major order.
func (a *Array) at(i int) float64 {
	le := binary.LittleEndian
	b := a.Data[i*a.DType.size():]
	switch a.DType {
	case F16:
		return float16.unpack(le.Uint16(b))
	case BF16:
		return bfloat16.unpack(le.Uint16(b))
	case F32:
		return float64(math.Float32frombits(le.Uint32(b)))
	case F64:
		return math.Float64frombits(le.Uint64(b))
	case I8:
		return float64(int8(b[0]))
	case I16:
		return float64(int16(le.Uint16(b)))
	case I32:
		return float64(int32(le.Uint32(b)))
	case I64:
		return float64(int64(le.Uint64(b)))
	case U8:
		return float64(b[0])
	case BOOL:
		if b[0] != 0 {
			return 1
		}
		return 0
	}
	panic(fmt.Sprintf("checkpoint: array of unknown type %q", a.DType))
}

// check reports whether the array can be written.
func (a *Array) check() error {
	n, err := elements(a.Shape)
	switch {
	case err != nil:
		return err
	case a.DType.size() == 0:
		return fmt.Errorf("unknown type %q", a.DType)
	case len(a.Data) != n*a.DType.size():
		return fmt.Errorf("%s array of shape %v has %d bytes of data instead of %d", a.DType, a.Shape, len(a.Data), n*a.DType.size())
	}
	return nil
}

// elements returns the product of the dimensions. It fails for shapes that no
// memory could hold, so that n·size never overflows.
func elements(shape []int) (int, error) {
	const most = math.MaxInt / 8
	n, bound := 1, 1
	for _, d := range shape {
		if d < 0 || d > most/bound {
			return 0, fmt.Errorf("impossible shape %v", shape)
		}
		bound *= max(d, 1)
		n *= d
	}
	return n, nil
}
