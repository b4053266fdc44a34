package check

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// Math evaluates an expression of CloudWatch's metric math for one period, from
// the values that its metrics have there by their ids. It knows what the alarms
// use: numbers, + - * /, comparisons, AND, OR, IF and FILL. A metric without a
// value has none in what is made of it, but in FILL: has is false then, as of a
// period of which CloudWatch knows no value. A condition is 1 or 0.
func Math(expression string, values map[string]float64) (value float64, has bool, err error) {
	tokens := mathTokens.FindAllString(expression, -1)
	m := reading{tokens: slices.DeleteFunc(tokens, func(s string) bool { return s[0] == ' ' }), values: values}
	out := m.either()
	if m.err == nil && len(m.tokens) > 0 {
		m.fail("%q is left over", m.tokens)
	}
	if m.err != nil {
		return 0, false, fmt.Errorf("expression %s: %w", expression, m.err)
	}
	return out.value, out.has, nil
}

var (
	mathTokens = regexp.MustCompile(` +|[A-Za-z][A-Za-z0-9_]*|[0-9]+(\.[0-9]+)?|[<>=!]=|[^ ]`)
	identifier = regexp.MustCompile(`^[a-z][A-Za-z0-9_]*$`) // as CloudWatch wants an id to be
)

// reading reads an expression from the left, a method for each rank of operators.
type reading struct {
	tokens []string
	values map[string]float64
	err    error // the first
}

type perhaps struct {
	value float64
	has   bool
}

func (m *reading) fail(format string, v ...any) perhaps {
	if m.err == nil {
		m.err = fmt.Errorf(format, v...)
	}
	m.tokens = nil
	return perhaps{}
}

// take is the next token, if it is one of these, or none of them is named.
func (m *reading) take(of ...string) (string, bool) {
	if len(m.tokens) == 0 || len(of) > 0 && !slices.Contains(of, m.tokens[0]) {
		return "", false
	}
	t := m.tokens[0]
	m.tokens = m.tokens[1:]
	return t, true
}

// ranked applies operators of one rank, from the left.
func (m *reading) ranked(operand func() perhaps, of ...string) perhaps {
	left := operand()
	for {
		sign, ok := m.take(of...)
		if !ok {
			return left
		}
		right := operand()
		left = perhaps{apply(sign, left.value, right.value), left.has && right.has}
	}
}

func apply(sign string, a, b float64) float64 {
	truth := map[string]bool{
		"OR": a != 0 || b != 0, "AND": a != 0 && b != 0,
		"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b, "==": a == b, "!=": a != b,
	}
	switch sign {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		return a / b
	}
	if truth[sign] {
		return 1
	}
	return 0
}

func (m *reading) either() perhaps  { return m.ranked(m.both, "OR") }
func (m *reading) both() perhaps    { return m.ranked(m.compare, "AND") }
func (m *reading) compare() perhaps { return m.ranked(m.sum, "<", ">", "<=", ">=", "==", "!=") }
func (m *reading) sum() perhaps     { return m.ranked(m.product, "+", "-") }
func (m *reading) product() perhaps { return m.ranked(m.atom, "*", "/") }

func (m *reading) atom() perhaps {
	t, ok := m.take()
	if !ok {
		return m.fail("it ends too early")
	}
	if t == "(" {
		v := m.either()
		m.want(")")
		return v
	}
	if n, err := strconv.ParseFloat(t, 64); err == nil {
		return perhaps{n, true}
	}
	switch t {
	case "IF":
		a := m.arguments(3)
		chosen := a[2]
		if a[0].value != 0 {
			chosen = a[1]
		}
		return perhaps{chosen.value, a[0].has && chosen.has}
	case "FILL":
		a := m.arguments(2)
		if !a[0].has {
			return a[1]
		}
		return a[0]
	}
	if !identifier.MatchString(t) {
		return m.fail("%q is nothing that this reader knows", t)
	}
	v, has := m.values[t]
	return perhaps{v, has}
}

func (m *reading) arguments(n int) []perhaps {
	out := make([]perhaps, n)
	for i := range out {
		m.want(map[bool]string{true: "(", false: ","}[i == 0])
		out[i] = m.either()
	}
	m.want(")")
	return out
}

func (m *reading) want(t string) {
	if _, ok := m.take(t); !ok {
		m.fail("%q is missing", t)
	}
}

// Value is what the alarm compares with its threshold in a period in which its
// metrics have these values, by their ids; has is false if it has none.
func (a Alarm) Value(values map[string]float64) (value float64, has bool, err error) {
	for id := range values {
		if _, ok := a.Of[id]; !ok {
			return 0, false, fmt.Errorf("alarm %s has no metric %s", a.Name, id)
		}
	}
	return Math(a.Expression, values)
}
