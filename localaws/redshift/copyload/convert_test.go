package copyload

import (
	"errors"
	"testing"
)

func TestTimestamp(t *testing.T) {
	const bad = ""
	tests := []struct {
		in, format string
		zoned      bool
		want       string
	}{
		{"2024-01-02 03:04:05", "", false, "2024-01-02 03:04:05.000000"},
		{"2024-01-02 03:04:05.1234567", "", false, "2024-01-02 03:04:05.123456"},
		{"2024-01-02T03:04:05", "", false, bad},
		{"2024-01-02T03:04:05.5Z", "auto", false, "2024-01-02 03:04:05.500000"},
		{"2024-01-02T03:04:05+09:00", "auto", false, "2024-01-02 03:04:05.000000"},
		{"2024-01-02T03:04:05+09:00", "auto", true, "2024-01-01 18:04:05.000000"},
		{"2024-01-02 03:04:05-05", "auto", true, "2024-01-02 08:04:05.000000"},
		{"2024/01/02 03:04", "auto", false, "2024-01-02 03:04:00.000000"},
		{"2024-01-02", "auto", false, "2024-01-02 00:00:00.000000"},
		{"2024-02-30 00:00:00", "auto", false, bad},
		{"1704164645", "auto", false, bad},
		{"1704164645", "epochsecs", false, "2024-01-02 03:04:05.000000"},
		{"1704164645.5", "epochsecs", false, "2024-01-02 03:04:05.500000"},
		{"1704164645123", "epochmillisecs", false, "2024-01-02 03:04:05.123000"},
		{"-1", "epochmillisecs", false, "1969-12-31 23:59:59.999000"},
		{"99999999999999999", "epochsecs", false, bad},
		{"1e300", "epochsecs", false, bad},
		{"x", "epochsecs", false, bad},
		{"02.01.2024 15:04:05", "DD.MM.YYYY HH24:MI:SS", false, "2024-01-02 15:04:05.000000"},
		{"Jan 2 2024 03:04 PM", "MON DD YYYY HH12:MI AM", false, bad},
		{"Jan 02 2024 03:04 PM", "MON DD YYYY HH12:MI AM", false, "2024-01-02 15:04:00.000000"},
		{"2024", "YYYY??Q1", false, bad},
		{"", "auto", false, bad},
	}
	for _, tt := range tests {
		got, err := Timestamp(tt.in, tt.format, tt.zoned)
		if got != tt.want || (err == nil) != (tt.want != bad) {
			t.Errorf("Timestamp(%q, %q, %v) = %q, %v; want %q", tt.in, tt.format, tt.zoned, got, err, tt.want)
		}
	}
}

func TestConvert(t *testing.T) {
	decimal := Column{Name: "d", Type: "decimal", Precision: 5, Scale: 2}
	tests := []struct {
		column Column
		opts   string
		in     string
		want   string // ~ is NULL
		reason string
	}{
		{Column{Type: "integer"}, "", " 12 ", "12", ""},
		{Column{Type: "integer"}, "", "", "~", ""},
		{Column{Type: "integer"}, "", "1x", "", "Invalid digit, Value 'x', Pos 1, Type: Integer"},
		{Column{Type: "integer"}, "", "1.0", "", "Invalid digit, Value '.', Pos 1, Type: Integer"},
		{Column{Type: "integer"}, "", "2147483648", "", "Overflow (Integer valid range is that of 32 bits)"},
		{Column{Type: "smallint"}, "", "-32768", "-32768", ""},
		{decimal, "", "1.239", "1.23", ""},
		{decimal, "ROUNDEC", "-1.235", "-1.24", ""},
		{decimal, "ROUNDEC", "0.005", "0.01", ""},
		{decimal, "", "1e2", "100.00", ""},
		{decimal, "", "-.5", "-0.50", ""},
		{decimal, "", "1000", "", "Numeric overflow for Decimal(5,2)"},
		{decimal, "", "1e999999999", "", "Numeric overflow for Decimal(5,2)"},
		{decimal, "", "1,5", "", "Invalid digit, Value ',', Pos 1, Type: Decimal"},
		{decimal, "", "NaN", "", "Invalid digit, Value 'N', Pos 0, Type: Decimal"},
		{Column{Type: "double precision"}, "", "1e3", "1e3", ""},
		{Column{Type: "double precision"}, "", "1e3x", "", "Invalid digit, Value 'x', Pos 3, Type: Double"},
		{Column{Type: "boolean"}, "", "Yes", "true", ""},
		{Column{Type: "boolean"}, "", "maybe", "", "Unknown boolean format"},
		{Column{Type: "varchar", Length: 3}, "", "éa", "éa", ""},
		{Column{Type: "varchar", Length: 3}, "", "éé", "", "String length exceeds DDL length"},
		{Column{Type: "varchar", Length: 3}, "TRUNCATECOLUMNS", "éé", "é", ""},
		{Column{Type: "varchar", Length: 3}, "", "ab    ", "ab ", ""},
		{Column{Type: "varchar"}, "", "", "", ""},
		{Column{Type: "date"}, "", "2024-01-02", "2024-01-02", ""},
		{Column{Type: "date"}, "", "2024-1-2", "", "Invalid date format - length must be 10 or more"},
		{Column{Type: "date"}, "DATEFORMAT 'DD/MM/YYYY'", "02/01/2024", "2024-01-02", ""},
		{Column{Type: "timestamp"}, "", "yesterday", "", "Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SS]"},
		{Column{Type: "timestamp"}, "ACCEPTANYDATE", "yesterday", "~", ""},
		{Column{Type: "integer", NotNull: true}, "", "", "", "Missing data for not-null field"},
	}
	for _, tt := range tests {
		got, err := tt.column.Convert(Field{Text: tt.in}, options(t, "CSV "+tt.opts))
		var e *LoadError
		switch {
		case tt.reason != "":
			if !errors.As(err, &e) || e.Reason != tt.reason || e.Value != tt.in || e.Column != tt.column.Name || e.Code == 0 {
				t.Errorf("%+v %q: got %v, want %s", tt.column, tt.in, err, tt.reason)
			}
		case err != nil:
			t.Errorf("%+v %q: %v", tt.column, tt.in, err)
		case got != Field{Text: tt.want} && got != Field{Null: tt.want == "~"}:
			t.Errorf("%+v %q: got %+v, want %q", tt.column, tt.in, got, tt.want)
		}
	}
}

func BenchmarkRows(b *testing.B) {
	row := map[string]string{
		"CSV":         "ord-000001,cust-17,1,4.95,1,order_created,2026-11-20 08:15:30.000000\n",
		"JSON 'auto'": `{"a":"ord-000001","b":"cust-17","c":1,"d":4.95,"e":1,"f":"order_created","g":"2026-11-20 08:15:30.000000"}` + "\n",
	}
	for opts, line := range row {
		b.Run(opts, func(b *testing.B) {
			c := options(b, opts)
			b.ReportAllocs()
			r := &repeated{line: line, left: b.N}
			if err := Rows(r, c, []string{"a", "b", "c", "d", "e", "f", "g"}, func(int, []Field) error { return nil }); err != nil {
				b.Fatal(err)
			}
		})
	}
}
