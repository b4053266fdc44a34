package dialect

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTranslate(t *testing.T) {
	tests := []struct{ name, in, duckDB, pg string }{
		{"literal escapes", `SELECT 'a\'b''c\\d\n\x41\101\q'`, "select 'a''b''c\\d\nAAq' AS \"?column?\"", "select E'a''b''c\\\\d\nAAq'"},
		{"comments", "SELECT/* a /* b */ c */a --x\n, b", "select a , b", ""},
		{
			"column names", `SELECT count(*), 1, max(a) m, 'x' AS y, min(b) FROM t`, `select count ( * ) AS "count" , 1 AS "?column?" , max ( a ) m , 'x' as y , min ( b ) AS "min" from t`,
			`select count ( * ) AS "count" , 1 , max ( a ) m , 'x' as y , min ( b ) AS "min" from t`,
		},
		{
			"a select in parentheses", `(SELECT 1, count(*))`, `( select 1 AS "?column?" , count ( * ) )`, `( select 1 , count ( * ) )`,
		},
		{"dollar quotes", `SELECT $$a'b$$, $x$ $$ $x$`, `select 'a''b' AS "?column?" , ' $$ ' AS "?column?"`, `select 'a''b' , ' $$ '`},
		{"names", `SELECT "A b", Ab FROM T`, `select "a b" , ab from t`, ""},
		{"cast", `SELECT x::VARCHAR(10), y::float8 FROM t`, `select x :: varchar AS "x" , y :: double precision AS "y" from t`, `select x :: varchar(10) , y :: double precision from t`},
		{"nested calls", `SELECT NVL(a, NVL(b, 1))`, `select coalesce( a , coalesce( b , 1 ) ) AS "coalesce"`, ""},
		{"quoted function is left", `SELECT "nvl"(a, b)`, `select "nvl" ( a , b ) AS "nvl"`, `select "nvl" ( a , b )`},
		{"delete without from", `DELETE t WHERE a = 1`, `delete from t where a = 1`, ""},
		{"trailing semicolons", `;; TRUNCATE TABLE t ; ;`, `TRUNCATE TABLE t`, ""},
		{"like", `CREATE TEMP TABLE a (LIKE b)`, `CREATE TEMPORARY TABLE a AS SELECT * FROM b LIMIT 0`, `CREATE TEMPORARY TABLE a ( LIKE b INCLUDING CONSTRAINTS )`},
		{"table as", `CREATE TABLE a DISTKEY(x) SORTKEY(y) AS SELECT 1 AS x, 2 AS y`, `CREATE TABLE a as select 1 as x , 2 as y`, ""},
		{"into", `SELECT a INTO #n FROM t`, `CREATE TEMPORARY TABLE "#n" AS select a from t`, ""},
		{"reserved in DuckDB", `SELECT at, x AT TIME ZONE 'UTC' FROM t`, `select "at" , x at time zone 'UTC' AS "timezone" from t`, `select "at" , x at time zone 'UTC' from t`},
		{
			"extract from is no table", `SELECT EXTRACT(day FROM x) AS d, NOW()`, `select CAST( floor( date_part( 'day' , CAST( x AS timestamp ) ) ) AS bigint ) as d , now ( ) AS "now"`,
			`select CAST( floor( date_part( 'day' , CAST( x AS timestamp ) ) ) AS bigint ) as d , now ( ) AS "now"`,
		},
		{
			"reserved words that are names", `SELECT TOP 2 x.tag, "top" AS left, 1 AS top FROM t x`, `select x . "tag" , "top" as left , 1 as top from t x limit 2`,
			"",
		},
		{"super", `CREATE TEMP TABLE s (v SUPER, b VARBYTE)`, `CREATE TEMPORARY TABLE s ( "v" json , "b" blob )`, `CREATE TEMPORARY TABLE s ( "v" jsonb , "b" bytea )`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for e, want := range map[Engine]string{DuckDB: tt.duckDB, Postgres: tt.pg} {
				if want == "" {
					want = tt.duckDB
				}
				s, err := Translate(tt.in, e, nil)
				if err != nil {
					t.Fatal(err)
				}
				if s.SQL != want {
					t.Errorf("engine %d\ngot  %s\nwant %s", e, s.SQL, want)
				}
			}
		})
	}
}

