package dialect

import (
	"slices"
	"strings"
)

// In Redshift blanks at the end of a text do not count when it is compared; they
// are kept, and LENGTH and LIKE see them. Neither engine compares so. Which tables
// hold such texts is not known here: the caller finds out, where a Statement says
// that it compares, and translates again with Session.Trim. Then the columns lose
// their blanks where they are compared; in statements that are more than one plain
// SELECT, INSERT, UPDATE or DELETE, in which nobody can tell by the tokens what becomes
// of a column, the tables are read without the blanks altogether.

// TextColumn is a column of a table that Session.Trim names.
type TextColumn struct {
	Name string
	Text bool // a VARCHAR, or a CHAR
}

// comparing are the words and operators by which a statement compares values.
var comparing = wordSet(`where join on using group order distinct union intersect except minus having case in between over min max
	nullif decode listagg greatest least qualify = <> != < > <= >=`)

// measuring are those by which it sees the blanks at the end of a text.
var measuring = wordSet(`length len char_length character_length octet_length bit_length like ilike similar ~ ~* !~ !~* || concat md5 sha
	sha1 sha2 func_sha1 checksum crc32 strtol reverse lpad rpad right replace regexp_replace regexp_substr regexp_instr regexp_count
	strpos position charindex quote_literal json_parse listagg`)

// faithful are the functions whose texts end in a blank only if their arguments do.
var faithful = wordSet(`coalesce nvl nvl2 isnull nullif decode greatest least min max any_value sum avg count median stddev variance row_number
	rank dense_rank ntile lag lead first_value last_value upper lower trim btrim rtrim date_trunc dateadd datediff date_part extract
	getdate cast try_cast convert to_date to_timestamp abs round floor ceil ceiling trunc mod md5 sha1 sha2 func_sha1 length len
	octet_length varchar char decimal numeric character nvarchar bpchar nchar values over exists by`)

// noteBlanks says of the statement what decides how it has to see blanks.
func (t *translation) noteBlanks() {
	for i, k := range t.toks {
		switch {
		case k.kind == text:
			t.out.Blanks = t.out.Blanks || strings.HasSuffix(k.text, " ")
			continue
		case k.kind != word && k.kind != op || t.at(i-1).is("."):
			continue
		}
		t.out.Compares = t.out.Compares || comparing[k.text]
		t.out.Measures = t.out.Measures || measuring[k.text]
		call := k.kind == word && t.at(i+1).is("(") && !faithful[k.text]
		t.out.Blanks = t.out.Blanks || k.is("||") || call && !reserved[k.text] && !t.listsColumns(i)
	}
}

// listsColumns reports whether the parenthesis after i holds the columns that an
// INSERT or a WITH names, and no arguments.
func (t *translation) listsColumns(i int) bool {
	for i > 0 && t.at(i-1).is(".") {
		i -= 2
	}
	return t.at(i-1).is("into", "table", "with", "recursive", "insert", "key")
}

// comparedLiteral reports whether the literal at i is an operand of a comparison.
func (t *translation) comparedLiteral(i int) bool {
	next := i + 1
	if t.at(next).is("::") {
		if _, end, err := t.dataType(next+1, ""); err == nil {
			next = end
		}
	}
	compares := func(k token) bool { return k.is("=", "<>", "!=", "<", ">", "<=", ">=") }
	if compares(t.at(i-1)) || compares(t.at(next)) || t.at(i-1).is("between", "in") {
		return true
	}
	// A list after IN: the parenthesis that the literal stands in.
	for j := i - 1; j > 0; j-- {
		switch k := t.toks[j]; {
		case k.is("("):
			return t.at(j - 1).is("in")
		case k.kind != text && k.kind != number && !k.is(","):
			return false
		}
	}
	return false
}

// planTrim decides how the statement reads the tables of Session.Trim, and refuses
// what cannot be done.
func (t *translation) planTrim() error {
	if !t.plain() {
		if t.out.Measures {
			return blanksRefusal("a statement that compares texts and also sees the blanks at their ends (LENGTH, LIKE, || and the like)")
		}
		t.wraps = true
		return nil
	}
	t.trims = make(map[int]int)
	clauses := []string{""}
	for i := 0; i < len(t.toks); i++ {
		k := t.toks[i]
		clause := &clauses[len(clauses)-1]
		switch {
		case k.is("("):
			inner := *clause
			switch {
			case t.at(i - 1).is("over"):
				inner = "order"
			case inner == "select" && t.at(i-1).is("nullif", "decode", "greatest", "least"):
				inner = "where"
			}
			clauses = append(clauses, inner)
			continue
		case k.is(")"):
			clauses = clauses[:len(clauses)-1]
			continue
		case t.refs[i] > 0:
			i = t.refs[i] - 1
			continue
		}
		compares := *clause == "where" || *clause == "on" || *clause == "having" || *clause == "order"
		if (k.kind == word || k.kind == op) && measuring[k.text] && compares {
			return blanksRefusal("a comparison of what sees the blanks at the ends of texts (LENGTH, LIKE, || and the like)")
		}
		if k.is("select", "from", "where", "having", "order", "limit", "set", "values", "on", "join") && !t.at(i-1).is(".") {
			*clause = k.text
			continue
		}
		if end := t.textColumn(i); end > 0 {
			if compares || *clause == "select" && t.compared(i, end) {
				t.trims[i] = end
			}
			i = end - 1
		}
	}
	return nil
}

