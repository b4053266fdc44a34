package style

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"testing"
)

// ownTable matches the name of one of the worker's tables where SQL expects a
// table. What else begins so would be one too. A column may be named by its table
// (worker_checkpoints.term), which goes without the schema.
var ownTable = regexp.MustCompile(`(?i)\b(from|join|into|update|table|using|copy|on|exists)\s+((fact|agg)_[a-z_]+|worker_checkpoints|worker_load_lock)(\s|$|\()`)

// clockOfSQL matches what asks the warehouse for the time, which it tells in the time
// zone of the session. What is said of it in an error or a help text has no such
// parentheses.
var clockOfSQL = regexp.MustCompile(`(?i)\b(getdate|now|sysdate|timeofday)\(\)|(\bSELECT|[,=<>(])\s*(sysdate|current_(timestamp|time|date))\b`)

// checkTableNames finds SQL that names a table by itself: all of them can stand in
// a schema of the user's choice. And it finds SQL that asks for the time: the worker
// sends its own.
func checkTableNames(files []*file) []problem {
	var out []problem
	for _, f := range files {
		if f.forTests() || within(f.dir(), "internal/simulation") || within(f.dir(), "localaws") { // worlds use the search path, and localaws is the warehouse
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				if err == nil && ownTable.MatchString(text) {
					out = append(out, problem{f.at(n), "table-name", "SQL has the names of tables from warehouse.Names.Of"})
				}
				if err == nil && clockOfSQL.MatchString(text) {
					out = append(out, problem{f.at(n), "sql-clock", "the time in SQL is a literal of the worker's, in UTC"})
				}
			}
			return true
		})
	}
	return out
}

func TestTableNames(t *testing.T) { report(t, checkTableNames(repository(t)), nil) }

func TestTableNamesCanFail(t *testing.T) {
	checkSnippets(t, checkTableNames, []snippet{
		{"a/a.go", "package a\nvar sql = `SELECT 1 FROM fact_orders`", "table-name"},
		{"a/a.go", "package a\nvar sql = \"lock table worker_load_lock\"", "table-name"},
		{"a/a.go", "package a\nvar sql = `x JOIN\n agg_orders_minute a`", "table-name"},
		{"a/a.go", "package a\nvar sql = `UPDATE worker_checkpoints SET x = 1`", "table-name"},
		{"a/a.go", "package a\nvar sql = ` WHERE worker_checkpoints.term = 1 AND ` + `FROM load_incoming`", ""},
		{"a/a.go", "package a\nvar text = `a session holds worker_load_lock`", ""},
		{"a/a.go", "package a\nvar sql = `SELECT GETDATE()`", "sql-clock"},
		{"a/a.go", "package a\nvar sql = `SET x = CURRENT_TIMESTAMP`", "sql-clock"},
		{"a/a.go", "package a\nvar text = `a CURRENT_TIMESTAMP beside a table`", ""},
		{"a/a_test.go", "package a\nvar sql = `SELECT 1 FROM fact_orders`", ""},
	})
}
