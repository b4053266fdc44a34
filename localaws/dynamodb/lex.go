package dynamodb

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// reservedList is the official list of the words that may not be written as an
// attribute name in an expression, from the developer guide.
//
//go:embed reserved.txt
var reservedList string

// reserved holds the words of reservedList. It is filled once and only read.
var reserved = func() map[string]bool {
	words := map[string]bool{}
	for w := range strings.FieldsSeq(reservedList) {
		words[w] = true
	}
	return words
}()

// tokenKind is what a token of an expression is.
type tokenKind int

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a name, a keyword, or a function
	tokenName             // #name
	tokenValue            // :value
	tokenNumber           // digits, in a list index
	tokenSign             // an operator or a bracket
)

type token struct {
	kind  tokenKind
	text  string
	start int // where it starts in the expression
}

// is reports whether the token is the keyword; keywords know no case.
func (t token) is(keyword string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, keyword)
}

func (t token) sign(s string) bool { return t.kind == tokenSign && t.text == s }

// maxExpression is how many bytes an expression may have. It bounds the depth
// of the parser too.
const maxExpression = 4096

// lex cuts an expression into tokens; the last one is tokenEnd. which names the
// parameter in errors, e.g. "ConditionExpression".
func lex(which, text string) ([]token, *wire.Error) {
	if strings.TrimSpace(text) == "" {
		return nil, exprError(which, "The expression can not be empty;")
	}
	if len(text) > maxExpression {
		return nil, exprError(which, fmt.Sprintf("Expression size has exceeded the maximum allowed size; expression size: %d", len(text)))
	}
	var out []token
	for i := 0; i < len(text); {
		c := text[i]
		if strings.IndexByte(" \t\r\n", c) >= 0 {
			i++
			continue
		}
		t := token{start: i}
		switch {
		case isLetter(c) || c == '_':
			t.kind = tokenWord
			t.text = takeWhile(text[i:], isWord)
		case c == '#' || c == ':':
			t.kind = tokenName
			if c == ':' {
				t.kind = tokenValue
			}
			t.text = text[i:i+1] + takeWhile(text[i+1:], isWord)
			if len(t.text) == 1 {
				return nil, syntaxError(which, text, t)
			}
		case isDigit(c):
			t.kind = tokenNumber
			t.text = takeWhile(text[i:], isDigit)
		case strings.HasPrefix(text[i:], "<>"), strings.HasPrefix(text[i:], "<="), strings.HasPrefix(text[i:], ">="):
			t.kind, t.text = tokenSign, text[i:i+2]
		case strings.IndexByte("=<>()[].,+-", c) >= 0:
			t.kind, t.text = tokenSign, text[i:i+1]
		default:
			t.text = text[i : i+1]
			return nil, syntaxError(which, text, t)
		}
		i += len(t.text)
		out = append(out, t)
	}
	return append(out, token{kind: tokenEnd, text: "<EOF>", start: len(text)}), nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' }

func takeWhile(s string, in func(byte) bool) string {
	i := 0
	for i < len(s) && in(s[i]) {
		i++
	}
	return s[:i]
}

func exprError(which, why string) *wire.Error {
	return wire.Errorf("ValidationException", "Invalid %s: %s", which, why)
}

// syntaxError points at the token, with a little of what stands around it.
func syntaxError(which, text string, t token) *wire.Error {
	near := text[max(0, t.start-10):min(len(text), t.start+len(t.text)+10)]
	return exprError(which, fmt.Sprintf("Syntax error; token: %q, near: %q", t.text, strings.ToValidUTF8(near, "?")))
}
