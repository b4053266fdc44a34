package event

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// bytes is the text of the token as it stands in the record.
func (s *scanner) bytes(t token) []byte { return s.data[t.start:t.end] }

// unescaped is the value of a string: a part of the record itself where it has
// no escapes, which is what saves the allocation. lone tells that it holds half
// of a surrogate pair; that half is then written as the three bytes that UTF-8
// would have for it, so that different keys stay different.
func (s *scanner) unescaped(t token) (value string, lone bool) {
	raw := s.bytes(t)
	if t.form&escaped == 0 {
		return unsafe.String(unsafe.SliceData(raw), len(raw)), false
	}
	return unescape(raw)
}

// resolved is the value of a string as bytes; see unescaped.
func (s *scanner) resolved(t token) []byte {
	if t.form&escaped == 0 {
		return s.bytes(t)
	}
	value, _ := unescape(s.bytes(t))
	return []byte(value)
}

// unescape resolves the escapes of a string that the scanner let through.
func unescape(raw []byte) (value string, lone bool) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		c = raw[i+1]
		if c != 'u' {
			out = append(out, plainEscape(c))
			i += 2
			continue
		}
		r, _ := hex4(raw[i+2:])
		i += 6
		if utf16.IsSurrogate(r) {
			if pair := surrogatePair(r, raw[i:]); pair != utf8.RuneError {
				r = pair
				i += 6
			} else {
				lone = true
				out = append(out, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
				continue
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return unsafe.String(unsafe.SliceData(out), len(out)), lone
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

// surrogatePair joins a high surrogate with the low one that rest begins with;
// utf8.RuneError if they are no pair.
func surrogatePair(high rune, rest []byte) rune {
	if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
		return utf8.RuneError
	}
	low, _ := hex4(rest[2:])
	return utf16.DecodeRune(high, low)
}

func plainEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // the quote, the backslash and the slash stand for themselves
}

// textFault is what keeps a value from being the text of a column.
type textFault uint8

const (
	textFine textFault = iota
	textMissing
	textNull
	textNotString
	textEmpty
	textTooLong
	textNotUTF8
	textNUL
	textLoneSurrogate
	textNoncharacter
	textEndsInBlank
	textFaultCount
)

// column reads a value as the text of a column that holds up to limit bytes. It
// loses its trailing blanks: Redshift ignores them wherever it compares texts
// (DG, Character types, Significance of trailing blanks), so they tell nothing
// apart there, and a GROUP BY would show any one of the spellings.
func (s *scanner) column(t token, limit int) (string, textFault) {
	return s.varchar(t, limit, true)
}

// keyColumn reads a value as the text of a key column. Trailing blanks are a fault
// there: two keys that differ in them alone are one in Redshift, and taking one
// for the other would be to lose an order.
func (s *scanner) keyColumn(t token, limit int) (string, textFault) {
	value, fault := s.varchar(t, limit, false)
	if fault == textFine && value[len(value)-1] == ' ' {
		return "", textEndsInBlank
	}
	return value, fault
}

func (s *scanner) varchar(t token, limit int, trim bool) (string, textFault) {
	switch t.kind {
	case kindString:
	case kindAbsent:
		return "", textMissing
	case kindNull:
		return "", textNull
	default:
		return "", textNotString
	}
	value, lone := s.unescaped(t)
	end := len(value)
	for end > 0 && value[end-1] == ' ' {
		end--
	}
	if trim {
		value = value[:end]
	}
	switch {
	case end == 0:
		return "", textEmpty
	case len(value) > limit:
		return "", textTooLong
	// The text as it came: a lone surrogate is a fault of its own.
	case t.form&wide != 0 && !utf8.Valid(s.bytes(t)):
		return "", textNotUTF8
	case t.form&escaped != 0 && strings.IndexByte(value, 0) >= 0:
		return "", textNUL // only an escape can bring one: the grammar refuses the byte itself
	case lone:
		return "", textLoneSurrogate
	case t.form != 0 && hasNoncharacter(value):
		return "", textNoncharacter
	}
	return value, textFine
}

// hasNoncharacter reports whether a text in UTF-8 holds one of the code points
// that Redshift documents as refused for VARCHAR: U+FDD0 to U+FDEF, U+FFFE and
// U+FFFF, which are EF B7 90 to EF B7 AF, EF BF BE and EF BF BF.
func hasNoncharacter(text string) bool {
	for {
		i := strings.IndexByte(text, 0xEF)
		if i < 0 {
			return false
		}
		text = text[i:]
		switch second, third := text[1], text[2]; {
		case second == 0xB7 && third >= 0x90 && third <= 0xAF, second == 0xBF && third >= 0xBE:
			return true
		}
		text = text[3:]
	}
}
