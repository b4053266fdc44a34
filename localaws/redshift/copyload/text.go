package copyload

import (
	"bytes"
	"io"
)

// csv reads one row of CSV: quotes around a field let it hold delimiters and
// line ends, and a quote inside them is doubled.
func (f *file) csv() error {
	line, err := f.firstLine()
	if err != nil {
		return err
	}
	var n int
	var first error
	for at := 0; ; n++ {
		var field []byte
		quoted := at < len(line) && line[at] == f.c.Quote
		if quoted {
			if field, at, line, err = f.quotedField(line, at+1); err != nil {
				return err
			}
		} else {
			end := bytes.IndexByte(line[at:], f.c.Delimiter)
			if end < 0 {
				end = len(line) - at
			}
			field, at = line[at:at+end], at+end
		}
		if first == nil && n < len(f.fields) {
			first = f.set(n, string(field), !quoted)
		}
		if at >= len(line) {
			break
		}
		at++ // the delimiter
	}
	// The whole row is read before an error is told, so that the next one starts right.
	if err := f.count(n + 1); err != nil {
		return err
	}
	return first
}

// firstLine reads the line that a row starts with.
func (f *file) firstLine() ([]byte, error) {
	for {
		f.raw, f.start = f.raw[:0], f.line
		line, err := f.readLine()
		if err != nil || len(line) > 0 || !f.c.IgnoreBlankLines {
			return line, err
		}
	}
}

// quotedField reads a field whose opening quote lies before at, over as many
// lines as it takes, and returns the index after its closing quote in line.
func (f *file) quotedField(line []byte, at int) (field []byte, end int, rest []byte, err error) {
	for {
		q := bytes.IndexByte(line[at:], f.c.Quote)
		if q < 0 {
			if field, line, err = f.nextLine(append(field, line[at:]...)); err != nil {
				return nil, 0, nil, err
			}
			at = 0
			continue
		}
		field = append(field, line[at:at+q]...)
		at += q + 1
		if at < len(line) && line[at] == f.c.Quote {
			field = append(field, f.c.Quote)
			at++
			continue
		}
		if at < len(line) && line[at] != f.c.Delimiter {
			return nil, 0, nil, &LoadError{Code: codeDelimiter, Reason: "Invalid quote formatting for CSV"}
		}
		return field, at, line, nil
	}
}

// nextLine goes on with a field in the next line. The line's end belongs to the
// field as it was written: raw holds it.
func (f *file) nextLine(field []byte) ([]byte, []byte, error) {
	switch {
	case bytes.HasSuffix(f.raw, []byte("\r\n")):
		field = append(field, '\r', '\n')
	case bytes.HasSuffix(f.raw, []byte("\n")):
		field = append(field, '\n')
	}
	line, err := f.readLine()
	if err == io.EOF {
		return nil, nil, &LoadError{Code: codeLine, Reason: "Missing newline: end of file inside a quoted field"}
	}
	return field, line, err
}

// delimited reads one row of delimited text.
func (f *file) delimited() error {
	line, err := f.firstLine()
	if err != nil {
		return err
	}
	var n int
	var first error
	for at := 0; ; n++ {
		var field []byte
		var whole bool
		if field, whole, at, line, err = f.delimitedField(line, at); err != nil {
			return err
		}
		if first == nil && n < len(f.fields) {
			first = f.set(n, string(field), whole)
		}
		if at >= len(line) {
			break
		}
		at++ // the delimiter
		if at == len(line) && n+1 == len(f.fields) {
			break // a delimiter may end the line
		}
	}
	if err := f.count(n + 1); err != nil {
		return err
	}
	return first
}

// delimitedField reads the field at at; whole reports that it was written
// plainly, so that it may stand for NULL.
func (f *file) delimitedField(line []byte, at int) (field []byte, whole bool, end int, rest []byte, err error) {
	quote := byte(0)
	if f.c.RemoveQuotes && at < len(line) && (line[at] == '"' || line[at] == '\'') {
		quote = line[at]
		at++
	}
	start := at
	for {
		switch {
		case at >= len(line):
			if quote != 0 {
				return nil, false, 0, nil, &LoadError{Code: codeDelimiter, Reason: "Delimiter not found: missing end quote"}
			}
			return field, f.plain(line, start, at), at, line, nil
		case f.c.Escape && line[at] == '\\':
			if at+1 < len(line) {
				if f.c.NullAs == nil && at == start && line[at+1] == 'N' {
					field = append(field, '\\') // \N keeps its meaning
				}
				field = append(field, line[at+1])
				at += 2
				continue
			}
			if field, line, err = f.nextLine(field); err != nil {
				return nil, false, 0, nil, err
			}
			at, start = 0, -1
		case quote != 0 && line[at] == quote:
			if at++; at < len(line) && line[at] != f.c.Delimiter {
				return nil, false, 0, nil, &LoadError{Code: codeDelimiter, Reason: "Delimiter not found: text after an end quote"}
			}
			return field, false, at, line, nil
		case quote == 0 && line[at] == f.c.Delimiter:
			return field, f.plain(line, start, at), at, line, nil
		default:
			field = append(field, line[at])
			at++
		}
	}
}

// plain reports whether line[start:end] is free of escapes, or is \N itself.
func (f *file) plain(line []byte, start, end int) bool {
	if start < 0 {
		return false
	}
	s := line[start:end]
	return !f.c.Escape || bytes.IndexByte(s, '\\') < 0 || string(s) == `\N`
}
