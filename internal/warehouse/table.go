package warehouse

import (
	"slices"
	"strings"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// Table is a table that the worker writes, as data: its definition for each
// engine, the lists of names in every statement and what doctor expects come
// from here, so that a column is written down once.
type Table struct {
	Name    string
	Comment string   // why it is there, a line for each line of the script
	Why     string   // what Redshift's script says besides, of its layout
	Columns []Column // in the order in which rows are written
	Key     []string // for engines that enforce keys; Redshift does not, so the load itself keeps it
	Layout  string   // Redshift's: how rows are spread and sorted
	Indexes []string // columns with an index, for engines that have indexes
}

// Column is a column of a table. One that was added after the first release has
// to take NULL: a table that is there gets it by ALTER TABLE.
type Column struct {
	Name string
	Type string // in SQL: VARCHAR(n), INTEGER, BIGINT, DECIMAL(p,2) or TIMESTAMP
	Null bool
}

// Facts is a table of facts: one row for each key, which is the newest event of
// that key by event time. Rows come as events of one family.
type Facts struct {
	Family event.Family
	Noun   string // what a row is called
	Table
	Time   string  // the column with the event time
	Rollup *Rollup // nil = it has none
}

// Rollup is a table of sums over one minute of the facts. It equals a GROUP BY
// over them after every commit. Its columns are the minute, those of Group, and
// those of Sums.
type Rollup struct {
	Table
	Group []string // columns of the facts, by the same names
	Sums  []Sum    // the first counts rows: a group without any is not there
}

// minuteColumn is the column of every rollup that Group does not name.
const minuteColumn = "minute"

// Sum is a column of a rollup.
type Sum struct {
	Column string
	Of     string // column of the facts; empty = one for each row
}

// column is the column of that name. The tables name none that they lack (a test
// sees to it).
func (t *Table) column(name string) Column {
	return t.Columns[slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })]
}

// Names are the columns' names.
func (t *Table) Names() []string {
	out := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = c.Name
	}
	return out
}

// list writes names, each behind a prefix such as "n.", with commas between.
func list(prefix string, names []string) string {
	return prefix + strings.Join(names, ", "+prefix)
}

// each writes a text for each name, in which @ stands for it.
func each(names []string, separator, text string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ReplaceAll(text, "@", n)
	}
	return strings.Join(out, separator)
}

// definition lists the columns as in a CREATE TABLE of that engine, or of any.
func definition(d Dialect, columns []Column, separator string) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.definition(d)
		if !c.Null {
			out[i] += " NOT NULL"
		}
	}
	return strings.Join(out, separator)
}

// definition is the column's name and type. On Redshift a text has the collation of
// the database where the column names none.
func (c Column) definition(d Dialect) string {
	if d == Redshift && c.isText() {
		return c.Name + " " + c.Type + " COLLATE CASE_SENSITIVE"
	}
	return c.Name + " " + c.Type
}

// create is the table's definition.
func (t *Table) create(in Names, d Dialect) string {
	const separator = ",\n    "
	out := "CREATE TABLE IF NOT EXISTS " + in.Of(t.Name) + " (\n    " + definition(d, t.Columns, separator)
	// Declared keys are not enforced by Redshift but believed by its planner, so
	// none is declared there.
	if d != Redshift && t.Key != nil {
		out += separator + "PRIMARY KEY (" + list("", t.Key) + ")"
	}
	out += "\n)"
	if d == Redshift && t.Layout != "" {
		out += "\n" + t.Layout
	}
	return out
}

// staged is the name of one of the family's columns in load_incoming.
func (f *Facts) staged(name string) string { return f.Family.String() + "_" + name }

// temp is the name of one of the temporary tables that a load makes of the
// family's rows.
func (f *Facts) temp(name string) string { return "load_" + f.staged(name) }

// probeColumn is the column of the key that a probe puts a text of its own into.
func (f *Facts) probeColumn() int {
	return slices.IndexFunc(f.Columns, func(c Column) bool { return slices.Contains(f.Key, c.Name) && c.isText() })
}

func (c Column) isText() bool { return strings.HasPrefix(c.Type, "VARCHAR") }

// rest are the columns that are not of the key and not the time: what a row says.
func (f *Facts) rest() []string {
	return slices.DeleteFunc(f.Names(), func(n string) bool { return n == f.Time || slices.Contains(f.Key, n) })
}

// held are the columns of the row that goes which a load has to know: the time,
// and what the rollup is made of.
func (f *Facts) held() []string {
	out := []string{f.Time}
	if f.Rollup == nil {
		return out
	}
	out = append(out, f.Rollup.Group...)
	for _, s := range f.Rollup.Sums {
		if s.Of != "" {
			out = append(out, s.Of)
		}
	}
	return out
}

// group are the columns by which the rollup is grouped.
func (r *Rollup) group() []string { return append([]string{minuteColumn}, r.Group...) }
