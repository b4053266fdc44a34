package event

import (
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

// token is a value by its place in the text; of a string, the place of what
// stands between the quotes.
type token struct {
	start, end int
	kind       kind
	escaped    bool // a string with backslashes in it
	wide       bool // a string with bytes outside ASCII, which may not be UTF-8
}

// present tells a value from no value: an optional field that is null counts
// as one that is not there.
func (t token) present() bool { return t.kind > kindNull }

// field is a key of an order that the decoder looks at.
type field uint8

const (
	fieldOrderID field = iota
	fieldCustomerID
	fieldStoreID
	fieldTotalAmount
	fieldItemCount
	fieldItems
	fieldEventType
	fieldStatus
	fieldEventTimestamp
	fieldTimestamp
	fieldCreatedAt
	fieldPaymentID
	fieldSKU
	fieldCount // also: a key that the decoder does not know
)

func fieldOf(key string) field {
	switch key {
	case "order_id":
		return fieldOrderID
	case "customer_id":
		return fieldCustomerID
	case "store_id":
		return fieldStoreID
	case "total_amount":
		return fieldTotalAmount
	case "item_count":
		return fieldItemCount
	case "items":
		return fieldItems
	case "event_type":
		return fieldEventType
	case "status":
		return fieldStatus
	case "event_timestamp":
		return fieldEventTimestamp
	case "timestamp":
		return fieldTimestamp
	case "created_at":
		return fieldCreatedAt
	case "payment_id":
		return fieldPaymentID
	case "sku":
		return fieldSKU
	}
	return fieldCount
}

// role is what a value is to the decoder: most are only checked.
type role uint8

const (
	ignored role = iota
	event        // the outermost object
	items        // the list of an order's items
	item         // one of them
)

// scanner reads one JSON text (RFC 8259). Its methods return false at the
// first byte that breaks the grammar; the milder faults, which only count if the
// grammar holds to the end, are noted and the reading goes on.
type scanner struct {
	data   []byte
	pos    int
	fields [fieldCount]token
	items  itemSum

	wrong  string // what broke the grammar at pos
	deep   bool   // some value lies deeper than maxDepth
	deepAt int
	twice  token // the second of two equal keys in one object; absent if there are none
	stack  keyStack
}

// text checks the whole text and finds the fields of the event in it.
func (s *scanner) text() *Rejection {
	first := s.next()
	role := ignored
	if first == '{' {
		role = event
	}
	if _, ok := s.value(1, role); !ok {
		return s.notJSON()
	}
	s.next()
	switch {
	case s.pos < len(s.data) && first == '{':
		return &Rejection{TextAfterObject, fmt.Sprintf("at byte %d: %s", s.pos, excerpt(s.data[s.pos:]))}
	case s.pos < len(s.data):
		s.wrong = "expected the end of the text"
		return s.notJSON()
	case first != '{':
		return &Rejection{NotAnObject, "the text is " + excerpt(s.data)}
	case s.deep:
		return &Rejection{NestedTooDeep, fmt.Sprintf("at byte %d", s.deepAt)}
	case s.twice.kind != kindAbsent:
		return &Rejection{KeyTwice, fmt.Sprintf("key %s at byte %d", excerpt(s.data[s.twice.start:s.twice.end]), s.twice.start)}
	}
	return nil
}

func (s *scanner) notJSON() *Rejection {
	switch {
	case len(s.data) == 0:
		return &Rejection{NotJSON, "the record is empty"}
	case s.pos >= len(s.data):
		return &Rejection{NotJSON, fmt.Sprintf("the text ends at byte %d: %s", len(s.data), s.wrong)}
	}
	return &Rejection{NotJSON, fmt.Sprintf("at byte %d: %s: %s", s.pos, s.wrong, excerpt(s.data[s.pos:]))}
}

func (s *scanner) fail(at int, wrong string) bool {
	s.pos, s.wrong = at, wrong
	return false
}

// next skips white space and returns the byte there, or 0 at the end: no JSON
// token begins with a 0.
func (s *scanner) next() byte {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' { // first the usual answer
			return c
		}
		s.pos++
	}
	return 0
}

// value reads the value that begins at the next byte, which lies in depth-1
// objects and arrays.
func (s *scanner) value(depth int, as role) (t token, ok bool) {
	c := s.next()
	t.start = s.pos
	switch {
	case c == '"':
		return s.string()
	case c == '{' || c == '[':
		switch {
		case depth > maxDepth:
			t.kind = kindArray // no one looks: the record is rejected
			ok = s.skipDeep()
		case c == '{':
			t.kind = kindObject
			ok = s.object(depth, as)
		default:
			t.kind = kindArray
			ok = s.array(depth, as)
		}
	case c == '-' || c-'0' < 10:
		t.kind = kindNumber
		ok = s.number()
	case c == 't':
		t.kind = kindBool
		ok = s.word("true")
	case c == 'f':
		t.kind = kindBool
		ok = s.word("false")
	case c == 'n':
		t.kind = kindNull
		ok = s.word("null")
	default:
		ok = s.fail(s.pos, "expected a value")
	}
	t.end = s.pos
	return t, ok
}

