package dialect

import (
	"slices"
	"strings"
)

// maxNesting bounds recursion over nested parentheses.
const maxNesting = 500

// translation is the state of translating one statement.
type translation struct {
	session Session
	engine  Engine
	sql     string // as written
	toks    []token
	match   []int          // for "(" and "[" the index of the closing one; else 0
	tables  bool           // reads or writes a table, so leader-node functions are refused
	names   map[int]string // column names to write before a token
	refs    map[int]int    // tables that are read, by their first token: the index after them
	trims   map[int]int    // columns to read without blanks at the end, in the same way
	wraps   bool           // whole tables are read so
	err     error          // the first refusal met while rewriting expressions
	out     Statement
}

// bind replaces :name parameters by literals of their values.
func (t *translation) bind(params map[string]string) error {
	for i := range t.toks {
		p := &t.toks[i]
		if p.kind != param {
			continue
		}
		value, ok := params[p.text]
		if !ok {
			if params == nil {
				return syntaxNear(":")
			}
			return &Error{Message: "ERROR: parameter :" + p.text + " has no value", Hint: "add it to Parameters"}
		}
		if err := checkText(value); err != nil {
			return err
		}
		if !slices.Contains(t.out.Params, p.text) {
			t.out.Params = append(t.out.Params, p.text)
		}
		p.kind, p.text = text, value
	}
	return nil
}

// pair finds the partner of every parenthesis and notes whether a table is read.
func (t *translation) pair() error {
	t.match = make([]int, len(t.toks))
	var open []int
	for i, k := range t.toks {
		switch {
		case k.is("(", "["):
			if f := t.at(i - 1); k.is("(") && f.name() {
				if err := refuseReach(f.text); err != nil {
					return err
				}
			}
			if open = append(open, i); len(open) > maxNesting {
				return fail("stack depth limit exceeded")
			}
		case k.is(")", "]"):
			if len(open) == 0 || t.toks[open[len(open)-1]].is("(") != (k.text == ")") {
				return syntaxNear(k.text)
			}
			t.match[open[len(open)-1]] = i
			open = open[:len(open)-1]
		case k.is("from", "join"):
			inCall := len(open) > 0 && open[len(open)-1] > 0 &&
				t.toks[open[len(open)-1]-1].is(argumentsWithFrom...)
			switch {
			case inCall:
			case t.at(i+1).kind == text && !t.toks[0].is("copy"):
				return t.unexpected(i + 1) // a file, to DuckDB
			case t.readsTable(i + 1):
				t.tables = true
			}
		}
	}
	if len(open) > 0 {
		return syntaxAtEnd()
	}
	return nil
}

// readsTable reports whether a user table stands at i. Catalog tables live on
// the leader node, as the functions that pair looks out for do.
func (t *translation) readsTable(i int) bool {
	k := t.at(i)
	return k.name() && !t.at(i+1).is("(") && !strings.HasPrefix(k.text, "pg_") && k.text != "information_schema"
}

// at returns the token at i, an empty operator beyond the end.
func (t *translation) at(i int) token {
	if i < 0 || i >= len(t.toks) {
		return token{kind: op}
	}
	return t.toks[i]
}

// unexpected is the syntax error at token i.
func (t *translation) unexpected(i int) error {
	if i >= len(t.toks) {
		return syntaxAtEnd()
	}
	return syntaxNear(t.toks[i].source)
}

func (t *translation) statement() error {
	first := t.toks[0]
	if first.kind == quoted || first.kind != word && !first.is("(") {
		return syntaxNear(first.source)
	}
	t.out.Verb = strings.ToUpper(first.text)
	switch first.text {
	case "select", "with", "(", "insert", "update", "delete", "merge", "explain":
		at := 0
		if first.is("explain") {
			at = 1 // its VERBOSE is a keyword
			if t.at(1).is("verbose") {
				at = 2
			}
		}
		if err := t.refuseReserved(at, len(t.toks)); err != nil {
			return err
		}
		t.findReads()
		t.noteBlanks()
		if t.session.Trim != nil {
			if err := t.planTrim(); err != nil {
				return err
			}
		}
	}
	switch first.text {
	case "select", "with", "(":
		return t.query()
	case "insert", "update", "delete", "merge":
		return t.change(0)
	case "truncate":
		return t.truncate()
	case "create":
		return t.create()
	case "drop":
		return t.drop()
	case "alter":
		return t.alter()
	case "copy":
		return t.copy()
	case "lock":
		return t.lock()
	case "show":
		return t.show()
	case "explain":
		t.out.Rows = true
		return t.pass()
	case "set", "reset":
		return t.set()
	case "begin", "start":
		t.out.Verb = "BEGIN"
		n := len(t.toks)
		t.out.ReadOnly = n > 2 && t.toks[n-2].is("read") && t.toks[n-1].is("only")
	case "commit", "end":
		t.out.Verb = "COMMIT"
	case "rollback", "abort":
		t.out.Verb = "ROLLBACK"
	case "analyze", "analyse":
		t.analyze()
	case "vacuum", "grant", "revoke", "comment":
		// Nothing to do on an engine that keeps statistics itself and has one user.
	case "unload", "declare", "fetch", "close", "prepare", "execute", "deallocate", "call", "refresh", "cancel", "use":
		return unsupported(t.out.Verb)
	default:
		return syntaxNear(first.source)
	}
	return nil
}

