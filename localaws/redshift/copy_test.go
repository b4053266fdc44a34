package redshift_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

func gzipped(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const role = "IAM_ROLE 'arn:aws:iam::123456789012:role/copy'"

const createOrders = `CREATE TABLE orders (order_id VARCHAR(20) NOT NULL, store_id INTEGER, total DECIMAL(10,2), paid BOOLEAN, at TIMESTAMP, note VARCHAR(40) DEFAULT 'none')`

// checkCopyManifest loads gzip CSV files that a manifest lists, beside the other
// statements of a transaction.
func checkCopyManifest(t *testing.T, r *rig) {
	r.bucket.put("b/one.csv.gz", gzipped(t, "a,1,10.005,true,2026-11-23 10:00:00.25,\"x, \"\"y\"\"\"\nb,2,-0.5,f,2026-11-23T10:00:01Z,\\N\n"))
	r.bucket.put("b/two.csv.gz", gzipped(t, "c,,,,,\n"))
	r.bucket.put("b/manifest", []byte(`{"entries":[{"url":"s3://b/one.csv.gz","mandatory":true},{"url":"s3://b/gone.gz","mandatory":false},{"url":"s3://b/two.csv.gz","mandatory":true}]}`))
	d := r.must(t, createOrders, "COPY orders FROM 's3://b/manifest' "+role+" FORMAT AS CSV GZIP MANIFEST TIMEFORMAT 'auto'",
		"SELECT * FROM orders ORDER BY order_id", "SELECT pg_last_copy_id()", "SELECT pg_last_copy_count()")
	want := "[[a 1 10.00 true 2026-11-23 10:00:00.25 x, \"y\"] [b 2 -0.50 false 2026-11-23 10:00:01 NULL] [c NULL NULL NULL NULL ]]"
	if got := fmt.Sprint(r.result(t, *d.SubStatements[2].Id)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := d.SubStatements[1].ResultRows; got != 3 {
		t.Errorf("COPY says %d rows", got)
	}
	if got := r.result(t, *d.SubStatements[3].Id)[0][0]; got != fmt.Sprint(d.SubStatements[1].RedshiftQueryId) {
		t.Errorf("pg_last_copy_id() is %s, the COPY was query %d", got, d.SubStatements[1].RedshiftQueryId)
	}
	if got := r.result(t, *d.SubStatements[4].Id)[0][0]; got != "3" {
		t.Errorf("pg_last_copy_count() is %s", got)
	}
}

// checkCopyPrefix: without a manifest FROM is a prefix, columns may be named,
// and JSON is matched by name.
func checkCopyPrefix(t *testing.T, r *rig) {
	r.must(t, createOrders)
	r.bucket.put("b/in/file1", []byte(`{"order_id":"a","total":1.5,"ignored":{"x":1}}`+"\n"+`{"total":"2.50","order_id":"b\\\"\u00e9"}`))
	r.bucket.put("b/in/file10", []byte(`{"order_id":"c","store_id":3}`))
	r.must(t, "COPY orders (order_id, store_id, total) FROM 's3://b/in/file1' "+role+" FORMAT AS JSON 'auto'")
	want := `[[a NULL 1.50 none] [b\"é NULL 2.50 none] [c 3 NULL none]]`
	if got := fmt.Sprint(r.rows(t, "SELECT order_id, store_id, total, note FROM orders ORDER BY order_id")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// checkCopyIntoTemporary: the staging of a worker's load.
func checkCopyIntoTemporary(t *testing.T, r *rig) {
	r.bucket.put("b/f", []byte("1|x\n2|y\n"))
	r.bucket.put("b/wide", []byte("3|z|9\n"))
	r.bucket.put("b/long", []byte("4|long\n"))
	const create, fill = "CREATE TEMP TABLE incoming (n INTEGER NOT NULL, s VARCHAR(3))", "COPY incoming FROM 's3://b/f' " + role
	for range 2 { // a table that was made before with the same words may have changed since
		d := r.must(t, create, fill, "SELECT * FROM incoming ORDER BY n")
		if got := fmt.Sprint(r.result(t, *d.SubStatements[2].Id)); got != "[[1 x] [2 y]]" {
			t.Errorf("got %s", got)
		}
		d = r.must(t, create, fill, "ALTER TABLE incoming ADD COLUMN more INTEGER", "COPY incoming FROM 's3://b/wide' "+role, "SELECT * FROM incoming ORDER BY n")
		if got := fmt.Sprint(r.result(t, *d.SubStatements[4].Id)); got != "[[1 x NULL] [2 y NULL] [3 z 9]]" {
			t.Errorf("got %s", got)
		}
		if d := r.try(t, create, "COPY incoming FROM 's3://b/long' "+role); d.Status != types.StatusStringFailed {
			t.Errorf("a text that is too long: %s", d.Status)
		}
	}
}

// checkCopyErrors: a bad row or file undoes the whole COPY and the transaction
// around it; what was wrong can be asked for.
func checkCopyErrors(t *testing.T, r *rig) {
	r.must(t, createOrders)
	r.bucket.put("b/bad.csv", []byte("a,1,1.00,true,2026-11-23 10:00:00,x\nb,one,1.00,true,2026-11-23 10:00:00,x\n,3,3,t,2026-11-23 10:00:00,"+strings.Repeat("é", 21)+"\n"))
	r.bucket.put("b/manifest", []byte(`{"entries":[{"url":"s3://b/gone","mandatory":true}]}`))
	r.bucket.put("b/broken", []byte(`{"entries":`))
	failed := "ERROR: Load into table 'orders' failed.  Check 'sys_load_error_detail' system table for details."
	for _, c := range []struct{ sql, want string }{
		{"COPY orders FROM 's3://b/bad.csv' " + role + " CSV", failed},
		{"COPY orders FROM 's3://b/bad.csv' " + role + " CSV MAXERROR 1", failed},
		{"COPY orders FROM 's3://b/manifest' " + role + " CSV MANIFEST", "ERROR: S3ServiceException:"},
		{"COPY orders FROM 's3://b/broken' " + role + " CSV MANIFEST", "ERROR: Problem reading manifest file"},
		{"COPY orders FROM 's3://b/nothing-here' " + role + " CSV", "ERROR: The specified S3 prefix 'nothing-here' does not exist"},
		{"COPY orders FROM 's3://b/bad.csv' " + role + " CSV GZIP", "ERROR: Load into table 'orders' failed: s3://b/bad.csv"},
		{"COPY orders (nix) FROM 's3://b/bad.csv' " + role + " CSV", `ERROR: column "nix" of relation "orders" does not exist`},
		{"COPY nix FROM 's3://b/bad.csv' " + role + " CSV", "ERROR: "},
		{"COPY orders FROM 's3://b/bad.csv' CSV", "ERROR: "}, // no IAM_ROLE
	} {
		d := r.try(t, "INSERT INTO orders (order_id) VALUES ('before')", c.sql)
		if got := aws.ToString(d.SubStatements[1].Error); d.Status != types.StatusStringFailed || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s\n got %s %q\nwant %q", c.sql, d.Status, got, c.want)
		}
	}
	if got := r.rows(t, "SELECT COUNT(*) FROM orders"); got[0][0] != "0" {
		t.Errorf("%s rows stayed", got[0][0])
	}
	detail := r.rows(t, "SELECT file_name, line_number, TRIM(column_name), error_message FROM sys_load_error_detail ORDER BY query_id, line_number LIMIT 1")
	if got := fmt.Sprint(detail); got != "[[s3://b/bad.csv 2 store_id Invalid digit, Value 'o', Pos 0, Type: Integer]]" {
		t.Errorf("the first error is told as %s", got)
	}
	raw := r.rows(t, "SELECT raw_line, raw_field_value FROM stl_load_errors ORDER BY query, line_number LIMIT 1")
	if got := fmt.Sprint(raw); got != "[[b,one,1.00,true,2026-11-23 10:00:00,x one]]" {
		t.Errorf("the first row is told as %s", got)
	}
	if d := r.try(t, "COPY orders FROM 's3://b/bad.csv' "+role+" CSV NOLOAD"); d.Status != types.StatusStringFailed {
		t.Errorf("NOLOAD of bad rows ended %s", d.Status)
	}
	r.must(t, "COPY orders FROM 's3://b/bad.csv' "+role+" CSV MAXERROR 10")
	if got := fmt.Sprint(r.rows(t, "SELECT order_id FROM orders")); got != "[[a]]" {
		t.Errorf("with MAXERROR: %s", got)
	}
	if got := r.rows(t, "SELECT COUNT(*) FROM stl_load_errors WHERE line_number = 3"); got[0][0] == "0" {
		t.Error("rows passed over by MAXERROR are not told")
	}
}

// manyOrders is a COPY file of rows of about 110 bytes.
func manyOrders(t testing.TB, n int) []byte {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "order-%08d-0123456789abcdef,customer-%08d,%d,%d.%02d,%d,order_created,2026-11-23 10:%02d:%02d.123456\n",
			i, i%5000, i%40, i%100, i%100, i%9, i/60%60, i%60)
	}
	return gzipped(t, b.String())
}

const createFacts = `CREATE TABLE facts (order_id VARCHAR(100) NOT NULL, customer_id VARCHAR(100), store_id INTEGER, total_amount DECIMAL(10,2),
	item_count INTEGER, event_type VARCHAR(50), event_timestamp TIMESTAMP)`

func checkCopyLarge(t *testing.T, r *rig) {
	r.bucket.put("b/large.gz", manyOrders(t, 20_000))
	d := r.must(t, createFacts, "COPY facts FROM 's3://b/large.gz' "+role+" CSV GZIP", "SELECT COUNT(*), COUNT(DISTINCT order_id), SUM(item_count) FROM facts")
	if got := fmt.Sprint(r.result(t, *d.SubStatements[2].Id)); got != "[[20000 20000 79993]]" {
		t.Errorf("got %s", got)
	}
}

func BenchmarkCopy100k(b *testing.B) {
	r := newRig(b, redshift.Options{})
	r.bucket.put("b/large.gz", manyOrders(b, 100_000))
	r.must(b, createFacts)
	for b.Loop() {
		r.must(b, "COPY facts FROM 's3://b/large.gz' "+role+" CSV GZIP")
	}
}