func TestReads(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1": "[]",
		"SELECT a.x, (SELECT MAX(n) FROM d) FROM public.a, s.b AS bb JOIN (c LEFT JOIN e ON c.x = e.x) USING (x) WHERE y IN (SELECT z FROM f, (SELECT 1 FROM g) h)": "[d a s.b c e f g]",
		"WITH w AS (SELECT * FROM a) SELECT EXTRACT(day FROM x), TRIM(both FROM y) FROM w, a":                                                                       "[a w]",
		"INSERT INTO t (a, b) SELECT a, b FROM u UNION ALL SELECT c, d FROM v":                                                                                      "[u v]",
		"UPDATE t SET a = u.a, b = 1 FROM u, v WHERE t.k = u.k":                                                                                                     "[u v]",
		"DELETE FROM t USING u, v WHERE t.k = u.k":                                                                                                                  "[t u v]",
		"CREATE TABLE t AS SELECT * FROM dev.public.u":                                                                                                              "[u]",
		"MERGE INTO t USING u ON t.k = u.k WHEN MATCHED THEN UPDATE SET a = u.a WHEN NOT MATCHED THEN INSERT VALUES (u.k, u.a)":                                     "[u]",
		"SELECT n FROM GENERATE_SERIES(1, 2) g, t":                                                                                                                  "[t]",
	} {
		st, err := Translate(sql, DuckDB, nil)
		if got := fmt.Sprint(st.Reads); err != nil || got != want {
			t.Errorf("%s reads %s, want %s (%v)", sql, got, want, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct{ in, want string }{
		{`CREATE INDEX i ON t (a)`, `SQL command "CREATE INDEX i ON t (a)" not supported on Redshift tables.`},
		{`INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING`, `syntax error at or near "ON"`},
		{`INSERT INTO t VALUES (1) RETURNING a`, `syntax error at or near "RETURNING"`},
		{`INSERT OR REPLACE INTO t VALUES (1)`, `syntax error at or near "OR"`},
		{`CREATE OR REPLACE TABLE t (a int)`, `syntax error at or near "TABLE"`},
		{`CREATE TABLE t (a uuid)`, `Column "t.a" has unsupported type "uuid".`},
		{`CREATE TABLE t (a serial)`, `Column "t.a" has unsupported type "serial".`},
		{`CREATE TABLE t (a int[])`, `Column "t.a" has unsupported type "int[]".`},
		{`CREATE TABLE t (a hugeint)`, `type "hugeint" does not exist`},
		{`CREATE TABLE t (a varchar(65536))`, `length for type varchar must be between 1 and 65535`},
		{`CREATE TABLE t (a int CHECK (a > 0))`, `syntax error at or near "CHECK"`},
		{`CREATE TABLE t (a int) WITH (x = 1)`, `syntax error at or near "WITH"`},
		{`SELECT * FROM (SELECT 1 AS n) top`, `syntax error at or near "top"`},
		{`SELECT * FROM t AS Left`, `syntax error at or near "Left"`},
		{`SELECT * FROM t JOIN u AS user ON true`, `syntax error at or near "user"`},
		{`SELECT tag FROM t`, `syntax error at or near "tag"`},
		{`SELECT a tag FROM t`, `syntax error at or near "tag"`},
		{`WITH raw AS (SELECT 1) SELECT * FROM raw`, `syntax error at or near "raw"`},
		{`INSERT INTO t (a, percent) VALUES (1, 2)`, `syntax error at or near "percent"`},
		{`SET statement_timeout TO soon`, `invalid value for parameter "statement_timeout": "soon"`},
		{`SET statement_timeout TO -5`, `syntax error at or near "-"`},
		{`UPDATE t SET old = 1`, `syntax error at or near "old"`},
		{`UPDATE tag SET a = 1`, `syntax error at or near "tag"`},
		{`CREATE TABLE t (a int, open int)`, `syntax error at or near "open"`},
		{`CREATE TABLE user (a int)`, `syntax error at or near "user"`},
		{`CREATE TABLE t AS SELECT 1 AS a FROM u snapshot`, `syntax error at or near "snapshot"`},
		{`CREATE VIEW v AS SELECT new FROM t`, `syntax error at or near "new"`},
		{`ALTER TABLE t ADD COLUMN offset int`, `syntax error at or near "offset"`},
		{`CREATE SEQUENCE s`, `SQL command "CREATE SEQUENCE s" not supported on Redshift tables.`},
		{`SELECT E'a\'b'`, `type "e" does not exist`},
		{`SELECT CURRENT_TIMESTAMP FROM t`, leaderNode},
		{`SELECT * FROM t WHERE a > now()`, leaderNode},
		{`INSERT INTO t SELECT LOCALTIMESTAMP FROM u`, leaderNode},
		{`UPDATE t SET a = CURRENT_TIMESTAMP`, leaderNode},
		{`DELETE FROM t WHERE AGE(a) > 1`, leaderNode},
		{`VALUES (1)`, `syntax error at or near "VALUES"`},
		{`SELECT * FROM (VALUES (1)) v`, `syntax error at or near "VALUES"`},
		{`SELECT 1; SELECT 2`, "cannot insert multiple commands into a prepared statement"},
		{`SELECT 'a\'`, `unterminated quoted string at or near "'a\'"`},
		{`SELECT '\000'`, `invalid byte sequence for encoding "UTF8": 0x00`},
		{"SELECT 'a\ufdefb'", "String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: ef b7 af (error 6)"},
		{`SELECT '\xef\xbf\xbf'`, "String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: ef bf bf (error 7)"},
		{`SELECT '\xff'`, `invalid byte sequence for encoding "UTF8": 0xff`},
		{"SELECT '\x00'", `invalid byte sequence for encoding "UTF8": 0x00`},
		{`SELECT :p`, `syntax error at or near ":"`},
		{`SELECT $1`, `there is no parameter $1`},
		{`$1`, `there is no parameter $1`},
		{`PREPARE p (int) AS SELECT * FROM t WHERE a = $1`, `PREPARE is not supported`},
		{`SELECT ?`, `syntax error at or near "?"`},
		{`SELECT {'a': 1}`, `syntax error at or near "{"`},
		{`SELECT a -> 'b' FROM t`, `operator does not exist: ->`},
		{`SELECT (1`, `syntax error at end of input`},
		{`SELECT 1)`, `syntax error at or near ")"`},
		{`SELECT (1]`, `syntax error at or near "]"`},
		{`ATTACH 'x.db'`, `syntax error at or near "ATTACH"`},
		{`PRAGMA version`, `syntax error at or near "PRAGMA"`},
		{`INSTALL httpfs`, `syntax error at or near "INSTALL"`},
		{`SELECT * FROM 'f.csv'`, `syntax error at or near "'f.csv'"`},
		{`FROM t`, `syntax error at or near "FROM"`},
		{``, `syntax error at end of input`},
		{`/* open`, `unterminated /* comment at or near "/* open"`},
		{`SELECT ` + strings.Repeat("(", 600) + strings.Repeat(")", 600), "stack depth limit exceeded"},
		{`SELECT ` + strings.Repeat("x", 128), `identifier "` + strings.Repeat("x", 40) + `..." is longer than 127 bytes`},
		{`SELECT DATEDIFF(fortnight, a, b)`, `timestamp units "fortnight" not recognized`},
		{`LOCK a b`, `syntax error at or near "b"`},
		{`DROP INDEX i`, `syntax error at or near "INDEX"`},
	}
	for _, tt := range tests {
		for _, e := range []Engine{DuckDB, Postgres} {
			s, err := Translate(tt.in, e, nil)
			var refused *Error
			if !errors.As(err, &refused) || refused.Message != "ERROR: "+tt.want {
				t.Errorf("%s\ngot  %v (%s)\nwant %s", tt.in, err, s.SQL, tt.want)
			}
		}
	}
}

const leaderNode = "Specified types or functions (one per INFO message) not supported on Redshift tables."

func TestStatementFacts(t *testing.T) {
	tests := []struct {
		in           string
		verb         string
		rows         bool
		lock, writes []string
	}{
		{"LOCK TABLE public.A, s.b", "LOCK", false, []string{"a", "s.b"}, nil},
		{"lock load_lock", "LOCK", false, []string{"load_lock"}, nil},
		{"INSERT INTO public.t VALUES (1)", "INSERT", false, nil, []string{"t"}},
		{"WITH q AS (SELECT 1) DELETE FROM t", "DELETE", false, nil, []string{"t"}},
		{"WITH q (a) AS (SELECT 1) SELECT * FROM q", "SELECT", true, nil, nil},
		{"(SELECT 1) UNION (SELECT 2)", "SELECT", true, nil, nil},
		{"DELETE FROM #T", "DELETE", false, nil, []string{"#t"}},
		{"UPDATE dev.public.t SET a = 1", "UPDATE", false, nil, []string{"t"}},
		{"MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)", "MERGE", false, nil, []string{"t"}},
		{"TRUNCATE t", "TRUNCATE", false, nil, []string{"t"}},
		{"CREATE TABLE t (a int)", "CREATE TABLE", false, nil, nil},
		{"CREATE TABLE t AS SELECT 1", "CREATE TABLE AS", false, nil, nil},
		{"DROP TABLE IF EXISTS a, b", "DROP TABLE", false, nil, []string{"a", "b"}},
		{"ANALYZE t", "ANALYZE", false, nil, nil},
		{"VACUUM FULL t", "VACUUM", false, nil, nil},
		{"SET query_group TO 'x'", "SET", false, nil, nil},
		{"GRANT SELECT ON t TO PUBLIC", "GRANT", false, nil, nil},
		{"START TRANSACTION", "BEGIN", false, nil, nil},
		{"end", "COMMIT", false, nil, nil},
		{"SET LOCAL statement_timeout = '5000'", "SET", false, nil, nil},
		{"SHOW timezone", "SHOW", true, nil, nil},
		{"EXPLAIN SELECT 1", "EXPLAIN", true, nil, nil},
	}
	for _, tt := range tests {
		s, err := Translate(tt.in, DuckDB, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if s.Verb != tt.verb || s.Rows != tt.rows || !slices.Equal(s.Lock, tt.lock) || !slices.Equal(s.Writes, tt.writes) {
			t.Errorf("%s: got %+v", tt.in, s)
		}
	}
}

func TestCreateTable(t *testing.T) {
	s, err := Translate(`CREATE TABLE IF NOT EXISTS public.f (a VARCHAR(9) DISTKEY, b INT NOT NULL DEFAULT 1 ENCODE az64, c BIGINT IDENTITY(5,-1),
		CONSTRAINT pk PRIMARY KEY (a), FOREIGN KEY (b) REFERENCES g (h)) COMPOUND SORTKEY (b, a)`, Postgres, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `CREATE TABLE IF NOT EXISTS public . f ( "a" varchar(9) NOT NULL CONSTRAINT "localaws_varchar_9_a" CHECK ( octet_length( rtrim( "a" ) ) <= 9 ) ,` +
		` "b" integer DEFAULT ( 1 ) NOT NULL , "c" bigint GENERATED ALWAYS AS IDENTITY ( START WITH 5 INCREMENT BY -1 ) )`
	if s.SQL != want {
		t.Errorf("got  %s\nwant %s", s.SQL, want)
	}
	after := []string{
		`CREATE INDEX IF NOT EXISTS "localaws_f_b" ON public . f ( "b" )`,
		`CREATE INDEX IF NOT EXISTS "localaws_f_a" ON public . f ( "a" )`,
	}
	if !slices.Equal(s.After, after) {
		t.Errorf("After = %q, want %q", s.After, after)
	}
	if s, err = Translate(`CREATE TEMP TABLE f (a INT SORTKEY)`, DuckDB, nil); err != nil || s.After != nil {
		t.Errorf("temporary table: After = %q, %v", s.After, err)
	}
}

func TestParams(t *testing.T) {
	s, err := Translate(`SELECT :a, x::int, ':no', :b, :a -- :c`, Postgres, map[string]string{"a": `O'B\`, "b": "1", "unused": ""})
	if err != nil {
		t.Fatal(err)
	}
	if want := `select E'O''B\\' , x :: integer , ':no' , '1' , E'O''B\\'`; s.SQL != want {
		t.Errorf("got %s, want %s", s.SQL, want)
	}
	if want := []string{"a", "b"}; !slices.Equal(s.Params, want) {
		t.Errorf("Params = %q, want %q", s.Params, want)
	}
	if _, err := Translate(`SELECT :z`, DuckDB, map[string]string{"a": "1"}); err == nil {
		t.Error("a parameter without a value was taken")
	}
}

func TestSession(t *testing.T) {
	s, err := Session{LastCopyID: 7, User: "o'b", Database: "Sales"}.Translate(`SELECT pg_last_copy_id(), USER FROM sales.public.t`, DuckDB, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `select CAST( 7 AS integer ) AS "pg_last_copy_id" , CAST( 'o''b' AS varchar) AS "current_user" from "t"`; s.SQL != want {
		t.Errorf("got %s, want %s", s.SQL, want)
	}
}

func TestSplit(t *testing.T) {
	tests := []struct {
		in   string
		want []string
	}{
		{"a;b", []string{"a", "b"}},
		{" ; a ; ;", []string{"a"}},
		{`SELECT ';\';' ; "x;y" /* ; */ -- ;` + "\n;z", []string{`SELECT ';\';'`, `"x;y"`, "z"}},
		{"$q$;$q$;", []string{"$q$;$q$"}},
		{"", nil},
	}
	for _, tt := range tests {
		got, err := Split(tt.in)
		if tt.in == tests[2].in { // the comments stay with their statement
			got[1], _, _ = strings.Cut(got[1], " ")
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Split(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
	if _, err := Split(`SELECT 'a\';`); err == nil {
		t.Error("an open literal was split")
	}
}

// TestGrowth: calls whose arguments are written more than once must not nest
// into something exponential.
func TestGrowth(t *testing.T) {
	decode, diff := "1", "1"
	for range 60 {
		decode = "DECODE(" + decode + ",1,2,3,4,5,6)"
		diff = "DATEDIFF(month," + diff + ",1)"
	}
	start := time.Now()
	for _, sql := range []string{decode, diff} {
		if _, err := Translate("SELECT "+sql, DuckDB, nil); err == nil {
			t.Errorf("60 nested calls were translated: %.20s", sql)
		}
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestMessage(t *testing.T) {
	tests := []struct {
		engine   Engine
		in, want string
	}{
		{DuckDB, "Constraint Error: CHECK constraint failed on table a with expression CHECK((strlen(rtrim(x)) <= 3))", "ERROR: value too long for type character varying(3)"},
		{DuckDB, "Constraint Error: CHECK constraint failed on table a with expression CHECK((2 >= strlen(rtrim(x))))", "ERROR: value too long for type character(2)"},
		{DuckDB, "Catalog Error: Table with name nope does not exist!\nDid you mean", `ERROR: relation "nope" does not exist`},
		{DuckDB, "Out of Range Error: x\ny", "ERROR: Out of Range Error: x"},
		{Postgres, `ERROR: new row for relation "t" violates check constraint "localaws_varchar_9_a" (SQLSTATE 23514)`, "ERROR: value too long for type character varying(9)"},
		{Postgres, `ERROR: relation "nope" does not exist (SQLSTATE 42P01)`, `ERROR: relation "nope" does not exist`},
	}
	for _, tt := range tests {
		if got := Message(tt.engine, tt.in); got != tt.want {
			t.Errorf("Message(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
