// Package copyload decodes what COPY loads: CSV, delimited text and JSON files,
// their manifests, and the values of their fields, by Redshift's rules and with
// the words of stl_load_errors for what does not fit. It does no I/O of its own.
package copyload

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// maxRow is the largest row that COPY reads, in bytes.
const maxRow = 4 << 20

// Field is one field of a row.
type Field struct {
	Text string
	Null bool
}

// LoadError is a row that cannot be loaded, as stl_load_errors tells it.
type LoadError struct {
	File    string // set by the caller, who knows it
	Line    int    // from 1; of the row's first line
	Column  string // empty where the row as a whole is wrong
	Code    int    // Redshift's load error code
	Reason  string
	Value   string // the field as it was read
	RawLine string // the row's text, at most maxRawLine bytes
}

// maxRawLine is the size of raw_line in stl_load_errors.
const maxRawLine = 1024

func (e *LoadError) Error() string {
	s := e.Reason
	if e.Column != "" {
		s = "column " + e.Column + ": " + s
	}
	if e.Line > 0 {
		s = fmt.Sprintf("line %d: %s", e.Line, s)
	}
	if e.File != "" {
		s = e.File + ": " + s
	}
	return s
}

// Load error codes of Redshift.
const (
	codeExtraColumns = 1202
	codeRange        = 1204
	codeDate         = 1205
	codeTimestamp    = 1206
	codeDigit        = 1207
	codeFloat        = 1208
	codeDecimal      = 1209
	codeBoolean      = 1210
	codeNotNull      = 1213
	codeDelimiter    = 1214
	codeLine         = 1216
	codeUTF8         = 1220
)

// Rows reads one file and calls yield with each row: line is where the row
// starts, and fields holds a field for each column, valid during the call only.
// It ends at the first error: yield's own, or a *LoadError.
func Rows(r io.Reader, c *dialect.Copy, columns []string, yield func(line int, fields []Field) error) error {
	return RowsSkipping(r, c, columns, yield, func(e *LoadError) error { return e })
}

// RowsSkipping is Rows for MAXERROR: skip is called with each row that cannot
// be read, or that yield answers with a *LoadError, and reading goes on unless
// skip returns an error.
func RowsSkipping(r io.Reader, c *dialect.Copy, columns []string, yield func(line int, fields []Field) error, skip func(*LoadError) error) error {
	plain, err := decompress(r, c)
	if err != nil {
		return err
	}
	defer plain.Close()
	f := &file{in: bufio.NewReaderSize(plain, 64<<10), c: c, columns: columns, fields: make([]Field, len(columns)), line: 1}
	if b, _ := f.in.Peek(3); string(b) == "\xef\xbb\xbf" {
		_, _ = f.in.Discard(3) // peeked, so it is there
	}
	next := f.delimited
	switch c.Format {
	case "CSV":
		next = f.csv
	case "JSON":
		if strings.HasPrefix(c.JSONPaths, "s3://") {
			return errors.New("JSON paths files are not supported by localaws: use 'auto' or 'auto ignorecase'")
		}
		next = f.json
	}
	if c.Format != "JSON" {
		if err := f.header(); err != nil {
			return err
		}
	}
	for {
		err := f.row(next, yield)
		var bad *LoadError
		switch {
		case errors.As(err, &bad):
			if bad.Line == 0 {
				bad.Line = f.start
			}
			bad.RawLine = clip(f.raw)
			if err := skip(bad); err != nil {
				return err
			}
			if f.broken {
				return nil
			}
		case err == io.EOF && f.mine:
			return nil
		case err != nil:
			return err
		}
	}
}

