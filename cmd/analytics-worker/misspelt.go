package main

import (
	"fmt"
	"slices"
	"strings"
)

// misspelt tells of variables that are no settings and look like one. A name that
// nobody reads is otherwise the same as one that was never set.
func misspelt(environ []string) []string {
	var names []string
	for _, s := range settings() {
		names = append(names, s.name)
	}
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains(names, name) {
			continue
		}
		if like := nearest(name, names); like != "" {
			out = append(out, fmt.Sprintf("%s is no setting of this program and has no effect: is %s meant?", name, like))
		}
	}
	slices.Sort(out)
	return out
}

// How near a name is to a setting's to be taken for it: so few letters changed, or so
// many the same from the beginning, of a name of which two thirds are there.
const (
	misspeltLetters = 2
	misspeltBegins  = 8
)

// nearest is the setting that is meant by name, "" where none may be.
func nearest(name string, settings []string) string {
	best, least := "", misspeltLetters+1
	for _, s := range settings {
		if d := distance(strings.ToUpper(name), s); d < least && len(s) > 3*misspeltLetters {
			best, least = s, d
		}
	}
	if best != "" {
		return best
	}
	longest := misspeltBegins - 1
	for _, s := range settings {
		n := 0
		for n < len(name) && n < len(s) && name[n] == s[n] {
			n++
		}
		if n > longest && 3*n >= 2*len(s) {
			best, longest = s, n
		}
	}
	return best
}

// distance is how many letters have to be changed, left out or put in to make one
// text of the other (Levenshtein's).
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	for j := range before {
		before[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			same := before[j]
			if a[i] != b[j] {
				same++
			}
			row[j+1] = min(same, before[j+1]+1, row[j]+1)
		}
		before = row
	}
	return before[len(b)]
}
