package dialect

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// kind says what a token is.
type kind uint8

const (
	word   kind = iota // unquoted name or keyword; text is lower case
	quoted             // "name" or #name; text is lower case, without the quotes
	text               // literal; text is its decoded value
	number
	op    // operator or punctuation
	param // :name; text is the name
	raw   // engine SQL that the translation itself wrote; never from the input
)

// token is one lexical element. The text is what it means, not how it was
// written, so that writing it again for another engine cannot change it.
type token struct {
	kind   kind
	text   string
	source string // as written, for error messages
	end    int    // offset after it in the statement text
}

// maxIdentifier is Redshift's limit in bytes.
const maxIdentifier = 127

// operators are those that Redshift has. Engines know more of them (DuckDB's
// -> or //), which would let through what Redshift refuses.
const operators = " + - * / % ^ < > = <> != <= >= ~ !~ ~* !~* ~~ !~~ ~~* !~~* | || & # << >> @ |/ ||/ "

// blank is Redshift's white space. Unicode has more, all of which can be in a name.
const blank = " \t\r\n\f\v"

type scanner struct {
	sql  string
	pos  int
	toks []token
	// first is the index of the token that the statement starts with.
	first int
}

// scan splits the text into tokens by Redshift's lexical rules: backslash
// escapes in literals, nested comments, dollar quotes, :name parameters.
func scan(sql string) ([]token, error) {
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return nil, fail(`invalid byte sequence for encoding "UTF8": 0x00`)
	}
	if !utf8.ValidString(sql) {
		return nil, fail(`invalid byte sequence for encoding "UTF8"`)
	}
	// One token is six bytes on average in the statements that loaders send.
	s := &scanner{sql: sql, toks: make([]token, 0, len(sql)/6+8)}
	for {
		if err := s.blanks(); err != nil {
			return nil, err
		}
		if s.pos >= len(s.sql) {
			return s.toks, nil
		}
		start, n := s.pos, len(s.toks)
		if err := s.next(); err != nil {
			return nil, err
		}
		if len(s.toks) > n {
			t := &s.toks[len(s.toks)-1]
			t.source, t.end = s.sql[start:s.pos], s.pos
		}
	}
}

// blanks skips white space and comments.
func (s *scanner) blanks() error {
	for s.pos < len(s.sql) {
		rest := s.sql[s.pos:]
		switch {
		case strings.IndexByte(blank, rest[0]) >= 0:
			s.pos++
		case strings.HasPrefix(rest, "--"):
			end := strings.IndexAny(rest, "\r\n")
			if end < 0 {
				end = len(rest)
			}
			s.pos += end
		case strings.HasPrefix(rest, "/*"):
			n := commentLength(rest)
			if n == 0 {
				return fail(`unterminated /* comment at or near "%s"`, excerpt(rest))
			}
			s.pos += n
		default:
			return nil
		}
	}
	return nil
}

// commentLength measures the comment that s starts with, comments inside it
// included; 0 where it does not end.
func commentLength(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return 0
}

