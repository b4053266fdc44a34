package dialect

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// maxEngineName is PostgreSQL's limit on a name, in bytes.
const maxEngineName = 63

// definition writes the columns of CREATE TABLE for the engine.
type definition struct {
	t     *translation
	table []token
	temp  bool
	keys  *tableKeys
	first token // the first column
	// primary holds the columns of a PRIMARY KEY. Redshift does not enforce keys,
	// but makes their columns NOT NULL.
	primary map[string]bool
}

// column is one column as declared.
type column struct {
	name     token
	typ      dataType
	deflt    span
	notNull  bool
	identity []string // start and step
	always   bool     // the identity takes no values from outside
}

func (d *definition) write(dst []token, all span) ([]token, error) {
	t := d.t
	items := t.arguments(all.lo)
	if len(items) == 0 {
		return nil, t.unexpected(all.hi - 1)
	}
	if t.at(items[0].lo).is("like") {
		return d.like(dst, items)
	}
	var columns []column
	d.primary = map[string]bool{}
	for _, it := range items {
		if d.constraint(it) {
			continue
		}
		c, err := d.column(it)
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	if len(columns) > 0 {
		d.first = columns[0].name
	}
	dst = append(dst, token{kind: raw, text: "("})
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, token{kind: raw, text: ","})
		}
		dst = d.writeColumn(dst, c)
	}
	return append(dst, token{kind: raw, text: ")"}), t.err
}

// like writes (LIKE parent).
func (d *definition) like(dst []token, items []span) ([]token, error) {
	t := d.t
	parent, next, err := t.tableName(items[0].lo + 1)
	if err != nil {
		return nil, err
	}
	if len(items) > 1 {
		return nil, unsupported("LIKE beside other columns")
	}
	defaults := t.at(next).is("including")
	if next < items[0].hi && !(t.at(next).is("including", "excluding") && t.at(next+1).is("defaults")) {
		return nil, t.unexpected(next)
	}
	if t.engine == DuckDB {
		return append(append(t.add(dst, "AS SELECT * FROM"), parent...), token{kind: raw, text: "LIMIT 0"}), nil
	}
	dst = append(t.add(dst, "( LIKE"), parent...)
	if defaults {
		dst = t.add(dst, "INCLUDING DEFAULTS")
	}
	return t.add(dst, "INCLUDING CONSTRAINTS )"), nil
}

// constraint reports whether the item is a constraint of the table and not a
// column, and notes the primary key.
func (d *definition) constraint(it span) bool {
	t, at := d.t, it.lo
	if t.at(at).is("constraint") {
		at += 2
	}
	switch {
	case t.at(at).is("primary") && t.at(at+1).is("key") && t.at(at+2).is("("):
		for _, a := range t.arguments(at + 2) {
			d.primary[t.at(a.lo).text] = true
		}
	case t.at(at).is("unique") && t.at(at+1).is("("), t.at(at).is("foreign") && t.at(at+1).is("key"):
	default:
		return false
	}
	return true
}

func (d *definition) column(it span) (column, error) {
	t := d.t
	c := column{name: t.at(it.lo)}
	if !c.name.name() || c.name.isReserved() {
		return c, t.unexpected(it.lo)
	}
	c.name.kind = quoted // an engine may reserve a word that Redshift does not
	if it.hi == it.lo+1 {
		return c, t.unexpected(it.hi)
	}
	typ, at, err := t.dataType(it.lo+1, nameOf(d.table)+"."+c.name.text)
	if err != nil {
		return c, err
	}
	if typ.name == "interval" {
		return c, fail(`Column "%s.%s" has unsupported type "interval".`, nameOf(d.table), c.name.text)
	}
	if typ.name == "varchar" && typ.length == 0 {
		typ.length = defaultVarchar
	}
	if typ.name == "char" && typ.length == 0 {
		typ.length = 1
	}
	c.typ = typ
	for at < it.hi {
		if at, err = d.attribute(&c, at, it.hi); err != nil {
			return c, err
		}
	}
	return c, nil
}

// attribute reads one attribute of a column at i and returns the index after it.
func (d *definition) attribute(c *column, i, hi int) (int, error) {
	t := d.t
	k, next := t.at(i), t.at(i+1)
	switch {
	case k.is("not") && next.is("null"):
		c.notNull = true
		return i + 2, nil
	case k.is("null"), k.is("unique"):
		return i + 1, nil
	case k.is("primary") && next.is("key"):
		c.notNull = true
		return i + 2, nil
	case k.is("distkey", "sortkey"):
		d.keys.add(c.name)
		return i + 1, nil
	case k.is("encode"):
		return i + 2, nil
	case k.is("collate") && next.is("case_sensitive", "cs"):
		return i + 2, nil // as the engines compare
	case k.is("collate") && next.is("case_insensitive", "ci"):
		return 0, unsupported("COLLATE CASE_INSENSITIVE")
	case k.is("references"):
		_, end, err := t.tableName(i + 1)
		if err == nil && t.at(end).is("(") {
			end = t.match[end] + 1
		}
		return end, err
	case k.is("default"):
		end := d.defaultEnd(i+2, hi)
		c.deflt = span{i + 1, end}
		return end, nil
	case k.is("generated") && next.is("by") && t.at(i+2).is("default") && t.at(i+3).is("as"):
		return d.identity(c, i+4)
	case k.is("identity"):
		c.always = true
		return d.identity(c, i)
	}
	return 0, t.unexpected(i)
}

