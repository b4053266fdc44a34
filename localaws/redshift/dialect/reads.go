package dialect

import "slices"

// argumentsWithFrom are the functions in whose arguments FROM is no clause.
var argumentsWithFrom = []string{"extract", "trim", "substring", "overlay", "position"}

// findReads notes the tables that the statement reads: those of its FROM lists,
// joins and USING lists, at every depth. Names that WITH defines are among them, as
// nobody can tell them from tables by their place.
func (t *translation) findReads() {
	with := t.defined()
	t.refs = make(map[int]int)
	clauses := []string{""}
	for i := 0; i < len(t.toks); i++ {
		k := t.toks[i]
		clause := &clauses[len(clauses)-1]
		switch {
		case k.is("("):
			inner := ""
			switch {
			case *clause == "from" && t.at(i-1).is("from", "join", ",", "("):
				inner = "from" // a join in parentheses, or a query, which says SELECT next
			case t.at(i - 1).is(argumentsWithFrom...):
				inner = "call"
			}
			clauses = append(clauses, inner)
		case k.is(")"):
			clauses = clauses[:len(clauses)-1]
			continue
		case k.kind == word && t.at(i-1).is("."):
			continue
		case k.is("select", "where", "group", "having", "order", "limit", "set", "values", "on", "union", "intersect", "except", "minus"):
			*clause = k.text
		case *clause == "call":
		case k.is("from", "join"), k.is("using") && !t.at(i+1).is("("):
			*clause = "from"
		}
		if clauses[len(clauses)-1] == "from" && k.is("from", "join", ",", "using", "(") && t.at(i+1).name() && !t.at(i+1).is("select", "with") {
			name, next, err := t.tableName(i + 1)
			if err != nil || t.at(next).is("(") {
				continue
			}
			if !slices.Contains(t.out.Reads, nameOf(name)) {
				t.out.Reads = append(t.out.Reads, nameOf(name))
			}
			if !slices.Contains(with, nameOf(name)) {
				t.refs[i+1] = next
			}
		}
	}
}
