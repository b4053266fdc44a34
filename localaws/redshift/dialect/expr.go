package dialect

import "strings"

// version is what Redshift answers to VERSION(), after its PostgreSQL ancestor.
const version = "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 (Red Hat 3.4.2-6.fc3), Redshift 1.0.0 (localaws)"

// maxGrowth bounds how many tokens a translation makes of one. Some calls write
// an argument more than once, which nested would grow without bound.
const maxGrowth = 20

// expr appends the tokens [lo,hi) to dst, with Redshift's functions, types and
// keywords replaced by the engine's. The range holds whole parentheses.
func (t *translation) expr(dst []token, lo, hi int) []token {
	if len(dst) > maxGrowth*(len(t.toks)+100) && t.err == nil {
		t.err = fail("stack depth limit exceeded")
	}
	var tail []token
	for i := lo; i < hi && t.err == nil; {
		k := t.toks[i]
		next := i + 1
		if name, ok := t.names[i]; ok && i > lo {
			dst = t.as(dst, name)
		}
		if t.session.Trim != nil {
			if out, end, ok := t.trimmed(dst, i); ok {
				dst, i = out, end
				continue
			}
		}
		switch {
		case k.kind == text && strings.HasSuffix(k.text, " ") && t.comparedLiteral(i):
			k.text = strings.TrimRight(k.text, " ")
			dst = append(dst, k)
		case t.match[i] > 0:
			dst = append(dst, k)
			dst = t.expr(dst, i+1, t.match[i])
			dst = append(dst, t.toks[t.match[i]])
			next = t.match[i] + 1
		case k.is("/", "%") && t.engine == DuckDB:
			dst, next = t.divide(append(dst, k), i+1, hi)
		case k.is("::"):
			dst, next = t.castSuffix(dst, i)
		case k.is("like", "ilike"):
			dst, next = t.like(dst, i, hi)
		case k.is("~", "~*", "!~", "!~*", "similar") && t.engine == DuckDB && t.operand(i-1):
			dst, next = t.matches(dst, i)
		case k.name() && !t.at(i-1).is(".") && t.stripped(i) > 0:
			next = i + t.stripped(i)
		case k.kind == word && !t.at(i-1).is("."):
			dst, next, tail = t.keyword(dst, i, hi, tail)
		case k.kind == word:
			k.kind = quoted // a name after a dot, whatever word it is
			dst = append(dst, k)
		default:
			dst = append(dst, k)
		}
		i = next
	}
	if name, ok := t.names[hi]; ok && lo == 0 && hi == len(t.toks) {
		dst = t.as(dst, name)
	}
	return append(dst, tail...)
}

func (t *translation) as(dst []token, name string) []token {
	return append(t.add(dst, "AS"), token{kind: quoted, text: name})
}

// stripped returns how many tokens of a qualified name at i say only what the
// engine takes for granted: the session's database, and DuckDB's schema.
func (t *translation) stripped(i int) int {
	n := 0
	if t.at(i).text == lower(t.session.Database) && t.at(i+1).is(".") && t.at(i+2).name() && t.at(i+3).is(".") && t.at(i+4).name() {
		n = 2
	}
	if t.engine == DuckDB && t.at(i+n).text == "public" && t.at(i+n).name() && t.at(i+n+1).is(".") {
		n += 2
	}
	return n
}

// keyword rewrites a word that Redshift gives a meaning of its own: a
// function's name before its arguments, or a keyword. tail is what has to stand
// at the end of the range.
func (t *translation) keyword(dst []token, i, hi int, tail []token) ([]token, int, []token) {
	k := t.toks[i]
	if k.text == "values" && t.at(i+1).is("(") && t.rowSource(i) {
		t.err = t.unexpected(i)
		return dst, i + 1, tail
	}
	if t.at(i+1).is("(") && i+1 < hi {
		out, next := t.call(dst, i)
		return out, next, tail
	}
	switch k.text {
	case "sysdate":
		return t.add(dst, t.now(sysdate)), i + 1, tail
	case "current_timestamp", "localtimestamp", "current_time", "localtime":
		t.leaderOnly()
	case "current_user", "session_user", "user":
		return t.add(dst, "CAST(", quotedText(t.session.User), "AS varchar)"), i + 1, tail
	case "information_schema": // DuckDB's has other schemas and types
		if t.engine == DuckDB && t.at(i+1).is(".") && t.at(i+2).is("tables", "columns") {
			return t.add(dst, Schema+".svv_"+t.at(i+2).text), i + 3, tail
		}
	case "approximate":
		return dst, i + 1, tail
	case "minus":
		if t.at(i+1).is("select", "all", "(") {
			k.text = "except"
		}
	case "array":
		if t.at(i + 1).is("[") {
			t.leaderOnly()
		}
	case "at":
		if !t.at(i + 1).is("time") {
			k.kind = quoted // reserved in DuckDB, a plain name in Redshift
		}
	case "lambda", "pivot_longer", "pivot_wider", "summarize", "describe", "show", "variadic":
		k.kind = quoted // the same
	case "select":
		return t.top(append(dst, k), i, tail)
	}
	return append(dst, k), i + 1, tail
}

