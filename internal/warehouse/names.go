package warehouse

import (
	"errors"
	"regexp"
	"strings"
)

// Names says how statements name the worker's tables: as the database user's
// search path finds them, which is the zero value, or in one schema. Temporary
// tables have no schema and are not named by it.
//
// A statement that changes a table of a schema names the columns of that table by
// its name alone: UPDATE "s".t SET ... FROM x WHERE t.id = x.id, which all engines
// take.
type Names struct{ schema string }

// schemaName is what every setting of Redshift reads in one way. Without
// enable_case_sensitive_identifier it folds names to lower case even in quotes, and
// with it the schemas Sales and sales are two: so there is no upper case. A dot
// would be part of the name, which nobody means who writes database.schema. 127
// bytes is Redshift's longest name.
var schemaName = regexp.MustCompile(`^[a-z0-9_$-]{1,127}$`)

// NamesIn are names in that schema, which is named as in Redshift's catalog and
// without quotes; empty = the search path.
func NamesIn(schema string) (Names, error) {
	switch {
	case schema == "":
	case strings.ToLower(schema) != schema:
		return Names{}, errors.New("must be in lower case: Redshift folds the names of schemas to it")
	case !schemaName.MatchString(schema):
		return Names{}, errors.New("not the name of a schema: 1 to 127 lower-case letters a to z, digits, '_', '$', '-', without quotes and without the database")
	case strings.HasPrefix(schema, "pg_") || schema == "information_schema":
		return Names{}, errors.New("is a schema of the database itself, which takes no tables")
	}
	return Names{schema}, nil
}

// Of names one of the worker's tables in a statement.
func (n Names) Of(table string) string {
	if n.schema == "" {
		return table
	}
	return `"` + n.schema + `".` + table
}

// Orders names the table of orders and that of their minutes.
func (n Names) Orders() (facts, minutes string) { return n.Of(orders.Name), n.Of(orders.Rollup.Name) }

// Schema is the schema, without quotes; empty = the search path.
func (n Names) Schema() string { return n.schema }

// InSchema is a condition on a catalog's column with the name of a table's schema,
// with AND before it; empty where the search path decides.
func (n Names) InSchema(column string) string {
	if n.schema == "" {
		return ""
	}
	return " AND " + column + " = " + Quote(n.schema)
}
