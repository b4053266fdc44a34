package redshift_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
)

// checkTypes: each type of Redshift comes back in the field that the Data API has
// for it, and NULL as such.
func checkTypes(t *testing.T, r *rig) {
	r.must(t, `CREATE TABLE kinds (n INTEGER, a SMALLINT, b INTEGER, c BIGINT, d DECIMAL(10,2), e REAL, f DOUBLE PRECISION,
			g BOOLEAN, h VARCHAR(20), i DATE, j TIMESTAMP, k DECIMAL(38,0))`)
	r.must(t, `INSERT INTO kinds VALUES
			(1, -5, 2147483647, 9223372036854775807, 10, 0.1, 0.25, true, 'o''k', '2026-11-23', '2026-11-23 01:02:03.456', 12345678901234567890123456789012345678),
			(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
			(3, 0, 0, 0, -0.05, 0, 0, false, '', '0001-01-01', '2026-11-23 00:00:00', 0)`)
	d := r.must(t, "SELECT * FROM kinds ORDER BY n")
	out, err := r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: d.Id})
	if err != nil {
		t.Fatal(err)
	}
	long := func(n int64) types.Field { return &types.FieldMemberLongValue{Value: n} }
	double := func(f float64) types.Field { return &types.FieldMemberDoubleValue{Value: f} }
	text := func(s string) types.Field { return &types.FieldMemberStringValue{Value: s} }
	boolean := func(b bool) types.Field { return &types.FieldMemberBooleanValue{Value: b} }
	null := types.Field(&types.FieldMemberIsNull{Value: true})
	want := [][]types.Field{
		{
			long(1), long(-5), long(2147483647), long(9223372036854775807), text("10.00"), double(0.1), double(0.25), boolean(true),
			text("o'k"), text("2026-11-23"), text("2026-11-23 01:02:03.456"), text("12345678901234567890123456789012345678"),
		},
		{long(2), null, null, null, null, null, null, null, null, null, null, null},
		{
			long(3), long(0), long(0), long(0), text("-0.05"), double(0), double(0), boolean(false), text(""), text("0001-01-01"),
			text("2026-11-23 00:00:00"), text("0"),
		},
	}
	for i, row := range want {
		for k, f := range row {
			if !reflect.DeepEqual(out.Records[i][k], f) {
				t.Errorf("row %d, column %s: got %T %s, want %T %s", i+1, *out.ColumnMetadata[k].Name,
					out.Records[i][k], fieldText(out.Records[i][k]), f, fieldText(f))
			}
		}
	}
	var names []string
	for _, c := range out.ColumnMetadata {
		names = append(names, *c.TypeName)
	}
	if got := strings.Join(names, " "); got != "int4 int2 int4 int8 numeric float4 float8 bool varchar date timestamp numeric" {
		t.Errorf("type names: %s", got)
	}
	if c := out.ColumnMetadata[4]; c.Precision != 10 || c.Scale != 2 {
		t.Errorf("DECIMAL(10,2) is described as (%d,%d)", c.Precision, c.Scale)
	}
	if got := r.rows(t, "SELECT COUNT(*), SUM(b), SUM(d) FROM kinds"); fmt.Sprint(got) != "[[3 2147483647 9.95]]" {
		t.Errorf("aggregates: %v", got)
	}
}

