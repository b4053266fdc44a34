package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// maxDepth is how many objects and arrays may lie within each other, the event
// itself included. It bounds the recursion below.
const maxDepth = 64

type kind uint8

const (
	kindAbsent kind = iota
	kindNull
	kindBool
	kindNumber
	kindString
	kindObject
	kindArray
)

// form is what a string is made of.
type form uint8

const (
	escaped form = 1 << iota // has backslashes
	wide                     // has bytes outside ASCII, which may not be UTF-8
)

// token is a value by its place in the text; of a string, the place of what
// stands between the quotes. It has four fields because the compiler keeps no
// larger struct in registers, which is half of the decoder's speed.
type token struct {
	start, end int
	kind       kind
	form       form
}

// present tells a value from no value: an optional field that is null counts
// as one that is not there.
func (t token) present() bool { return t.kind > kindNull }

// role is what a value is to the decoder: most are only checked.
type role uint8

const (
	ignored role = iota
	event        // the outermost object
	items        // the list of an order's items
	item         // one of them
)

// scanner reads one JSON text (RFC 8259). Its methods take the place where
// something begins and return the place behind it, or broken at the first byte
// that is against the grammar; positions in arguments stay in registers. The
// milder faults, which only count if the grammar holds to the end, are noted
// and the reading goes on.
type scanner struct {
	data   []byte
	fields [maxFields]token // those of seen
	seen   uint32           // a bit for each field that is there
	items  itemSum
	// usual is which field came in which place of the events before, plus one: a
	// producer writes its keys in one order, so a look tells what searching would.
	usual [maxFields]field

	wrong   string // what broke the grammar
	wrongAt int
	deep    bool // some value lies deeper than maxDepth
	deepAt  int
	twice   token // the second of two equal keys in one object; absent if there are none
	stack   keyStack
}

// at is the value of a field. The remainder is the field itself: it tells the
// compiler that there is such a place.
func (s *scanner) at(f field) (t token) {
	if s.has(f) {
		t = s.fields[f%maxFields]
	}
	return t
}

// has reports whether a field is there, be it null.
func (s *scanner) has(f field) bool { return s.seen>>(f%maxFields)&1 != 0 }

// reset makes it as new, so that it holds nothing of the record. What is large is
// cleared as far as it was used.
func (s *scanner) reset() {
	clear(s.stack.keys[:s.stack.most])
	s.stack.used, s.stack.most = 0, 0
	s.data, s.seen, s.items = nil, 0, itemSum{}
	s.wrong, s.wrongAt, s.deep, s.deepAt, s.twice = "", 0, false, 0, token{}
}

// broken is the place behind something that is against the grammar.
const broken = -1

// text checks the whole text and finds the fields of the event in it.
func (s *scanner) text() *Rejection {
	first, i := s.next(0)
	role := ignored
	if first == '{' {
		role = event
	}
	_, i = s.value(i, 1, role)
	if i == broken {
		return s.notJSON()
	}
	_, i = s.next(i)
	switch {
	case i < len(s.data) && first == '{':
		return &Rejection{Reason: TextAfterObject, Detail: fmt.Sprintf("at byte %d: %s", i, excerpt(s.data[i:]))}
	case i < len(s.data):
		s.fail(i, "expected the end of the text")
		return s.notJSON()
	case first != '{':
		return &Rejection{Reason: NotAnObject, Detail: "the text is " + excerpt(s.data)}
	case s.deep:
		return &Rejection{Reason: NestedTooDeep, Detail: fmt.Sprintf("at byte %d", s.deepAt)}
	case s.twice.kind != kindAbsent:
		return &Rejection{Reason: KeyTwice, Detail: fmt.Sprintf("key %s at byte %d", excerpt(s.bytes(s.twice)), s.twice.start)}
	}
	return nil
}

func (s *scanner) notJSON() *Rejection {
	switch {
	case len(s.data) == 0:
		return &Rejection{Reason: NotJSON, Detail: "the record is empty"}
	case s.wrongAt >= len(s.data):
		return &Rejection{Reason: NotJSON, Detail: fmt.Sprintf("the text ends at byte %d: %s", len(s.data), s.wrong)}
	case bytes.HasPrefix(s.data, []byte("\xEF\xBB\xBF")):
		return &Rejection{Reason: NotJSON, Detail: "the text begins with a byte order mark"}
	}
	return &Rejection{Reason: NotJSON, Detail: fmt.Sprintf("at byte %d: %s: %s", s.wrongAt, s.wrong, excerpt(s.data[s.wrongAt:]))}
}