// rowSource reports whether VALUES at i stands where a query would: Redshift has
// it in INSERT and MERGE only.
func (t *translation) rowSource(i int) bool {
	return i == 0 || t.at(i-1).is("(", "as", "union", "all", "intersect", "except", "from")
}

// top turns SELECT TOP n into a LIMIT at the end of the query.
func (t *translation) top(dst []token, i int, tail []token) ([]token, int, []token) {
	next := i + 1
	if t.at(next).is("distinct", "all") {
		dst = append(dst, t.at(next))
		next++
	}
	if t.at(next).is("top") && t.at(next+1).kind == number {
		tail = append(tail, token{kind: word, text: "limit"}, t.at(next+1))
		next += 2
	}
	return dst, next, tail
}

// leaderOnly refuses functions that run on the leader node alone in a
// statement that reads or writes a table.
func (t *translation) leaderOnly() {
	if t.tables && t.err == nil {
		t.err = fail("Specified types or functions (one per INFO message) not supported on Redshift tables.")
	}
}

// castSuffix rewrites ::type.
func (t *translation) castSuffix(dst []token, i int) ([]token, int) {
	d, next, err := t.dataType(i+1, "")
	if err != nil {
		t.err = err
		return dst, i + 1
	}
	return append(dst, t.toks[i], token{kind: raw, text: d.spell(t.engine)}), next
}

// like gives the pattern the escape character that Redshift has by default.
func (t *translation) like(dst []token, i, hi int) ([]token, int) {
	dst = append(dst, t.toks[i])
	p := t.at(i + 1)
	if t.engine == Postgres || p.kind != text || i+1 >= hi || t.at(i+2).is("escape", "||") || !strings.Contains(p.text, `\`) {
		return dst, i + 1
	}
	return t.add(append(dst, p), `ESCAPE '\'`), i + 2
}

// quotedText marks a string that add writes as a literal.
type quotedText string

// span is a range of the input's tokens.
type span struct{ lo, hi int }

// add appends engine SQL: strings as they stand, quotedText as literals, spans
// of the input rewritten.
func (t *translation) add(dst []token, parts ...any) []token {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			dst = append(dst, token{kind: raw, text: p})
		case quotedText:
			dst = append(dst, token{kind: text, text: string(p)})
		case span:
			dst = t.expr(dst, p.lo, p.hi)
		}
	}
	return dst
}

// moment names one of Redshift's clocks.
type moment int

const (
	sysdate moment = iota // start of the transaction, microseconds
	getdate               // start of the statement, whole seconds
)

// now writes the expression of a clock, as a TIMESTAMP in UTC. DuckDB has only
// the transaction's start.
func (t *translation) now(m moment) string {
	clock := "now()"
	if t.engine == Postgres && m == getdate {
		clock = "statement_timestamp()"
	}
	if m == getdate {
		return "date_trunc('second', " + clock + " AT TIME ZONE 'UTC')"
	}
	return "(" + clock + " AT TIME ZONE 'UTC')"
}

// divide writes a divisor so that zero is an error: DuckDB makes it NULL. lo is
// after the operator.
func (t *translation) divide(dst []token, lo, hi int) ([]token, int) {
	end := lo
	for end < hi && t.at(end).is("-", "+") {
		end++
	}
	switch k := t.at(end); {
	case end >= hi, k.kind == number && strings.ContainsAny(k.text, "123456789"):
		return dst, lo
	case k.is("("):
		end = t.match[end] + 1
	case k.name():
		for end++; t.at(end).is(".") && end+1 < hi; {
			end += 2
		}
		if t.at(end).is("(") && end < hi {
			end = t.match[end] + 1
		}
	default:
		end++
	}
	for end < hi && t.at(end).is("::") {
		_, next, err := t.dataType(end+1, "")
		if err != nil {
			break // told when the cast itself is rewritten
		}
		end = next
	}
	if t.at(end).is("within", "over", "filter") || t.at(lo).is("case", "cast", "interval", "timestamp", "date", "not") && !t.at(lo+1).is("(") || end > hi {
		return dst, lo
	}
	d := span{lo, end}
	return t.add(dst, "( CASE WHEN (", d, ") = 0 THEN error( 'Divide by zero' ) ELSE", d, "END )"), end
}
