package redshift_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

// call posts a body as it stands and returns the reply.
func (r *rig) call(t *testing.T, operation, body string) (status int, reply map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "RedshiftData."+operation)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		t.Fatalf("%s %s: the reply is not JSON: %v", operation, body, err)
	}
	return res.StatusCode, reply
}

// TestValidation: what AWS refuses is refused, with a code and words that tell why.
func TestValidation(t *testing.T) {
	r := newRig(t, redshift.Options{})
	const where = `"ClusterIdentifier":"c","Database":"d"`
	long := strings.Repeat("x", 100*1024)
	cases := []struct{ operation, body, code, words string }{
		{"ExecuteStatement", `{` + where + `}`, "ValidationException", "Value null at 'sql'"},
		{"ExecuteStatement", `{` + where + `,"sql":"SELECT 1"}`, "ValidationException", "Value null at 'sql'"},
		{"ExecuteStatement", `{` + where + `,"Sql":null}`, "ValidationException", "Value null at 'sql'"},
		{"ExecuteStatement", `{` + where + `,"Sql":7}`, "SerializationException", "Sql"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT 1","WithEvent":"yes"}`, "SerializationException", "WithEvent"},
		{"ExecuteStatement", `not json`, "SerializationException", "JSON"},
		{"ExecuteStatement", `[]`, "SerializationException", "JSON"},
		{"ExecuteStatement", `{` + where + `,"Sql":" "}`, "ValidationException", "empty"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT '` + long + `'"}`, "ValidationException", "100kB"},
		{"ExecuteStatement", `{"Database":"d","Sql":"SELECT 1"}`, "ValidationException", "Either ClusterIdentifier or WorkgroupName"},
		{"ExecuteStatement", `{"ClusterIdentifier":"c","Sql":"SELECT 1"}`, "ValidationException", "Database"},
		{"ExecuteStatement", `{` + where + `,"WorkgroupName":"w","Sql":"SELECT 1"}`, "ValidationException", "together"},
		{"ExecuteStatement", `{` + where + `,"SecretArn":"s","DbUser":"u","Sql":"SELECT 1"}`, "ValidationException", "together"},
		{"ExecuteStatement", `{"WorkgroupName":"w","Database":"d","DbUser":"u","Sql":"SELECT 1"}`, "ValidationException", "DbUser"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT 1","ClientToken":""}`, "ValidationException", "clientToken"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT 1","ClientToken":"` + strings.Repeat("t", 65) + `"}`, "ValidationException", "clientToken"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT 1","ResultFormat":"XML"}`, "ValidationException", "resultFormat"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT 1","SessionKeepAliveSeconds":86401}`, "ValidationException", "86400"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT :a","Parameters":[]}`, "ValidationException", "parameters"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT :a","Parameters":[{"Name":"a","Value":"1"}]}`, "ValidationException", "parameters.1.member.name"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT :a","Parameters":[{"name":"a","value":""}]}`, "ValidationException", "parameters.1.member.value"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT :a","Parameters":[{"name":"a b","value":"1"}]}`, "ValidationException", "regular expression"},
		{"ExecuteStatement", `{` + where + `,"Sql":"SELECT :a","Parameters":[{"name":"a","value":"1"},{"name":"a","value":"2"}]}`, "ValidationException", "Duplicate"},
		{"BatchExecuteStatement", `{` + where + `}`, "ValidationException", "Value null at 'sqls'"},
		{"BatchExecuteStatement", `{` + where + `,"Sqls":[]}`, "ValidationException", "greater than or equal to 1"},
		{"BatchExecuteStatement", `{` + where + `,"Sqls":[null]}`, "ValidationException", "sqls.1.member"},
		{"BatchExecuteStatement", `{` + where + `,"Sqls":["SELECT 1"` + strings.Repeat(`,"SELECT 1"`, 40) + `]}`, "ValidationException", "less than or equal to 40"},
		{"DescribeStatement", `{}`, "ValidationException", "Value null at 'id'"},
		{"DescribeStatement", `{"Id":"nix"}`, "ResourceNotFoundException", "Query does not exist"},
		{"DescribeStatement", `{"Id":"nix:x"}`, "ValidationException", "nix:x"},
		{"GetStatementResult", `{"Id":"nix:2"}`, "ResourceNotFoundException", "Query does not exist"},
		{"CancelStatement", `{"Id":"nix"}`, "ResourceNotFoundException", "Query does not exist"},
		{"ListStatements", `{"MaxResults":101}`, "ValidationException", "MaxResults"},
		{"ListStatements", `{"Status":"DONE"}`, "ValidationException", "Status"},
		{"ListStatements", `{"NextToken":"x"}`, "ValidationException", "NextToken"},
		{"DropEverything", `{}`, "UnknownOperationException", "DropEverything"},
	}
	for _, c := range cases {
		status, reply := r.call(t, c.operation, c.body)
		message, _ := reply["Message"].(string)
		if status != 400 || reply["__type"] != c.code || !strings.Contains(message, c.words) {
			t.Errorf("%s %.150s\n got %d %v %q\nwant 400 %s with %q", c.operation, c.body, status, reply["__type"], message, c.code, c.words)
		}
	}
}

// TestWaysToConnect: the five ways to say who one is and where.
func TestWaysToConnect(t *testing.T) {
	r := newRig(t, redshift.Options{})
	for _, who := range []string{
		`"ClusterIdentifier":"c","Database":"d"`,
		`"ClusterIdentifier":"c","Database":"d","DbUser":"u"`,
		`"ClusterIdentifier":"c","Database":"d","SecretArn":"s"`,
		`"SecretArn":"s","Database":"d"`,
		`"WorkgroupName":"w","Database":"d"`,
		`"WorkgroupName":"w","Database":"d","SecretArn":"s"`,
	} {
		status, reply := r.call(t, "ExecuteStatement", `{`+who+`,"Sql":"SELECT 1"}`)
		if status != 200 || reply["Id"] == nil {
			t.Errorf("%s: %d %v", who, status, reply)
			continue
		}
		r.await(t, reply["Id"].(string))
	}
}

// TestReplyShape pins the casing of the wire, which clients depend on.
func TestReplyShape(t *testing.T) {
	r := newRig(t, redshift.Options{})
	d := r.must(t, "SELECT 1 AS one")
	_, reply := r.call(t, "GetStatementResult", `{"Id":"`+*d.Id+`"}`)
	for _, name := range []string{"Records", "ColumnMetadata", "TotalNumRows"} {
		if reply[name] == nil {
			t.Errorf("the result has no %s: %v", name, reply)
		}
	}
	if got := fmt.Sprint(reply["Records"]); got != "[[map[longValue:1]]]" {
		t.Errorf("records %s", got)
	}
	if c := reply["ColumnMetadata"].([]any)[0].(map[string]any); c["name"] != "one" || c["typeName"] != "int4" {
		t.Errorf("column %v", c)
	}
	_, reply = r.call(t, "DescribeStatement", `{"Id":"`+*d.Id+`"}`)
	if at, ok := reply["CreatedAt"].(float64); !ok || time.Since(time.UnixMilli(int64(at*1000))) > time.Minute {
		t.Errorf("CreatedAt is %v, want epoch seconds", reply["CreatedAt"])
	}
}

// TestClientToken: the same token gives the same statement, which runs once.
func TestClientToken(t *testing.T) {
	r := newRig(t, redshift.Options{})
	r.must(t, "CREATE TABLE t (n INTEGER)")
	in := batch("INSERT INTO t VALUES (1)")
	in.ClientToken = aws.String("attempt-1")
	var ids []string
	for range 3 {
		out, err := r.BatchExecuteStatement(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, *out.Id)
		r.await(t, *out.Id)
	}
	if ids[0] != ids[1] || ids[1] != ids[2] {
		t.Errorf("one token, ids %v", ids)
	}
	if got := r.rows(t, "SELECT COUNT(*) FROM t"); got[0][0] != "1" {
		t.Errorf("ran %s times", got[0][0])
	}
}

func TestListStatements(t *testing.T) {
	r := newRig(t, redshift.Options{})
	var want []string
	for i := range 7 {
		in := execute(fmt.Sprintf("SELECT %d", i))
		in.StatementName = aws.String(fmt.Sprintf("load-%d", i))
		out, err := r.ExecuteStatement(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		r.await(t, *out.Id)
		want = append([]string{*out.Id}, want...)
	}
	r.try(t, "SELECT * FROM nix")
	var got []string
	p := redshiftdata.NewListStatementsPaginator(r.Client, &redshiftdata.ListStatementsInput{
		StatementName: aws.String("load-"), Status: types.StatusStringFinished, MaxResults: 3,
	})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Statements) > 3 {
			t.Errorf("a page of %d", len(page.Statements))
		}
		for _, s := range page.Statements {
			got = append(got, *s.Id)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	out, err := r.ListStatements(t.Context(), &redshiftdata.ListStatementsInput{Status: types.StatusStringFailed})
	if err != nil || len(out.Statements) != 1 || *out.Statements[0].QueryString != "SELECT * FROM nix" {
		t.Errorf("failed statements: %v, %v", out, err)
	}
}

// checkCatalog lists what is there under Redshift's names.
func checkCatalog(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE orders (id VARCHAR(10) NOT NULL, n INTEGER)", "CREATE VIEW v AS SELECT n FROM orders")
	c, db := aws.String("cluster"), aws.String("dev")
	tables, err := r.ListTables(t.Context(), &redshiftdata.ListTablesInput{ClusterIdentifier: c, Database: db, SchemaPattern: aws.String("pub%")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tb := range tables.Tables {
		got = append(got, *tb.Schema+"."+*tb.Name+" "+*tb.Type)
	}
	if fmt.Sprint(got) != "[public.orders TABLE public.v VIEW]" {
		t.Errorf("tables %v", got)
	}
	cols, err := r.DescribeTable(t.Context(), &redshiftdata.DescribeTableInput{ClusterIdentifier: c, Database: db, Schema: aws.String("public"), Table: aws.String("orders")})
	if err != nil || len(cols.ColumnList) != 2 || *cols.ColumnList[1].TypeName != "int4" {
		t.Errorf("columns %v, %v", cols, err)
	}
	r.must(t, "CREATE TABLE told (a VARCHAR(30) NOT NULL, b DECIMAL(12,3), c CHAR(4), d TIMESTAMP)")
	told, err := r.DescribeTable(t.Context(), &redshiftdata.DescribeTableInput{ClusterIdentifier: c, Database: db, Table: aws.String("told")})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, col := range told.ColumnList {
		lines = append(lines, fmt.Sprint(*col.Name, *col.TypeName, col.Length, col.Precision, col.Scale, col.Nullable, *col.SchemaName))
	}
	if got := strings.Join(lines, "; "); got != "avarchar30 30 0 0public; bnumeric0 12 3 1public; cbpchar4 4 0 1public; dtimestamp0 29 6 1public" {
		t.Errorf("columns %s", got)
	}
	_, err = r.DescribeTable(t.Context(), &redshiftdata.DescribeTableInput{ClusterIdentifier: c, Database: db, Table: aws.String("nix")})
	if err == nil || code(t, err) != "ValidationException" {
		t.Errorf("a table that is not there: %v", err)
	}
	schemas, err := r.ListSchemas(t.Context(), &redshiftdata.ListSchemasInput{ClusterIdentifier: c, Database: db})
	if err != nil || fmt.Sprint(schemas.Schemas) != "[public]" {
		t.Errorf("schemas %v, %v", schemas, err)
	}
	bases, err := r.ListDatabases(t.Context(), &redshiftdata.ListDatabasesInput{ClusterIdentifier: c, Database: db})
	if err != nil || fmt.Sprint(bases.Databases) != "[dev]" {
		t.Errorf("databases %v, %v", bases, err)
	}
}

// TestLimits: calls beyond the account's rate are throttled, and only with limits on.
func TestLimits(t *testing.T) {
	for _, limits := range []bool{true, false} {
		r := newRig(t, redshift.Options{Limits: limits})
		throttled := false
		for range 60 {
			_, err := r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: aws.String("nix")})
			if code(t, err) == "ThrottlingException" && strings.Contains(err.Error(), "Rate exceeded") {
				throttled = true
			}
		}
		if throttled != limits {
			t.Errorf("limits %v: throttled %v", limits, throttled)
		}
	}
}

// TestKeepsItsFile: what is committed is there after a restart.
func TestKeepsItsFile(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		svc, err := redshift.New(t.Context(), redshift.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		sql := "CREATE TABLE t AS SELECT 42 AS n"
		if i == 1 {
			sql = "SELECT n FROM t"
		}
		_, rows, err := svc.Query(t.Context(), sql)
		if err != nil || i == 1 && fmt.Sprint(rows) != "[[42]]" {
			t.Errorf("%s: %v, %v", sql, rows, err)
		}
		if err := svc.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCloseAborts: Close does not wait for statements to run to their end.
func TestCloseAborts(t *testing.T) {
	svc, err := redshift.New(t.Context(), redshift.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	svc.Serve(w, httptest.NewRequest(http.MethodPost, "/", nil), "ExecuteStatement",
		[]byte(`{"ClusterIdentifier":"c","Database":"d","Sql":"SELECT COUNT(*) FROM generate_series(1,100000) a, generate_series(1,100000) b"}`))
	if w.Code != 200 {
		t.Fatal(w.Body)
	}
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
	w = httptest.NewRecorder()
	svc.Serve(w, httptest.NewRequest(http.MethodPost, "/", nil), "ExecuteStatement", []byte(`{"ClusterIdentifier":"c","Database":"d","Sql":"SELECT 1"}`))
	if w.Code != 500 {
		t.Errorf("a call after Close: %d %s", w.Code, w.Body)
	}
}

// TestNoFiles: SQL from the network must not reach files of this machine.
func TestNoFiles(t *testing.T) {
	r := newRig(t, redshift.Options{})
	for _, sql := range []string{
		"SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM '/etc/hostname'", "SELECT * FROM read_csv('/etc/passwd')",
		"COPY t TO '/tmp/x'", "ATTACH '/tmp/x.db'", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true", "PRAGMA database_list",
		"CREATE TABLE t AS SELECT * FROM glob('/*')",
	} {
		d := r.try(t, sql)
		if d.Status == types.StatusStringFinished && *d.HasResultSet {
			t.Errorf("%s returned %v", sql, r.result(t, *d.Id))
		}
	}
	if d := r.try(t, "SELECT content FROM read_text('/etc/hostname')"); d.Status == types.StatusStringFinished {
		t.Error("files became readable")
	}
}

// FuzzDataAPI: no body makes the service panic, or answer with anything but
// JSON and an id or an error.
func FuzzDataAPI(f *testing.F) {
	for _, seed := range []struct{ operation, body string }{
		{"ExecuteStatement", `{"ClusterIdentifier":"c","Database":"d","Sql":"SELECT :a","Parameters":[{"name":"a","value":"'\\"}]}`},
		{"ExecuteStatement", `{"WorkgroupName":"w","Database":"d","Sql":"SELECT '\\'","SessionKeepAliveSeconds":0,"ClientToken":"x"}`},
		{"BatchExecuteStatement", `{"ClusterIdentifier":"c","Database":"d","Sqls":["CREATE TEMP TABLE t (n INTEGER)","INSERT INTO t VALUES (1)",";"]}`},
		{"BatchExecuteStatement", `{"ClusterIdentifier":"c","Database":"d","Sqls":[null,1,[]]}`},
		{"DescribeStatement", `{"Id":"x:99999999999999999999"}`},
		{"GetStatementResult", `{"Id":"x","NextToken":"AAAA"}`},
		{"ListStatements", `{"MaxResults":1e99,"Status":"ALL"}`},
		{"ListTables", `{"ClusterIdentifier":"c","Database":"d","SchemaPattern":"%_[\\"}`},
		{"DescribeTable", `{"ClusterIdentifier":"c","Database":"d","Table":"\"; DROP"}`},
		{"CancelStatement", `{"Id":{}}`},
	} {
		f.Add(seed.operation, []byte(seed.body))
	}
	svc, err := redshift.New(context.Background(), redshift.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := svc.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, operation string, body []byte) {
		w := httptest.NewRecorder()
		svc.Serve(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)), operation, body)
		var reply map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
			t.Fatalf("%d: %v: %s", w.Code, err, w.Body)
		}
		if w.Code >= 500 || w.Code >= 400 && reply["__type"] == nil {
			t.Errorf("%s %q: %d %s", operation, body, w.Code, w.Body)
		}
		if id, ok := reply["Id"].(string); ok && w.Code == 200 && strings.HasSuffix(operation, "ExecuteStatement") {
			cancel, _ := json.Marshal(map[string]string{"Id": id})
			svc.Serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil), "CancelStatement", cancel)
		}
	})
}
