package redshift_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
)

// checkTrailingBlanks: blanks at the end of a VARCHAR are kept and do not count in
// comparisons. It starts with the example of Redshift's guide.
func checkTrailingBlanks(t *testing.T, r *rig) {
	want := func(want, sql string) {
		t.Helper()
		d := r.try(t, sql)
		if d.Status != types.StatusStringFinished {
			t.Errorf("%s: %s", sql, aws.ToString(d.Error))
			return
		}
		if got := fmt.Sprintf("%q", r.result(t, *d.Id)); got != want {
			t.Errorf("%s: got %s, want %s", sql, got, want)
		}
	}
	r.must(t, "CREATE TABLE address (address_id INTEGER, address1 VARCHAR(100), city CHAR(20))")
	r.must(t, "INSERT INTO address (address1) VALUES ('9516 Magnolia Boulevard')")
	want(`[["1"]]`, "SELECT COUNT(*) FROM address WHERE address1 = '9516 Magnolia Boulevard   '")
	r.must(t, "INSERT INTO address (address1) VALUES ('9516 Magnolia Boulevard  ')")
	want(`[["2"]]`, "SELECT COUNT(*) FROM address WHERE address1 = '9516 Magnolia Boulevard'")
	want(`[["2"]]`, "SELECT COUNT(*) FROM public.address a WHERE a.address1 IN ('9516 Magnolia Boulevard ', 'x')")
	want(`[["0"]]`, "SELECT COUNT(*) FROM address AS a WHERE a.address1 <> '9516 Magnolia Boulevard'")
	want(`[["23"] ["25"]]`, "SELECT LENGTH(address1) FROM address")
	want(`[["9516 Magnolia Boulevard"] ["9516 Magnolia Boulevard  "]]`, "SELECT address1 FROM address")
	want(`[["1"]]`, "SELECT COUNT(*) FROM (SELECT DISTINCT address1 FROM address) d")
	want(`[["1"]]`, "SELECT COUNT(DISTINCT address1) FROM address")
	want(`[["2"]]`, "SELECT COUNT(*) FROM address GROUP BY address1")
	want(`[["1"] ["2"]]`, "SELECT ROW_NUMBER() OVER (PARTITION BY address1 ORDER BY city) FROM address ORDER BY 1")
	want(`[["4"]]`, "SELECT COUNT(*) FROM address a JOIN address b ON a.address1 = b.address1")
	want(`[["1"]]`, "SELECT COUNT(*) FROM (SELECT address1 FROM address UNION SELECT address1 FROM address) u")
	want(`[]`, "SELECT address1 FROM address EXCEPT SELECT '9516 Magnolia Boulevard'")
	want(`[["same"] ["same"]]`, "SELECT CASE address1 WHEN '9516 Magnolia Boulevard' THEN 'same' END FROM address")
	want(`[["2"]]`, "WITH address AS (SELECT 2 AS n) SELECT n FROM address WHERE n = 2")
	want(`[["true"]]`, "SELECT 'a ' = 'a'")
	want(`[["true"]]`, "SELECT 'a '::VARCHAR = 'a'::VARCHAR")
	want(`[["false"]]`, "SELECT ' a' = 'a'")

	// The newest event of an order, as a load finds it: two spellings are one order.
	load := []string{
		"CREATE TEMP TABLE incoming (order_id VARCHAR(100), n INTEGER)",
		"INSERT INTO incoming VALUES ('A1', 1), ('A1 ', 2), ('B1', 3)",
		"CREATE TEMP TABLE newest AS SELECT order_id, n FROM (SELECT i.*, ROW_NUMBER() OVER (PARTITION BY i.order_id ORDER BY n DESC) AS recency FROM incoming i) ranked WHERE recency = 1",
		"SELECT n FROM newest ORDER BY n",
	}
	d := r.must(t, load...)
	if got := fmt.Sprint(r.result(t, *d.SubStatements[3].Id)); got != "[[2] [3]]" {
		t.Errorf("the newest are %s", got)
	}

	r.bucket.put("b/rows.csv", []byte("1,x \n2,x\n"))
	r.must(t, "CREATE TABLE copied (n INTEGER, s VARCHAR(10))")
	want(`[]`, "SELECT n FROM copied WHERE s = 'x'")
	r.must(t, "COPY copied FROM 's3://b/rows.csv' IAM_ROLE default CSV")
	want(`[["1"] ["2"]]`, "SELECT n FROM copied WHERE s = 'x' ORDER BY n")
	r.must(t, "CREATE TABLE derived AS SELECT n, s || '  ' AS s FROM copied")
	want(`[["2"]]`, "SELECT COUNT(*) FROM derived d WHERE d.s = 'x'")

	r.must(t, "DELETE FROM derived USING copied WHERE derived.s = copied.s AND copied.n = 1 AND derived.n = 1")
	r.must(t, "UPDATE derived SET n = c.n + 10 FROM copied c WHERE c.s = derived.s AND c.n = 1")
	want(`[["11" "x  "]]`, "SELECT * FROM derived WHERE s = 'x' ORDER BY s, n")
	want(`[["3"]]`, "SELECT LEN(s) FROM derived WHERE s < 'y' AND n IN (11)")

	for _, sql := range []string{
		"DELETE FROM copied WHERE s IN (SELECT s FROM derived)", "SELECT n FROM copied WHERE LEN(s) = 1", "SELECT n FROM copied WHERE s LIKE 'x'",
		"SELECT MAX(LEN(s)) FROM copied GROUP BY s",
	} {
		if d := r.try(t, sql); d.Status != types.StatusStringFailed || !strings.Contains(aws.ToString(d.Error), "localaws does not") {
			t.Errorf("%s: %s %s", sql, d.Status, aws.ToString(d.Error))
		}
	}
	r.must(t, "DELETE FROM copied")
	r.must(t, "INSERT INTO copied VALUES (1, 'x')")
	want(`[["1"]]`, "SELECT n FROM copied WHERE LEN(s) = 1")
	r.must(t, "UPDATE copied SET n = 3 WHERE s = 'x '")
	want(`[["3"]]`, "SELECT n FROM copied")
}

// checkTrailingBlanksOfOthers: what another transaction has written counts once it
// is committed, whenever this one looked before.
func checkTrailingBlanksOfOthers(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE t (s VARCHAR(10))")
	id, _ := r.openSession(t, "BEGIN", 60)
	old, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, id, "INSERT INTO t VALUES ('x ')")
	count := func() string { return fmt.Sprint(r.rows(t, "SELECT COUNT(*) FROM t WHERE s = 'x'")) }
	if got := count(); got != "[[0]]" {
		t.Errorf("before the commit: %s", got)
	}
	r.in(t, old, "SELECT COUNT(*) FROM t WHERE s = 'x'") // takes its snapshot
	r.in(t, id, "COMMIT")
	r.in(t, old, "SELECT COUNT(*) FROM t WHERE s = 'x'") // and learns nothing new
	r.in(t, old, "COMMIT")
	if got := count(); got != "[[1]]" {
		t.Errorf("after the commit: %s", got)
	}
	r.in(t, id, "BEGIN")
	r.in(t, id, "DROP TABLE t")
	r.in(t, id, "CREATE TABLE t (s VARCHAR(10))")
	r.in(t, id, "ROLLBACK")
	if got := count(); got != "[[1]]" {
		t.Errorf("after a rollback: %s", got)
	}
}
