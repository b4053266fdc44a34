package warehouse

import (
	"strings"
	"testing"
)

func TestNamesOfSchemas(t *testing.T) {
	for schema, want := range map[string]string{
		"": "fact_orders", "sales": `"sales".fact_orders`, "public": `"public".fact_orders`, "sales-2026": `"sales-2026".fact_orders`,
		"2026_$x": `"2026_$x".fact_orders`, "select": `"select".fact_orders`, strings.Repeat("s", 127): `"` + strings.Repeat("s", 127) + `".fact_orders`,
	} {
		if in, err := NamesIn(schema); err != nil || in.Of("fact_orders") != want || in.Schema() != schema {
			t.Errorf("%q: %s, %v", schema, in.Of("fact_orders"), err)
		}
	}
	for schema, want := range map[string]string{
		"Sales": "lower case", "SALES": "lower case", `"sales"`: "without quotes", "dev.sales": "without the database", "a b": "lower-case letters", "s;": "lower-case letters",
		`s"`: "lower-case letters", "s\n": "lower-case letters", "verkäufe": "lower-case letters", "pg_catalog": "of the database itself", "pg_temp_1": "of the database itself",
		"information_schema": "of the database itself", strings.Repeat("s", 128): "1 to 127",
	} {
		if in, err := NamesIn(schema); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", schema, in.Of("fact_orders"), err)
		}
	}
}

func TestGrantsQuoteTheUser(t *testing.T) {
	in, err := NamesIn("sales-2026")
	if err != nil {
		t.Fatal(err)
	}
	statements, err := in.Grants(`IAMR:a"b`, "analytics")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if !strings.HasSuffix(s.SQL, ` TO "IAMR:a""b"`) {
			t.Error(s.SQL)
		}
	}
	if got := Script(statements); !strings.Contains(got, `GRANT USAGE ON SCHEMA "sales-2026" TO `) || !strings.Contains(got, `GRANT TEMP ON DATABASE "analytics" TO `) {
		t.Error(got)
	}
	for _, user := range []string{"", "a\nb", strings.Repeat("u", 128)} {
		if _, err := in.Grants(user, "analytics"); err == nil {
			t.Errorf("%q is taken for a user", user)
		}
	}
}