// checkNoncharacters: no text can hold them, whichever way it comes.
func checkNoncharacters(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE t (s VARCHAR(10))")
	for _, s := range []string{"a\ufdd0", "\ufdefb", "\ufffe", "\uffff"} {
		in := execute("INSERT INTO t VALUES (:s)")
		in.Parameters = []types.SqlParameter{{Name: aws.String("s"), Value: &s}}
		byParameter, err := r.ExecuteStatement(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []*redshiftdata.DescribeStatementOutput{r.try(t, "INSERT INTO t VALUES ('"+s+"')"), r.await(t, *byParameter.Id)} {
			if d.Status != types.StatusStringFailed || !strings.Contains(aws.ToString(d.Error), "Bad UTF8 hex sequence: ef b") {
				t.Errorf("%q: %s %s", s, d.Status, aws.ToString(d.Error))
			}
		}
	}
	r.must(t, "INSERT INTO t VALUES ('\ufdcf\ufdf0\ufffd')")
}

// checkLiterals: what a client quotes as Redshift asks comes back byte for byte.
func checkLiterals(t *testing.T, r *rig) {
	hostile := []string{
		``, `'`, `''`, `\`, `\\`, `\'`, `'; DROP TABLE victims; --`, `\'; DROP TABLE victims; --`, `$$x$$`, `$1`, `:name`, `?`,
		`/* `, `*/`, `--`, "a\nb", "a\r\nb", "tab\there", "\x01\x1f\x7f", `"`, `E'x'`, `%_`, `日本語`, "😀", "\u2028", `\u0041`, `\x41`, `\101`, `\n`, "e\u0301",
		`{"a":"b\"c"}`, `<script>&amp;</script>`, strings.Repeat(`\'`, 500), "\ufeff",
	}
	quote := strings.NewReplacer(`\`, `\\`, `'`, `''`)
	r.must(t, "CREATE TABLE victims (n INTEGER, s VARCHAR(4000))")
	var values []string
	for i, s := range hostile {
		values = append(values, fmt.Sprintf("(%d, '%s')", i, quote.Replace(s)))
	}
	r.must(t, "INSERT INTO victims VALUES "+strings.Join(values, ", "))
	for i, row := range r.rows(t, "SELECT s FROM victims ORDER BY n") {
		if row[0] != hostile[i] {
			t.Errorf("literal %q came back as %q", hostile[i], row[0])
		}
	}
	var asks []string
	var params []types.SqlParameter
	for i, s := range hostile[1:] { // the service takes no empty parameter
		asks = append(asks, fmt.Sprintf("SELECT COUNT(*), MIN(s) FROM victims WHERE s = :v%d", i))
		params = append(params, types.SqlParameter{Name: aws.String(fmt.Sprintf("v%d", i)), Value: aws.String(s)})
	}
	in := batch(asks...)
	in.Parameters = params
	out, err := r.BatchExecuteStatement(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	d := r.await(t, *out.Id)
	if d.Status != types.StatusStringFinished {
		t.Fatal(*d.Error)
	}
	for i, s := range hostile[1:] {
		if got := r.result(t, *d.SubStatements[i].Id); got[0][0] != "1" || got[0][1] != s {
			t.Errorf("parameter %q found %q", s, got)
		}
	}
}

func checkPaging(t *testing.T, r *rig) {
	const rows = 2500
	var values []string
	for i := range rows {
		values = append(values, fmt.Sprintf("(%d,'%s')", i, strings.Repeat("x", 20)))
	}
	r.must(t, "CREATE TABLE many (n INTEGER, s VARCHAR(20))", "INSERT INTO many VALUES "+strings.Join(values, ","))
	d := r.must(t, "SELECT n, s FROM many ORDER BY n")
	if d.ResultRows != rows || !*d.HasResultSet || d.ResultSize <= 0 {
		t.Errorf("described as %d rows, %v, %d bytes", d.ResultRows, *d.HasResultSet, d.ResultSize)
	}
	p := redshiftdata.NewGetStatementResultPaginator(r.Client, &redshiftdata.GetStatementResultInput{Id: d.Id})
	n, pages := 0, 0
	for ; p.HasMorePages(); pages++ {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if page.TotalNumRows != rows {
			t.Errorf("page %d says %d rows in all", pages, page.TotalNumRows)
		}
		for _, rec := range page.Records {
			if fieldText(rec[0]) != fmt.Sprint(n) {
				t.Fatalf("row %d is %s", n, fieldText(rec[0]))
			}
			n++
		}
	}
	if n != rows || pages < 2 {
		t.Errorf("%d rows on %d pages, want %d on several", n, pages, rows)
	}
	other := r.must(t, "SELECT n FROM many")
	first, err := r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: d.Id})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: other.Id, NextToken: first.NextToken})
	if got := code(t, err); got != "ValidationException" {
		t.Errorf("the token of another result: %s", got)
	}
}