// analyze gathers statistics on PostgreSQL, whose plans for a table that has
// just grown depend on them. Redshift's own words after the table fall away.
func (t *translation) analyze() {
	t.out.Verb = "ANALYZE"
	if t.engine != Postgres {
		return
	}
	end := 1
	for end < len(t.toks) && !t.toks[end].is("predicate", "all") {
		end++
	}
	t.setSQL(t.toks[:end])
}

// pass hands the whole statement to the engine, its expressions rewritten.
func (t *translation) pass() error {
	t.setSQL(t.expr(nil, 0, len(t.toks)))
	return t.err
}

func (t *translation) setSQL(toks []token) { t.out.SQL = write(t.engine, toks) }

// query handles SELECT and WITH; a WITH may introduce another verb.
func (t *translation) query() error {
	main := 0
	for main < len(t.toks) && !t.toks[main].is("select", "insert", "update", "delete", "merge") {
		if t.match[main] > 0 && main > 0 {
			main = t.match[main]
		}
		main++
	}
	if t.toks[0].is("with") && t.at(main).is("insert", "update", "delete", "merge") {
		t.out.Verb = strings.ToUpper(t.toks[main].text)
		return t.change(main)
	}
	t.out.Verb, t.out.Rows = "SELECT", true
	if err := t.refuseQuery(main); err != nil {
		return err
	}
	if done, err := t.selectInto(main); done || err != nil {
		return err
	}
	t.nameColumns(main)
	return t.pass()
}

// selectInto turns SELECT ... INTO [TEMP] [TABLE] t FROM ... into CREATE TABLE AS.
func (t *translation) selectInto(main int) (bool, error) {
	for i := main; i < len(t.toks) && !t.toks[i].is("from"); i++ {
		if t.match[i] > 0 {
			i = t.match[i]
		}
		if !t.toks[i].is("into") {
			continue
		}
		next, temp := i+1, false
		if t.at(next).is("temp", "temporary") {
			next, temp = next+1, true
		}
		if t.at(next).is("table") {
			next++
		}
		name, end, err := t.tableName(next)
		if err != nil {
			return true, err
		}
		t.out.Verb, t.out.Rows = "CREATE TABLE AS", false
		t.out.Makes, t.out.Temporary = nameOf(name), temp || strings.HasPrefix(name[0].text, "#")
		dst := []token{{kind: raw, text: "CREATE TABLE"}}
		if temp || strings.HasPrefix(name[0].text, "#") {
			dst[0].text = "CREATE TEMPORARY TABLE"
		}
		dst = append(append(dst, name...), token{kind: raw, text: "AS"})
		dst = t.expr(dst, 0, i)
		t.setSQL(t.expr(dst, end, len(t.toks)))
		return true, t.err
	}
	return false, nil
}

