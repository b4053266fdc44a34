package dialect

import (
	"regexp"
	"strings"
)

// lengthPrefix starts the names of the constraints that bound a column's bytes.
const lengthPrefix = "localaws_"

var (
	duckVarchar  = regexp.MustCompile(`with expression CHECK\(\(strlen\(rtrim\(.*\)\) <= (\d+)\)\)`)
	duckChar     = regexp.MustCompile(`with expression CHECK\(\((\d+) >= strlen\(rtrim\(.*\)\)\)\)`)
	duckNotNull  = regexp.MustCompile(`NOT NULL constraint failed: (?:.*\.)?([^.\s]+)`)
	duckTable    = regexp.MustCompile(`Table with name (\S+) does not exist`)
	duckExists   = regexp.MustCompile(`(?:Table|View) with name "([^"]+)" already exists`)
	duckColumn   = regexp.MustCompile(`(?:Referenced column|column) "([^"]+)" not found`)
	duckFunction = regexp.MustCompile(`(?:Scalar |Aggregate |Table )?Function with name (\S+) does not exist`)
	duckZero     = regexp.MustCompile(`Divide by zero`)
	duckSyntax   = regexp.MustCompile(`syntax error at or near (".*")`)
	pgLength     = regexp.MustCompile(`violates check constraint "` + lengthPrefix + `(varchar|char)_(\d+)_`)
	pgSQLState   = regexp.MustCompile(` \(SQLSTATE [0-9A-Z]{5}\)$`)
)

// Message puts an engine's error in Redshift's words, where it is one that
// Redshift has; else it returns the engine's own first line.
func Message(e Engine, message string) string {
	if e == Postgres {
		message = pgSQLState.ReplaceAllString(strings.TrimPrefix(message, "ERROR: "), "")
		if m := pgLength.FindStringSubmatch(message); m != nil {
			return tooLong(m[1], m[2])
		}
		if message == "division by zero" {
			return "ERROR: Divide by zero"
		}
		return "ERROR: " + message
	}
	first, _, _ := strings.Cut(message, "\n")
	for _, f := range []struct {
		pattern *regexp.Regexp
		say     func([]string) string
	}{
		{duckVarchar, func(m []string) string { return tooLong("varchar", m[1]) }},
		{duckChar, func(m []string) string { return tooLong("char", m[1]) }},
		{duckNotNull, func(m []string) string { return "ERROR: Cannot insert a NULL value into column " + m[1] }},
		{duckTable, func(m []string) string { return `ERROR: relation "` + m[1] + `" does not exist` }},
		{duckExists, func(m []string) string { return `ERROR: Relation "` + m[1] + `" already exists` }},
		{duckColumn, func(m []string) string { return `ERROR: column "` + m[1] + `" does not exist` }},
		{duckFunction, func(m []string) string { return "ERROR: function " + m[1] + " does not exist" }},
		{duckZero, func([]string) string { return "ERROR: Divide by zero" }},
		{duckSyntax, func(m []string) string { return "ERROR: syntax error at or near " + m[1] }},
	} {
		if m := f.pattern.FindStringSubmatch(first); m != nil {
			return f.say(m)
		}
	}
	return "ERROR: " + first
}

func tooLong(typ, n string) string {
	if typ == "varchar" {
		typ = "character varying"
	} else {
		typ = "character"
	}
	return "ERROR: value too long for type " + typ + "(" + n + ")"
}
