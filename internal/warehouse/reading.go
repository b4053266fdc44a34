package warehouse

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// CheckReading returns nil where sql is one statement that provably only reads: its
// first word is SELECT, WITH, SHOW or EXPLAIN, and none of its words outside quotes
// could make it write. The error says what stands against it, and where.
//
// It is a list of what may pass, and not of what may not: Redshift lets TRUNCATE,
// GRANT and UNLOAD through in a transaction that is READ ONLY. What it cannot see is
// a function that somebody made and that has effects of its own.
func CheckReading(sql string) error {
	// Redshift takes a backslash in a text for an escape, PostgreSQL does not: what a
	// text ends with differs, and so where words are. It has to be right in both.
	for _, escapes := range []bool{true, false} {
		words, err := readWords(sql, escapes)
		if err == nil {
			err = onlyReads(words)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sqlWord is a name or a keyword, or one character that is part of neither.
type sqlWord struct {
	text   string // in lower case; of quoted names what is in the quotes
	quoted bool
	line   int // from 1
	column int // in characters, from 1
}

func (w sqlWord) is(text string) bool { return !w.quoted && w.text == text }

func (w sqlWord) refuse(format string, args ...any) error {
	return fmt.Errorf("line %d, column %d: %s", w.line, w.column, fmt.Sprintf(format, args...))
}

var (
	plainName  = regexp.MustCompile(`^[\pL_][\pL\pN_$]*`)
	plainOther = regexp.MustCompile(`^(\pN[\pL\pN_.]*|\s+|--[^\n\r]*)`)
	dollars    = regexp.MustCompile(`^\$([\pL_][\pL\pN_]*)?\$`)
	textEscape = regexp.MustCompile(`(?s)^'(\\.|[^'\\]|'')*'`)
	textPlain  = regexp.MustCompile(`^'([^']|'')*'`)
	quotedName = regexp.MustCompile(`^"([^"]|"")*"`)
)

// readWords takes a statement apart. Texts, comments and numbers are left out.
func readWords(sql string, escapes bool) ([]sqlWord, error) {
	text := textPlain
	if escapes {
		text = textEscape
	}
	var out []sqlWord
	place := sqlWord{line: 1, column: 1}
	for rest := sql; rest != ""; {
		w, n := place, 0
		switch name := plainName.FindString(rest); {
		case name != "":
			n, w.text = len(name), strings.ToLower(name)
		case rest[0] == '\'':
			if n = len(text.FindString(rest)); n == 0 {
				return nil, w.refuse("this text does not end in every reading: a quote in a text is written as two quotes, and not with a backslash")
			}
		case rest[0] == '"':
			quoted := quotedName.FindString(rest)
			if n = len(quoted); n == 0 {
				return nil, w.refuse("this quoted name does not end")
			}
			w.text, w.quoted = strings.ToLower(strings.ReplaceAll(quoted[1:n-1], `""`, `"`)), true
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return nil, w.refuse("this comment does not end")
			}
			if n = end + 4; strings.Contains(rest[2:n-2], "/*") {
				return nil, w.refuse("a comment within a comment")
			}
		case dollars.MatchString(rest):
			return nil, w.refuse("a text in dollar signs; put it in quotes")
		default:
			if n = len(plainOther.FindString(rest)); n == 0 {
				_, n = utf8.DecodeRuneInString(rest)
				w.text = rest[:n]
			}
		}
		if w.text != "" || w.quoted {
			out = append(out, w)
		}
		if breaks := strings.Count(rest[:n], "\n"); breaks > 0 {
			place = sqlWord{line: place.line + breaks, column: 1}
		}
		place.column += utf8.RuneCountInString(rest[strings.LastIndexByte(rest[:n], '\n')+1 : n])
		rest = rest[n:]
	}
	return out, nil
}

// changing are the words that only statements have that change something or do what is
// no reading, and INTO, with which SELECT makes a table.
var changing = []string{
	"insert", "update", "delete", "merge", "truncate", "into", "create", "alter", "drop", "grant", "revoke", "copy", "unload", "call",
	"vacuum", "lock", "execute", "prepare", "deallocate", "declare", "fetch", "begin", "commit", "rollback", "abort", "refresh", "attach", "detach",
}

// effects are functions, or the beginnings of their names, that do more than return a value.
var effects = []string{
	"pg_terminate_", "pg_cancel_", "pg_reload_", "pg_rotate_", "pg_advisory_", "pg_try_advisory_", "pg_file_", "pg_write_", "pg_create_", "pg_drop_",
	"pg_start_", "pg_stop_", "pg_switch_", "pg_notify", "pg_logical_", "pg_replication_", "lo_", "dblink", "set_config", "setval", "nextval", "query_to_xml",
}

// onlyReads judges a statement by its words.
func onlyReads(words []sqlWord) error {
	for len(words) > 0 && words[len(words)-1].is(";") {
		words = words[:len(words)-1]
	}
	first := slices.IndexFunc(words, func(w sqlWord) bool { return !w.is("(") })
	if first < 0 {
		return fmt.Errorf("there is no statement in it")
	}
	begins := []string{"select", "with", "show", "explain"}
	if w := words[first]; w.quoted || !slices.Contains(begins, w.text) {
		return w.refuse("it begins with %s; only SELECT, WITH, SHOW and EXPLAIN are sure to read alone", strings.ToUpper(w.text))
	}
	if words[first].is("explain") {
		next := first + 1
		if next < len(words) && words[next].is("verbose") {
			next++
		}
		if next >= len(words) || !words[next].is("select") && !words[next].is("with") {
			return words[first].refuse("only EXPLAIN [VERBOSE] of SELECT or WITH is sure to read alone")
		}
	}
	for i, w := range words {
		next := sqlWord{}
		if i+1 < len(words) {
			next = words[i+1]
		}
		column := i > 0 && words[i-1].is(".") || i > 0 && words[i-1].is("as") && !next.is("(")
		switch {
		case w.is(";"):
			return next.refuse("a second statement; give one")
		case !w.quoted && !column && slices.Contains(changing, w.text):
			return w.refuse(`%s could change something; a column of that name is written in double quotes, "%s"`, strings.ToUpper(w.text), w.text)
		case next.is("(") && slices.ContainsFunc(effects, func(e string) bool { return strings.HasPrefix(w.text, e) }):
			return w.refuse("the function %s does more than read", w.text)
		}
	}
	return nil
}