// next reads one token. It always moves forward or fails.
func (s *scanner) next() error {
	rest := s.sql[s.pos:]
	c := rest[0]
	switch {
	case c == '\'':
		return s.literal()
	case c == '"':
		return s.quotedName()
	case isNameStart(c):
		return s.name()
	case isDigit(c), c == '.' && len(rest) > 1 && isDigit(rest[1]):
		n := numberLength(rest)
		s.add(number, rest[:n], n)
		return nil
	case c == '$':
		return s.dollar()
	case c == '#' && len(rest) > 1 && isNameStart(rest[1]):
		n := 1 + nameLength(rest[1:])
		return s.addName(quoted, lower(rest[:n]), n)
	case c == ':':
		return s.colon()
	case strings.IndexByte(",()[].;", c) >= 0:
		s.add(op, rest[:1], 1)
		if c == ';' {
			s.first = len(s.toks)
		}
		return nil
	case strings.IndexByte("+-*/<>=~!@#%^&|", c) >= 0:
		return s.operator()
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return syntaxNear(string(r))
}

func (s *scanner) add(k kind, t string, n int) {
	s.toks = append(s.toks, token{kind: k, text: t})
	s.pos += n
}

func (s *scanner) addName(k kind, name string, n int) error {
	if len(name) > maxIdentifier {
		return fail(`identifier "%s" is longer than %d bytes`, excerpt(name), maxIdentifier)
	}
	s.add(k, name, n)
	return nil
}

func (s *scanner) name() error {
	rest := s.sql[s.pos:]
	n := nameLength(rest)
	return s.addName(word, lower(rest[:n]), n)
}

func (s *scanner) quotedName() error {
	rest := s.sql[s.pos:]
	var name strings.Builder
	for i := 1; i < len(rest); i++ {
		if rest[i] != '"' {
			name.WriteByte(rest[i])
			continue
		}
		if i+1 < len(rest) && rest[i+1] == '"' {
			name.WriteByte('"')
			i++
			continue
		}
		if name.Len() == 0 {
			return fail(`zero-length delimited identifier at or near """"`)
		}
		// Redshift folds quoted names too (enable_case_sensitive_identifier is off).
		return s.addName(quoted, lower(name.String()), i+1)
	}
	return fail(`unterminated quoted identifier at or near "%s"`, excerpt(rest))
}

func (s *scanner) literal() error {
	rest := s.sql[s.pos:]
	// COPY ... NULL AS '\000' is the one place where NUL has a meaning; the text
	// of a COPY never reaches an engine.
	nul := s.first < len(s.toks) && s.toks[s.first].is("copy")
	value, n, err := decodeLiteral(rest, nul)
	if err != nil {
		return err
	}
	if len(s.toks) > 0 {
		// E'..' is PostgreSQL's; Redshift takes the E for a type name.
		if p := s.toks[len(s.toks)-1]; p.kind == word && p.text == "e" && p.end == s.pos {
			return fail(`type "e" does not exist`)
		}
	}
	s.add(text, value, n)
	return nil
}

// dollar reads $tag$ ... $tag$, in which nothing is special.
func (s *scanner) dollar() error {
	rest := s.sql[s.pos:]
	n := 0
	if len(rest) > 1 && isNameStart(rest[1]) {
		for n = 1; 1+n < len(rest) && isNameByte(rest[1+n]) && rest[1+n] != '$'; n++ {
			continue
		}
	}
	if 1+n >= len(rest) || rest[1+n] != '$' {
		if len(rest) > 1 && isDigit(rest[1]) {
			if s.first < len(s.toks) && s.toks[s.first].is("prepare") {
				return unsupported("PREPARE")
			}
			return fail("there is no parameter %s", rest[:1+digits(rest[1:])])
		}
		return syntaxNear("$")
	}
	tag := rest[:n+2]
	end := strings.Index(rest[len(tag):], tag)
	if end < 0 {
		return fail(`unterminated dollar-quoted string at or near "%s"`, excerpt(rest))
	}
	s.add(text, rest[len(tag):len(tag)+end], 2*len(tag)+end)
	return nil
}

func (s *scanner) colon() error {
	rest := s.sql[s.pos:]
	if strings.HasPrefix(rest, "::") {
		s.add(op, "::", 2)
		return nil
	}
	n := 1
	for n < len(rest) && isParamByte(rest[n]) {
		n++
	}
	if n == 1 {
		return syntaxNear(":")
	}
	s.add(param, rest[1:n], n)
	return nil
}

// operator reads the longest operator, ending it where a comment starts and,
// as PostgreSQL does, not in a + or - that belongs to the number after it.
func (s *scanner) operator() error {
	rest := s.sql[s.pos:]
	n := 0
	for n < len(rest) && strings.IndexByte("+-*/<>=~!@#%^&|", rest[n]) >= 0 {
		if n > 0 && (strings.HasPrefix(rest[n:], "--") || strings.HasPrefix(rest[n:], "/*")) {
			break
		}
		n++
	}
	for n > 1 && (rest[n-1] == '+' || rest[n-1] == '-') && !strings.ContainsAny(rest[:n], "~!@#%^&|") {
		n--
	}
	if !strings.Contains(operators, " "+rest[:n]+" ") {
		return fail("operator does not exist: %s", rest[:n])
	}
	s.add(op, rest[:n], n)
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func isNameByte(c byte) bool { return isNameStart(c) || isDigit(c) || c == '$' }

// isParamByte: the Data API's parameter names are [0-9a-zA-Z_]+.
func isParamByte(c byte) bool { return c < 0x80 && (isNameStart(c) || isDigit(c)) }

func nameLength(s string) int {
	n := 0
	for n < len(s) && isNameByte(s[n]) {
		n++
	}
	return n
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func numberLength(s string) int {
	n := digits(s)
	if n < len(s) && s[n] == '.' {
		n++
		n += digits(s[n:])
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if d := digits(s[m:]); d > 0 {
			n = m + d
		}
	}
	return n
}

// lower folds ASCII only, as Redshift does with names.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// excerpt shortens text for an error message.
func excerpt(s string) string {
	const most = 40 // characters
	n := 0
	for i := range s {
		if n == most {
			return s[:i] + "..."
		}
		n++
	}
	return s
}

func (t token) is(words ...string) bool {
	if t.kind != word && t.kind != op {
		return false
	}
	for _, w := range words {
		if t.text == w {
			return true
		}
	}
	return false
}

// name reports whether the token can name a table or column.
func (t token) name() bool { return t.kind == word || t.kind == quoted }

func (t token) String() string { return fmt.Sprintf("%d:%s", t.kind, t.text) }
