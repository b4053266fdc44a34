package copyload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// json reads one JSON object; white space, line ends included, separates them.
func (f *file) json() error {
	if err := f.object(); err != nil {
		return err
	}
	if !json.Valid(f.raw) {
		return f.invalidJSON()
	}
	if f.c.JSONPaths == "noshred" {
		if len(f.columns) != 1 {
			return &LoadError{Code: codeLine, Reason: "'noshred' loads into one SUPER column"}
		}
		f.fields[0] = Field{Text: string(f.raw)}
		return nil
	}
	for i := range f.fields {
		f.fields[i] = Field{Null: true}
	}
	return f.members(f.raw)
}

func (f *file) invalidJSON() error {
	var v any
	reason := "Invalid JSON"
	if err := json.Unmarshal(f.raw, &v); err != nil {
		reason += ": " + err.Error()
	}
	return &LoadError{Code: codeLine, Reason: reason}
}

// object reads up to the brace that closes the object into raw.
func (f *file) object() error {
	depth, inString := 0, false
	for {
		b, err := f.in.ReadByte()
		if err == io.EOF && depth > 0 {
			f.broken = true
			return &LoadError{Code: codeLine, Reason: "Invalid JSON: end of file inside an object"}
		}
		if err != nil {
			return err
		}
		if b == '\n' {
			f.line++
		}
		if depth == 0 {
			if b == ' ' || b == '\t' || b == '\r' || b == '\n' {
				continue
			}
			f.start = f.line
			if b != '{' {
				f.raw = append(f.raw, b)
				return f.notObject()
			}
		}
		if f.raw = append(f.raw, b); len(f.raw) > maxRow {
			f.broken = true
			return &LoadError{Code: codeLine, Reason: "Input line exceeds the maximum row size of 4 MB"}
		}
		switch {
		case inString && b == '\\':
			if b, err = f.in.ReadByte(); err == nil {
				f.raw = append(f.raw, b)
			}
		case b == '"':
			inString = !inString
		case inString:
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			if depth--; depth == 0 {
				return nil
			}
		}
	}
}

// notObject leaves out the rest of the line.
func (f *file) notObject() error {
	if _, err := f.readLine(); err != nil && err != io.EOF {
		return err
	}
	return &LoadError{Code: codeLine, Reason: "Invalid JSON: expected an object"}
}

// members stores the values of the top level's members. raw is valid JSON, so
// it is walked without looking for mistakes: a decoder costs ten times as much.
func (f *file) members(raw []byte) error {
	i := skipBlanks(raw, 1)
	for raw[i] != '}' {
		end := valueEnd(raw, i)
		name, err := unquote(raw[i:end])
		if err != nil {
			return err
		}
		i = skipBlanks(raw, skipBlanks(raw, end)+1) // over the colon
		end = valueEnd(raw, i)
		if c := f.column(name); c >= 0 {
			if err := f.member(c, raw[i:end]); err != nil {
				return err
			}
		}
		if i = skipBlanks(raw, end); raw[i] == ',' {
			i = skipBlanks(raw, i+1)
		}
	}
	return nil
}

func skipBlanks(raw []byte, i int) int {
	for raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\r' || raw[i] == '\n' {
		i++
	}
	return i
}

// valueEnd finds the end of the value that starts at i. A member's value always
// has a delimiter after it.
func valueEnd(raw []byte, i int) int {
	for depth := 0; ; i++ {
		switch raw[i] {
		case '"':
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
}

func unquote(value []byte) (string, error) {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("read JSON string: %w", err)
	}
	return s, nil
}

// column finds the column of a key; -1 where there is none, which is no error.
func (f *file) column(key string) int {
	if f.c.JSONPaths == "auto ignorecase" {
		key = strings.ToLower(key)
	}
	for i, c := range f.columns {
		if c == key {
			return i
		}
	}
	return -1
}

// member stores one value. Numbers keep their text, so that a DECIMAL never
// passes through a float.
func (f *file) member(i int, value []byte) error {
	switch value[0] {
	case 'n':
		f.fields[i] = Field{Null: true}
	case '"':
		if !utf8.Valid(value) {
			if !f.c.AcceptInvChars {
				return f.set(i, string(value), false) // which says what is wrong
			}
			value = []byte(replaceInvalid(string(value), f.c.InvCharsAs))
		}
		s, err := unquote(value)
		if err != nil {
			return err
		}
		// NULL AS applies to JSON strings too, but \N is no default there.
		return f.set(i, s, f.c.NullAs != nil)
	case '{', '[':
		if !utf8.Valid(value) {
			return f.set(i, string(value), false)
		}
		var b bytes.Buffer
		if err := json.Compact(&b, value); err != nil {
			return fmt.Errorf("read JSON value: %w", err)
		}
		f.fields[i] = Field{Text: b.String()}
	default:
		f.fields[i] = Field{Text: string(value)}
	}
	return nil
}