func blanksRefusal(what string) error {
	e := fail("%s is not supported on texts that end in blanks", what)
	e.Hint = "Redshift has it, localaws does not: there such blanks do not count in comparisons"
	return e
}

// plain reports whether the statement is one SELECT, an INSERT of one, or a change
// without any, in which the name of a column says all of what it is.
func (t *translation) plain() bool {
	selects := 0
	if t.toks[0].is("update", "delete") {
		selects++ // a query in one of them is a part of it
	}
	for i, k := range t.toks {
		switch {
		case k.kind != word || t.at(i-1).is("."):
		case k.is("select"):
			if selects++; selects > 1 || t.at(i+1).is("distinct") {
				return false
			}
		case k.is("with", "natural", "group", "merge"), k.is("using") && t.at(i+1).is("("):
			return false
		}
	}
	return true
}

// textColumn returns the index after the column that is named at i, 0 where that is
// none of the texts of Session.Trim.
func (t *translation) textColumn(i int) int {
	if !t.at(i).name() || t.at(i).isReserved() || t.at(i-1).is(".", "as", "::") {
		return 0
	}
	end := i + 1
	for t.at(end).is(".") && t.at(end+1).name() {
		end += 2
	}
	if t.at(end).is("(", ".") {
		return 0
	}
	for _, columns := range t.session.Trim {
		if slices.Contains(columns, TextColumn{Name: t.at(end - 1).text, Text: true}) {
			return end
		}
	}
	return 0
}

// compared reports whether the column in [lo,hi) is an operand of a comparison.
func (t *translation) compared(lo, hi int) bool {
	before, after := t.at(lo-1), t.at(hi)
	return before.is("=", "<>", "!=", "<", ">", "<=", ">=", "case", "distinct", "between") || after.is("=", "<>", "!=", "<", ">", "<=", ">=", "in", "between") ||
		after.is("not") && t.at(hi+1).is("in", "between")
}

// trimmed writes the column or the table at i without the blanks at the ends of
// its texts, and returns the index after it; ok says that this is to be done.
func (t *translation) trimmed(dst []token, i int) (out []token, next int, ok bool) {
	if end := t.trims[i]; end > 0 {
		dst = t.add(dst, "rtrim(")
		return t.add(append(dst, t.column(i, end)...), ", ' ' )"), end, true
	}
	if end := t.refs[i]; t.wraps && end > 0 {
		return t.trimmedTable(dst, i, end)
	}
	return dst, 0, false
}

// column is the column in [lo,hi) as the engine knows it.
func (t *translation) column(lo, hi int) []token {
	out := make([]token, 0, hi-lo)
	for i := lo + t.stripped(lo); i < hi; i++ {
		k := t.toks[i]
		if k.kind == word {
			k.kind = quoted
		}
		out = append(out, k)
	}
	return out
}

func (t *translation) trimmedTable(dst []token, i, end int) ([]token, int, bool) {
	name, _, err := t.tableName(i)
	if err != nil {
		return dst, 0, false
	}
	columns := t.session.Trim[nameOf(name)]
	if columns == nil {
		return dst, 0, false
	}
	dst = t.add(dst, "( SELECT")
	for n, c := range columns {
		if n > 0 {
			dst = t.add(dst, ",")
		}
		column := token{kind: quoted, text: c.Name}
		if !c.Text {
			dst = append(dst, column)
			continue
		}
		dst = append(append(t.add(dst, "rtrim("), column), token{kind: raw, text: ", ' ' ) AS"}, column)
	}
	dst = t.add(append(t.add(dst, "FROM"), name...), ")")
	if alias := t.at(end); !alias.is("as") && (!alias.name() || alias.isReserved() || alias.is("set", "window", "qualify", "fetch", "cross")) {
		dst = t.as(dst, name[len(name)-1].text)
	}
	return dst, end, true
}

// defined are the names that WITH defines in the statement.
func (t *translation) defined() []string {
	var out []string
	for i, k := range t.toks {
		if !k.name() || !t.at(i-1).is("with", ",", "recursive") {
			continue
		}
		as := i + 1
		if t.at(as).is("(") {
			as = t.match[as] + 1
		}
		if t.at(as).is("as") && t.at(as+1).is("(") && !slices.Contains(out, k.text) {
			out = append(out, k.text)
		}
	}
	return out
}
