package redshift_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
)

// checkAnalyst: what analysts ask has Redshift's names, types and values.
func checkAnalyst(t *testing.T, r *rig) {
	r.must(t, `CREATE TABLE sales (n INTEGER, big BIGINT, amount DECIMAL(10,2), ratio FLOAT, name VARCHAR(20), at TIMESTAMP)`)
	r.must(t, `INSERT INTO sales VALUES (1, 10, 1.50, 0.5, 'abc', '2026-01-02 03:04:05'), (2, 15, 2.26, 1.5, 'x.z', '2026-01-03 00:00:00'),
		(NULL, NULL, NULL, NULL, NULL, NULL)`)
	tests := []struct{ sql, names, kinds, want string }{
		{"SELECT SUM(n), SUM(big), SUM(amount), SUM(ratio) FROM sales", "sum sum sum sum", "int8 int8 numeric float8", "3|25|3.76|2"},
		{"SELECT AVG(n), AVG(big), AVG(amount), AVG(ratio) FROM sales", "avg avg avg avg", "int8 int8 numeric float8", "1|12|1.88|1"},
		{"SELECT AVG(amount) a, SUM(n) FROM sales WHERE n > 5", "a sum", "numeric int8", "NULL|NULL"},
		{"SELECT AVG(DISTINCT amount), COUNT(DISTINCT n) FROM sales", "avg count", "numeric int8", "1.88|2"},
		{"SELECT n, SUM(n) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) AS s, AVG(big) OVER () a FROM sales ORDER BY n LIMIT 2", "n s a", "int4 int8 int8", "1|1|12;2|3|12"},
		{"SELECT STDDEV(n), VARIANCE(n) FROM sales", "stddev variance", "float8 float8", "0.7071067811865476|0.5"},
		{
			"SELECT n + 1, amount::VARCHAR, 'x'::CHAR(2) || 'y', CASE WHEN n = 1 THEN 1 END, DATEDIFF(day, at, at), (n) FROM sales WHERE n = 1",
			"?column? amount ?column? case datediff n", "", "",
		},
		{
			"SELECT 1::SMALLINT, DATE '2026-01-02', CAST(2 AS BIGINT), n AS k, big b, LEN(name), -n, n IS NULL, NVL(n, 0) FROM sales WHERE n = 1",
			"int2 date int8 k b len ?column? ?column? coalesce", "", "1|2026-01-02|2|1|10|3|-1|false|1",
		},
		{"SELECT COUNT(*) FILTER_COUNT, COUNT(n), MAX(at) FROM sales", "filter_count count max", "int8 int8 timestamp", "3|2|2026-01-03 00:00:00"},
		{"SELECT name FROM sales WHERE name ~ 'b' OR name ~* 'X' ORDER BY name", "name", "", "abc;x.z"},
		{"SELECT name FROM sales WHERE name !~ '^a'", "name", "", "x.z"},
		{"SELECT 'abc' SIMILAR TO '%b%', 'abc' SIMILAR TO 'a.c', 'abc' SIMILAR TO '(ab|x)_', 'abc' NOT SIMILAR TO 'b%'", "", "", "true|false|true|true"},
		{"SELECT 1 MINUS SELECT 2", "", "", "1"},
		{"SELECT LISTAGG(DISTINCT name, ',') WITHIN GROUP (ORDER BY name DESC) FROM sales", "listagg", "varchar", "x.z,abc"},
		{"SELECT TRUNC(at), TRUNC(1.9) FROM sales WHERE n = 1", "trunc trunc", "date numeric", "2026-01-02|1"},
		{"SELECT STRTOL('ff', 16), STRTOL('777', 8), REPLICATE('ab', 2), INITCAP('hello big world')", "", "int8 int8 varchar varchar", "255|511|abab|Hello Big World"},
		{"SELECT REGEXP_SUBSTR('abc123', '[0-9]+'), REGEXP_COUNT('a1b2', '[0-9]'), REGEXP_INSTR('abc123', '[0-9]'), REGEXP_REPLACE('a1b1', '1', '#')", "", "", "123|2|4|a#b#"},
		{"SELECT MD5('abc'), SHA2('abc', 256)", "", "", "900150983cd24fb0d6963f7d28e17f72|ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{`SELECT JSON_EXTRACT_ARRAY_ELEMENT_TEXT('[1,"b",3]', 1), JSON_ARRAY_LENGTH('[1,2]'), IS_VALID_JSON('{'), IS_VALID_JSON('{}'), IS_VALID_JSON_ARRAY('{}')`, "", "", "b|2|false|true|false"},
		{"SELECT MONTHS_BETWEEN('2024-03-31', '2024-02-29'), NEXT_DAY('2024-01-01', 'Tue'), NEXT_DAY('2024-01-01', 'Monday'), DATE_CMP('2024-01-01', '2024-01-02')", "", "", "1|2024-01-02|2024-01-08|-1"},
		{"SELECT INTERVAL '1 year 2 days 03:04:05.5', INTERVAL '1 day'", "interval interval", "", "1 year 2 days 03:04:05.5|1 day"},
		{"SELECT JSON_ARRAY_LENGTH('[1,2]') + 1 AS n, 8/n FROM (SELECT 2 AS n) s", "n ?column?", "", "3|4"},
		{"SELECT s.date, s.time FROM (SELECT 1 AS date, 2 AS time) s", "date time", "", "1|2"},
		{"SELECT GENERATE_SERIES(1, 3)", "generate_series", "", "1;2;3"},
	}
	for _, tt := range tests {
		d := r.try(t, tt.sql)
		if d.Status != types.StatusStringFinished {
			t.Errorf("%s: %s", tt.sql, aws.ToString(d.Error))
			continue
		}
		out, err := r.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: d.Id})
		if err != nil {
			t.Fatal(err)
		}
		var names, kinds, lines []string
		for _, c := range out.ColumnMetadata {
			names, kinds = append(names, *c.Name), append(kinds, *c.TypeName)
		}
		for _, row := range r.result(t, *d.Id) {
			lines = append(lines, strings.Join(row, "|"))
		}
		for _, c := range []struct{ what, got, want string }{
			{"names", strings.Join(names, " "), tt.names}, {"types", strings.Join(kinds, " "), tt.kinds}, {"rows", strings.Join(lines, ";"), tt.want},
		} {
			if c.want != "" && c.got != c.want {
				t.Errorf("%s\n %s %s\n want  %s", tt.sql, c.what, c.got, c.want)
			}
		}
	}
}

