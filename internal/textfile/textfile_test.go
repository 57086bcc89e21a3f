package textfile

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// utf16Bytes writes text in UTF-16.
func utf16Bytes(order binary.AppendByteOrder, text string) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return string(out)
}

func TestDecode(t *testing.T) {
	const mark, text = "\uFEFF", "0.png (40,48,3)\nGrüße 🙂.png\n\n"
	windows := strings.ReplaceAll(text, "\n", "\r\n")
	for name, data := range map[string]string{
		"plain":               text,
		"CRLF":                windows,
		"mark":                mark + windows,
		"UTF-16LE":            utf16Bytes(binary.LittleEndian, mark+windows),
		"UTF-16BE":            utf16Bytes(binary.BigEndian, mark+windows),
		"UTF-16LE, no mark":   utf16Bytes(binary.LittleEndian, windows),
		"UTF-16BE, no mark":   utf16Bytes(binary.BigEndian, text),
		"joined":              mark + text[:16] + mark + text[16:],
		"joined, of UTF-16LE": utf16Bytes(binary.LittleEndian, mark+text[:16]+mark+text[16:]),
	} {
		got, err := Decode(name, []byte(data))
		require.NoError(t, err, name)
		require.Equal(t, text, string(got), name)
	}
	for _, same := range []string{"", "a", "caf\xe9.png\n", "a\rb"} {
		got, err := Decode("x", []byte(same))
		require.NoError(t, err)
		require.Equal(t, same, string(got))
	}
	for _, bad := range []string{"PK\x03\x04\x00\x00\x00", "a\nb\x00c", "\x00\x00", "\xff\xfe\x00\x00a\x00\x00\x00"} {
		_, err := Decode("dir/x.txt", []byte(bad))
		require.EqualError(t, err, "dir/x.txt is no text file: it has NUL bytes; save it as UTF-8")
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.txt")
	_, err := Read(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("\uFEFFa\r\n"), 0o666))
	got, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, "a\n", string(got))
}
