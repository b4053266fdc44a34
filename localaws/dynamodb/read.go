package dynamodb

import (
	"encoding/binary"
	"slices"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// maxPage is how many bytes of items a Scan or a Query looks at.
const maxPage = 1 << 20

type getInput struct {
	TableName            string
	Key                  item
	ProjectionExpression *string
	AttributesToGet      []string
	expressions
	ConsistentRead         bool
	ReturnConsumedCapacity string
}

type itemOutput struct {
	Item             *item             `json:",omitempty"` // absent, or perhaps without attributes
	ConsumedCapacity *consumedCapacity `json:",omitempty"`
}

func (s *Service) getItem(in *getInput, _ string) (*itemOutput, *wire.Error) {
	paths, err := in.paths()
	if err != nil {
		return nil, err
	}
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	if err := t.keys.checkKey(in.Key); err != nil {
		return nil, err
	}
	if err := t.keys.checkParts(in.Key, false); err != nil {
		return nil, err
	}
	it := t.get(in.Key)
	out := &itemOutput{ConsumedCapacity: consumed(in.ReturnConsumedCapacity, t, readUnits(it.bytes(), in.ConsistentRead))}
	if it != nil {
		part := project(it, paths)
		out.Item = &part
	}
	return out, nil
}

// readUnits is what reading so many bytes costs: a unit for each 4 KB, or half.
func readUnits(size int, consistent bool) float64 {
	units := float64(max(1, (size+4095)/4096))
	if consistent {
		return units
	}
	return units / 2
}

func (in *getInput) paths() ([]path, *wire.Error) {
	if err := mixed(map[string]bool{"AttributesToGet": in.AttributesToGet != nil},
		map[string]bool{"ProjectionExpression": in.ProjectionExpression != nil}); err != nil {
		return nil, err
	}
	n, err := in.names(in.ProjectionExpression)
	if err != nil {
		return nil, err
	}
	if in.ProjectionExpression == nil {
		return attributesToGet(in.AttributesToGet)
	}
	paths, err := parseProjection(*in.ProjectionExpression, n)
	if err != nil {
		return nil, err
	}
	return paths, n.unused()
}

// readInput is the input of Scan and of Query.
type readInput struct {
	TableName              string
	IndexName              string
	Select                 string
	Limit                  *int
	ExclusiveStartKey      item
	ConsistentRead         bool
	ScanIndexForward       *bool
	Segment, TotalSegments *int
	ReturnConsumedCapacity string

	KeyConditionExpression *string
	FilterExpression       *string
	ProjectionExpression   *string
	expressions

	AttributesToGet                        []string
	KeyConditions, QueryFilter, ScanFilter map[string]expectation
	ConditionalOperator                    string
}

type readOutput struct {
	Items            *[]item `json:",omitempty"` // absent where only the count was asked for
	Count            int
	ScannedCount     int
	LastEvaluatedKey item              `json:",omitempty"`
	ConsumedCapacity *consumedCapacity `json:",omitempty"`
}

// reading is a Scan or a Query that has been checked.
type reading struct {
	in       *readInput
	table    *table
	index    *index // nil for the table itself
	keys     keySchema
	keyCond  *condition
	filter   *condition
	paths    []path
	backward bool
}

func (s *Service) scan(in *readInput, _ string) (*readOutput, *wire.Error) {
	r, err := s.prepareRead(in, false)
	if err != nil {
		return nil, err
	}
	if err := in.checkSegments(); err != nil {
		return nil, err
	}
	return r.page(), nil
}

func (s *Service) query(in *readInput, _ string) (*readOutput, *wire.Error) {
	r, err := s.prepareRead(in, true)
	if err != nil {
		return nil, err
	}
	if err := r.checkKeyCondition(); err != nil {
		return nil, err
	}
	r.backward = in.ScanIndexForward != nil && !*in.ScanIndexForward
	return r.page(), nil
}

func (s *Service) prepareRead(in *readInput, query bool) (*reading, *wire.Error) {
	if in.Limit != nil && *in.Limit < 1 {
		return nil, wire.Errorf("ValidationException", "1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1", *in.Limit)
	}
	r := &reading{in: in}
	if err := r.parse(query); err != nil {
		return nil, err
	}
	var err *wire.Error
	if r.table, err = s.table(in.TableName); err != nil {
		return nil, err
	}
	r.keys = r.table.keys
	if in.IndexName != "" {
		if r.index = r.table.index(in.IndexName); r.index == nil {
			return nil, wire.Errorf("ValidationException", "The table does not have the specified index: %s", in.IndexName)
		}
		r.keys = r.index.keys
	}
	if err := r.checkSelect(); err != nil {
		return nil, err
	}
	if query {
		touched := map[string]bool{}
		r.filter.topNames(touched)
		for _, name := range r.keys.names() {
			if touched[name] {
				return nil, wire.Errorf("ValidationException", "Filter Expression can only contain non-primary key attributes: Primary key attribute: %s", name)
			}
		}
	}
	return r, r.checkStart()
}

// parse reads the expressions, or what they replaced.
func (r *reading) parse(query bool) *wire.Error {
	in := r.in
	err := mixed(map[string]bool{
		"AttributesToGet": in.AttributesToGet != nil, "KeyConditions": in.KeyConditions != nil,
		"QueryFilter": in.QueryFilter != nil, "ScanFilter": in.ScanFilter != nil,
	}, map[string]bool{
		"KeyConditionExpression": in.KeyConditionExpression != nil, "FilterExpression": in.FilterExpression != nil,
		"ProjectionExpression": in.ProjectionExpression != nil,
	})
	if err != nil {
		return err
	}
	n, err := in.names(in.KeyConditionExpression, in.FilterExpression, in.ProjectionExpression)
	if err != nil {
		return err
	}
	if in.KeyConditionExpression != nil {
		if r.keyCond, err = parseCondition("KeyConditionExpression", *in.KeyConditionExpression, n); err != nil {
			return err
		}
	} else if r.keyCond, err = legacyCondition(in.KeyConditions, ""); err != nil {
		return err
	}
	older := in.ScanFilter
	if query {
		older = in.QueryFilter
	}
	if in.FilterExpression != nil {
		r.filter, err = parseCondition("FilterExpression", *in.FilterExpression, n)
	} else {
		r.filter, err = legacyCondition(older, in.ConditionalOperator)
	}
	if err != nil {
		return err
	}
	if in.ProjectionExpression != nil {
		r.paths, err = parseProjection(*in.ProjectionExpression, n)
	} else {
		r.paths, err = attributesToGet(in.AttributesToGet)
	}
	if err != nil {
		return err
	}
	return n.unused()
}

func (r *reading) checkSelect() *wire.Error {
	in := r.in
	global := r.index != nil && !r.index.local
	switch {
	case global && in.ConsistentRead:
		return wire.Errorf("ValidationException", "Consistent reads are not supported on global secondary indexes")
	case in.Select != "" && !slices.Contains([]string{"ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "COUNT", "SPECIFIC_ATTRIBUTES"}, in.Select):
		return wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'select' failed to satisfy constraint: Member must satisfy enum value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]", in.Select)
	case len(r.paths) > 0 && in.Select != "" && in.Select != "SPECIFIC_ATTRIBUTES":
		return wire.Errorf("ValidationException", "Cannot specify the ProjectionExpression when choosing to get %s", in.Select)
	case global && in.Select == "ALL_ATTRIBUTES" && r.index.projection != "ALL":
		return wire.Errorf("ValidationException", "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global secondary index %s because its projection type is not ALL", r.index.name)
	}
	return nil
}

// checkStart checks the key to go on after: that of the table, and on an index
// the index's too.
func (r *reading) checkStart() *wire.Error {
	start := r.in.ExclusiveStartKey
	if start == nil {
		return nil
	}
	names := r.startNames()
	invalid := wire.Errorf("ValidationException", "The provided starting key is invalid: The provided key element does not match the schema")
	if len(start) != len(names) {
		return invalid
	}
	if r.table.keys.checkParts(start, false) != nil || r.keys.checkParts(start, false) != nil {
		return invalid
	}
	return nil
}

func (r *reading) startNames() []string {
	names := r.table.keys.names()
	for _, name := range r.keys.names() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// rows are the rows that the reading walks over, in its order.
func (r *reading) rows() []*row {
	all := r.table.rows
	if r.index != nil {
		all = r.index.in(r.table)
	}
	var out []*row
	for _, one := range all {
		if r.keyCond.holds(one.item) && r.inSegment(one) && r.afterStart(one) {
			out = append(out, one)
		}
	}
	if r.backward {
		slices.Reverse(out)
	}
	return out
}

func (r *reading) afterStart(one *row) bool {
	start := r.in.ExclusiveStartKey
	if start == nil {
		return true
	}
	at := &row{order: r.keys.order(start), item: start}
	var c int
	if r.index != nil {
		c = r.index.compare(r.table, one, at)
	} else {
		c = r.keys.compareKeys(one.order, one.item, at.order, at.item)
	}
	if r.backward {
		return c < 0
	}
	return c > 0
}

// inSegment tells whether a parallel scan's segment has the row: segments cut
// the range of the key's hash evenly.
func (r *reading) inSegment(one *row) bool {
	if r.in.TotalSegments == nil || r.in.Segment == nil {
		return true
	}
	hash := uint64(binary.BigEndian.Uint32([]byte(one.order)))
	return int(hash*uint64(*r.in.TotalSegments)>>32) == *r.in.Segment
}

func (in *readInput) checkSegments() *wire.Error {
	switch {
	case in.Segment == nil && in.TotalSegments == nil:
		return nil
	case in.Segment == nil:
		return wire.Errorf("ValidationException", "The Segment parameter is required but was not present in the request when parameter TotalSegments is present")
	case in.TotalSegments == nil:
		return wire.Errorf("ValidationException", "The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	case *in.TotalSegments < 1 || *in.TotalSegments > 1_000_000:
		return wire.Errorf("ValidationException", "1 validation error detected: Value '%d' at 'totalSegments' failed to satisfy constraint: Member must have value from 1 to 1000000", *in.TotalSegments)
	case *in.Segment < 0 || *in.Segment >= *in.TotalSegments:
		return wire.Errorf("ValidationException", "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d", *in.Segment, *in.TotalSegments)
	}
	return nil
}

// page reads one page. The limit counts the items looked at, before the filter;
// a page that stops at a bound says so even if nothing is left, as AWS's does.
func (r *reading) page() *readOutput {
	out := &readOutput{}
	items := []item{}
	size := 0
	for _, one := range r.rows() {
		out.ScannedCount++
		size += one.item.bytes()
		if r.filter.holds(one.item) {
			out.Count++
			items = append(items, project(one.item, r.paths))
		}
		if size > maxPage || r.in.Limit != nil && out.ScannedCount == *r.in.Limit {
			out.LastEvaluatedKey = item{}
			for _, name := range r.startNames() {
				out.LastEvaluatedKey[name] = one.item[name]
			}
			break
		}
	}
	if r.in.Select != "COUNT" {
		out.Items = &items
	}
	out.ConsumedCapacity = consumed(r.in.ReturnConsumedCapacity, r.table, readUnits(size, r.in.ConsistentRead))
	return out
}

// checkKeyCondition checks that the condition is one that a Query can follow:
// the partition key is equal to a value, and the sort key in a range.
func (r *reading) checkKeyCondition() *wire.Error {
	if r.keyCond == nil {
		return wire.Errorf("ValidationException", "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	seen := map[string]bool{}
	todo := []*condition{r.keyCond}
	for len(todo) > 0 {
		c := todo[0]
		todo = append(todo[1:], c.subs...)
		if c.op == "AND" {
			continue
		}
		if !slices.Contains([]string{"=", "<", "<=", ">", ">=", "BETWEEN", "begins_with"}, c.op) {
			return wire.Errorf("ValidationException", "Invalid operator used in KeyConditionExpression: %s", c.op)
		}
		if err := r.checkKeyPart(c, seen); err != nil {
			return err
		}
	}
	for _, name := range r.keys.names() {
		if !seen[name] && (name == r.keys.hash || len(seen) > 1) {
			return wire.Errorf("ValidationException", "Query condition missed key schema element: %s", name)
		}
	}
	return nil
}

func (r *reading) checkKeyPart(c *condition, seen map[string]bool) *wire.Error {
	if len(c.args[0].path) != 1 {
		return wire.Errorf("ValidationException", "Invalid condition in KeyConditionExpression: the first operand of %s must be a key attribute", c.op)
	}
	name := c.args[0].path[0].name
	want := r.keys.hashKind
	switch {
	case seen[name]:
		return wire.Errorf("ValidationException", "KeyConditionExpressions must only contain one condition per key")
	case name == r.keys.hash && c.op != "=":
		return wire.Errorf("ValidationException", "Query key condition not supported")
	case name == r.keys.sort:
		want = r.keys.sortKind
	case name != r.keys.hash && r.keys.sort != "":
		return wire.Errorf("ValidationException", "Query condition missed key schema element: %s", r.keys.sort)
	case name != r.keys.hash:
		return wire.Errorf("ValidationException", "Query condition missed key schema element: %s", r.keys.hash)
	}
	seen[name] = true
	for _, a := range c.args[1:] {
		switch {
		case a.value == nil:
			return wire.Errorf("ValidationException", "Invalid condition in KeyConditionExpression: the key %s must be compared with a value", name)
		case a.value.kind != want:
			return wire.Errorf("ValidationException", "One or more parameter values were invalid: Condition parameter type does not match schema type")
		case a.value.text == "" && c.op != "begins_with":
			return wire.Errorf("ValidationException", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", name)
		}
	}
	return nil
}
