package dialect

import "strings"

// refuseQuery refuses what engines have in queries and Redshift does not.
func (t *translation) refuseQuery(main int) error {
	for i := range t.toks {
		if t.toks[i].is("for") && t.at(i+1).is("update", "share") {
			return fail("SELECT FOR %s is not supported", strings.ToUpper(t.at(i+1).text))
		}
		if t.toks[i].is("distinct") && t.at(i+1).is("on") && t.at(i-1).is("select") {
			return fail("SELECT DISTINCT ON is not supported")
		}
		if t.engine == Postgres && t.toks[i].is("qualify") && i > main && t.operand(i-1) && t.operand(i+1) {
			return unsupported("QUALIFY on a PostgreSQL warehouse")
		}
	}
	return nil
}

// checkMerge refuses what Redshift does not have in MERGE: it takes a table by
// its name for the target and for the source, and one action for a match and
// one for none. at is after the target's name.
func (t *translation) checkMerge(at int) error {
	if !t.at(at).is("using") {
		return t.unexpected(at)
	}
	_, at, err := t.tableName(at + 1)
	if err != nil {
		return err
	}
	if t.at(at).is("as") {
		at++
	}
	if t.at(at).name() && !t.at(at).is("on") {
		at++
	}
	if !t.at(at).is("on") {
		return t.unexpected(at)
	}
	matched, missed := 0, 0
	for i := at; i < len(t.toks); i++ {
		switch {
		case t.match[i] > 0:
			i = t.match[i]
		case t.toks[i].is("when") && t.at(i+1).is("matched"):
			if matched++; !t.at(i+2).is("then") || !t.at(i+3).is("update", "delete") || matched > 1 {
				return t.unexpected(i + 2)
			}
		case t.toks[i].is("when") && t.at(i+1).is("not") && t.at(i+2).is("matched"):
			if missed++; !t.at(i+3).is("then") || !t.at(i+4).is("insert") || missed > 1 {
				return t.unexpected(i + 3)
			}
		case t.toks[i].is("remove") && t.at(i+1).is("duplicates"):
			return unsupported("MERGE with REMOVE DUPLICATES")
		}
	}
	if matched == 0 || missed == 0 {
		return syntaxAtEnd()
	}
	return nil
}
