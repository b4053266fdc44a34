package dialect

import "strings"

// create handles every CREATE.
func (t *translation) create() error {
	at, replace, temp := 1, false, false
	if t.at(at).is("or") && t.at(at+1).is("replace") {
		at, replace = at+2, true
	}
	if t.at(at).is("local") {
		at++
	}
	if t.at(at).is("temp", "temporary") {
		at, temp = at+1, true
	}
	k := t.at(at)
	t.out.Verb = "CREATE " + strings.ToUpper(k.text)
	switch {
	case k.is("table") && !replace:
		return t.createTable(at+1, temp)
	case k.is("view") && !temp:
		return t.createView(at, replace)
	case replace && !k.is("procedure", "function"):
		return t.unexpected(at)
	case k.is("schema"):
		return t.createSchema(at + 1)
	case k.is("user", "group", "role"):
		return nil // there is one user, who may do everything
	case k.is("index", "unique", "sequence", "trigger", "rule", "domain", "type", "extension", "tablespace", "aggregate", "operator"):
		e := fail(`SQL command "%s" not supported on Redshift tables.`, excerpt(t.source()))
		if k.is("index", "unique") {
			e.Hint = "Redshift has no indexes: use DISTKEY and SORTKEY"
		}
		return e
	case k.is("procedure", "function", "external", "library", "model", "datashare", "database", "materialized", "identity", "masking", "rls"):
		return unsupported(t.out.Verb)
	}
	return t.unexpected(at)
}

// source is the statement as it was written, in one line, for messages.
func (t *translation) source() string {
	return strings.Trim(strings.Join(strings.Fields(t.sql), " "), "; ")
}

func (t *translation) ifNotExists(at int) (int, bool) {
	if t.at(at).is("if") && t.at(at+1).is("not") && t.at(at+2).is("exists") {
		return at + 3, true
	}
	return at, false
}

func (t *translation) createSchema(at int) error {
	at, quiet := t.ifNotExists(at)
	name := t.at(at)
	if !name.name() || name.isReserved() {
		return t.unexpected(at)
	}
	if name.text == "public" {
		if quiet {
			return nil // it is always there
		}
		return fail(`schema "public" already exists`)
	}
	head := "CREATE SCHEMA"
	if quiet {
		head += " IF NOT EXISTS"
	}
	t.setSQL([]token{{kind: raw, text: head}, name})
	return nil
}

func (t *translation) createView(at int, replace bool) error {
	head := "CREATE VIEW"
	if replace {
		head = "CREATE OR REPLACE VIEW"
	}
	name, next, err := t.tableName(at + 1)
	if err != nil {
		return err
	}
	end := len(t.toks)
	if end > 4 && t.at(end-4).is("with") && t.at(end-3).is("no") && t.at(end-2).is("schema") && t.at(end-1).is("binding") {
		end -= 4
	}
	if err := t.refuseReserved(next, end); err != nil {
		return err
	}
	dst := append([]token{{kind: raw, text: head}}, name...)
	t.setSQL(t.expr(dst, next, end))
	return t.err
}

// tableKeys are the columns that a table is distributed and sorted by.
type tableKeys []token

func (k *tableKeys) add(column token) {
	column.kind = quoted
	for _, c := range *k {
		if c.text == column.text {
			return
		}
	}
	*k = append(*k, column)
}

func (t *translation) createTable(at int, temp bool) error {
	at, quiet := t.ifNotExists(at)
	name, next, err := t.tableName(at)
	if err != nil {
		return err
	}
	temp = temp || strings.HasPrefix(name[len(name)-1].text, "#")
	t.out.Makes, t.out.Temporary = nameOf(name), temp
	columns := span{}
	if t.at(next).is("(") {
		columns = span{next, t.match[next] + 1}
		next = columns.hi
	}
	var keys tableKeys
	next, err = t.tableAttributes(next, &keys)
	if err != nil {
		return err
	}
	head := "CREATE TABLE"
	if temp {
		head = "CREATE TEMPORARY TABLE"
	}
	if quiet {
		head += " IF NOT EXISTS"
	}
	dst := append([]token{{kind: raw, text: head}}, name...)
	switch {
	case t.at(next).is("as"):
		t.out.Verb = "CREATE TABLE AS"
		if t.at(next + 1).is("values") {
			return t.unexpected(next + 1)
		}
		if err := t.refuseReserved(next+1, len(t.toks)); err != nil {
			return err
		}
		t.findReads()
		t.noteBlanks()
		if t.session.Trim != nil {
			if err := t.planTrim(); err != nil {
				return err
			}
		}
		dst = t.expr(dst, columns.lo, columns.hi)
		t.setSQL(t.expr(dst, next, len(t.toks)))
	case next < len(t.toks) || columns.hi == 0:
		return t.unexpected(next)
	default:
		def := &definition{t: t, table: name, temp: temp, keys: &keys}
		if dst, err = def.write(dst, columns); err != nil {
			return err
		}
		t.setSQL(dst)
		if t.engine == DuckDB && len(keys) == 0 && def.first.text != "" {
			keys.add(def.first) // an UPDATE has to find an index; see Statement.Set
		}
	}
	if !temp && t.err == nil {
		t.indexes(name, keys)
	}
	return t.err
}

// tableAttributes reads what stands after the columns. None of it changes what
// a statement returns; the keys are noted.
func (t *translation) tableAttributes(at int, keys *tableKeys) (int, error) {
	for at < len(t.toks) && !t.at(at).is("as") {
		k, next := t.at(at), t.at(at+1)
		switch {
		case k.is("backup") && next.is("yes", "no"),
			k.is("diststyle") && next.is("auto", "even", "key", "all"),
			k.is("sortkey", "encode") && next.is("auto"):
			at += 2
		case k.is("compound", "interleaved") && next.is("sortkey"):
			at++
		case k.is("distkey", "sortkey") && next.is("("):
			for _, a := range t.arguments(at + 1) {
				if a.hi != a.lo+1 || !t.at(a.lo).name() {
					return 0, t.unexpected(a.lo)
				}
				keys.add(t.at(a.lo))
			}
			at = t.match[at+1] + 1
		default:
			return 0, t.unexpected(at)
		}
	}
	return at, nil
}

// indexes asks for an index on each key column. Redshift finds rows by its sort
// order and joins rows where they lie; other engines need an index to stay as
// quick while a table grows.
func (t *translation) indexes(table []token, keys tableKeys) {
	for _, k := range keys {
		name := indexName(nameOf(table), k.text)
		dst := []token{{kind: raw, text: "CREATE INDEX IF NOT EXISTS"}, {kind: quoted, text: name}, {kind: raw, text: "ON"}}
		dst = append(dst, table...)
		dst = append(dst, token{kind: raw, text: "("}, k, token{kind: raw, text: ")"})
		t.out.After = append(t.out.After, write(t.engine, dst))
	}
}
