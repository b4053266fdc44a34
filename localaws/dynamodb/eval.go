package dynamodb

import (
	"slices"
	"strconv"
	"strings"
)

// get is the value at the path, if there is one.
func (it item) get(p path) (value, bool) {
	v, ok := it[p[0].name]
	for _, s := range p[1:] {
		if !ok {
			return value{}, false
		}
		switch {
		case s.name != "" && v.kind == kindMap:
			v, ok = v.m[s.name]
		case s.name == "" && v.kind == kindList && s.index < len(v.list):
			v = v.list[s.index]
		default:
			return value{}, false
		}
	}
	return v, ok
}

// eval is the operand's value for the item, if it has one.
func (o operand) eval(it item) (value, bool) {
	switch {
	case o.value != nil:
		return *o.value, true
	case o.function == "size":
		v, ok := o.args[0].eval(it)
		if !ok {
			return value{}, false
		}
		n, ok := v.size()
		if !ok {
			return value{}, false
		}
		d, err := parseDecimal(strconv.Itoa(n))
		if err != nil {
			return value{}, false
		}
		return numberValue(d), true
	}
	return it.get(o.path)
}

// holds reports whether the condition is true of the item; a nil condition is.
// An item that does not exist is nil.
func (c *condition) holds(it item) bool {
	if c == nil {
		return true
	}
	switch c.op {
	case "AND":
		return c.subs[0].holds(it) && c.subs[1].holds(it)
	case "OR":
		return c.subs[0].holds(it) || c.subs[1].holds(it)
	case "NOT":
		return !c.subs[0].holds(it)
	}
	first, exists := c.args[0].eval(it)
	switch c.op {
	case "attribute_exists":
		return exists
	case "attribute_not_exists":
		return !exists
	case "<>": // true of an attribute that is not there
		second, ok := c.args[1].eval(it)
		return !exists || !ok || !first.equal(second)
	}
	rest := make([]value, 0, len(c.args)-1)
	for _, a := range c.args[1:] {
		v, ok := a.eval(it)
		if !ok {
			if c.op == "IN" {
				continue
			}
			return false
		}
		rest = append(rest, v)
	}
	return exists && compares(c.op, first, rest)
}

// compares applies an operator to values that are all there.
func compares(op string, first value, rest []value) bool {
	switch op {
	case "=":
		return first.equal(rest[0])
	case "IN":
		return slices.ContainsFunc(rest, first.equal)
	case "BETWEEN":
		low, ok := first.compare(rest[0])
		high, ok2 := first.compare(rest[1])
		return ok && ok2 && low >= 0 && high <= 0
	case "begins_with":
		return first.kind == rest[0].kind && ordered(first.kind) && first.kind != kindNumber && strings.HasPrefix(first.text, rest[0].text)
	case "contains":
		return contains(first, rest[0])
	case "attribute_type":
		return string(first.kind) == rest[0].text
	}
	order, ok := first.compare(rest[0])
	if !ok {
		return false
	}
	switch op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	}
	return false
}

// contains is the function of that name: a substring, or an element.
func contains(whole, part value) bool {
	switch whole.kind {
	case kindString, kindBinary:
		return part.kind == whole.kind && strings.Contains(whole.text, part.text)
	case kindList, kindStrings, kindNumbers, kindBinarys:
		return whole.holds(part)
	}
	return false
}

// topNames are the attributes that the condition looks at.
func (c *condition) topNames(into map[string]bool) {
	if c == nil {
		return
	}
	for _, s := range c.subs {
		s.topNames(into)
	}
	for _, a := range c.args {
		a.topNames(into)
	}
}

func (o operand) topNames(into map[string]bool) {
	if o.path != nil {
		into[o.path[0].name] = true
	}
	for _, a := range o.args {
		a.topNames(into)
	}
}
