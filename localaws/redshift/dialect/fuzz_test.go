package dialect

import (
	"strings"
	"testing"
)

// outside returns what an engine with standard literals reads outside quotes,
// by a lexer of its own: it must not share the translation's mistakes.
func outside(t *testing.T, e Engine, sql string) string {
	var b strings.Builder
	for i := 0; i < len(sql); {
		c := sql[i]
		if c != '\'' && c != '"' {
			b.WriteByte(c)
			i++
			continue
		}
		escapes := e == Postgres && c == '\'' && i > 0 && sql[i-1] == 'E'
		for i++; ; i++ {
			if i >= len(sql) {
				t.Fatalf("open quote in %q", sql)
			}
			if escapes && sql[i] == '\\' {
				i++
			} else if sql[i] == c {
				if i+1 < len(sql) && sql[i+1] == c {
					i++
					continue
				}
				break
			}
		}
		b.WriteByte('_')
		i++
	}
	return b.String()
}

func FuzzTranslate(f *testing.F) {
	for _, s := range []string{
		`SELECT 'a\'b', "c""d", $$e$$, :p FROM t -- x`, `INSERT INTO t (a) VALUES (1, NULL), ('\\', '''')`,
		`CREATE TABLE a.b (c VARCHAR(9) DISTKEY DEFAULT 'x', d INT IDENTITY(1,1), PRIMARY KEY (c)) SORTKEY (c)`,
		`COPY t (a,b) FROM 's3://b/k' IAM_ROLE default CSV QUOTE '%' NULL AS '\000' MAXERROR 3`,
		`SELECT LISTAGG(x, ',') WITHIN GROUP (ORDER BY y), DATEDIFF(day, a, b), DECODE(a, 1, 2) FROM t`,
		`WITH a AS (SELECT TOP 5 * FROM #x) DELETE FROM b USING a`, `LOCK a, b.c`, `ALTER TABLE t ADD COLUMN c TEXT NOT NULL`,
		`SELECT CAST(x AS numeric(3,1))::char(3), EXTRACT(day FROM y), TO_CHAR(z, 'YYYY "x"')`, `DROP TABLE IF EXISTS a, b CASCADE`,
		"SELECT 1 -/**/- 1 /* /* */ */;", `CREATE VIEW v AS SELECT 1 WITH NO SCHEMA BINDING`, `SELECT cast()`, `SELECT decode(,,,)`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		for _, e := range []Engine{DuckDB, Postgres} {
			s, err := Translate(sql, e, map[string]string{"p": `'\`})
			if err != nil {
				continue
			}
			for _, out := range append(append([]string{s.SQL}, s.Before...), s.After...) {
				if bare := outside(t, e, out); strings.Contains(bare, ";") || strings.Contains(bare, "--") || strings.Contains(bare, "/*") || strings.ContainsAny(bare, "$?\x00") {
					t.Fatalf("%q became %q", sql, out)
				}
			}
		}
		if parts, err := Split(sql); err == nil {
			for _, p := range parts {
				if again, err := Split(p); err != nil || len(again) != 1 {
					t.Fatalf("part %q of %q splits into %q, %v", p, sql, again, err)
				}
			}
		}
	})
}
