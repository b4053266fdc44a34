package conformance

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

func message(db *engine, err error) string {
	var refused *dialect.Error
	if errors.As(err, &refused) {
		return refused.Message
	}
	for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
		err = e
	}
	return dialect.Message(db.engine, err.Error())
}

// redshiftLiteral is how a careful client writes a value for Redshift.
func redshiftLiteral(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

func checkRoundTrip(t testing.TB, db *engine, s string) {
	t.Helper()
	forms := map[string]string{"literal": "SELECT " + redshiftLiteral(s), "parameter": "SELECT :p"}
	for name, q := range forms {
		var params map[string]string
		if name == "parameter" {
			params = map[string]string{"p": s}
		}
		st, err := dialect.Translate(q, db.engine, params)
		if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
			if err == nil {
				t.Fatalf("%v: %s %q was taken: no VARCHAR can hold it", db, name, s)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%v: %s %q: %v", db, name, s, err)
		}
		var got string
		if err := db.conn.QueryRowContext(context.Background(), st.SQL).Scan(&got); err != nil {
			t.Fatalf("%v: %s %q: %s: %v", db, name, s, st.SQL, err)
		}
		if got != s {
			t.Fatalf("%v: %s %q came back as %q", db, name, s, got)
		}
	}
}

var hostile = []string{
	"", "plain", "'", "''", `\`, `\\`, `\'`, `'\`, `'; DROP TABLE t; --`, `\'; DROP TABLE t; --`, "/*", "*/", "--", "$$", "$a$", ";", ":p", "::", "?", "$1",
	"\n", "\r\n", "\t\b\f\v", "\x01\x1f\x7f", "名前-O'Brien\\x", "\u00a0\u2003\u3000", "\u200b\ufeff", "e'x'", `E'\\'`, "\U0001f600", "a\x00b", "a\xffb", `\x41\101\u0041`,
	"\u2028\u2029", `%_\%\_`, `"`, "`", "{}", "\\\n",
}

func TestLiteralRoundTrip(t *testing.T) {
	engines(t, func(t testing.TB, db *engine) {
		for _, s := range hostile {
			checkRoundTrip(t, db, s)
		}
	})
}

func FuzzLiteral(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	engines(f, func(t testing.TB, db *engine) {
		if db.engine != dialect.DuckDB {
			return
		}
		f.Fuzz(func(t *testing.T, s string) { checkRoundTrip(t, db, s) })
	})
}

// TestBoundaries builds literals from the pieces that lexers trip over and
// checks that both engines still see one statement with the values meant.
func TestBoundaries(t *testing.T) {
	tests := []struct{ sql, want string }{
		{`SELECT 'a\'', 'b'`, "a'|b"},
		{`SELECT '\\', ' OR 1=1 --'`, `\| OR 1=1 --`},
		{`SELECT 'a''b\'c'`, "a'b'c"},
		{`SELECT $$\$$, $q$'$q$`, `\|'`},
		{"SELECT 'x' --' \n, 'y'", "x|y"},
		{"SELECT /* ' /* */ ' */ 'z'", "z"},
		{`SELECT '\101\x42\103', '\n' = chr(10), '\q', '\x'`, "ABC|true|q|x"},
		{`SELECT 1-/**/-1`, "2"},
		{`SELECT "q""x" FROM (SELECT 1 AS "q""x") s`, "1"},
		{"SELECT 1 AS \u00a0", "1"},
	}
	engines(t, func(t testing.TB, db *engine) {
		for _, tt := range tests {
			got, err := db.run(tt.sql, nil)
			if err != nil {
				t.Errorf("%v: %s: %v", db, tt.sql, err)
			} else if got != tt.want {
				t.Errorf("%v: %s\n got  %s\n want %s", db, tt.sql, got, tt.want)
			}
		}
	})
}
