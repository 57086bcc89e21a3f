// Package textfile reads text as people's editors and shells leave it.
package textfile

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Read reads a text file as [Decode] does. Errors name it.
func Read(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Decode(path, data)
}

// Decode returns text in UTF-8, with lines that end in \n, and without byte order marks, wherever files were
// joined: from UTF-16 of either order and from UTF-8, with a mark or without. What is neither stays as it is, for
// names of files may be of any bytes, but for NUL, which is in no text: that is an error, which names the file.
func Decode(name string, data []byte) ([]byte, error) {
	text, _, err := transform.Bytes(unicode.BOMOverride(unmarked(data)), data)
	if err == nil && bytes.IndexByte(text, 0) >= 0 {
		err = fmt.Errorf("it has NUL bytes")
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no text file: %w; save it as UTF-8", name, err)
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("\n\uFEFF"), []byte("\n")), nil
}

// unmarked is how text without a mark is to be read: one byte of the first letter's two is 0 in UTF-16.
func unmarked(data []byte) transform.Transformer {
	switch {
	case len(data) < 2 || (data[0] == 0) == (data[1] == 0):
		return transform.Nop
	case data[1] == 0:
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder()
	}
	return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder()
}
