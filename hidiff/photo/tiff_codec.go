package photo

import (
	"bytes"
	"compress/zlib"
	"io"

	"golang.org/x/image/tiff/lzw"
)

// TIFF compressions.
const (
	uncompressed = 1
	lzwCode      = 5
	oldJPEG      = 6
	jpegCode     = 7
	deflateAdobe = 8
	deflateOld   = 32946
	packBits     = 32773
)

// tiffRatio is the most that a compression can shrink data, 0 for those not supported.
func tiffRatio(compression int) int64 {
	switch compression {
	case uncompressed:
		return 1
	case lzwCode:
		return 4096 * 8 / 9 // the longest string for the shortest code
	case deflateAdobe, deflateOld:
		return deflateRatio
	case packBits:
		return 64
	case jpegCode:
		return 64 * 8 * 4 // four samples of 8×8 pixels take at least a bit
	}
	return 0
}

// tiffDecompress returns the first size bytes of a strip or tile.
func tiffDecompress(compression int, src []byte, size int) ([]byte, error) {
	var r io.Reader
	switch compression {
	case uncompressed:
		if len(src) < size {
			return nil, errTruncated
		}
		return src[:size], nil
	case packBits:
		return unpackBits(src, size)
	case lzwCode:
		z := lzw.NewReader(bytes.NewReader(src), lzw.MSB, 8)
		defer z.Close()
		r = z
	default:
		z, err := zlib.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, err
		}
		r = z
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, err
	}
	return out, nil
}

// unpackBits undoes Apple's run-length code.
func unpackBits(src []byte, size int) ([]byte, error) {
	out := make([]byte, 0, size+128)
	for len(out) < size {
		if len(src) < 2 {
			return nil, errTruncated
		}
		n := int(int8(src[0]))
		switch {
		case n == -128: // no operation
			src = src[1:]
		case n < 0:
			out = append(out, bytes.Repeat(src[1:2], 1-n)...)
			src = src[2:]
		case len(src) < n+2:
			return nil, errTruncated
		default:
			out = append(out, src[1:n+2]...)
			src = src[n+2:]
		}
	}
	return out[:size], nil
}
