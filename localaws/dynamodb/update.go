package dynamodb

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// action is one action of an update.
type action struct {
	verb   string // SET REMOVE ADD DELETE
	path   path
	sign   string // + or - between two operands of a SET, or ""
	first  operand
	second operand
}

// parseUpdate reads an UpdateExpression.
func parseUpdate(text string, n *names) ([]action, *wire.Error) {
	p := newParser("UpdateExpression", text, n)
	var out []action
	seen := map[string]bool{}
	for p.err == nil && p.peek().kind != tokenEnd {
		t := p.next()
		verb := strings.ToUpper(t.text)
		if t.kind != tokenWord || !slices.Contains([]string{"SET", "REMOVE", "ADD", "DELETE"}, verb) {
			p.syntax(t)
			break
		}
		if seen[verb] {
			p.fail(fmt.Sprintf("The %q section can only be used once in an update expression;", verb))
		}
		seen[verb] = true
		for p.err == nil {
			out = append(out, p.action(verb))
			if !p.takes(",") {
				break
			}
		}
	}
	p.checkOverlaps(out)
	if p.err != nil {
		return nil, p.err
	}
	return out, nil
}

func (p *parser) action(verb string) action {
	a := action{verb: verb, path: p.path()}
	switch verb {
	case "SET":
		p.expect("=")
		a.first = p.setOperand()
		if t := p.peek(); t.sign("+") || t.sign("-") {
			a.sign = p.next().text
			a.second = p.setOperand()
			p.checkOperands(a.sign, kindNumber, a.first, a.second)
		}
	case "ADD", "DELETE":
		t := p.next()
		if t.kind != tokenValue {
			p.syntax(t)
			return a
		}
		v := p.bound(t.text)
		if p.err == nil && !v.isSet() && (verb == "DELETE" || v.kind != kindNumber) {
			p.fail(fmt.Sprintf("Incorrect operand type for operator or function; operator: %s, operand type: %s", verb, typeName(v.kind)))
		}
		a.first = operand{value: &v}
	}
	return a
}

// typeName is how some errors spell a type.
func typeName(k kind) string {
	switch k {
	case kindString:
		return "STRING"
	case kindNumber:
		return "NUMBER"
	case kindBinary:
		return "BINARY"
	case kindList:
		return "LIST"
	case kindMap:
		return "MAP"
	}
	return string(k)
}

// checkOperands refuses operands of which it is plain that they have the wrong type.
func (p *parser) checkOperands(op string, want kind, args ...operand) {
	for _, a := range args {
		if a.value != nil && p.err == nil && a.value.kind != want {
			p.fail(fmt.Sprintf("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", op, a.value.kind))
		}
	}
}

// setOperand reads what may stand on the right of a SET.
func (p *parser) setOperand() operand {
	t := p.peek()
	if t.kind != tokenWord || len(p.tokens) < 2 || !p.tokens[1].sign("(") {
		return p.operand()
	}
	p.next()
	o := operand{function: t.text}
	p.expect("(")
	for p.err == nil {
		o.args = append(o.args, p.setOperand())
		if !p.takes(",") {
			break
		}
	}
	p.expect(")")
	switch {
	case p.err != nil:
	case o.function != "if_not_exists" && o.function != "list_append":
		p.fail("Invalid function name; function: " + o.function)
	case len(o.args) != 2:
		p.fail(fmt.Sprintf("Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", o.function, len(o.args)))
	case o.function == "if_not_exists" && o.args[0].path == nil:
		p.fail("Operator or function requires a document path; operator or function: if_not_exists")
	case o.function == "list_append":
		p.checkOperands("list_append", kindList, o.args...)
	}
	return o
}

// checkOverlaps refuses two actions on the same path, or on one within another.
func (p *parser) checkOverlaps(actions []action) {
	for i, a := range actions {
		for _, b := range actions[:i] {
			n := min(len(a.path), len(b.path))
			for k := range n {
				if (a.path[k].name == "") != (b.path[k].name == "") {
					p.fail(fmt.Sprintf("Two document paths conflict with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", b.path, a.path))
				}
				if a.path[k] != b.path[k] {
					break
				}
				if k == n-1 {
					p.fail(fmt.Sprintf("Two document paths overlap with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", b.path, a.path))
				}
			}
		}
	}
}

// Errors of updates that meet an item that they do not fit.
func errOperand() *wire.Error {
	return wire.Errorf("ValidationException", "An operand in the update expression has an incorrect data type")
}

func errMissing() *wire.Error {
	return wire.Errorf("ValidationException", "The provided expression refers to an attribute that does not exist in the item")
}

func errPath() *wire.Error {
	return wire.Errorf("ValidationException", "The document path provided in the update expression is invalid for update")
}