// checkSystemViews: the views of the catalog tell tables as they were declared.
func checkSystemViews(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE told (a VARCHAR(30) NOT NULL, b DECIMAL(12,3), d TIMESTAMP)")
	for sql, want := range map[string]string{
		`SELECT "column", type, "notnull" FROM pg_table_def WHERE tablename = 'told' AND schemaname = 'public' ORDER BY 1`:                                                      "[[a character varying(30) true] [b numeric(12,3) false] [d timestamp without time zone false]]",
		`SELECT column_name, data_type, character_maximum_length, is_nullable FROM svv_columns WHERE table_name = 'told' AND table_schema = 'public' ORDER BY ordinal_position`: "[[a character varying 30 NO] [b numeric NULL YES] [d timestamp without time zone NULL YES]]",
		`SELECT table_schema, table_name FROM information_schema.tables WHERE table_name = 'told'`:                                                                              "[[public told]]",
		`SELECT c.data_type FROM information_schema.columns c WHERE c.column_name = 'b'`:                                                                                        "[[numeric]]",
		`SELECT table_name FROM svv_tables`:                                           "[[told]]",
		`SELECT "schema", "table" FROM svv_table_info`:                                "[[public told]]",
		`SELECT db_collation()`:                                                       "[[case_sensitive]]",
		`SELECT errcode, error FROM stl_error ORDER BY recordtime DESC LIMIT 10`:      "[]",
		`SELECT db_isolation_level FROM stv_db_isolation_level WHERE db_name = 'dev'`: "[[Snapshot Isolation]]",
	} {
		if got := fmt.Sprint(r.rows(t, sql)); got != want {
			t.Errorf("%s\n got  %s\n want %s", sql, got, want)
		}
	}
}

// checkSuper: a SUPER comes back as JSON text.
func checkSuper(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE docs (v SUPER)")
	r.must(t, `INSERT INTO docs VALUES (JSON_PARSE('{"a":[1,"<x>"],"b":{"c":null}}'))`)
	got := strings.ReplaceAll(r.rows(t, "SELECT v FROM docs")[0][0], " ", "")
	if got != `{"a":[1,"<x>"],"b":{"c":null}}` {
		t.Errorf("got %s", got)
	}
}

// checkRefused: what Redshift refuses is refused, in words that say so.
func checkRefused(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE tgt (a INTEGER, b INTEGER)")
	r.must(t, "CREATE TABLE src (a INTEGER, b INTEGER)")
	const leader = "not supported on Redshift tables"
	tests := []struct{ sql, want string }{
		{"SELECT a FROM tgt FOR UPDATE", "FOR UPDATE is not supported"},
		{"SELECT DISTINCT ON (a) a FROM tgt", "DISTINCT ON is not supported"},
		{"SELECT GENERATE_SERIES(1, 3), a FROM tgt", leader},
		{"INSERT INTO tgt (a) SELECT GENERATE_SERIES(1, 3)", leader},
		{"SELECT ARRAY[a] FROM tgt", leader},
		{"MERGE INTO tgt USING src ON tgt.a = src.a WHEN MATCHED THEN UPDATE SET b = src.b", "syntax error"},
		{"MERGE INTO tgt USING src ON tgt.a = src.a WHEN NOT MATCHED THEN INSERT VALUES (1, 2)", "syntax error"},
		{"MERGE INTO tgt USING (SELECT 1 AS a) src ON tgt.a = src.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 2)", "syntax error"},
		{"MERGE INTO tgt t USING src ON t.a = src.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 2)", "syntax error"},
		{"MERGE INTO tgt USING src ON tgt.a = src.a WHEN MATCHED AND src.b > 1 THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 2)", "syntax error"},
		{"SELECT 1/0", "Divide by zero"},
		{"SELECT n, 7/(a - a) FROM (SELECT 1 AS n, 1 AS a) s", "Divide by zero"},
		{"SELECT 1 +", "syntax error at end of input"},
		{"SELECT nosuch", `column "nosuch" does not exist`},
		{"SELECT a FROM tgt, src", `reference "a" is ambiguous`},
		{"SELECT 2147483647 + 1", "out of range for 4 bytes"},
		{"INSERT INTO tgt (a) VALUES (3000000000)", "out of range for 4 bytes"},
		{"SELECT 123456789.00::DECIMAL(10,2)", "Numeric data overflow"},
		{"SELECT a 'x' FROM tgt", "ERROR"},
	}
	for _, tt := range tests {
		d := r.try(t, tt.sql)
		if d.Status != types.StatusStringFailed || !strings.Contains(aws.ToString(d.Error), tt.want) {
			t.Errorf("%s: %s %q, want an error with %q", tt.sql, d.Status, aws.ToString(d.Error), tt.want)
		}
	}
	r.must(t, `MERGE INTO tgt USING src s ON tgt.a = s.a WHEN MATCHED THEN UPDATE SET b = s.b WHEN NOT MATCHED THEN INSERT VALUES (s.a, s.b)`)
}
