package dynamodb

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// maxItem is the size of the largest item, in bytes.
const maxItem = 400 << 10

// expressions is what every request with expressions has.
type expressions struct {
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]value
}

// names checks the placeholders; given are the expressions of the request.
func (e expressions) names(given ...*string) (*names, *wire.Error) {
	n := &names{names: e.ExpressionAttributeNames, values: e.ExpressionAttributeValues, used: map[string]bool{}}
	some := slices.ContainsFunc(given, func(s *string) bool { return s != nil })
	for _, m := range []struct {
		what    string
		mark    string
		keys    []string
		present bool
	}{
		{"ExpressionAttributeNames", "#", slices.Sorted(maps.Keys(n.names)), n.names != nil},
		{"ExpressionAttributeValues", ":", slices.Sorted(maps.Keys(n.values)), n.values != nil},
	} {
		switch {
		case m.present && !some:
			return nil, wire.Errorf("ValidationException", "%s can only be specified when using expressions", m.what)
		case m.present && len(m.keys) == 0:
			return nil, wire.Errorf("ValidationException", "%s must not be empty", m.what)
		}
		for _, k := range m.keys {
			if rest, ok := strings.CutPrefix(k, m.mark); !ok || rest == "" || takeWhile(rest, isWord) != rest {
				return nil, wire.Errorf("ValidationException", "%s contains invalid key: Syntax error; key: %q", m.what, k)
			}
		}
	}
	return n, nil
}

// writeInput is the input of PutItem, UpdateItem, DeleteItem, and of the
// actions of a transaction.
type writeInput struct {
	TableName           string
	Item                item // of a put
	Key                 item // of the others
	ConditionExpression *string
	UpdateExpression    *string
	expressions
	Expected                            map[string]expectation
	ConditionalOperator                 string
	AttributeUpdates                    map[string]attributeUpdate
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
	ReturnConsumedCapacity              string
}

type writeOutput struct {
	Attributes       item              `json:",omitempty"`
	ConsumedCapacity *consumedCapacity `json:",omitempty"`

	refusedBy item // the item that failed the condition, if it is to be shown
}

func (o *writeOutput) explain() map[string]any {
	if o == nil || len(o.refusedBy) == 0 {
		return nil
	}
	return map[string]any{"Item": o.refusedBy}
}

type consumedCapacity struct {
	TableName     string
	CapacityUnits float64
}

// consumed reports what the call used, if the request asked for it.
func consumed(asked string, t *table, units float64) *consumedCapacity {
	if asked == "" || asked == "NONE" {
		return nil
	}
	return &consumedCapacity{t.name, units}
}

// write is a write that has been checked as far as can be without the item.
type write struct {
	verb    string // PutItem UpdateItem DeleteItem ConditionCheck
	in      *writeInput
	table   *table
	key     item
	cond    *condition
	actions []action
}

// prepare checks a write. returns are the ReturnValues that the operation has.
func (s *Service) prepare(verb string, in *writeInput, returns ...string) (*write, *wire.Error) {
	if in.ReturnValues != "" && !slices.Contains(returns, in.ReturnValues) {
		return nil, wire.Errorf("ValidationException", "Return values set to invalid value: %s; it must be one of %s", in.ReturnValues, strings.Join(returns, ", "))
	}
	if v := in.ReturnValuesOnConditionCheckFailure; v != "" && v != "NONE" && v != "ALL_OLD" {
		return nil, wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'returnValuesOnConditionCheckFailure' failed to satisfy constraint: Member must satisfy enum value set: [ALL_OLD, NONE]", v)
	}
	if err := in.checkMix(); err != nil {
		return nil, err
	}
	w := &write{verb: verb, in: in, key: in.Key}
	if err := w.parse(); err != nil {
		return nil, err
	}
	var err *wire.Error
	if w.table, err = s.table(in.TableName); err != nil {
		return nil, err
	}
	if verb == "PutItem" {
		if err := w.table.keys.checkParts(in.Item, true); err != nil {
			return nil, err
		}
		if err := w.table.checkIndexes(in.Item); err != nil {
			return nil, err
		}
		if s.limits && in.Item.bytes() > maxItem {
			return nil, wire.Errorf("ValidationException", "Item size has exceeded the maximum allowed size")
		}
		w.key = w.table.keys.keyOf(in.Item)
		return w, nil
	}
	if err := w.table.keys.checkKey(in.Key); err != nil {
		return nil, err
	}
	if err := w.table.keys.checkParts(in.Key, false); err != nil {
		return nil, err
	}
	return w, checkKeysUntouched(w.actions, w.table.keys.names())
}

// checkMix refuses expressions beside the parameters that they replace.
func (in *writeInput) checkMix() *wire.Error {
	older := map[string]bool{"Expected": in.Expected != nil, "AttributeUpdates": in.AttributeUpdates != nil}
	newer := map[string]bool{"ConditionExpression": in.ConditionExpression != nil, "UpdateExpression": in.UpdateExpression != nil}
	return mixed(older, newer)
}

