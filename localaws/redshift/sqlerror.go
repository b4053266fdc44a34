package redshift

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// sqlError is the refusal of a statement, in Redshift's words where they are
// known.
type sqlError struct {
	message string // "ERROR: ..."
	cause   error
}

func (e *sqlError) Error() string { return e.message }
func (e *sqlError) Unwrap() error { return e.cause }

func refusal(format string, args ...any) *sqlError {
	return &sqlError{message: "ERROR: " + fmt.Sprintf(format, args...)}
}

// serialization is Redshift's error for a transaction that lost against
// another one.
func serialization(cause error) *sqlError {
	return &sqlError{
		message: "ERROR: 1023\n  Detail: Serializable isolation violation on table, transactions forming the cycle were rolled back: " + firstLine(cause.Error()),
		cause:   cause,
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// rule writes an engine's message in Redshift's words.
type rule struct {
	pattern *regexp.Regexp
	words   string // with $1, $2 of the pattern
}

// duckRules are the messages of DuckDB that have a counterpart in Redshift and
// that dialect.Message does not know. Their patterns follow DuckDB 1.5.
func duckRules() []rule {
	return []rule{
		{regexp.MustCompile(`Schema with name "?([^"\s!]+)"? does not exist`), `schema "$1" does not exist`},
		{regexp.MustCompile(`Table "([^"]+)" does not have a column (?:with name|named) "([^"]+)"`), `column "$2" of relation "$1" does not exist`},
		{regexp.MustCompile(`Referenced table "([^"]+)" not found`), `missing FROM-clause entry for table "$1"`},
		{regexp.MustCompile(`Could not convert string '(.?)[^']*' to U?INT\d+`), `Invalid digit, Value '$1', Pos 0, Type: Integer`},
		{regexp.MustCompile(`Could not convert string "(.?)[^"]*" to DECIMAL`), `Invalid digit, Value '$1', Pos 0, Type: Decimal`},
		{regexp.MustCompile(`(?i)invalid timestamp field format: "([^"]*)"`), `invalid input syntax for type timestamp: "$1"`},
		{regexp.MustCompile(`(?i)invalid date field format: "([^"]*)"`), `invalid input syntax for type date: "$1"`},
		{regexp.MustCompile(`out of range for the destination type INT32`), `Value out of range for 4 bytes.`},
		{regexp.MustCompile(`out of range for the destination type INT(?:64|16)`), `Value out of range.`},
		{regexp.MustCompile(`Could not cast value .* to DECIMAL|Casting value ".*" to type DECIMAL\(\d+,\d+\) failed`), `Numeric data overflow (result precision)`},
		{regexp.MustCompile(`Overflow in \w+ of INT32`), `Value out of range for 4 bytes.`},
		{regexp.MustCompile(`Overflow in \w+ of INT64`), `Value out of range for 8 bytes.`},
		{regexp.MustCompile(`Referenced column "([^"]+)" was not found`), `column "$1" does not exist`},
		{regexp.MustCompile(`Ambiguous reference to column name "([^"]+)"`), `column reference "$1" is ambiguous`},
		{regexp.MustCompile(`Type with name "?([^"\s!]+)"? does not exist`), `type "$1" does not exist`},
		{regexp.MustCompile(`Cannot drop this column: `), "DROP of a column that is indexed, or of one before it, is not supported\n  Hint: Redshift has it, localaws does not: it makes an index for each key, or for the first column"},
		{regexp.MustCompile(`(?i)division by zero`), `Divide by zero`},
	}
}

// conflicts are DuckDB's messages for losing against another transaction.
var conflicts = regexp.MustCompile(`(?i)transaction conflict|write-write conflict|conflict on (?:tuple|update|table)|cannot (?:alter|drop) .* (?:altered|transaction)|has been altered|serialization conflict|another transaction has`)

// duckError turns an error of DuckDB into Redshift's words.
func duckError(ctx context.Context, rules []rule, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var de *duckdb.Error
	text := err.Error()
	if errors.As(err, &de) && de.Type == duckdb.ErrorTypeTransaction || conflicts.MatchString(text) {
		return serialization(err)
	}
	for _, r := range rules {
		if m := r.pattern.FindStringSubmatchIndex(text); m != nil {
			return &sqlError{message: "ERROR: " + string(r.pattern.ExpandString(nil, r.words, text, m)), cause: err}
		}
	}
	return &sqlError{message: dialect.Message(dialect.DuckDB, text), cause: err}
}

// postgresError turns an error of PostgreSQL into Redshift's words. Redshift
// grew out of PostgreSQL, so most messages stand as they are.
func postgresError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return &sqlError{message: "ERROR: " + firstLine(err.Error()), cause: err}
	}
	switch pe.Code {
	case "40001":
		return serialization(err)
	case "23502":
		return &sqlError{message: "ERROR: Cannot insert a NULL value into column " + pe.ColumnName, cause: err}
	case "42P07":
		return &sqlError{message: "ERROR: " + strings.Replace(pe.Message, "relation", "Relation", 1), cause: err}
	case "22003":
		switch pe.Message {
		case "integer out of range", "smallint out of range":
			return &sqlError{message: "ERROR: Value out of range for 4 bytes.", cause: err}
		case "bigint out of range":
			return &sqlError{message: "ERROR: Value out of range for 8 bytes.", cause: err}
		case "numeric field overflow":
			return &sqlError{message: "ERROR: Numeric data overflow (result precision)", cause: err}
		}
	case "21000":
		if strings.HasPrefix(pe.Message, "MERGE") {
			return &sqlError{message: "ERROR: Found multiple matches to update the same tuple", cause: err}
		}
	case "428C9":
		return &sqlError{message: "ERROR: cannot set an identity column to a value", cause: err}
	case "22012":
		return &sqlError{message: "ERROR: Divide by zero", cause: err}
	}
	message := dialect.Message(dialect.Postgres, pe.Message)
	if pe.Code == "23514" { // a length bound: the detail would show the failing row
		return &sqlError{message: message, cause: err}
	}
	if pe.Detail != "" {
		message += "\n  Detail: " + pe.Detail
	}
	if pe.Hint != "" {
		message += "\n  Hint: " + pe.Hint
	}
	return &sqlError{message: message, cause: err}
}
