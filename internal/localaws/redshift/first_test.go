package redshift_test

import (
	"reflect"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/localaws/redshift"
)

func TestFirst(t *testing.T) {
	r := newRig(t, redshift.Options{})
	r.must(t, "CREATE TABLE t (a INTEGER PRIMARY KEY, b VARCHAR(10), c DECIMAL(10,2), d TIMESTAMP, e BOOLEAN, f FLOAT)")
	d := r.must(t, "INSERT INTO t VALUES (1, 'x', 10, '2026-01-02 03:04:05.678', true, 0.5)", "INSERT INTO t (a) VALUES (2)", "SELECT * FROM t ORDER BY a")
	if got, want := r.result(t, *d.SubStatements[2].Id), [][]string{
		{"1", "x", "10.00", "2026-01-02 03:04:05.678", "true", "0.5"},
		{"2", "NULL", "NULL", "NULL", "NULL", "NULL"},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	for _, sql := range []string{"SELECT * FROM nix", "SELECT x FROM t", "INSERT INTO t VALUES (3,'12345678901')", "INSERT INTO t (b) VALUES ('a')", "SELEC", "SELECT CAST('abc' AS INTEGER) FROM t"} {
		t.Log(*r.try(t, sql).Error)
	}
}