func checkCSVResult(t *testing.T, r *rig) {
	in := execute(`SELECT 1 AS n, 'a,"b"' AS s, NULL AS z, '' AS e`)
	in.ResultFormat = types.ResultFormatStringCsv
	out, err := r.ExecuteStatement(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	r.await(t, *out.Id)
	res, err := r.GetStatementResultV2(t.Context(), &redshiftdata.GetStatementResultV2Input{Id: out.Id})
	if err != nil {
		t.Fatal(err)
	}
	got := res.Records[0].(*types.QueryRecordsMemberCSVRecords).Value
	if want := "n,s,z,e\n1,\"a,\"\"b\"\"\",,\"\"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: out.Id})
	if got := code(t, err); got != "ValidationException" {
		t.Errorf("JSON of a CSV result: %s", got)
	}
}

// checkBatchIsOneTransaction: the first error undoes everything before it.
func checkBatchIsOneTransaction(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE kept (n INTEGER)")
	d := r.try(t, "INSERT INTO kept VALUES (1), (2)", "SELECT * FROM kept", "INSERT INTO nowhere VALUES (1)", "SELECT 1")
	if d.Status != types.StatusStringFailed {
		t.Fatalf("the batch is %s", d.Status)
	}
	if want := `Query #3 failed with ERROR: relation "nowhere" does not exist`; *d.Error != want {
		t.Errorf("error %q, want %q", *d.Error, want)
	}
	want := []types.StatementStatusString{"FINISHED", "FINISHED", "FAILED", "ABORTED"}
	for i, s := range d.SubStatements {
		if s.Status != want[i] || *s.Id != fmt.Sprintf("%s:%d", *d.Id, i+1) {
			t.Errorf("sub-statement %s is %s, want %s", *s.Id, s.Status, want[i])
		}
	}
	if s := d.SubStatements[0]; s.ResultRows != 2 {
		t.Errorf("INSERT of 2 rows says %d", s.ResultRows)
	}
	if s := d.SubStatements[2]; aws.ToString(s.Error) != `ERROR: relation "nowhere" does not exist` {
		t.Errorf("sub-statement error %q", aws.ToString(s.Error))
	}
	if got := r.rows(t, "SELECT COUNT(*) FROM kept"); got[0][0] != "0" {
		t.Errorf("%s rows stayed of a batch that failed", got[0][0])
	}
	_, err := r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: d.SubStatements[1].Id})
	if got := code(t, err); got != "ResourceNotFoundException" {
		t.Errorf("result of a failed batch: %s", got)
	}
}

func checkBatchResults(t *testing.T, r *rig) {
	d := r.must(t, "CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2), (3)", "UPDATE t SET n = n + 10 WHERE n > 1", "DELETE FROM t WHERE n = 1", "SELECT n FROM t ORDER BY n")
	for i, want := range []int64{0, 3, 2, 1, 2} {
		if got := d.SubStatements[i].ResultRows; got != want {
			t.Errorf("statement %d: %d rows, want %d", i+1, got, want)
		}
	}
	if got := fmt.Sprint(r.result(t, *d.SubStatements[4].Id)); got != "[[12] [13]]" {
		t.Errorf("result %s", got)
	}
	if !*d.HasResultSet || *d.SubStatements[0].HasResultSet || !*d.SubStatements[4].HasResultSet {
		t.Error("HasResultSet is wrong")
	}
	_, err := r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: d.Id})
	if got := code(t, err); got != "ValidationException" {
		t.Errorf("result of a whole batch: %s", got)
	}
	_, err = r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: d.SubStatements[0].Id})
	if got := code(t, err); got != "ResourceNotFoundException" {
		t.Errorf("result of CREATE TABLE: %s", got)
	}
}

// checkBatchEndsItsTransaction: TRUNCATE and COMMIT keep what came before.
func checkBatchEndsItsTransaction(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE a (n INTEGER)", "CREATE TABLE b (n INTEGER)")
	r.try(t, "INSERT INTO a VALUES (1)", "TRUNCATE b", "INSERT INTO a VALUES (2)", "SELECT * FROM nix")
	if got := fmt.Sprint(r.rows(t, "SELECT n FROM a")); got != "[[1]]" {
		t.Errorf("after TRUNCATE: %s", got)
	}
	r.try(t, "INSERT INTO a VALUES (3)", "COMMIT", "INSERT INTO a VALUES (4)", "ROLLBACK", "INSERT INTO a VALUES (5)")
	if got := fmt.Sprint(r.rows(t, "SELECT n FROM a ORDER BY n")); got != "[[1] [3] [5]]" {
		t.Errorf("after COMMIT and ROLLBACK: %s", got)
	}
	if d := r.try(t, "VACUUM", "SELECT 1"); d.Status != types.StatusStringFailed {
		t.Errorf("VACUUM in a batch is %s", d.Status)
	}
	r.must(t, "VACUUM")
}

