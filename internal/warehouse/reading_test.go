package warehouse

import (
	"strings"
	"testing"
)

func TestCheckReading(t *testing.T) {
	for sql, refused := range map[string]string{
		"SELECT 1": "",
		" \n-- a comment; DELETE\n/* DROP */ select 1 ; ; ":    "",
		"(SELECT 1) UNION (SELECT 2)":                          "",
		"WITH a AS (SELECT 1 AS n) SELECT n FROM a":            "",
		"SELECT 'DELETE; it''s', \"delete\", t.update FROM t":  "",
		"SELECT updated_at, created FROM t":                    "",
		"SELECT 1 AS update":                                   "",
		"EXPLAIN SELECT 1":                                     "",
		"explain verbose with a as (select 1) select * from a": "",
		"SHOW statement_timeout":                               "",
		"SELECT 'a\\nb'":                                       "",
		"SELECT x::int, 1.5e3, $1 FROM \"naïve\" ü":            "",

		"":                                   "no statement",
		" -- nothing":                        "no statement",
		"DELETE FROM t":                      "line 1, column 1: it begins with DELETE",
		"\"select\" 1":                       "begins with SELECT",
		"BEGIN":                              "begins with BEGIN",
		"SELECT 1; SELECT 2":                 "line 1, column 11: a second statement",
		"SELECT 1;\n DROP TABLE t":           "second statement",
		"WITH a AS (SELECT 1) DELETE FROM t": "column 22: DELETE could change something",
		"WITH a AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM a": "INSERT could",
		"WITH a AS (delete from t) SELECT 1":                               "DELETE could",
		"WITH a AS(SELECT 1)UPDATE t SET x=1":                              "UPDATE could",
		"SELECT 1 AS n INTO t":                                             "INTO could",
		"SELECT * FROM t FOR UPDATE":                                       "UPDATE could",
		"EXPLAIN DELETE FROM t":                                            "only EXPLAIN",
		"EXPLAIN ANALYZE SELECT 1":                                         "only EXPLAIN",
		"EXPLAIN":                                                          "only EXPLAIN",
		"SELECT pg_terminate_backend(1)":                                   "pg_terminate_backend does more",
		"SELECT pg_catalog.\"PG_Cancel_Backend\" (1)":                      "pg_cancel_backend does more",
		"SELECT set_config('a', 'b', false)":                               "set_config does more",
		// A text in one reading, and more than that in the other.
		`SELECT 'a\'; DROP TABLE t; --'`:          "second statement",
		`SELECT '\', delete from t where '1'`:     "backslash",
		`SELECT 'a\\'; DROP TABLE t`:              "second statement",
		"SELECT 'never ends":                      "does not end",
		"SELECT \"never ends":                     "does not end",
		"SELECT 1 /* never ends":                  "does not end",
		"SELECT 1 /* a /* b */ ; DROP TABLE t */": "comment within",
		"SELECT $$a$$":                            "dollar",
		"SELECT $x$a$x$":                          "dollar",
		"SELECT 1\n, 'ü', delete":                 "line 2, column 8: DELETE",
	} {
		err := CheckReading(sql)
		switch {
		case refused == "" && err != nil:
			t.Errorf("%s: %v", sql, err)
		case refused != "" && (err == nil || !strings.Contains(err.Error(), refused)):
			t.Errorf("%s: %v, want %q", sql, err, refused)
		}
	}
}

// A statement is at most 100 KB, and each of its words is located: that is not to
// take the square of it.
func TestCheckReadingOfALongStatement(t *testing.T) {
	sql := "SELECT 1" + strings.Repeat(", a.b -- c\n", 9_000)
	if err := CheckReading(sql); err != nil {
		t.Error(err)
	}
}
