package redshift

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// What is known of the tables without asking DuckDB, whose catalog is slow to
// ask: a look at it costs more than most statements of a small load.

// knownTables are permanent tables that are known to exist.
type knownTables struct {
	mu    sync.Mutex // guards what follows
	age   int        // how often all was forgotten
	names map[string]bool
	keys  map[string]string   // a column of each that has an index
	made  map[string][]target // the columns of temporary tables, by their definitions
}

// has reports whether the table is known, and the age of what is known.
func (k *knownTables) has(table string) (bool, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.names[table], k.age
}

// add makes a table known that was seen since the age.
func (k *knownTables) add(table string, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if age != k.age {
		return // it may have gone since
	}
	if k.names == nil {
		k.names = make(map[string]bool)
	}
	k.names[table] = true
}

// forget is called once a table may have gone.
func (k *knownTables) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.age++
	clear(k.names)
	clear(k.keys)
}

// key returns an indexed column of the table, "" where none is known, and the age
// of what is known.
func (k *knownTables) key(table string) (string, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[table], k.age
}

// addKey makes an indexed column known that was seen since the age.
func (k *knownTables) addKey(table, column string, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if age != k.age {
		return
	}
	if k.keys == nil {
		k.keys = make(map[string]string)
	}
	k.keys[table] = column
}

// mostMade bounds the definitions that are known.
const mostMade = 64

// columns returns those of a temporary table of the definition, nil where they are
// not known. They are the caller's.
func (k *knownTables) columns(definition string) []target {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.made[definition])
}

// addColumns makes those of a definition known, which says all about them.
func (k *knownTables) addColumns(definition string, columns []target) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made == nil || len(k.made) == mostMade {
		k.made = make(map[string][]target)
	}
	k.made[definition] = slices.Clone(columns)
}

// plainTemporary matches the definition of a temporary table whose name says
// itself in the catalog too.
var plainTemporary = regexp.MustCompile(`^CREATE TEMPORARY TABLE ([a-z_][a-z0-9_]*) (\(|as )`)

// notice follows what a statement that has run did to the tables.
func (c *duckConn) notice(sql string) {
	switch word, _, _ := strings.Cut(sql, " "); word {
	case "CREATE":
		if m := plainTemporary.FindStringSubmatch(sql); m != nil {
			c.temporary[m[1]] = ""
			if m[2] == "(" {
				c.temporary[m[1]] = sql
			}
		} else {
			c.stale, c.defining = true, true
		}
	case "DROP", "ALTER":
		c.stale, c.defining = true, true
		if !strings.HasPrefix(sql, "DROP TABLE temp.") {
			c.removing = true
			c.db.known.forget()
		}
	default:
		switch strings.ToUpper(word) {
		case "SELECT", "WITH", "INSERT", "UPDATE", "DELETE":
		default:
			c.changed = true
		}
	}
}

// ourName matches what a statement defines in our own schema.
var ourName = regexp.MustCompile(`(?i)^CREATE .*?\blocalaws\.([a-z0-9_]+)`)

// namesOf returns the names that the statements define in our own schema.
func namesOf(statements []string) map[string]bool {
	names := make(map[string]bool)
	for _, sql := range statements {
		if m := ourName.FindStringSubmatch(sql); m != nil {
			names[strings.ToLower(m[1])] = true
		}
	}
	return names
}

// mentions reports whether a word of the SQL, be it in a literal, is one of the
// names.
func mentions(sql string, names map[string]bool) bool {
	isWord := func(r rune) bool {
		return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	for word := range strings.FieldsFuncSeq(sql, func(r rune) bool { return !isWord(r) }) {
		if names[strings.ToLower(word)] {
			return true
		}
	}
	return false
}

// look reads the names of this connection's temporary tables. It asks outside
// the transaction if that has not started, as exists does.
func (c *duckConn) look(ctx context.Context) error {
	var t textSink
	if _, err := c.ask(ctx, "SELECT table_name FROM duckdb_tables() WHERE temporary", &t); err != nil {
		return err
	}
	clear(c.temporary)
	for _, r := range t.rows {
		c.temporary[r[0]] = ""
	}
	c.stale = false
	return nil
}

// exists refuses a table that is not there. It asks outside the transaction if
// that has not started: to look is to take the snapshot.
func (c *duckConn) exists(ctx context.Context, table string) error {
	schema, name := "main", table
	if s, n, ok := strings.Cut(table, "."); ok {
		schema, name = s, n
	}
	seen, at := c.db.known.has(table)
	if seen {
		return nil
	}
	sql := fmt.Sprintf("SELECT 1 FROM duckdb_tables() WHERE schema_name = %s AND table_name = %s", quoteText(schema), quoteText(name))
	var t textSink
	if _, err := c.ask(ctx, sql, &t); err != nil {
		return err
	}
	if len(t.rows) == 0 {
		return refusal("relation %q does not exist", name)
	}
	if !c.open { // else it may be this transaction's own
		c.db.known.add(table, at)
	}
	return nil
}

// update assigns an indexed column to itself beside what the statement assigns.
// DuckDB then deletes the row and inserts it again; else it notes the columns
// whose values change, each for itself, and two transactions may write one row.
func (c *duckConn) update(ctx context.Context, st dialect.Statement) (string, error) {
	table := st.Writes[0]
	if _, ok := c.temporary[table]; ok {
		return st.SQL, nil
	}
	column, at := c.db.known.key(table)
	if column == "" {
		schema, name := "main", table
		if s, n, ok := strings.Cut(table, "."); ok {
			schema, name = s, n
		}
		sql := fmt.Sprintf("SELECT expressions FROM duckdb_indexes() WHERE schema_name = %s AND table_name = %s ORDER BY index_oid LIMIT 1",
			quoteText(schema), quoteText(name))
		var t textSink
		if _, err := c.ask(ctx, sql, &t); err != nil {
			return "", err
		}
		if len(t.rows) == 0 {
			return st.SQL, nil
		}
		if column = indexed(t.rows[0][0]); !c.defining {
			c.db.known.addKey(table, column, at)
		}
	}
	if slices.Contains(st.Sets, column) {
		return st.SQL, nil
	}
	return fmt.Sprintf("%s%s = %s.%s , %s", st.SQL[:st.Set], quoteName(column), quoteName(st.Target), quoteName(column), st.SQL[st.Set:]), nil
}

// indexed reads the column of an index out of the catalog's text. Ours have one
// column each.
func indexed(expressions string) string { return strings.Trim(expressions, `[]'"`) }