// checkErrors: a SQL error is the end of a statement, not of the call, and reads as
// Redshift's.
func checkErrors(t *testing.T, r *rig) {
	cases := []struct{ sql, want string }{
		{"SELECT * FROM nix", `ERROR: relation "nix" does not exist`},
		{"INSERT INTO nix VALUES (1)", `ERROR: relation "nix" does not exist`},
		{"LOCK nix", `ERROR: relation "nix" does not exist`},
		{"SELECT nix FROM t", `ERROR: column "nix" does not exist`},
		{"CREATE TABLE t (a INTEGER)", `ERROR: Relation "t" already exists`},
		{"INSERT INTO t VALUES (NULL, 'x')", `ERROR: Cannot insert a NULL value into column a`},
		{"INSERT INTO t VALUES (1, '日本語の')", `ERROR: value too long for type character varying(10)`},
		{"INSERT INTO t VALUES (1, '12345678901')", `ERROR: value too long for type character varying(10)`},
		{"SELEC 1", `ERROR: syntax error at or near "SELEC"`},
		{"INSERT INTO t SELECT CAST('x1' AS INTEGER), 'x'", `ERROR: `}, // the words differ by engine
		{"CREATE INDEX i ON t (a)", `ERROR: SQL command "CREATE INDEX `},
	}
	r.must(t, "CREATE TABLE t (a INTEGER NOT NULL, b VARCHAR(10))", "INSERT INTO t VALUES (1, 'one')")
	for _, c := range cases {
		d := r.try(t, c.sql)
		if got, _, _ := strings.Cut(aws.ToString(d.Error), "\n"); d.Status != types.StatusStringFailed || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s\n got %s %q\nwant FAILED %q", c.sql, d.Status, got, c.want)
		}
	}
	if got := r.rows(t, "SELECT COUNT(*) FROM t"); got[0][0] != "1" {
		t.Errorf("%s rows after the errors, want 1", got[0][0])
	}
}

// checkTemporaryTables live as long as the request, hide permanent tables of the
// same name, and are nobody else's.
func checkTemporaryTables(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE x (n INTEGER)", "INSERT INTO x VALUES (1)")
	d := r.must(t,
		"CREATE TEMP TABLE x (n INTEGER, m INTEGER)", "INSERT INTO x VALUES (7, 8)", "SELECT * FROM x",
		"CREATE TEMP TABLE y AS SELECT n + 1 AS n FROM x", "SELECT n FROM y", "DELETE FROM x", "SELECT COUNT(*) FROM x")
	for i, want := range map[int]string{2: "[[7 8]]", 4: "[[8]]", 6: "[[0]]"} {
		if got := fmt.Sprint(r.result(t, *d.SubStatements[i].Id)); got != want {
			t.Errorf("statement %d: %s, want %s", i+1, got, want)
		}
	}
	if got := fmt.Sprint(r.rows(t, "SELECT * FROM x")); got != "[[1]]" {
		t.Errorf("the permanent table holds %s", got)
	}
	if d := r.try(t, "SELECT * FROM y"); d.Status != types.StatusStringFailed {
		t.Error("a temporary table outlived its request")
	}
}

func checkParameters(t *testing.T, r *rig) {
	in := batch("CREATE TABLE p (n INTEGER, s VARCHAR(20))", "INSERT INTO p VALUES (:n, :s)", "SELECT n, s FROM p WHERE s = :s")
	in.Parameters = []types.SqlParameter{{Name: aws.String("n"), Value: aws.String("7")}, {Name: aws.String("s"), Value: aws.String("null")}}
	out, err := r.BatchExecuteStatement(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	d := r.await(t, *out.Id)
	if d.Status != types.StatusStringFinished {
		t.Fatal(*d.Error)
	}
	if got := fmt.Sprint(r.result(t, *d.SubStatements[2].Id)); got != "[[7 null]]" {
		t.Errorf("got %s", got)
	}
	if len(d.QueryParameters) != 2 || *d.QueryParameters[1].Value != "null" {
		t.Errorf("described with the parameters %v", d.QueryParameters)
	}
	in.Parameters = append(in.Parameters, types.SqlParameter{Name: aws.String("unused"), Value: aws.String("x")})
	in.Sqls = in.Sqls[1:]
	_, err = r.BatchExecuteStatement(t.Context(), in)
	if got := code(t, err); got != "ValidationException" || !strings.Contains(err.Error(), "unused") {
		t.Errorf("an unused parameter: %v", err)
	}
}
