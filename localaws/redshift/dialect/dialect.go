// Package dialect reads SQL as Amazon Redshift reads it and writes it for the
// engine that runs it. The input is taken apart into tokens whose meaning is
// known and put together again from them, so that no byte of a literal or a
// parameter can become anything else on the way. What Redshift refuses is
// refused here, in Redshift's words.
package dialect

import (
	"fmt"
	"strings"
	"time"
)

// Engine is the database that runs the translated statement.
type Engine int

// The engines.
const (
	DuckDB Engine = iota
	Postgres
)

// Statement is one translated statement.
type Statement struct {
	// SQL is the statement for the engine; empty where the engine has nothing
	// to do (LOCK, COPY, VACUUM, SET, GRANT, transaction control).
	SQL string
	// Verb is the kind of statement in upper case: SELECT, INSERT, CREATE TABLE,
	// CREATE TABLE AS, COPY, LOCK, ...
	Verb string
	// Rows reports whether the statement returns a result set.
	Rows bool
	// Lock holds the tables that LOCK names.
	Lock []string
	// Writes holds the tables that the statement writes, for locking. Names are
	// lower case, without quotes and without the schema "public".
	Writes []string
	// Reads holds the tables that it reads, each once, named so. There may be names
	// among them that WITH defines.
	Reads []string
	// Makes is the table that CREATE TABLE or SELECT INTO makes.
	Makes     string
	Temporary bool
	// Compares says that the statement compares values, Measures that it sees the
	// blanks at the end of a text, Blanks that it may write texts that end in one.
	Compares, Measures, Blanks bool
	// Set is the offset in SQL of the first assignment of an UPDATE or MERGE, and
	// Sets are the columns that it assigns. Target is the name for its table.
	Set    int
	Sets   []string
	Target string
	// ReadOnly is set for a BEGIN of a transaction that only reads.
	ReadOnly bool
	// Copy is set for COPY.
	Copy *Copy
	// Before and After are engine statements to run right before and right
	// after SQL, in the same transaction.
	Before, After []string
	// Alters is set where ALTER TABLE renames or drops: the new names of columns by
	// their old ones, "" for one that goes, and under "" that of the table.
	Alters map[string]string
	// Timeout is set where the statement sets statement_timeout: how long each
	// statement after it may take, 0 for as long as it likes.
	Timeout *time.Duration
	// Params holds the names of the :parameters that the statement uses, each once.
	Params []string
}

// Error is a refusal, in Redshift's own words where it has them.
type Error struct {
	Message string // "ERROR: ..."
	Hint    string // set where the refusal is this translation's own
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "\n  Hint: " + e.Hint
}

func fail(format string, args ...any) *Error {
	return &Error{Message: "ERROR: " + fmt.Sprintf(format, args...)}
}

func syntaxNear(s string) *Error { return fail(`syntax error at or near "%s"`, excerpt(s)) }

func syntaxAtEnd() *Error { return fail("syntax error at end of input") }

// unsupported refuses what Redshift has and the local engine does not.
func unsupported(what string) *Error {
	e := fail("%s is not supported", what)
	e.Hint = "Redshift has it, localaws does not"
	return e
}

// Session is what a statement can ask about the session it runs in.
type Session struct {
	LastCopyID int64         // pg_last_copy_id(); -1 before the first COPY
	LastCopied int64         // pg_last_copy_count(): the rows that it loaded
	PID        int64         // pg_backend_pid()
	User       string        // current_user
	Database   string        // current_database(); also stripped from database.schema.table
	Timeout    time.Duration // statement_timeout; 0 for none
	// Trim holds the columns of tables whose texts are to be read without the blanks
	// at their ends, by the tables' names as Statement.Reads has them.
	Trim map[string][]TextColumn
}

// Translate reads one Redshift statement and writes it for the engine. params
// holds the values of :name parameters; nil means that there are none. The
// error is an *Error.
func Translate(sql string, e Engine, params map[string]string) (Statement, error) {
	return Session{LastCopyID: -1, User: "admin", Database: "dev"}.Translate(sql, e, params)
}

// Translate is like the function Translate, for a statement of this session.
func (s Session) Translate(sql string, e Engine, params map[string]string) (Statement, error) {
	toks, err := scan(sql)
	if err != nil {
		return Statement{}, err
	}
	toks, err = one(toks)
	if err != nil {
		return Statement{}, err
	}
	t := &translation{session: s, engine: e, toks: toks, sql: sql}
	if err := t.bind(params); err != nil {
		return Statement{}, err
	}
	if err := t.pair(); err != nil {
		return Statement{}, err
	}
	if err := t.statement(); err != nil {
		return Statement{}, err
	}
	return t.out, nil
}

// Split cuts the text into statements at the semicolons outside literals and
// comments. Empty statements are dropped.
func Split(sql string) ([]string, error) {
	toks, err := scan(sql)
	if err != nil {
		return nil, err
	}
	var parts []string
	start, empty := 0, true
	for i, t := range toks {
		if !t.is(";") {
			empty = false
			if i < len(toks)-1 {
				continue
			}
			return append(parts, strings.Trim(sql[start:], blank)), nil
		}
		if !empty {
			parts = append(parts, strings.Trim(sql[start:t.end-1], blank))
		}
		start, empty = t.end, true
	}
	return parts, nil
}

// one takes semicolons off both ends and refuses a second statement.
func one(toks []token) ([]token, error) {
	for len(toks) > 0 && toks[len(toks)-1].is(";") {
		toks = toks[:len(toks)-1]
	}
	for len(toks) > 0 && toks[0].is(";") {
		toks = toks[1:]
	}
	if len(toks) == 0 {
		return nil, syntaxAtEnd()
	}
	for i := range toks {
		if toks[i].kind == op && toks[i].text == ";" {
			return nil, fail("cannot insert multiple commands into a prepared statement")
		}
	}
	return toks, nil
}

// Settings returns what Setup sets on PostgreSQL, for the start of a connection:
// RESET ALL then goes back to them.
func Settings() map[string]string {
	return map[string]string{"timezone": "UTC", "standard_conforming_strings": "on", "datestyle": "ISO, YMD"}
}

// Setup returns the statements that make a fresh connection of the engine
// behave as a Redshift session: UTC, integer division, nulls sorted high.
func Setup(e Engine) []string {
	if e == Postgres {
		var out []string
		for name, value := range Settings() {
			out = append(out, "SET "+name+" = '"+value+"'")
		}
		return out
	}
	return []string{
		"SET TimeZone = 'UTC'", "SET integer_division = true", "SET default_null_order = 'postgres'",
		// TRUNC cuts a timestamp to its day, a number to its whole part. A database file
		// keeps no macros with typed parameters, so each connection has its own.
		`CREATE OR REPLACE TEMPORARY MACRO trunc(x TIMESTAMP) AS CAST(x AS DATE), (x DATE) AS x, (x DECIMAL(38,10)) AS system.main.trunc(x),
			(x DOUBLE) AS system.main.trunc(x), (x DOUBLE, n INTEGER) AS system.main.trunc(x, n)`,
	}
}
