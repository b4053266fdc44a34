package dynamodb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// step is one step of a document path: into a map by name, or into a list.
type step struct {
	name  string
	index int // if name is ""
}

// path is a document path; its first step is the name of an attribute.
type path []step

// String writes the path as error messages have it.
func (p path) String() string {
	parts := make([]string, len(p))
	for i, s := range p {
		parts[i] = s.name
		if s.name == "" {
			parts[i] = fmt.Sprintf("[%d]", s.index)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// operand is a path, a value, or a function of operands.
type operand struct {
	path     path
	value    *value
	function string // size, if_not_exists, list_append
	args     []operand
}

// condition is a node of a condition's tree.
type condition struct {
	op   string // AND OR NOT = <> < <= > >= BETWEEN IN, or a function's name
	subs []*condition
	args []operand

	enclosed bool // in parentheses
}

// names are the ExpressionAttributeNames and -Values of a request, and which of
// them have been used: the ones that are not are an error.
type names struct {
	names  map[string]string
	values map[string]value
	used   map[string]bool
}

// unused reports the names and values that no expression used.
func (n *names) unused() *wire.Error {
	var lost []string
	for k := range n.values {
		if !n.used[k] {
			lost = append(lost, k)
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		return wire.Errorf("ValidationException", "Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", strings.Join(lost, ", "))
	}
	for k := range n.names {
		if !n.used[k] {
			lost = append(lost, k)
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		return wire.Errorf("ValidationException", "Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", strings.Join(lost, ", "))
	}
	return nil
}

// parser reads one expression. The first error ends it: err is set, and from
// then on every token is the end.
type parser struct {
	which  string // e.g. "ConditionExpression", for errors
	text   string
	tokens []token
	names  *names
	err    *wire.Error
}

func newParser(which, text string, n *names) *parser {
	p := &parser{which: which, text: text, names: n}
	p.tokens, p.err = lex(which, text)
	return p
}

func (p *parser) peek() token {
	if p.err != nil || len(p.tokens) == 0 {
		return token{kind: tokenEnd, text: "<EOF>", start: len(p.text)}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	if t.kind != tokenEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

// takes consumes the sign if it is next.
func (p *parser) takes(sign string) bool {
	if p.peek().sign(sign) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(sign string) {
	if !p.takes(sign) {
		p.syntax(p.peek())
	}
}

func (p *parser) expectWord(word string) {
	if !p.next().is(word) {
		p.syntax(p.peek())
	}
}

func (p *parser) fail(why string) {
	if p.err == nil {
		p.err = exprError(p.which, why)
	}
}

func (p *parser) syntax(t token) {
	if p.err == nil {
		p.err = syntaxError(p.which, p.text, t)
	}
}

// parseCondition reads a condition, key condition or filter expression.
func parseCondition(which, text string, n *names) (*condition, *wire.Error) {
	p := newParser(which, text, n)
	c := p.or()
	if t := p.peek(); t.kind != tokenEnd {
		p.syntax(t)
	}
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

func (p *parser) or() *condition {
	c := p.and()
	for p.peek().is("OR") {
		p.next()
		c = &condition{op: "OR", subs: []*condition{c, p.and()}}
	}
	return c
}

func (p *parser) and() *condition {
	c := p.not()
	for p.peek().is("AND") {
		p.next()
		c = &condition{op: "AND", subs: []*condition{c, p.not()}}
	}
	return c
}

func (p *parser) not() *condition {
	switch {
	case p.peek().is("NOT"):
		p.next()
		return &condition{op: "NOT", subs: []*condition{p.not()}}
	case p.takes("("):
		c := p.or()
		p.expect(")")
		if c.enclosed {
			p.fail("The expression has redundant parentheses;")
		}
		c.enclosed = true
		return c
	}
	return p.comparison()
}

// functions are the boolean functions, and how many arguments they take.
var functions = map[string]int{
	"attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2, "begins_with": 2, "contains": 2,
}

func (p *parser) comparison() *condition {
	if t := p.peek(); t.kind == tokenWord && len(p.tokens) > 1 && p.tokens[1].sign("(") && t.text != "size" {
		return p.function()
	}
	left := p.operand()
	t := p.next()
	switch {
	case t.kind == tokenSign && slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, t.text):
		return p.checked(&condition{op: t.text, args: []operand{left, p.operand()}})
	case t.is("BETWEEN"):
		low := p.operand()
		p.expectWord("AND")
		return p.checked(&condition{op: "BETWEEN", args: []operand{left, low, p.operand()}})
	case t.is("IN"):
		c := &condition{op: "IN", args: []operand{left}}
		p.expect("(")
		for {
			c.args = append(c.args, p.operand())
			if !p.takes(",") {
				break
			}
		}
		p.expect(")")
		if len(c.args) > 101 {
			p.fail("The IN operator is provided with too many operands; number of operands: " + strconv.Itoa(len(c.args)-1))
		}
		return p.checked(c)
	}
	p.syntax(t)
	return &condition{}
}

func (p *parser) function() *condition {
	name := p.next().text
	count, known := functions[name]
	if !known {
		p.fail("Invalid function name; function: " + name)
		return &condition{}
	}
	c := &condition{op: name, args: p.arguments()}
	if len(c.args) != count && p.err == nil {
		p.fail(fmt.Sprintf("Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", name, len(c.args)))
	}
	return p.checked(c)
}

// arguments reads a list in parentheses.
func (p *parser) arguments() []operand {
	var out []operand
	p.expect("(")
	for p.err == nil {
		out = append(out, p.operand())
		if !p.takes(",") {
			break
		}
	}
	p.expect(")")
	return out
}

// operand reads a path, a value, or size(path).
func (p *parser) operand() operand {
	t := p.peek()
	switch {
	case t.kind == tokenValue:
		p.next()
		v := p.bound(t.text)
		return operand{value: &v}
	case t.kind == tokenWord && t.text == "size" && len(p.tokens) > 1 && p.tokens[1].sign("("):
		p.next()
		args := p.arguments()
		if len(args) != 1 && p.err == nil {
			p.fail(fmt.Sprintf("Incorrect number of operands for operator or function; operator or function: size, number of operands: %d", len(args)))
		}
		return operand{function: "size", args: args}
	case t.kind == tokenWord && len(p.tokens) > 1 && p.tokens[1].sign("("):
		p.fail("The function is not allowed to be used this way in an expression; function: " + t.text)
		return operand{}
	}
	return operand{path: p.path()}
}

// bound is the value that the placeholder stands for.
func (p *parser) bound(name string) value {
	v, ok := p.names.values[name]
	if !ok {
		p.fail("An expression attribute value used in expression is not defined; attribute value: " + name)
	}
	p.names.used[name] = true
	return v
}

// path reads a document path.
func (p *parser) path() path {
	out := path{{name: p.pathName()}}
	for p.err == nil {
		switch {
		case p.takes("."):
			out = append(out, step{name: p.pathName()})
		case p.takes("["):
			t := p.next()
			i, err := strconv.Atoi(t.text)
			if t.kind != tokenNumber || err != nil {
				p.syntax(t)
			}
			p.expect("]")
			out = append(out, step{index: i})
		default:
			if len(out) > maxDepth {
				p.fail("The document path has too many nesting elements; nesting levels: " + strconv.Itoa(len(out)))
			}
			return out
		}
	}
	return out
}

func (p *parser) pathName() string {
	t := p.next()
	switch {
	case t.kind == tokenName:
		name, ok := p.names.names[t.text]
		if !ok {
			p.fail("An expression attribute name used in the document path is not defined; attribute name: " + t.text)
		}
		p.names.used[t.text] = true
		return name
	case t.kind == tokenWord && reserved[strings.ToUpper(t.text)]:
		p.fail("Attribute name is a reserved keyword; reserved keyword: " + t.text)
	case t.kind != tokenWord:
		p.syntax(t)
	}
	return t.text
}

// checked refuses a comparison that can be seen to be wrong without an item.
func (p *parser) checked(c *condition) *condition {
	if p.err != nil {
		return c
	}
	first := c.args[0]
	for _, a := range c.args[1:] {
		if first.path != nil && slices.Equal(first.path, a.path) {
			p.fail(fmt.Sprintf("The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %s", c.op, first.path))
		}
	}
	switch c.op {
	case "<", "<=", ">", ">=", "BETWEEN":
		for _, a := range c.args {
			if a.value != nil && !ordered(a.value.kind) {
				p.fail(fmt.Sprintf("Incorrect operand type for operator or function; operator: %s, operand type: %s", c.op, a.value.kind))
			}
		}
		if c.op == "BETWEEN" {
			p.checkBounds(c.args[1].value, c.args[2].value)
		}
	case "attribute_exists", "attribute_not_exists":
		if first.path == nil {
			p.fail("Operator or function requires a document path; operator or function: " + c.op)
		}
	case "begins_with":
		for _, a := range c.args {
			if a.value != nil && a.value.kind != kindString && a.value.kind != kindBinary {
				p.fail(fmt.Sprintf("Incorrect operand type for operator or function; operator or function: begins_with, operand type: %s", a.value.kind))
			}
		}
	case "attribute_type":
		p.checkTypeName(c.args[1])
	}
	return c
}

func ordered(k kind) bool { return k == kindString || k == kindNumber || k == kindBinary }

func (p *parser) checkBounds(low, high *value) {
	if low == nil || high == nil {
		return
	}
	if low.kind != high.kind {
		p.fail(fmt.Sprintf("The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {%s:%s}, upper bound operand: AttributeValue: {%s:%s}",
			low.kind, low.text, high.kind, high.text))
	} else if order, ok := low.compare(*high); ok && order > 0 {
		p.fail(fmt.Sprintf("The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {%s:%s}, upper bound operand: AttributeValue: {%s:%s}",
			low.kind, low.text, high.kind, high.text))
	}
}

func (p *parser) checkTypeName(a operand) {
	kinds := []kind{kindString, kindStrings, kindNumber, kindNumbers, kindBinary, kindBinarys, kindBool, kindNull, kindList, kindMap}
	switch {
	case a.value == nil:
		p.fail("The second operand of attribute_type must be an expression attribute value")
	case a.value.kind != kindString:
		p.fail("Incorrect operand type for operator or function; operator or function: attribute_type, operand type: " + string(a.value.kind))
	case !slices.Contains(kinds, kind(a.value.text)):
		p.fail("Invalid attribute type name found; type: " + a.value.text + ", valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}")
	}
}