// apply returns the item after the actions, which start from the key where
// there is no item. All operands are those of the item as it was; the item
// itself is not changed.
func apply(old, key item, actions []action) (item, *wire.Error) {
	out := maps.Clone(old)
	if old == nil {
		out = maps.Clone(key)
	}
	// What is removed from a list is counted by the indexes of the item as it
	// was: so sets come first, and removals from the back of each list.
	ordered := slices.Clone(actions)
	rank := map[string]int{"SET": 0, "ADD": 1, "DELETE": 2, "REMOVE": 3}
	slices.SortStableFunc(ordered, func(a, b action) int {
		return cmp.Or(cmp.Compare(rank[a.verb], rank[b.verb]), byIndex(a, b))
	})
	for _, a := range ordered {
		v, drop, err := a.result(old)
		if err != nil {
			return nil, err
		}
		if drop && a.verb == "DELETE" {
			if _, there := old.get(a.path); !there {
				continue
			}
		}
		if err := out.change(a.path, v, drop); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// byIndex orders SETs by rising and REMOVEs by falling list indexes.
func byIndex(a, b action) int {
	order := slices.CompareFunc(a.path, b.path, func(x, y step) int { return cmp.Compare(x.index, y.index) })
	if a.verb == "REMOVE" {
		return -order
	}
	return order
}

// result is the new value at the action's path; drop says that there is none.
func (a action) result(old item) (v value, drop bool, err *wire.Error) {
	switch a.verb {
	case "REMOVE":
		return value{}, true, nil
	case "SET":
		v, err = a.first.forUpdate(old)
		if err != nil || a.sign == "" {
			return v, false, err
		}
		w, err := a.second.forUpdate(old)
		if err != nil {
			return v, false, err
		}
		if v.kind != kindNumber || w.kind != kindNumber {
			return v, false, errOperand()
		}
		sum, err := v.num.plus(w.num, a.sign == "-")
		if err != nil {
			return v, false, err
		}
		return numberValue(sum), false, nil
	}
	was, exists := old.get(a.path)
	with := *a.first.value
	switch {
	case !exists && a.verb == "DELETE":
		return value{}, true, nil
	case !exists:
		return with, false, nil
	case was.kind != with.kind:
		return value{}, false, errOperand()
	case with.kind == kindNumber:
		sum, err := was.num.plus(with.num, false)
		if err != nil {
			return value{}, false, err
		}
		return numberValue(sum), false, nil
	}
	v = value{kind: was.kind}
	for _, e := range was.list {
		if a.verb == "ADD" || !with.holds(e) {
			v.list = append(v.list, e)
		}
	}
	if a.verb == "ADD" {
		for _, e := range with.list {
			if !was.holds(e) {
				v.list = append(v.list, e)
			}
		}
	}
	return v, len(v.list) == 0, nil
}

// forUpdate is the operand's value on the right of a SET.
func (o operand) forUpdate(old item) (value, *wire.Error) {
	switch o.function {
	case "if_not_exists":
		if v, ok := old.get(o.args[0].path); ok {
			return v, nil
		}
		return o.args[1].forUpdate(old)
	case "list_append":
		a, err := o.args[0].forUpdate(old)
		if err != nil {
			return value{}, err
		}
		b, err := o.args[1].forUpdate(old)
		if err != nil {
			return value{}, err
		}
		if a.kind != kindList || b.kind != kindList {
			return value{}, errOperand()
		}
		return value{kind: kindList, list: slices.Concat(a.list, b.list)}, nil
	}
	v, ok := o.eval(old)
	if !ok {
		return value{}, errMissing()
	}
	return v, nil
}

// change puts the value at the path, or drops what is there. Maps and lists on
// the way are copied: the old item keeps its own.
func (it item) change(p path, v value, drop bool) *wire.Error {
	if len(p) == 1 {
		if drop {
			delete(it, p[0].name)
		} else {
			it[p[0].name] = v
		}
		return nil
	}
	root, ok := it[p[0].name]
	if !ok {
		return errPath()
	}
	changed, err := root.with(p[1:], v, drop)
	if err != nil {
		return err
	}
	it[p[0].name] = changed
	return nil
}

// with is a copy of the container with the change made in it.
func (v value) with(p path, new value, drop bool) (value, *wire.Error) {
	s := p[0]
	switch {
	case s.name != "" && v.kind == kindMap:
		v.m = maps.Clone(v.m)
		if len(p) == 1 {
			if drop {
				delete(v.m, s.name)
			} else {
				v.m[s.name] = new
			}
			return v, nil
		}
		sub, ok := v.m[s.name]
		if !ok {
			return v, errPath()
		}
		sub, err := sub.with(p[1:], new, drop)
		v.m[s.name] = sub
		return v, err
	case s.name == "" && v.kind == kindList:
		v.list = slices.Clone(v.list)
		inside := s.index < len(v.list)
		switch {
		case len(p) > 1 && !inside:
			return v, errPath()
		case len(p) > 1:
			sub, err := v.list[s.index].with(p[1:], new, drop)
			v.list[s.index] = sub
			return v, err
		case drop && inside:
			v.list = slices.Delete(v.list, s.index, s.index+1)
		case !drop && inside:
			v.list[s.index] = new
		case !drop: // past the end means at the end
			v.list = append(v.list, new)
		}
		return v, nil
	}
	return v, errPath()
}