func decompress(r io.Reader, c *dialect.Copy) (io.ReadCloser, error) {
	switch {
	case c.Gzip:
		z, err := gzip.NewReader(r)
		if err == io.EOF {
			return io.NopCloser(strings.NewReader("")), nil // an empty object
		}
		if err != nil {
			return nil, fmt.Errorf("read gzip file: %w", err)
		}
		return z, nil
	case c.Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("read zstd file: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// file is the state of reading one file.
type file struct {
	in      *bufio.Reader
	c       *dialect.Copy
	columns []string
	fields  []Field
	line    int    // of the next byte
	start   int    // of the row being read
	raw     []byte // the row being read
	mine    bool   // the last error is the reader's, not yield's
	broken  bool   // no later row can be found
}

// row reads one row and yields it.
func (f *file) row(next func() error, yield func(int, []Field) error) error {
	f.start = f.line
	f.raw, f.mine = f.raw[:0], true
	if err := next(); err != nil {
		return err
	}
	f.mine = false
	return yield(f.start, f.fields)
}

func clip(raw []byte) string {
	s := strings.TrimRight(string(raw[:min(len(raw), maxRawLine)]), "\r\n")
	return strings.ToValidUTF8(s, "?")
}

// header skips IGNOREHEADER lines.
func (f *file) header() error {
	for range f.c.IgnoreHeader {
		if _, err := f.readLine(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	f.raw = f.raw[:0]
	return nil
}

// readLine appends the next line, without its end, to raw.
func (f *file) readLine() ([]byte, error) {
	start := len(f.raw)
	for {
		part, err := f.in.ReadSlice('\n')
		f.raw = append(f.raw, part...)
		if len(f.raw) > maxRow {
			f.broken = true
			return nil, &LoadError{Code: codeLine, Reason: "Input line exceeds the maximum row size of 4 MB"}
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && len(f.raw) > start {
			break
		}
		if err != nil {
			return nil, err
		}
		f.line++
		break
	}
	line := f.raw[start:]
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
		if len(line) == 0 || line[len(line)-1] != '\r' {
			break
		}
	}
	return line, nil
}

// set stores field i. whole says that the text may stand for NULL: it was not
// in quotes.
func (f *file) set(i int, s string, whole bool) error {
	c := f.c
	null := `\N`
	if c.NullAs != nil {
		null = *c.NullAs
	}
	switch {
	case whole && s == null,
		c.EmptyAsNull && s == "",
		c.BlanksAsNull && strings.TrimSpace(s) == "" && s != "":
		f.fields[i] = Field{Null: true}
		return nil
	}
	if c.TrimBlanks {
		s = strings.TrimRight(s, " \t")
	}
	if at := strings.IndexByte(s, 0); at >= 0 {
		return &LoadError{
			Column: f.columns[i], Code: codeLine, Value: s,
			Reason: fmt.Sprintf("Missing newline: Unexpected character 0x0 found at location %d", at),
		}
	}
	if at, _ := dialect.Noncharacter(s); at >= 0 || !utf8.ValidString(s) {
		if !c.AcceptInvChars {
			return &LoadError{Column: f.columns[i], Code: codeUTF8, Value: strings.ToValidUTF8(s, "?"), Reason: badUTF8(s)}
		}
		s = replaceInvalid(s, c.InvCharsAs)
	}
	f.fields[i] = Field{Text: s}
	return nil
}

func badUTF8(s string) string {
	if at, number := dialect.Noncharacter(s); at >= 0 && utf8.ValidString(s[:at]) {
		return fmt.Sprintf("String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: % x (error %d)", s[at:at+3], number)
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return fmt.Sprintf("String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: %x (error 3)", s[i:i+1])
		}
		i += n
	}
	return "String contains invalid or unsupported UTF8 codepoints."
}

// replaceInvalid puts one character for each invalid byte.
func replaceInvalid(s string, by byte) string {
	if by == 0 {
		by = '?'
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		bad, _ := dialect.Noncharacter(s[i : i+n])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteByte(by)
		case bad == 0: // the replacement is as long as what it replaces
			b.WriteString(strings.Repeat(string(by), n))
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// count checks the number of fields in a row of text and fills up what
// FILLRECORD allows to be missing.
func (f *file) count(n int) error {
	switch {
	case n > len(f.fields):
		return &LoadError{Code: codeExtraColumns, Reason: "Extra column(s) found"}
	case n == len(f.fields):
		return nil
	case !f.c.FillRecord:
		return &LoadError{Column: f.columns[n], Code: codeDelimiter, Reason: "Delimiter not found"}
	}
	for i := n; i < len(f.fields); i++ {
		f.fields[i] = Field{Null: true}
	}
	return nil
}
