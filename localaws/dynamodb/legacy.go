package dynamodb

import (
	"slices"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// The parameters that expressions have replaced, which the 1.x and 2.x
// Kinesis client libraries still send. They become the same trees.

// expectation is an ExpectedAttributeValue or a Condition.
type expectation struct {
	Value              *value
	Exists             *bool
	ComparisonOperator string
	AttributeValueList []value
}

// attributeUpdate is an AttributeValueUpdate.
type attributeUpdate struct {
	Value  *value
	Action string
}

// operators are the comparison operators: the operator or function that each
// stands for, whether it is negated, and how many values it takes.
var operators = map[string]struct {
	op     string
	not    bool
	values int // -1: any number from one
}{
	"EQ": {"=", false, 1}, "NE": {"<>", false, 1},
	"LT": {"<", false, 1}, "LE": {"<=", false, 1}, "GT": {">", false, 1}, "GE": {">=", false, 1},
	"BETWEEN": {"BETWEEN", false, 2}, "IN": {"IN", false, -1},
	"BEGINS_WITH": {"begins_with", false, 1}, "CONTAINS": {"contains", false, 1}, "NOT_CONTAINS": {"contains", true, 1},
	"NULL": {"attribute_not_exists", false, 0}, "NOT_NULL": {"attribute_exists", false, 0},
}

// legacyCondition joins the expectations by AND, or by the given operator.
func legacyCondition(all map[string]expectation, join string) (*condition, *wire.Error) {
	switch join {
	case "":
		join = "AND"
	case "AND", "OR":
	default:
		return nil, wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'conditionalOperator' failed to satisfy constraint: Member must satisfy enum value set: [OR, AND]", join)
	}
	var out *condition
	for name, e := range all {
		c, err := e.condition(name)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = c
		} else {
			out = &condition{op: join, subs: []*condition{out, c}}
		}
	}
	return out, nil
}

func (e expectation) condition(name string) (*condition, *wire.Error) {
	args := []operand{{path: path{{name: name}}}}
	bad := func(why string) (*condition, *wire.Error) {
		return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: %s for Attribute: %s", why, name)
	}
	if e.ComparisonOperator == "" {
		switch {
		case len(e.AttributeValueList) > 0:
			return bad("AttributeValueList can only be used with a ComparisonOperator")
		case e.Value != nil && (e.Exists == nil || *e.Exists):
			return &condition{op: "=", args: append(args, operand{value: e.Value})}, nil
		case e.Value == nil && e.Exists != nil && !*e.Exists:
			return &condition{op: "attribute_not_exists", args: args}, nil
		case e.Value != nil:
			return bad("Value cannot be used when Exists is set to false")
		case e.Exists != nil:
			return bad("Value must be provided when Exists is set to true")
		}
		return bad("Value must be provided when Exists is not specified")
	}
	op, ok := operators[e.ComparisonOperator]
	values := e.AttributeValueList
	if e.Value != nil {
		values = append([]value{*e.Value}, values...)
	}
	switch {
	case !ok:
		return bad("Unknown ComparisonOperator " + e.ComparisonOperator)
	case e.Exists != nil:
		return bad("Exists and ComparisonOperator cannot be used together")
	case op.values >= 0 && len(values) != op.values, op.values < 0 && len(values) == 0:
		return bad("Invalid number of argument(s) for the " + e.ComparisonOperator + " ComparisonOperator")
	}
	for i := range values {
		args = append(args, operand{value: &values[i]})
	}
	c := &condition{op: op.op, args: args}
	if op.not {
		// An attribute that is not there does not satisfy NOT_CONTAINS.
		exists := &condition{op: "attribute_exists", args: args[:1]}
		c = &condition{op: "AND", subs: []*condition{exists, {op: "NOT", subs: []*condition{c}}}}
	}
	return c, nil
}

// legacyUpdate turns AttributeUpdates into actions.
func legacyUpdate(all map[string]attributeUpdate) ([]action, *wire.Error) {
	var out []action
	for name, u := range all {
		a := action{path: path{{name: name}}}
		if u.Value != nil {
			a.first = operand{value: u.Value}
		}
		switch u.Action {
		case "", "PUT":
			a.verb = "SET"
		case "ADD":
			a.verb = "ADD"
		case "DELETE":
			a.verb = "DELETE"
			if u.Value == nil {
				a.verb = "REMOVE"
			}
		default:
			return nil, wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'attributeUpdates' failed to satisfy constraint: Member must satisfy enum value set: [ADD, DELETE, PUT]", u.Action)
		}
		switch {
		case u.Value == nil && a.verb != "REMOVE":
			return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: Only DELETE action is allowed when no attribute value is specified")
		case a.verb == "DELETE" && !u.Value.isSet():
			return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: DELETE action with value is not supported for the type %s", u.Value.kind)
		case a.verb == "ADD" && !u.Value.isSet() && !slices.Contains([]kind{kindNumber, kindList}, u.Value.kind):
			return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: ADD action is not supported for the type %s", u.Value.kind)
		case a.verb == "ADD" && u.Value.kind == kindList:
			// Adding a list appends it, to nothing if there is none.
			empty := value{kind: kindList}
			was := operand{function: "if_not_exists", args: []operand{{path: a.path}, {value: &empty}}}
			a.verb = "SET"
			a.first = operand{function: "list_append", args: []operand{was, {value: u.Value}}}
		}
		out = append(out, a)
	}
	return out, nil
}