func mixed(older, newer map[string]bool) *wire.Error {
	given := func(m map[string]bool) string {
		maps.DeleteFunc(m, func(_ string, yes bool) bool { return !yes })
		return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
	}
	if o, n := given(older), given(newer); o != "" && n != "" {
		return wire.Errorf("ValidationException",
			"Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {%s} Expression parameters: {%s}", o, n)
	}
	return nil
}

// parse reads the write's expressions.
func (w *write) parse() *wire.Error {
	in := w.in
	n, err := in.names(in.ConditionExpression, in.UpdateExpression)
	if err != nil {
		return err
	}
	switch {
	case in.UpdateExpression != nil:
		w.actions, err = parseUpdate(*in.UpdateExpression, n)
	default:
		w.actions, err = legacyUpdate(in.AttributeUpdates)
	}
	if err != nil {
		return err
	}
	switch {
	case in.ConditionExpression != nil:
		w.cond, err = parseCondition("ConditionExpression", *in.ConditionExpression, n)
	default:
		w.cond, err = legacyCondition(in.Expected, in.ConditionalOperator)
	}
	if err != nil {
		return err
	}
	return n.unused()
}

// change is what a write makes of an item; a nil item is none.
type change struct{ before, after item }

// compute works out the change, without making it.
func (s *Service) compute(w *write) (change, *wire.Error) {
	c := change{before: w.table.get(w.key)}
	if !w.cond.holds(c.before) {
		return c, wire.Errorf("ConditionalCheckFailedException", "The conditional request failed")
	}
	switch w.verb {
	case "PutItem":
		c.after = w.in.Item
	case "ConditionCheck":
		c.after = c.before
	case "UpdateItem":
		var err *wire.Error
		if c.after, err = apply(c.before, w.key, w.actions); err != nil {
			return c, err
		}
		if err := w.table.checkIndexes(c.after); err != nil {
			return c, err
		}
		if s.limits && c.after.bytes() > maxItem {
			return c, wire.Errorf("ValidationException", "Item size to update has exceeded the maximum allowed size")
		}
	}
	return c, nil
}

// commit makes the change.
func (w *write) commit(c change) {
	switch {
	case w.verb == "ConditionCheck":
	case c.after == nil:
		w.table.remove(w.key)
	default:
		w.table.put(c.after)
	}
}

// run makes one write and answers it.
func (s *Service) run(w *write) (*writeOutput, *wire.Error) {
	c, err := s.compute(w)
	if err != nil {
		if err.Code == "ConditionalCheckFailedException" && w.in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" {
			return &writeOutput{refusedBy: c.before}, err
		}
		return nil, err
	}
	w.commit(c)
	size := max(c.before.bytes(), c.after.bytes())
	return &writeOutput{
		Attributes:       w.returned(c),
		ConsumedCapacity: consumed(w.in.ReturnConsumedCapacity, w.table, float64(max(1, (size+1023)/1024))),
	}, nil
}

// returned are the attributes that ReturnValues asks for.
func (w *write) returned(c change) item {
	var touched []path
	for _, a := range w.actions {
		touched = append(touched, a.path)
	}
	switch w.in.ReturnValues {
	case "ALL_OLD":
		return c.before
	case "ALL_NEW":
		return c.after
	case "UPDATED_OLD":
		return projectTouched(c.before, touched)
	case "UPDATED_NEW":
		return projectTouched(c.after, touched)
	}
	return nil
}

// projectTouched is project, except that no paths mean nothing.
func projectTouched(it item, paths []path) item {
	if len(paths) == 0 {
		return nil
	}
	return project(it, paths)
}

func (s *Service) putItem(in *writeInput, _ string) (*writeOutput, *wire.Error) {
	if in.UpdateExpression != nil {
		return nil, wire.Errorf("ValidationException", "UpdateExpression is not a parameter of PutItem")
	}
	w, err := s.prepare("PutItem", in, "NONE", "ALL_OLD")
	if err != nil {
		return nil, err
	}
	return s.run(w)
}

func (s *Service) deleteItem(in *writeInput, _ string) (*writeOutput, *wire.Error) {
	w, err := s.prepare("DeleteItem", in, "NONE", "ALL_OLD")
	if err != nil {
		return nil, err
	}
	return s.run(w)
}

func (s *Service) updateItem(in *writeInput, _ string) (*writeOutput, *wire.Error) {
	w, err := s.prepare("UpdateItem", in, "NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW")
	if err != nil {
		return nil, err
	}
	return s.run(w)
}

// place names an item among all tables.
func (t *table) place(key item) string {
	out := t.name
	for _, name := range t.keys.names() {
		out += fmt.Sprintf("\x00%d\x00%s", len(key[name].text), key[name].text)
	}
	return out
}