func (s *scanner) fail(at int, wrong string) int {
	s.wrong, s.wrongAt = wrong, at
	return broken
}

// next skips white space and returns the byte there, or 0 at the end: no JSON
// token begins with a 0.
func (s *scanner) next(i int) (c byte, at int) {
	for ; i < len(s.data); i++ {
		c = s.data[i]
		if c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' { // first the usual answer
			return c, i
		}
	}
	return 0, i
}

// value reads the value at i, which lies in depth-1 objects and arrays.
func (s *scanner) value(i, depth int, as role) (t token, end int) {
	c, i := s.next(i)
	switch {
	case c == '"':
		return s.string(i)
	case c == '-' || c-'0' < 10:
		t.kind = kindNumber
		end = s.number(i)
	case (c == '{' || c == '[') && depth > maxDepth:
		t.kind = kindArray // of no matter which: the record is rejected
		end = s.skipDeep(i)
	case c == '{' && as == event:
		t.kind = kindObject
		end = s.event(i)
	case c == '{':
		t.kind = kindObject
		end = s.object(i, depth, as)
	case c == '[':
		t.kind = kindArray
		end = s.array(i, depth, as)
	case c == 't':
		t.kind = kindBool
		end = s.word(i, "true")
	case c == 'f':
		t.kind = kindBool
		end = s.word(i, "false")
	case c == 'n':
		t.kind = kindNull
		end = s.word(i, "null")
	default:
		end = s.fail(i, "expected a value")
	}
	t.start, t.end = i, end
	return t, end
}

// event reads the outermost object and notes its fields. It is object for that one:
// fields that are looked for within others too, and a call for each comma, cost a tenth
// of the time each.
func (s *scanner) event(i int) int {
	keys := s.stack.open()
	c, i := s.next(i + 1)
	for place := 0; c != '}'; place++ {
		name, known, behind := s.usualKey(i, place)
		if known == unknown {
			if name, behind = s.key(i); behind == broken {
				return broken
			}
			key, _ := s.unescaped(name)
			if known = s.find(key, place); known == unknown && s.stack.repeats(&keys, key) {
				s.noteTwice(name)
			}
		}
		inner := ignored
		if known == fieldItems {
			inner = items
		}
		var t token
		if t, i = s.value(behind, 2, inner); i == broken {
			return broken
		}
		if known != unknown {
			if s.has(known) {
				s.noteTwice(name)
			}
			s.fields[known%maxFields] = t
			s.seen |= 1 << (known % maxFields)
		}
		switch c, i = s.next(i); c {
		case ',':
			i++
		case '}':
		default:
			return s.fail(i, "expected a comma or the end of the object")
		}
	}
	s.stack.close(&keys)
	return i + 1
}

// object reads an object within the event. Of an item it notes the quantity.
func (s *scanner) object(i, depth int, as role) int {
	keys := s.stack.open()
	var quantity token
	c, i := s.next(i + 1)
	for c != '}' {
		var name, t token
		if name, i = s.key(i); i == broken {
			return broken
		}
		key, _ := s.unescaped(name)
		if s.stack.repeats(&keys, key) {
			s.noteTwice(name)
		}
		if t, i = s.value(i, depth+1, ignored); i == broken {
			return broken
		}
		if as == item && key == "quantity" {
			quantity = t
		}
		switch c, i = s.next(i); c {
		case ',':
			i++
		case '}':
		default:
			return s.fail(i, "expected a comma or the end of the object")
		}
	}
	s.stack.close(&keys)
	if as == item {
		s.items.add(s, quantity)
	}
	return i + 1
}

// usualKey reads a key of the event and its colon if it is the one that came in this
// place before, and leaves anything else to key.
func (s *scanner) usualKey(i, place int) (name token, known field, end int) {
	known = s.usual[place%maxFields] - 1
	if known >= unknown {
		return name, unknown, i
	}
	quoted := fieldTable.quoted[known]
	if len(s.data)-i <= len(quoted) || string(s.data[i:i+len(quoted)]) != quoted {
		return name, unknown, i
	}
	name = token{start: i + 1, end: i + len(quoted) - 1, kind: kindString}
	c, end := s.next(name.end + 1)
	if c != ':' {
		return name, unknown, i
	}
	return name, known, end + 1
}

// find is the field of a key of the event, or unknown.
func (s *scanner) find(key string, place int) field {
	known := fieldTable.find(key)
	s.usual[place%maxFields] = known + 1
	return known
}