// change handles INSERT, UPDATE, DELETE and MERGE; main is the verb's index.
func (t *translation) change(main int) error {
	verb, at := t.toks[main].text, main+1
	switch verb {
	case "insert", "merge":
		if !t.at(at).is("into") {
			return t.unexpected(at)
		}
		at++
	case "delete":
		if t.at(at).is("from") {
			at++
		}
	}
	name, end, err := t.tableName(at)
	if err != nil {
		return err
	}
	if first := name[0].text; strings.HasPrefix(first, "pg_") || first == "information_schema" {
		return fail("permission denied for relation %s", excerpt(name[len(name)-1].text)) // the catalog; pg_settings is one's rights, too
	}
	t.out.Writes = append(t.out.Writes, nameOf(name))
	if t.wraps && verb != "insert" && t.session.Trim[nameOf(name)] != nil {
		return blanksRefusal(strings.ToUpper(verb) + " with a query or a WITH in it")
	}
	t.tables = t.tables || verb != "insert"
	if err := t.refuseClauses(main); err != nil {
		return err
	}
	if verb == "merge" {
		if err := t.checkMerge(end); err != nil {
			return err
		}
	}
	dst := t.expr(nil, 0, main+1)
	switch verb {
	case "insert", "merge":
		dst = append(dst, token{kind: word, text: "into"})
	case "delete":
		dst = append(dst, token{kind: word, text: "from"})
	}
	dst = append(dst, name...)
	set := t.assignments(end, len(t.toks))
	if set.lo == 0 {
		t.setSQL(t.expr(dst, end, len(t.toks)))
		return t.err
	}
	t.out.Target = name[len(name)-1].text
	if alias := t.at(set.lo - 2); verb == "update" && set.lo > end+1 && alias.name() {
		t.out.Target = alias.text
	}
	t.setSQL(t.expr(dst, end, set.lo))
	head := t.out.SQL + " "
	t.setSQL(t.expr(nil, set.lo, len(t.toks)))
	t.out.Set, t.out.SQL = len(head), head+t.out.SQL
	return t.err
}

// assignments returns where those of the first SET in [lo,hi) stand, and notes
// the columns; nothing where there is none.
func (t *translation) assignments(lo, hi int) span {
	var s span
	for i := lo; i < hi; i++ {
		switch k := t.toks[i]; {
		case t.match[i] > 0:
			i = t.match[i]
		case s.lo == 0 && k.is("set"):
			s.lo = i + 1
		case s.lo > 0 && k.is("from", "where", "when"):
			s.hi = i
			return s
		}
		if at := i + 1; s.lo > 0 && t.at(i).is("set", ",") && t.at(at).name() && t.at(at+1).is("=") {
			t.out.Sets = append(t.out.Sets, t.at(at).text)
		}
	}
	s.hi = hi
	return s
}

// refuseClauses refuses what engines have in INSERT, UPDATE and DELETE and
// Redshift does not.
func (t *translation) refuseClauses(main int) error {
	for i := main; i < len(t.toks); i++ {
		switch {
		case t.match[i] > 0:
			i = t.match[i]
		case t.toks[i].is("on") && t.at(i+1).is("conflict"):
			return t.unexpected(i)
		case t.toks[i].is("returning") && !t.at(i-1).is("."):
			return t.unexpected(i)
		}
	}
	return nil
}

func (t *translation) truncate() error {
	at := 1
	if t.at(at).is("table") {
		at++
	}
	name, end, err := t.tableName(at)
	if err != nil {
		return err
	}
	if end < len(t.toks) {
		return t.unexpected(end)
	}
	t.out.Writes = append(t.out.Writes, nameOf(name))
	t.setSQL(append([]token{{kind: raw, text: "TRUNCATE TABLE"}}, name...))
	return nil
}

// lock reads LOCK [TABLE] a, b.
func (t *translation) lock() error {
	at := 1
	if t.at(at).is("table") {
		at++
	}
	for {
		name, end, err := t.tableName(at)
		if err != nil {
			return err
		}
		t.out.Lock = append(t.out.Lock, nameOf(name))
		if end == len(t.toks) {
			return nil
		}
		if !t.at(end).is(",") {
			return t.unexpected(end)
		}
		at = end + 1
	}
}

// tableName reads [database.][schema.]table at i and returns the tokens to
// write for it and the index after it. The database is the session's own, and
// "public" is DuckDB's unnamed default.
func (t *translation) tableName(i int) ([]token, int, error) {
	var parts []token
	for {
		if !t.at(i).name() || len(parts) == 0 && t.at(i).isReserved() {
			return nil, 0, t.unexpected(i)
		}
		parts = append(parts, t.at(i))
		i++
		if !t.at(i).is(".") {
			break
		}
		i++
	}
	if len(parts) == 3 && parts[0].text == lower(t.session.Database) {
		parts = parts[1:]
	}
	if len(parts) > 2 {
		return nil, 0, fail("cross-database reference to %s is not supported", nameOf(parts))
	}
	if len(parts) == 2 && parts[0].text == "public" && t.engine == DuckDB {
		parts = parts[1:]
	}
	if len(parts) == 2 {
		parts = []token{parts[0], {kind: op, text: "."}, parts[1]}
	}
	return parts, i, nil
}

// nameOf is the name of a table as Statement reports it.
func nameOf(parts []token) string {
	var b strings.Builder
	for i, p := range parts {
		if i == 0 && p.text == "public" && len(parts) > 1 {
			continue
		}
		if p.kind == op && b.Len() == 0 {
			continue
		}
		b.WriteString(p.text)
	}
	return b.String()
}
