package deadletter

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

const suffix = ".ndjson"

// object is what an object's name tells.
type object struct {
	name        string
	first, last stream.Position // places of its first and last letter
}

// compare orders places within a shard.
func compare(a, b stream.Position) int {
	if c := stream.CompareSequence(a.Sequence, b.Sequence); c != 0 {
		return c
	}
	return cmp.Compare(a.Sub, b.Sub)
}

func prefix(streamName, shardID, hour string) string {
	return element(streamName) + "/" + element(shardID) + "/" + hour + "/"
}

// objectName names the object that holds the letters from first to last, of
// one hour.
func objectName(streamName string, first, last Letter) string {
	name := placeName(first.Place())
	if first.Place() != last.Place() {
		name += "_" + placeName(last.Place())
	}
	return prefix(streamName, first.ShardID, hour(first)) + name + suffix
}

// nameable reports whether one name can hold both places. A sequence number may
// have 129 digits; those of today have 56. Two of the longest do not fit into
// the 255 bytes of a file name, and such letters go one to an object.
func nameable(first, last Letter) bool {
	return len(placeName(first.Place()))+len(placeName(last.Place())) <= 200
}

func placeName(p stream.Position) string {
	return element(p.Sequence) + "-" + strconv.FormatInt(p.Sub, 10)
}

// parseName undoes objectName for the last element of name.
func parseName(name string) (object, bool) {
	base, ok := strings.CutSuffix(name[strings.LastIndexByte(name, '/')+1:], suffix)
	if !ok {
		return object{}, false
	}
	from, to, ranged := strings.Cut(base, "_")
	first, ok := parsePlace(from)
	if !ok || !ranged {
		return object{name, first, first}, ok
	}
	last, ok := parsePlace(to)
	return object{name, first, last}, ok
}

func parsePlace(text string) (stream.Position, bool) {
	seq, sub, _ := strings.Cut(text, "-")
	n, err := strconv.ParseInt(sub, 10, 64)
	p := stream.Position{Sequence: seq, Sub: n}
	return p, err == nil && p.IsSequence()
}

// element makes text one element of a name: what is not a letter, a digit, or
// one of "._-" becomes %XX, as does a leading dot, so that no text is "..", is
// hidden, or holds a "/". Two texts never make the same element.
func element(text string) string {
	if text == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_' || c == '.' && i > 0
		if plain {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
