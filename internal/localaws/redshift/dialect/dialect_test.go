package dialect

import "testing"

func TestTranslate(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"literal escapes", `SELECT 'a\'b''c\\d\n\x41\101\q'`, "select 'a''b''c\\d\nAAq'"},
		{"comments", "SELECT/* a /* b */ c */1 --x\n, 2", "select 1 , 2"},
		{"dollar quotes", `SELECT $$a'b$$, $x$ $$ $x$`, `select 'a''b' , ' $$ '`},
		{"names", `SELECT "A b", Ab FROM public.T`, `select "a b" , ab from t`},
		{"cast", `SELECT x::VARCHAR(10), y::float8 FROM t`, `select x :: varchar , y :: double precision from t`},
		{"nvl", `SELECT NVL(a, NVL(b, 1))`, `select coalesce( a , coalesce( b , 1 ) )`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Translate(tt.in, DuckDB, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.SQL != tt.want {
				t.Errorf("got  %s\nwant %s", s.SQL, tt.want)
			}
		})
	}
}