// defaultEnd finds the end of a default's expression, which has no mark of its
// own: it goes on until a word that starts another attribute.
func (d *definition) defaultEnd(i, hi int) int {
	t := d.t
	for i < hi && !t.at(i).is("not", "null", "unique", "primary", "distkey", "sortkey", "encode", "collate", "references", "generated", "identity") {
		if t.match[i] > 0 {
			i = t.match[i]
		}
		i++
	}
	return min(i, hi)
}

func (d *definition) identity(c *column, i int) (int, error) {
	t := d.t
	if !t.at(i).is("identity") || !t.at(i+1).is("(") {
		return 0, t.unexpected(i + 1)
	}
	for _, a := range t.arguments(i + 1) {
		k := t.at(a.hi - 1)
		if k.kind != number || digits(k.text) != len(k.text) || a.hi-a.lo > 2 || a.hi-a.lo == 2 && !t.at(a.lo).is("-") {
			return 0, t.unexpected(a.lo)
		}
		c.identity = append(c.identity, strings.Repeat("-", a.hi-a.lo-1)+k.text)
	}
	if len(c.identity) != 2 {
		return 0, t.unexpected(t.match[i+1])
	}
	return t.match[i+1] + 1, nil
}

func (d *definition) writeColumn(dst []token, c column) []token {
	t := d.t
	dst = append(dst, c.name, token{kind: raw, text: c.typ.spell(t.engine)})
	switch {
	case c.identity != nil:
		dst = d.writeIdentity(dst, c)
	case c.deflt.hi > 0:
		dst = t.add(dst, "DEFAULT (", c.deflt, ")")
	}
	if c.notNull || d.primary[c.name.text] {
		dst = t.add(dst, "NOT NULL")
	}
	if c.typ.name == "varchar" || c.typ.name == "char" {
		dst = d.writeLength(dst, c)
	}
	return dst
}

// writeIdentity numbers rows: by PostgreSQL's own identity, by a sequence in DuckDB.
func (d *definition) writeIdentity(dst []token, c column) []token {
	start, step := c.identity[0], c.identity[1]
	if d.t.engine == Postgres {
		when := "BY DEFAULT"
		if c.always {
			when = "ALWAYS"
		}
		return d.t.add(dst, fmt.Sprintf("GENERATED %s AS IDENTITY ( START WITH %s INCREMENT BY %s )", when, start, step))
	}
	head := "CREATE SEQUENCE IF NOT EXISTS"
	if d.temp {
		head = "CREATE TEMPORARY SEQUENCE IF NOT EXISTS"
	}
	name := indexName(nameOf(d.table), c.name.text)
	seq := []token{{kind: raw, text: head}, {kind: quoted, text: name}, {kind: raw, text: "START WITH " + start + " INCREMENT BY " + step}}
	d.t.out.Before = append(d.t.out.Before, write(d.t.engine, seq))
	// nextval reads its argument as a name, so it is quoted twice.
	var quotedName strings.Builder
	quoteName(&quotedName, name)
	return d.t.add(dst, "DEFAULT nextval(", quotedText(quotedName.String()), ")")
}

// writeLength bounds the column in bytes, trailing blanks apart, as Redshift
// does. The constraint says which type it stands for, so that Message can
// phrase Redshift's error: by its name in PostgreSQL; by the order of its
// operands in DuckDB, which reports the expression only.
func (d *definition) writeLength(dst []token, c column) []token {
	n := fmt.Sprint(c.typ.length)
	switch {
	case d.t.engine == Postgres:
		name := clip(lengthPrefix + c.typ.name + "_" + n + "_" + c.name.text)
		dst = d.t.add(dst, "CONSTRAINT")
		dst = append(dst, token{kind: quoted, text: name})
		dst = append(d.t.add(dst, "CHECK ( octet_length( rtrim("), c.name)
		return d.t.add(dst, ") ) <= "+n+" )")
	case c.typ.name == "char":
		dst = append(d.t.add(dst, "CHECK ( "+n+" >= strlen( rtrim("), c.name)
		return d.t.add(dst, ") ) )")
	}
	dst = append(d.t.add(dst, "CHECK ( strlen( rtrim("), c.name)
	return d.t.add(dst, ") ) <= "+n+" )")
}

// indexName derives the name of what belongs to a column.
func indexName(table, column string) string { return clip("localaws_" + table + "_" + column) }

// clip shortens a name to what PostgreSQL keeps; a hash tells two long ones apart.
func clip(name string) string {
	if len(name) <= maxEngineName {
		return name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // a hash does not fail
	cut := maxEngineName - 9
	for cut > 0 && name[cut]&0xC0 == 0x80 { // not inside a character
		cut--
	}
	return fmt.Sprintf("%s_%08x", name[:cut], h.Sum32())
}