// object reads an object. Of the event it notes the known fields, of an item
// the quantity.
func (s *scanner) object(depth int, as role) bool {
	s.pos++ // the brace
	if s.next() == '}' {
		s.pos++
		if as == item {
			s.items.add(s, token{})
		}
		return true
	}
	keys := s.stack.open()
	var quantity token
	for {
		name, ok := s.key()
		if !ok {
			return false
		}
		key, _ := s.unescaped(name)
		known, inner := fieldCount, ignored
		if as == event {
			known = fieldOf(key)
			if known == fieldItems {
				inner = items
			}
		}
		if known == fieldCount && s.stack.repeats(&keys, key) {
			s.noteTwice(name)
		}
		t, ok := s.value(depth+1, inner)
		if !ok {
			return false
		}
		switch {
		case known != fieldCount:
			if s.fields[known].kind != kindAbsent {
				s.noteTwice(name)
			}
			s.fields[known] = t
		case as == item && key == "quantity":
			quantity = t
		}
		switch s.next() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			s.stack.close(&keys)
			if as == item {
				s.items.add(s, quantity)
			}
			return true
		default:
			return s.fail(s.pos, "expected a comma or the end of the object")
		}
	}
}

func (s *scanner) noteTwice(name token) {
	if s.twice.kind == kindAbsent {
		s.twice = name
	}
}

// key reads a key and its colon.
func (s *scanner) key() (t token, ok bool) {
	if s.next() != '"' {
		return t, s.fail(s.pos, "expected a key")
	}
	if t, ok = s.string(); !ok {
		return t, false
	}
	if s.next() != ':' {
		return t, s.fail(s.pos, "expected a colon")
	}
	s.pos++
	return t, true
}

// array reads an array.
func (s *scanner) array(depth int, as role) bool {
	s.pos++ // the bracket
	if s.next() == ']' {
		s.pos++
		return true
	}
	inner := ignored
	if as == items {
		inner = item
	}
	for {
		t, ok := s.value(depth+1, inner)
		if !ok {
			return false
		}
		if inner == item && t.kind != kindObject {
			s.items.refuse(ItemCountNotInteger, "items", t)
		}
		switch s.next() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return true
		default:
			return s.fail(s.pos, "expected a comma or the end of the array")
		}
	}
}

// skipDeep reads an object or array that lies too deep, only to learn whether
// it keeps to the grammar. It does not recurse, since its depth has no bound.
func (s *scanner) skipDeep() bool {
	if !s.deep {
		s.deep, s.deepAt = true, s.pos
	}
	var closers []byte // of the objects and arrays that are open
	for {
		switch s.next() {
		case '{':
			s.pos++
			closers = append(closers, '}')
			if s.next() != '}' {
				if _, ok := s.key(); !ok {
					return false
				}
				continue
			}
		case '[':
			s.pos++
			closers = append(closers, ']')
			if s.next() != ']' {
				continue
			}
		default: // neither object nor array, so the depth does not matter
			if _, ok := s.value(maxDepth, ignored); !ok {
				return false
			}
		}
		for s.next() != ',' {
			closer := closers[len(closers)-1]
			if s.next() != closer {
				return s.fail(s.pos, "expected a comma or "+string(closer))
			}
			s.pos++
			closers = closers[:len(closers)-1]
			if len(closers) == 0 {
				return true
			}
		}
		s.pos++ // the comma
		if closers[len(closers)-1] == '}' {
			if _, ok := s.key(); !ok {
				return false
			}
		}
	}
}

// word reads true, false or null.
func (s *scanner) word(word string) bool {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.fail(s.pos, "expected a value")
	}
	s.pos += len(word)
	return true
}

// number reads a number.
func (s *scanner) number() bool {
	end, ok := numberEnd(s.data, s.pos)
	if !ok {
		return s.fail(end, "expected a digit")
	}
	s.pos = end
	return true
}

// Eight bytes of a string are looked at together: one bit of each says whether
// that byte ends the plain run.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeros marks the bytes of w that are 0 with their high bit. A byte above a 0
// may be marked wrongly, so only the lowest mark counts.
func zeros(w uint64) uint64 { return (w - ones) &^ w & highs }

// string reads a string whose opening quote is at pos. Its bytes outside ASCII
// are let through: whether they are UTF-8 matters only in fields that are used.
func (s *scanner) string() (t token, ok bool) {
	data, i := s.data, s.pos+1
	t = token{start: i, kind: kindString}
	var wide uint64
	for {
		for i+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[i:])
			stop := zeros(w^'"'*ones) | zeros(w^'\\'*ones) | (w-' '*ones)&^w&highs
			if stop != 0 {
				wide |= w & ((stop & -stop) - 1)
				i += bits.TrailingZeros64(stop) >> 3
				break
			}
			wide |= w
			i += 8
		}
		if i >= len(data) {
			return t, s.fail(i, "expected the end of the string")
		}
		switch c := data[i]; {
		case c == '"':
			t.end, t.wide = i, wide&highs != 0
			s.pos = i + 1
			return t, true
		case c == '\\':
			t.escaped = true
			n := escapeLen(data[i:])
			if n == 0 {
				return t, s.fail(i, "unknown escape in a string")
			}
			i += n
		case c < ' ':
			return t, s.fail(i, "control character in a string")
		default: // one of the last seven bytes of the text
			wide |= uint64(c)
			i++
		}
	}
}

// escapeLen is how long the escape at the beginning of b is, or 0 if JSON knows none such.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads the four hexadecimal digits at the beginning of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c-'0' < 10:
			c -= '0'
		case c|' ' >= 'a' && c|' ' <= 'f':
			c = c | ' ' - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
