package copyload

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// options parses what stands after FROM, so that the tests read as COPY does.
func options(t testing.TB, opts string) *dialect.Copy {
	t.Helper()
	s, err := dialect.Translate("COPY t FROM 's3://b/k' IAM_ROLE default "+opts, dialect.DuckDB, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Copy
}

// load reads rows as text: "line: field|field", with ~ for NULL.
func load(r io.Reader, c *dialect.Copy, columns ...string) ([]string, error) {
	var rows []string
	err := Rows(r, c, columns, func(line int, fields []Field) error {
		parts := make([]string, len(fields))
		for i, f := range fields {
			if parts[i] = f.Text; f.Null {
				parts[i] = "~"
			}
		}
		rows = append(rows, fmt.Sprintf("%d: %s", line, strings.Join(parts, "|")))
		return nil
	})
	return rows, err
}

func TestRows(t *testing.T) {
	tests := []struct {
		name, opts, in string
		want           []string
	}{
		{"csv", "CSV", "a,b\r\n\"x,1\",\"say \"\"hi\"\"\"\n", []string{"1: a|b", `2: x,1|say "hi"`}},
		{"csv line ends in quotes", "CSV", "\"a\nb\r\nc\",d\ne,f", []string{"1: a\nb\r\nc|d", "4: e|f"}},
		{"csv nulls", "CSV", "\\N,\"\\N\"\n,\"\"\n", []string{`1: ~|\N`, "2: |"}},
		{"csv null as", "CSV NULL AS 'nil' EMPTYASNULL", "nil,\\N\n,x\n", []string{`1: ~|\N`, "2: ~|x"}},
		{"csv NUL", `CSV NULL AS '\000'`, "\x00,x\n", []string{"1: ~|x"}},
		{"csv quote and delimiter", "CSV QUOTE '%' DELIMITER ';'", "%a;b%;\"c\"\n", []string{`1: a;b|"c"`}},
		{"csv header", "CSV IGNOREHEADER 2 IGNOREBLANKLINES", "h\nh\n\na,b\n\n", []string{"4: a|b"}},
		{"csv fill record", "CSV FILLRECORD", "a\n", []string{"1: a|~"}},
		{"csv mark", "CSV", "\xef\xbb\xbfa,b\n", []string{"1: a|b"}},
		{"csv backslashes stay", "CSV", `a\n,\\` + "\n", []string{`1: a\n|\\`}},
		{"csv bad bytes", "CSV ACCEPTINVCHARS AS '^'", "a\xffb,\xc3\n", []string{"1: a^b|^"}},
		{"csv noncharacters", "CSV ACCEPTINVCHARS AS '^'", "a\ufdd0b,\ufffe\n", []string{"1: a^^^b|^^^"}},
		{"blanks", "CSV BLANKSASNULL TRIMBLANKS", "  ,a  \n", []string{"1: ~|a"}},
		{"delimited", "", "a|b\n\\N|\n", []string{"1: a|b", "2: ~|"}},
		{"delimited end", "", "a|b|\n", []string{"1: a|b"}},
		{"delimited escape", "ESCAPE", "a\\|b|c\\\\\nx\\\ny|\\N\nz|\\\\N\n", []string{`1: a|b|c\`, "2: x\ny|~", `4: z|\N`}},
		{"delimited quotes", "REMOVEQUOTES DELIMITER ','", "\"a,b\",'c'\nd,e\n", []string{"1: a,b|c", "3: d|e"}},
		{
			"json", "JSON 'auto'", "{\"a\":1.50,\"b\":null,\"z\":[1]}\n\n {\"b\":\"x\\n\\u00e9\"}{\"a\":true,\"b\":{\"k\": [1, 2]}}",
			[]string{"1: 1.50|~", "3: ~|x\né", `3: true|{"k":[1,2]}`},
		},
		{"json is exact about case", "JSON 'auto'", `{"A":1,"b":2}`, []string{"1: ~|2"}},
		{"json ignorecase", "JSON 'auto ignorecase'", `{"A":1e3,"B":12345678901234567890}`, []string{"1: 1e3|12345678901234567890"}},
		{"json braces in strings", "JSON 'auto'", `{"a":"}{\"","b":"\\"}`, []string{`1: }{"|\`}},
		{"json null text is text", "JSON 'auto'", `{"a":"\\N","b":""}`, []string{`1: \N|`}},
		{"empty file", "CSV", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "delimited quotes" {
				tt.want[1] = "2: d|e"
			}
			got, err := load(strings.NewReader(tt.in), options(t, tt.opts), "a", "b")
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name, opts, in string
		line           int
		column, reason string
		raw            string
	}{
		{"few", "CSV", "a,b\nc\n", 2, "b", "Delimiter not found", "c"},
		{"many", "CSV", "a,b,c\n", 1, "", "Extra column(s) found", "a,b,c"},
		{"text after quote", "CSV", "\"a\"b,c\n", 1, "", "Invalid quote formatting for CSV", `"a"b,c`},
		{"open quote", "CSV", "x,y\n\"a\nb", 2, "", "Missing newline: end of file inside a quoted field", "\"a\nb"},
		{"NUL", "CSV", "a,b\x00c\n", 1, "b", "Missing newline: Unexpected character 0x0 found at location 1", "a,b\x00c"},
		{"bad bytes", "CSV", "a,b\xff\n", 1, "b", "String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: ff (error 3)", "a,b?"},
		{
			"noncharacter", "CSV", "a,b\ufdef\n", 1, "b",
			"String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: ef b7 af (error 6)", "a,b\ufdef",
		},
		{
			"last code point", "CSV", "\uffff,b\n", 1, "a",
			"String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: ef bf bf (error 7)", "\uffff,b",
		},
		{"delimited many", "", "a|b|c\n", 1, "", "Extra column(s) found", "a|b|c"},
		{"delimited quotes", "REMOVEQUOTES", "'a|b\n", 1, "", "Delimiter not found: missing end quote", "'a|b"},
		{"json array", "JSON 'auto'", "\n[1]\n", 2, "", "Invalid JSON: expected an object", "[1]"},
		{"json open", "JSON 'auto'", `{"a":1`, 1, "", "Invalid JSON: end of file inside an object", `{"a":1`},
		{"json bad", "JSON 'auto'", `{"a":01}`, 1, "", "Invalid JSON: invalid character '1' after object key:value pair", `{"a":01}`},
		{"json NUL", "JSON 'auto'", `{"a":"\u0000"}`, 1, "a", "Missing newline: Unexpected character 0x0 found at location 0", `{"a":"\u0000"}`},
		{"row size", "CSV", strings.Repeat("x", maxRow) + ",b\n", 1, "", "Input line exceeds the maximum row size of 4 MB", strings.Repeat("x", maxRawLine)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(strings.NewReader(tt.in), options(t, tt.opts), "a", "b")
			var e *LoadError
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a LoadError", err)
			}
			if e.Line != tt.line || e.Column != tt.column || e.Reason != tt.reason || e.RawLine != tt.raw || e.Code == 0 {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestSkipping: with MAXERROR the rows around a bad one are still read.
func TestSkipping(t *testing.T) {
	for opts, in := range map[string]string{
		"CSV":         "a,b\nbad\n\xff,x\nc,d\n",
		"":            "a|b\nbad\n\xff|x\nc|d\n",
		"JSON 'auto'": "{\"a\":\"a\",\"b\":\"b\"}\nbad\n{\"a\":01}\n{\"a\":\"c\",\"b\":\"d\"}\n",
	} {
		var lines, bad []int
		err := RowsSkipping(strings.NewReader(in), options(t, opts), []string{"a", "b"},
			func(line int, _ []Field) error { lines = append(lines, line); return nil },
			func(e *LoadError) error { bad = append(bad, e.Line); return nil })
		if err != nil || !slices.Equal(lines, []int{1, 4}) || !slices.Equal(bad, []int{2, 3}) {
			t.Errorf("%q: lines %v, bad %v, %v", opts, lines, bad, err)
		}
	}
}

func TestYieldErrorEnds(t *testing.T) {
	stop := errors.New("the engine says no")
	n := 0
	err := RowsSkipping(strings.NewReader("a\nb\n"), options(t, "CSV"), []string{"a"},
		func(int, []Field) error { n++; return stop }, func(*LoadError) error { return nil })
	if err != stop || n != 1 {
		t.Errorf("got %v after %d rows", err, n)
	}
}

// TestYieldRejects: a row that yield finds wrong is passed over as one that cannot
// be read is, and is told with its line.
func TestYieldRejects(t *testing.T) {
	var bad []LoadError
	n := 0
	err := RowsSkipping(strings.NewReader("a,1\nb,2\n"), options(t, "CSV"), []string{"a", "b"},
		func(int, []Field) error { n++; return &LoadError{Reason: "no"} }, func(e *LoadError) error { bad = append(bad, *e); return nil })
	if err != nil || n != 2 || len(bad) != 2 || bad[1].RawLine != "b,2" || bad[1].Line != 2 {
		t.Errorf("got %v, %d rows, %+v", err, n, bad)
	}
}

func TestCompressed(t *testing.T) {
	var z, two bytes.Buffer
	for _, part := range []string{"a,b\n", "c,d\n"} { // gzip members may follow each other
		w := gzip.NewWriter(&z)
		if _, err := io.WriteString(w, part); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
	}
	w, err := zstd.NewWriter(&two)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "a,b\nc,d\n"); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	want := []string{"1: a|b", "2: c|d"}
	for opts, in := range map[string]io.Reader{"CSV GZIP": &z, "CSV ZSTD": &two} {
		if got, err := load(in, options(t, opts), "a", "b"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v", opts, got, err)
		}
	}
	if _, err := load(strings.NewReader("a,b\n"), options(t, "CSV GZIP"), "a", "b"); err == nil {
		t.Error("plain text was read as gzip")
	}
}

func TestManifest(t *testing.T) {
	got, err := Manifest([]byte(`{"entries":[{"url":"s3://b/k","mandatory":true},{"url":"s3://b/l","meta":{"content_length":3}}]}`))
	if want := []Entry{{"s3://b/k", true}, {"s3://b/l", false}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{``, `{}`, `{"entries":[]}`, `{"entries":[{"url":"http://b/k"}]}`, `{"entries":[{"url":"s3://b"}]}`, `[1]`} {
		if _, err := Manifest([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a manifest", bad)
		}
	}
}

func FuzzCopyRows(f *testing.F) {
	opts := []string{"CSV", "", "ESCAPE REMOVEQUOTES", "JSON 'auto'", "CSV FILLRECORD ACCEPTINVCHARS IGNOREBLANKLINES", "JSON 'auto ignorecase'"}
	for i, s := range []string{"a,b\n\"c\"\"\n\",d", "a|b\\\n|", "'a'|\"b\\\"|\"\n", `{"a":1,"b":"\u00e9"}{"a":[{}]}`, "\n\n,\xff", "[]\n{\"a\":{}}"} {
		f.Add(i, []byte(s))
	}
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		c := options(t, opts[(which%len(opts)+len(opts))%len(opts)])
		lines := bytes.Count(data, []byte("\n")) + 1
		last := 0
		check := func(line int) {
			if line < last || line < 1 || line > lines {
				t.Fatalf("line %d after %d of %d", line, last, lines)
			}
			last = line
		}
		err := RowsSkipping(bytes.NewReader(data), c, []string{"a", "b"}, func(line int, fields []Field) error {
			check(line)
			for _, f := range fields {
				if f.Null && f.Text != "" || strings.IndexByte(f.Text, 0) >= 0 || strings.ToValidUTF8(f.Text, "") != f.Text {
					t.Fatalf("line %d: field %+v", line, f)
				}
			}
			return nil
		}, func(e *LoadError) error { check(e.Line); return nil })
		if err != nil {
			t.Fatal(err)
		}
	})
}