func (s *scanner) noteTwice(name token) {
	if s.twice.kind == kindAbsent {
		s.twice = name
	}
}

// key reads a key and its colon.
func (s *scanner) key(i int) (t token, end int) {
	c, i := s.next(i)
	if c != '"' {
		return t, s.fail(i, "expected a key")
	}
	if t, i = s.string(i); i == broken {
		return t, broken
	}
	if c, i = s.next(i); c != ':' {
		return t, s.fail(i, "expected a colon")
	}
	return t, i + 1
}

// array reads an array.
func (s *scanner) array(i, depth int, as role) int {
	inner := ignored
	if as == items {
		inner = item
	}
	c, i := s.next(i + 1)
	for c != ']' {
		var t token
		if t, i = s.value(i, depth+1, inner); i == broken {
			return broken
		}
		if inner == item && t.kind != kindObject {
			s.items.refuse(itemCountReasons.notInteger, "items", t)
		}
		switch c, i = s.next(i); c {
		case ',':
			i++
		case ']':
		default:
			return s.fail(i, "expected a comma or the end of the array")
		}
	}
	return i + 1
}

// skipDeep reads an object or array that lies too deep, only to learn whether
// it keeps to the grammar. It does not recurse, since its depth has no bound.
func (s *scanner) skipDeep(i int) int {
	if !s.deep {
		s.deep, s.deepAt = true, i
	}
	var closers []byte // of the objects and arrays that are open
	for {
		var c byte
		switch c, i = s.next(i); c {
		case '{':
			closers = append(closers, '}')
			if c, i = s.next(i + 1); c != '}' {
				if _, i = s.key(i); i == broken {
					return broken
				}
				continue
			}
		case '[':
			closers = append(closers, ']')
			if c, i = s.next(i + 1); c != ']' {
				continue
			}
		default: // neither object nor array, so the depth does not matter
			if _, i = s.value(i, maxDepth, ignored); i == broken {
				return broken
			}
		}
		for c, i = s.next(i); c != ','; c, i = s.next(i) {
			closer := closers[len(closers)-1]
			if c != closer {
				return s.fail(i, "expected a comma or "+string(closer))
			}
			i++
			closers = closers[:len(closers)-1]
			if len(closers) == 0 {
				return i
			}
		}
		i++ // the comma
		if closers[len(closers)-1] == '}' {
			if _, i = s.key(i); i == broken {
				return broken
			}
		}
	}
}

// word reads true, false or null.
func (s *scanner) word(i int, word string) int {
	if len(s.data)-i < len(word) || string(s.data[i:i+len(word)]) != word {
		return s.fail(i, "expected a value")
	}
	return i + len(word)
}

// number reads a number.
func (s *scanner) number(i int) int {
	end, ok := numberEnd(s.data, i)
	if !ok {
		return s.fail(end, "malformed number")
	}
	return end
}

// Eight bytes of a string are looked at together.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// stops marks, with their high bit, the bytes of w that end a plain run: quotes,
// backslashes and control characters. A byte above such a one may be marked
// wrongly, so only the lowest mark counts. The first term swaps the quote with
// the blank: then both it and the control characters are below 0x21.
func stops(w uint64) uint64 {
	swapped, slash := w^0x02*ones, w^'\\'*ones
	return ((swapped-0x21*ones)&^swapped | (slash-ones)&^slash) & highs
}

// string reads a string whose opening quote is at i. Its bytes outside ASCII
// are let through: whether they are UTF-8 matters only in fields that are used.
func (s *scanner) string(i int) (t token, end int) {
	data := s.data
	i++
	t.start, t.kind = i, kindString
	var high uint64 // or of all bytes
	for {
		for i+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[i:])
			if stop := stops(w); stop != 0 {
				high |= w & ((stop & -stop) - 1)
				i += bits.TrailingZeros64(stop) >> 3
				break
			}
			high |= w
			i += 8
		}
		if i >= len(data) {
			return t, s.fail(i, "expected the end of the string")
		}
		switch c := data[i]; {
		case c == '"':
			if high&highs != 0 {
				t.form |= wide
			}
			t.end = i
			return t, i + 1
		case c == '\\':
			t.form |= escaped
			n := escapeLen(data[i:])
			if n == 0 {
				return t, s.fail(i, "unknown escape in a string")
			}
			i += n
		case c < ' ':
			return t, s.fail(i, "control character in a string")
		default: // one of the last seven bytes of the text
			high |= uint64(c)
			i++
		}
	}
}
