package aws

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// scanner walks a JSON text once, without building anything. It knows the plain
// ways of writing; a method that meets anything else returns false, and the
// whole reply is then decoded by encoding/json. It never accepts a text that
// encoding/json refuses (FuzzGetRecordsReply).
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\n', '\t', '\r':
			s.i++
		default:
			return
		}
	}
}

// take skips white space and then the byte c, if it is there.
func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c { // the compact form, as AWS writes it
		s.i++
		return true
	}
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// null takes the literal null.
func (s *scanner) null() bool {
	s.space()
	if bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		s.i += len("null")
		return true
	}
	return false
}

// end reports whether only white space is left.
func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b)
}

// key takes the next member's name and its colon. more is false at the end of
// the object. first is true until the first member was taken.
func (s *scanner) key(first bool) (name []byte, more, ok bool) {
	if s.take('}') {
		return nil, false, true
	}
	if !first && !s.take(',') {
		return nil, false, false
	}
	lo, hi, plain, ok := s.text()
	if !ok || !plain || !s.take(':') {
		return nil, false, false
	}
	return s.b[lo:hi], true, true
}

// text takes a string and returns where its content lies. plain means printable
// ASCII without escapes, whose bytes are its value.
func (s *scanner) text() (lo, hi int, plain, ok bool) {
	if !s.take('"') {
		return 0, 0, false, false
	}
	lo = s.i
	i := s.i
	for ; i+8 <= len(s.b); i += 8 {
		m := unplain(binary.LittleEndian.Uint64(s.b[i:]))
		if m == 0 {
			continue
		}
		i += bits.TrailingZeros64(m) / 8
		if s.b[i] == '"' {
			s.i = i + 1
			return lo, i, true, true
		}
		return s.oddText(lo, i)
	}
	return s.oddText(lo, i) // the last bytes of the reply: not worth a loop of their own
}

// oddText takes the rest of a string byte by byte.
func (s *scanner) oddText(lo, i int) (_, hi int, plain, ok bool) {
	plain = true
	for ; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return lo, i, plain, true
		case c == '\\':
			plain = false
			i++ // whatever it escapes, it does not end the string
		case c < 0x20 || c >= 0x80:
			plain = false
		}
	}
	return 0, 0, false, false
}

// unplain marks the lowest byte of w that is a quote, a backslash, a control
// character or not ASCII by its top bit. Bytes above it may be marked wrongly:
// the subtractions borrow.
func unplain(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w | w) & tops
}

// number takes a number and returns its text; decimal judges it.
func (s *scanner) number() []byte {
	s.space()
	lo := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c >= '0' && c <= '9', c == '.', c == '-', c == '+', c == 'e', c == 'E':
			s.i++
		default:
			return s.b[lo:s.i]
		}
	}
	return s.b[lo:s.i]
}

// value takes any value and returns its text, which is valid JSON.
func (s *scanner) value() ([]byte, bool) {
	s.space()
	lo, depth := s.i, 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if _, _, _, ok := s.text(); !ok {
				return nil, false
			}
			s.i-- // the loop steps over the closing quote
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 { // the end of what surrounds a bare literal or number
				v := s.b[lo:s.i]
				return v, json.Valid(v)
			}
			if s.b[s.i] != ',' {
				depth--
			}
		}
		s.i++
		if c := s.b[s.i-1]; depth == 0 && (c == '"' || c == '}' || c == ']') {
			v := s.b[lo:s.i]
			return v, json.Valid(v)
		}
	}
	return nil, false
}

// decimal reads a JSON number as value times 10^shift, rounded half away from
// zero. It goes by the digits: a float would turn 1459799926.480 s into 479 ms.
func decimal(text []byte, shift int) (int64, bool) {
	const maxDigits = 18 // what an int64 always holds
	i, negative := 0, false
	if i < len(text) && text[i] == '-' {
		negative = true
		i++
	}
	start := i
	var mantissa int64
	digits := 0
	for ; i < len(text) && isDigit(text[i]); i++ {
		if digits++; digits > maxDigits {
			return 0, false
		}
		mantissa = mantissa*10 + int64(text[i]-'0')
	}
	if i == start || text[start] == '0' && i > start+1 {
		return 0, false
	}
	if i < len(text) && text[i] == '.' {
		i++
		start = i
		for ; i < len(text) && isDigit(text[i]); i++ {
			if digits++; digits <= maxDigits { // the rest is far below the unit
				mantissa = mantissa*10 + int64(text[i]-'0')
				shift--
			}
		}
		if i == start {
			return 0, false
		}
	}
	exponent, ok := exponentOf(text[i:])
	if !ok {
		return 0, false
	}
	v, ok := scale(mantissa, shift+exponent)
	if negative {
		v = -v
	}
	return v, ok
}

func exponentOf(text []byte) (int, bool) {
	if len(text) == 0 {
		return 0, true
	}
	if text[0] != 'e' && text[0] != 'E' {
		return 0, false
	}
	text = text[1:]
	sign := 1
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		if text[0] == '-' {
			sign = -1
		}
		text = text[1:]
	}
	if len(text) == 0 || len(text) > 3 {
		return 0, false
	}
	n := 0
	for _, c := range text {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return sign * n, true
}

// scale returns v times 10^e for a v that is not negative.
func scale(v int64, e int) (int64, bool) {
	const limit = 1<<63 - 1
	for ; e > 0 && v != 0; e-- {
		if v > limit/10 {
			return 0, false
		}
		v *= 10
	}
	var dropped int64
	for ; e < 0 && v != 0; e++ {
		dropped = v % 10
		v /= 10
	}
	if e == 0 && dropped >= 5 {
		v++
	}
	return v, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
