package copyload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
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

// members stores the values of the top level's members. raw is valid JSON.
func (f *file) members(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		name, _ := key.(string)
		if i := f.column(name); i >= 0 {
			if err := f.member(i, value); err != nil {
				return err
			}
		}
	}
	return nil
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
func (f *file) member(i int, value json.RawMessage) error {
	switch value[0] {
	case 'n':
		f.fields[i] = Field{Null: true}
	case '"':
		var s string
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("read JSON string: %w", err)
		}
		// NULL AS applies to JSON strings too, but \N is no default there.
		return f.set(i, s, f.c.NullAs != nil)
	case '{', '[':
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
