package redshift_test

import (
	"fmt"
	"testing"
)

// checkAlter: a table with keys can be altered, alone and in a transaction.
func checkAlter(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE kept (a INTEGER DISTKEY, b INTEGER SORTKEY, c INTEGER, d VARCHAR(5))")
	r.must(t, "INSERT INTO kept VALUES (1, 2, 3, 'x')")
	r.must(t, "ALTER TABLE kept DROP COLUMN c")
	r.must(t, "ALTER TABLE kept RENAME COLUMN a TO aa")
	r.must(t, "ALTER TABLE kept RENAME COLUMN d TO dd", "ALTER TABLE kept ADD COLUMN e INTEGER DEFAULT 7")
	r.must(t, "ALTER TABLE kept RENAME TO renamed")
	r.must(t, "ALTER TABLE renamed RENAME COLUMN aa TO a")
	if got := fmt.Sprint(r.rows(t, "SELECT a, b, dd, e FROM renamed WHERE a = 1 AND b = 2")); got != "[[1 2 x 7]]" {
		t.Errorf("got %s", got)
	}
	r.must(t, "CREATE TABLE plain (a INTEGER, b INTEGER)")
	r.must(t, "ALTER TABLE plain DROP COLUMN b")
	r.must(t, "ALTER TABLE plain DROP COLUMN IF EXISTS nothing CASCADE")
	// In another schema.
	r.must(t, `CREATE SCHEMA "other-1"`)
	r.must(t, `CREATE TABLE "other-1".kept (a INTEGER, b VARCHAR(5) COLLATE CASE_SENSITIVE)`)
	r.must(t, `ALTER TABLE "other-1".kept ADD COLUMN c VARCHAR(5) COLLATE CASE_SENSITIVE`, `ALTER TABLE "other-1".kept ADD COLUMN d INTEGER`)
	r.must(t, `INSERT INTO "other-1".kept VALUES (1, 'b', 'c', 4)`)
	if got := fmt.Sprint(r.rows(t, `SELECT a, b, c, d FROM "other-1".kept`)); got != "[[1 b c 4]]" {
		t.Errorf("got %s", got)
	}
}
