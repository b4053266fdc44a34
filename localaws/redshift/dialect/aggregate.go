package dialect

import (
	"regexp"
	"strings"
)

// mean writes SUM and AVG so that they return the type that Redshift has for
// them: BIGINT for integers, a DECIMAL of the same scale for decimals.
// PostgreSQL has aggregates of that kind in the Library. In DuckDB, AVG is made of
// a sum and a count, and gets the sum's type.
func (t *translation) mean(dst []token, name string, open int, x span) ([]token, int) {
	end := t.match[open] + 1
	if t.engine == Postgres {
		return t.add(dst, Schema+"."+name+"(", x, ")"), end
	}
	if name == "sum" {
		return t.add(dst, "sum(", x, ")"), end
	}
	over := span{end, end}
	if t.at(end).is("over") {
		if over.hi = end + 2; t.at(end + 1).is("(") {
			over.hi = t.match[end+1] + 1
		}
	}
	dst = t.add(dst, "cast_to_type( sum(", x, ")", over, "/ count(", x, ")", over)
	return t.add(dst, ", sum(", x, ")", over, ")"), over.hi
}

// series writes GENERATE_SERIES, which runs on the leader node alone. In a select
// list it makes rows; DuckDB would make a list there.
func (t *translation) series(dst []token, i int, args []span) []token {
	t.tables = t.tables || !t.toks[0].is("select", "with", "explain", "(")
	t.leaderOnly()
	unnest := t.engine == DuckDB && t.at(i-1).is("select")
	if unnest {
		dst = t.add(dst, "unnest(")
	}
	dst = t.add(dst, "generate_series(")
	for n, a := range args {
		if n > 0 {
			dst = t.add(dst, ",")
		}
		dst = t.add(dst, a)
	}
	if dst = t.add(dst, ")"); unnest {
		dst = t.add(dst, ")")
	}
	return dst
}

// matches rewrites the pattern after a POSIX operator or SIMILAR TO for DuckDB, which
// reads both as a regular expression for the whole text.
func (t *translation) matches(dst []token, i int) ([]token, int) {
	k, at := t.toks[i], i+1
	if k.is("similar") {
		at++
	}
	p := t.at(at)
	if p.kind != text || t.at(at+1).is("||", "escape") {
		if t.err == nil {
			t.err = unsupported(strings.ToUpper(k.text) + " with a pattern that is not a plain literal")
		}
		return dst, at
	}
	if k.is("similar") {
		return t.add(append(dst, k, t.toks[i+1]), quotedText(similar(p.text))), at + 1
	}
	flags := "(?s"
	if strings.HasSuffix(k.text, "*") {
		flags += "i"
	}
	return t.add(dst, strings.TrimSuffix(k.text, "*"), quotedText(flags+").*(?:"+p.text+").*")), at + 1
}

// similar turns a pattern of SIMILAR TO into a regular expression.
func similar(pattern string) string {
	var b strings.Builder
	b.WriteString("(?s)")
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '%':
			b.WriteString(".*")
		case '_':
			b.WriteByte('.')
		case '.', '^', '$':
			b.WriteString(regexp.QuoteMeta(string(c)))
		case '\\':
			if i+1 < len(pattern) {
				i++
			}
			b.WriteString(regexp.QuoteMeta(string(pattern[i])))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
