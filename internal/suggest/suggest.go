// Package suggest finds what somebody meant who mistyped a name.
package suggest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns up to three of the names that are near to a word, the nearest first. What is compared is
// key of a name, case aside. Near are names two edits away, short ones one edit, and those that begin as the word does, or as which the word begins.
func Nearest(word string, names []string, key func(name string) string) []string {
	type candidate struct {
		name  string
		edits int
	}
	var found []candidate
	if word == "" || len(word) > 100 { // no name is that long, and the time is the product of both lengths
		return nil
	}
	word = strings.ToLower(word)
	for _, name := range names {
		k := strings.ToLower(key(name))
		edits := levenshtein.ComputeDistance(word, k)
		if strings.HasPrefix(k, word) || len(k) > 5 && strings.HasPrefix(word, k) {
			edits = min(edits, 1)
		}
		if edits <= 1 || edits == 2 && len(k) > 3 {
			found = append(found, candidate{name, edits})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.edits, b.edits) })
	var out []string
	for _, c := range found[:min(3, len(found))] {
		out = append(out, c.name)
	}
	return out
}

// Text is ": did you mean x?" for the nearest of the names, and nothing where none is near.
func Text(word string, names []string) string {
	found := Nearest(word, names, func(name string) string { return name })
	if found == nil {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", found[0])
}
