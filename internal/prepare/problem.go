package prepare

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is what is wrong with a photo, a pair, or a few photos.
type Problem struct {
	Kind    string   `json:"kind"`
	Files   []string `json:"files"`
	Message string   `json:"message"` // names the files
}

// Kinds of problems.
const (
	Missing    = "missing"    // no partner
	Name       = "name"       // two photos of one name
	Case       = "case"       // names that differ only in case
	Unreadable = "unreadable" // no photo, or a damaged one
	Size       = "size"       // pairs of two sizes
	Depth      = "depth"      // 16 bits a sample paired with 8
	Duplicate  = "duplicate"  // the same picture twice
	Small      = "small"      // smaller than a crop
	Unwritable = "unwritable" // crops that cannot be written
	Foreign    = "foreign"    // among the crops, but not one of them
)

// remedies say what to do about problems, in the order in which they are told.
var remedies = []struct{ kind, title, remedy string }{
	{Missing, "photos without a partner", "add the partners, or remove these photos"},
	{Name, "names given twice", "photos are paired by name without extension, so rename or remove one of each"},
	{Case, "names that differ only in case", "make them equal if they are a pair, else rename one"},
	{Unreadable, "photos that cannot be read", "repair, replace or remove them and their partners"},
	{Size, "pairs of two sizes", "replace or remove the pairs"},
	{Depth, "pairs of 8 and 16 bits a sample", "convert one of each"},
	{Small, "photos smaller than a crop", "remove the pairs, or cut smaller crops"},
	{Duplicate, "pictures that are there twice", "remove all but one, with their partners"},
	{Unwritable, "crops that cannot be written", "shorten the names of the photos, or let the crops go into another folder"},
	{Foreign, "photos among the crops that this dataset does not give", "remove them, or let the crops go into another folder"},
}

// Describe tells of problems, at most ten of each kind, and what to do about them. Every line ends with
// a line break.
func Describe(problems []Problem) string {
	var out strings.Builder
	for _, r := range remedies {
		var lines []string
		for _, p := range problems {
			if p.Kind == r.kind {
				lines = append(lines, p.Message)
			}
		}
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(&out, "%s (%d): %s\n", r.title, len(lines), r.remedy)
		if n := len(lines) - 10; n > 0 {
			lines = append(slices.Clip(lines[:10]), fmt.Sprintf("and %d more", n))
		}
		for _, line := range lines {
			fmt.Fprintf(&out, "  %s\n", line)
		}
	}
	return out.String()
}
