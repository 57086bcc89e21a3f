package trainer

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCRC32C: the vectors of RFC 3720, B.4, and the mask undone.
func TestCRC32C(t *testing.T) {
	ascending := make([]byte, 32)
	for i := range ascending {
		ascending[i] = byte(i)
	}
	for want, data := range map[uint32][]byte{
		0x8a9136aa: make([]byte, 32),
		0x62a8ab43: bytes.Repeat([]byte{0xff}, 32),
		0x46dd794e: ascending,
		0xe3069283: []byte("123456789"),
	} {
		require.Equal(t, want, crc32.Checksum(data, castagnoli))
		rotated := maskedCRC(data) - 0xa282ead8
		require.Equal(t, want, rotated>>17|rotated<<15)
	}
}

// protoField is a field of a protocol buffer: a number or bytes.
type protoField struct {
	field  int
	number uint64
	data   []byte
}

// decodeProto is an independent reader of one level of a protocol buffer.
func decodeProto(t *testing.T, b []byte) (out []protoField) {
	t.Helper()
	varint := func() uint64 {
		v, n := binary.Uvarint(b)
		require.Positive(t, n)
		b = b[n:]
		return v
	}
	for len(b) > 0 {
		key := varint()
		f := protoField{field: int(key >> 3)}
		switch key & 7 {
		case 0:
			f.number = varint()
		case 1:
			f.number, b = binary.LittleEndian.Uint64(b), b[8:]
		case 2:
			n := varint()
			f.data, b = b[:n], b[n:]
		case 5:
			f.number, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		default:
			t.Fatalf("wire type %d", key&7)
		}
		out = append(out, f)
	}
	return out
}

func one(t *testing.T, fields []protoField, field int) protoField {
	t.Helper()
	i := slices.IndexFunc(fields, func(f protoField) bool { return f.field == field })
	require.GreaterOrEqual(t, i, 0, "no field %d", field)
	return fields[i]
}

// readEvents reads an event file's records.
func readEvents(t *testing.T, path string) (out [][]protoField) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	checked := func(data, crc []byte) {
		sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		require.Equal(t, (sum>>15|sum<<17)+0xa282ead8, binary.LittleEndian.Uint32(crc))
	}
	for len(b) > 0 {
		n := binary.LittleEndian.Uint64(b)
		checked(b[:8], b[8:12])
		checked(b[12:12+n], b[12+n:])
		out = append(out, decodeProto(t, b[12:12+n]))
		b = b[16+n:]
	}
	return out
}

func TestEventFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "tb_logger", "x")
	now := func() time.Time { return testTime }
	e, err := newEventFile(folder, 0, now)
	require.NoError(t, err)
	report := iterReport{
		Losses: []scalar{{"l_pix", 0.012345}, {"l_pix_diff", math.Inf(1)}}, LR: 2e-4, GradNorm: 0.3, ImagesPerSecond: 7.5, GPUBytes: 3 << 30,
	}
	require.NoError(t, e.scalars(300000, report.scalars()))
	img := image.NewNRGBA(image.Rect(10, 20, 13, 25))
	img.Set(11, 23, color.NRGBA{1, 2, 3, 255})
	require.NoError(t, e.image(300001, "images/Val/0001", img))
	require.NoError(t, e.Close())

	// A run that resumes within the same second has a file of its own.
	resumed, err := newEventFile(folder, 300000, now)
	require.NoError(t, err)
	require.NoError(t, resumed.Close())

	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, files, 2)
	require.Regexp(t, regexp.MustCompile(`^events\.out\.tfevents\.1767366245\..+$`), files[0].Name())
	require.Equal(t, files[0].Name()+".1", files[1].Name())

	events := readEvents(t, filepath.Join(folder, files[0].Name()))
	require.Len(t, events, 3)
	for _, event := range events {
		require.Equal(t, 1767366245.6789, math.Float64frombits(one(t, event, 1).number))
	}
	require.Equal(t, "brain.Event:2", string(one(t, events[0], 3).data))
	require.Equal(t, uint64(300000), one(t, events[1], 2).number)
	got := map[string]float32{}
	for _, value := range decodeProto(t, one(t, events[1], 5).data) {
		require.Equal(t, 1, value.field)
		v := decodeProto(t, value.data)
		got[string(one(t, v, 1).data)] = math.Float32frombits(uint32(one(t, v, 2).number))
	}
	require.Equal(t, map[string]float32{
		"losses/l_pix": 0.012345, "losses/l_pix_diff": float32(math.Inf(1)), "train/lr": 2e-4, "train/grad_norm": 0.3,
		"speed/images_per_second": 7.5, "memory/gpu_bytes": 3 << 30,
	}, got)

	require.Equal(t, uint64(300001), one(t, events[2], 2).number)
	value := decodeProto(t, one(t, decodeProto(t, one(t, events[2], 5).data), 1).data)
	require.Equal(t, "images/Val/0001", string(one(t, value, 1).data))
	picture := decodeProto(t, one(t, value, 4).data)
	require.Equal(t, []uint64{5, 3, 3}, []uint64{one(t, picture, 1).number, one(t, picture, 2).number, one(t, picture, 3).number})
	decoded, err := png.Decode(bytes.NewReader(one(t, picture, 4).data))
	require.NoError(t, err)
	require.Equal(t, image.Pt(3, 5), decoded.Bounds().Size())
	require.Equal(t, color.NRGBA{1, 2, 3, 255}, color.NRGBAModel.Convert(decoded.At(1, 3)))

	events = readEvents(t, filepath.Join(folder, files[1].Name()))
	require.Len(t, events, 2)
	require.Equal(t, uint64(300001), one(t, events[1], 2).number)
	require.Equal(t, uint64(1), one(t, decodeProto(t, one(t, events[1], 7).data), 1).number)
}
