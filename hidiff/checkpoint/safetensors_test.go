package checkpoint

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tensorsFile is a safetensors file of a header and data.
func tensorsFile(header, data string) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

func TestSafetensorsRoundTrip(t *testing.T) {
	all := mustWeights(t, "testdata/torch_tensors.pth", "")
	bundle := map[string]*StateDict{"net_d": trueWeights(t), "net_le_dm": all}
	path := filepath.Join(t.TempDir(), "bundle.bin") // the name does not matter
	metadata := map[string]string{"config": "gopro_tiny", "quote": "\"<&>\" grüße"}
	require.NoError(t, WriteSafetensors(path, bundle, metadata))
	file := mustOpen(t, path)
	require.Equal(t, formatSafetensors, file.Format)
	require.Equal(t, metadata, file.Metadata)
	require.Equal(t, []string{"net_d", "net_le_dm"}, sortedKeys(file.Groups))
	for name, want := range bundle {
		got, err := file.Weights(name)
		require.NoError(t, err)
		requireSame(t, want, got)
	}
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Zero(t, (8+binary.LittleEndian.Uint64(first))%8, "the data is aligned")
	require.NoError(t, WriteSafetensors(path, file.Groups, file.Metadata))
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first, second))

	bare := filepath.Join(t.TempDir(), "bare.safetensors")
	half := converted(trueWeights(t), F16)
	require.NoError(t, WriteSafetensors(bare, map[string]*StateDict{"": half}, nil))
	file = mustOpen(t, bare)
	require.Empty(t, file.Metadata)
	requireSame(t, half, file.Groups[""])

	require.NoError(t, WriteSafetensors(bare, nil, nil))
	require.Equal(t, 0, mustWeights(t, bare, "").Len())

	_, err = LoadPickle(path)
	require.ErrorContains(t, err, "a safetensors file where one of torch.save is needed")
}

func TestWriteSafetensorsErrors(t *testing.T) {
	a := NewArray([]int{1}, []float32{1})
	for _, c := range []struct {
		group, key string
		array      *Array
		want       string
	}{
		{"generator", "w", a, `would be read back as "generator.w" of ""`},
		{"net_g.x", "w", a, `would be read back as "x.w" of "net_g"`},
		{"", "net_g.w", a, `would be read back as "w" of "net_g"`},
		{"", "__metadata__", a, "would be read back"},
		{"", "\xff", a, "not UTF-8"},
		{"", "w", nil, "nil *Array"},
		{"net_g", "w", &Array{Shape: []int{2}, DType: F32, Data: make([]byte, 4)}, "net_g.w: F32 array"},
	} {
		state := NewStateDict()
		state.Set(c.key, c.array)
		path := filepath.Join(t.TempDir(), "x.safetensors")
		err := WriteSafetensors(path, map[string]*StateDict{c.group: state}, nil)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, c.want)
	}
}

func TestHostileSafetensors(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`
	file, err := readBytes(tensorsFile(`{`+a+`,"__metadata__":{"k":"v"}}   `, "\x00\x00\x80\x3f"))
	require.NoError(t, err)
	array, _ := file.Groups[""].Get("a")
	require.Equal(t, []float32{1}, array.Float32s())
	require.Equal(t, map[string]string{"k": "v"}, file.Metadata)

	for _, c := range []struct{ name, header, data, want string }{
		{"data cut", `{` + a + `}`, "abc", "the file ends early (truncated download?): it has 3 of 4 bytes"},
		{"data left", `{` + a + `}`, "abcde", "1 bytes after the last tensor"},
		{"hole", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "ab", "starts at 1 instead of 0"},
		{"overlap", `{` + a + `,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, "abcdef", "starts at 2 instead of 4"},
		{"same place", `{` + a + `,"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "abcd", "starts at 0 instead of 4"},
		{"backwards", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,-1]}}`, "", "is not a size"},
		{"size", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, "abcd", "4 bytes instead of those of shape [2]"},
		{"huge shape", `{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}`, "abcd", "impossible shape"},
		{"overflow", `{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, "", "impossible shape"},
		{"offset beyond", `{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, "", "impossible shape"},
		{"number too long", `{"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}}`, "a", "is not a size"},
		{"fraction", `{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, "a", "is not a size"},
		{"null size", `{"a":{"dtype":"U8","shape":[null],"data_offsets":[0,1]}}`, "a", "is not a size"},
		{"null shape", `{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, "a", "a list of numbers is missing"},
		{"nested", `{"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}}`, "a", "is not a size"},
		{"unknown type", `{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}`, "a", `type "F8_E4M3" is not supported`},
		{"no type", `{"a":{"shape":[1],"data_offsets":[0,1]}}`, "a", "is missing"},
		{"three offsets", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, "a", "not two numbers"},
		{"unknown field", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, "a", `unknown field "x"`},
		{"tensor twice", `{` + a + `,` + a + `}`, "abcd", `key "a" is there twice`},
		{"field twice", `{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, "a", `key "dtype" is there twice`},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, "", "is there twice"},
		{"metadata of numbers", `{"__metadata__":{"k":1}}`, "", `"k" is not a string`},
		{"metadata of objects", `{"__metadata__":{"k":{}}}`, "", `"k" is not a string`},
		{"cut", `{"a":{"dtype"`, "", "unexpected EOF"},
		{"not JSON", `{]`, "", "invalid character"},
		{"text after", `{} x`, "", "text after its end"},
		{"not UTF-8", "{\"\xff\":{}}", "", "not UTF-8"},
		{"deep", `{"a":{"dtype":` + strings.Repeat("[", 100000), "", "safetensors header"},
		{"a list", `{"a":[]}`, "", "an object is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(tensorsFile(c.header, c.data))
			require.ErrorContains(t, err, "hostile.pth: ")
			require.ErrorContains(t, err, c.want)
		})
	}
	for length, want := range map[uint64]string{
		math.MaxUint64: "neither a .pth file",
		maxHeader + 1:  "neither a .pth file",
		maxHeader:      "the file ends early (truncated download?): its header has 2 of 100000000 bytes",
		1:              "unexpected EOF",
	} {
		_, err := readBytes(append(binary.LittleEndian.AppendUint64(nil, length), "{}"...))
		require.ErrorContains(t, err, want)
	}
}

// TestSafetensorsOrder reads tensors in the order of their data.
func TestSafetensorsOrder(t *testing.T) {
	file, err := readBytes(tensorsFile(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},`+
		`"none":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "xy"))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "none", "b"}, file.Groups[""].Keys())
}

// TestReferenceSafetensors reads files of another writer, where they are at hand.
func TestReferenceSafetensors(t *testing.T) {
	path := filepath.Join(fixtures, "training", "gopro_tiny_s2.safetensors")
	if _, err := os.Stat(path); err != nil {
		t.Skip("no shared folder beside the repository")
	}
	file := mustOpen(t, path)
	require.NotEmpty(t, file.Metadata["config"])
	require.NotZero(t, file.Groups[""].Len())
}
