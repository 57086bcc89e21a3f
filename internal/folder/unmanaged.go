package folder

import (
	"fmt"
	"strings"
)

// Unmanaged warns in one sentence of photos whose colours are off, as [photo.Info] says, and names ten of them.
func Unmanaged(files ...string) string {
	if len(files) == 1 {
		return files[0] + ": the ICC profile of its inks cannot be read, so colours will be off: convert it to sRGB first"
	}
	named, more := files, ""
	if n := len(files) - 10; n > 0 {
		named, more = files[:10], fmt.Sprintf(", and %d more", n)
	}
	return fmt.Sprintf("the ICC profiles of the inks of %d photos cannot be read, so colours will be off: convert them to sRGB first: %s%s",
		len(files), strings.Join(named, ", "), more)
}
