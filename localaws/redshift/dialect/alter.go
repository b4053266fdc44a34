package dialect

import "strings"

// drop handles DROP TABLE, VIEW and SCHEMA. DuckDB drops one object at a time.
func (t *translation) drop() error {
	k := t.at(1)
	t.out.Verb = "DROP " + strings.ToUpper(k.text)
	switch {
	case k.is("user", "group", "role"):
		return nil
	case k.is("materialized", "database", "procedure", "function", "library", "model", "datashare", "external"):
		return unsupported(t.out.Verb)
	case !k.is("table", "view", "schema"):
		return t.unexpected(1)
	}
	at, head := 2, t.out.Verb
	if t.at(at).is("if") && t.at(at+1).is("exists") {
		at, head = at+2, head+" IF EXISTS"
	}
	var names [][]token
	for {
		name, next, err := t.tableName(at)
		if err != nil {
			return err
		}
		names = append(names, name)
		if at = next; !t.at(at).is(",") {
			break
		}
		at++
	}
	tail := ""
	if t.at(at).is("cascade", "restrict") {
		tail = strings.ToUpper(t.at(at).text)
		at++
	}
	if at < len(t.toks) {
		return t.unexpected(at)
	}
	for i, name := range names {
		if k.is("table") {
			t.out.Writes = append(t.out.Writes, nameOf(name))
		}
		dst := append([]token{{kind: raw, text: head}}, name...)
		sql := write(t.engine, append(dst, token{kind: raw, text: tail}))
		if i == 0 {
			t.out.SQL = sql
		} else {
			t.out.After = append(t.out.After, sql)
		}
	}
	return nil
}

// alter handles ALTER TABLE; what only tunes storage or declares keys is
// accepted and does nothing.
func (t *translation) alter() error {
	t.out.Verb = "ALTER " + strings.ToUpper(t.at(1).text)
	switch {
	case t.at(1).is("user", "group", "role", "default"):
		return nil
	case !t.at(1).is("table"):
		return unsupported(t.out.Verb)
	}
	name, at, err := t.tableName(2)
	if err != nil {
		return err
	}
	t.out.Writes = append(t.out.Writes, nameOf(name))
	dst := append([]token{{kind: raw, text: "ALTER TABLE"}}, name...)
	k, next := t.at(at), t.at(at+1)
	switch {
	case k.is("alter") && next.is("sortkey", "distkey", "diststyle", "compound", "interleaved", "encode"),
		k.is("alter") && t.at(at+2).name() && t.at(at+3).is("encode"),
		k.is("owner"), k.is("row"),
		k.is("add") && next.is("constraint", "primary", "unique", "foreign"),
		k.is("drop") && next.is("constraint"):
		return nil
	case k.is("append"):
		return unsupported("ALTER TABLE APPEND")
	case k.is("add"):
		return t.addColumn(dst, name, at+1)
	case k.is("alter"):
		return t.alterType(dst, at+1)
	case k.is("drop", "rename"):
		t.out.Alters = map[string]string{}
		switch n := len(t.toks); {
		case k.is("rename") && n == at+3: // TO name
			t.out.Alters[""] = t.at(n - 1).text
		case k.is("rename") && n > at+3: // [COLUMN] name TO name
			t.out.Alters[t.at(n-3).text] = t.at(n - 1).text
		case k.is("drop") && t.at(n-1).is("cascade", "restrict"):
			t.out.Alters[t.at(n-2).text] = ""
		case k.is("drop"):
			t.out.Alters[t.at(n-1).text] = ""
		}
		t.setSQL(t.expr(dst, at, len(t.toks)))
		return t.err
	}
	return t.unexpected(at)
}

func (t *translation) addColumn(dst, table []token, at int) error {
	if t.at(at).is("column") {
		at++
	}
	var keys tableKeys
	d := &definition{t: t, table: table, keys: &keys, primary: map[string]bool{}}
	c, err := d.column(span{at, len(t.toks)})
	if err != nil {
		return err
	}
	if c.identity != nil {
		return fail("ALTER TABLE ADD COLUMN does not allow IDENTITY")
	}
	dst = append(t.add(dst, "ADD COLUMN"), c.name, token{kind: raw, text: c.typ.spell(t.engine)})
	if c.deflt.hi > 0 {
		dst = t.add(dst, "DEFAULT (", c.deflt, ")")
	}
	// DuckDB adds no column with a constraint; the length then goes unchecked.
	if t.engine == Postgres {
		if c.notNull {
			dst = t.add(dst, "NOT NULL")
		}
		if c.typ.name == "varchar" || c.typ.name == "char" {
			dst = d.writeLength(dst, c)
		}
	}
	t.setSQL(dst)
	return t.err
}

// alterType handles ALTER [COLUMN] c TYPE varchar(n), the one type change that
// Redshift has. The older, shorter bound would stay behind as a constraint, so
// it is refused rather than half done.
func (t *translation) alterType(dst []token, at int) error {
	if t.at(at).is("column") {
		at++
	}
	if !t.at(at).name() || !t.at(at+1).is("type") {
		return t.unexpected(at)
	}
	return unsupported("ALTER COLUMN TYPE")
}
