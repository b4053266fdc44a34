package dialect

import (
	"strings"
	"unicode/utf8"
)

// decodeLiteral reads the '...' literal that s starts with and returns its
// value and its length in s; nul allows NUL in it. Backslash escapes are on in Redshift, unlike in
// the SQL standard: a backslash before the closing quote takes it along.
func decodeLiteral(s string, nul bool) (value string, n int, err error) {
	i := 1
	plain := strings.IndexAny(s[i:], `'\`)
	if plain >= 0 && s[i+plain] == '\'' && !strings.HasPrefix(s[i+plain:], "''") {
		return s[i : i+plain], i + plain + 1, checkCharacters(s[i : i+plain]) // most literals hold nothing special
	}
	var b strings.Builder
	escaped := false
	for i < len(s) {
		switch c := s[i]; {
		case c == '\'' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i += 2
		case c == '\'':
			v := b.String()
			if escaped {
				if err := checkText(v); err != nil && !(nul && v == "\x00") {
					return "", 0, err
				}
			}
			return v, i + 1, checkCharacters(v)
		case c == '\\':
			escaped = true
			n := decodeEscape(&b, s[i:])
			if n == 0 {
				return "", 0, unterminated(s)
			}
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	return "", 0, unterminated(s)
}

func unterminated(s string) error {
	return fail(`unterminated quoted string at or near "%s"`, excerpt(s))
}

// decodeEscape decodes the backslash sequence that s starts with and returns
// its length, 0 where the text ends in the middle of it.
func decodeEscape(b *strings.Builder, s string) int {
	if len(s) < 2 {
		return 0
	}
	switch c := s[1]; {
	case c == 'b':
		b.WriteByte('\b')
	case c == 'f':
		b.WriteByte('\f')
	case c == 'n':
		b.WriteByte('\n')
	case c == 'r':
		b.WriteByte('\r')
	case c == 't':
		b.WriteByte('\t')
	case '0' <= c && c <= '7':
		return 1 + decodeDigits(b, s[1:], 3, 8)
	case c == 'x' && len(s) > 2 && digitValue(s[2]) < 16:
		return 2 + decodeDigits(b, s[2:], 2, 16)
	default:
		b.WriteByte(c) // \' and \\ and every other character stand for themselves
	}
	return 2
}

// decodeDigits writes the byte that up to most digits spell.
func decodeDigits(b *strings.Builder, s string, most, base int) int {
	v, n := 0, 0
	for n < most && n < len(s) && digitValue(s[n]) < base {
		v = v*base + digitValue(s[n])
		n++
	}
	b.WriteByte(byte(v)) // \777 wraps, as in PostgreSQL
	return n
}

func digitValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return 99
}

// checkText refuses bytes that escapes can spell and no VARCHAR can hold.
func checkText(v string) error {
	if strings.IndexByte(v, 0) >= 0 {
		return fail(`invalid byte sequence for encoding "UTF8": 0x00`)
	}
	for i := 0; i < len(v); {
		r, n := utf8.DecodeRuneInString(v[i:])
		if r == utf8.RuneError && n == 1 {
			return fail(`invalid byte sequence for encoding "UTF8": 0x%02x`, v[i])
		}
		i += n
	}
	return checkCharacters(v)
}

// checkCharacters refuses what is UTF-8 and what no VARCHAR can hold either.
func checkCharacters(v string) error {
	if at, n := Noncharacter(v); at >= 0 {
		return fail("String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: % x (error %d)", v[at:at+3], n)
	}
	return nil
}

// Noncharacter finds the first of the code points that VARCHAR does not take
// (U+FDD0 to U+FDEF, U+FFFE, U+FFFF), three bytes each, and the number of COPY's
// error for it. at is -1 where the text holds none.
func Noncharacter(s string) (at, number int) {
	for i := 0; ; i++ {
		next := strings.IndexByte(s[i:], 0xEF) // all of them start with it
		if next < 0 || i+next+3 > len(s) {
			return -1, 0
		}
		i += next
		switch b, c := s[i+1], s[i+2]; {
		case b == 0xB7 && c >= 0x90 && c <= 0xAF:
			return i, 6
		case b == 0xBF && c >= 0xBE:
			return i, 7
		}
	}
}

// quoteLiteral writes the value so that the engine reads exactly it, whatever
// its settings: PostgreSQL's E” form does not depend on
// standard_conforming_strings, and DuckDB knows no backslash escapes.
func quoteLiteral(b *strings.Builder, e Engine, value string) {
	if e == Postgres && strings.IndexByte(value, '\\') >= 0 {
		b.WriteByte('E')
		value = strings.ReplaceAll(value, `\`, `\\`)
	}
	b.WriteByte('\'')
	b.WriteString(strings.ReplaceAll(value, `'`, `''`))
	b.WriteByte('\'')
}

func quoteName(b *strings.Builder, name string) {
	b.WriteByte('"')
	b.WriteString(strings.ReplaceAll(name, `"`, `""`))
	b.WriteByte('"')
}

// write turns tokens into text for the engine. Every token stands between
// spaces: no two of them can run together into a comment, an operator or a
// prefixed literal that the input did not hold.
func write(e Engine, toks []token) string {
	size := 0
	for i := range toks {
		size += len(toks[i].text) + 3
	}
	var b strings.Builder
	b.Grow(size)
	for i := range toks {
		if i > 0 {
			b.WriteByte(' ')
		}
		t := &toks[i]
		switch {
		case t.kind == text:
			quoteLiteral(&b, e, t.text)
		case t.kind == quoted, t.kind == word && !plainName(t.text):
			quoteName(&b, t.text)
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()
}

// plainName reports whether every engine reads the name as it stands. DuckDB
// takes some characters beyond ASCII for white space.
func plainName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 || s[i] == '$' {
			return false
		}
	}
	return true
}
