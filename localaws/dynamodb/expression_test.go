package dynamodb

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// call makes one call without a network, and returns the reply as text.
func call(t testing.TB, s *Service, op, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", target+op)
	w := httptest.NewRecorder()
	s.Serve(w, r, op, []byte(body))
	return w.Code, w.Body.String()
}

// one makes a service with a table "tab" (key: id) that holds one item.
func one(t testing.TB, it string) *Service {
	t.Helper()
	s := New(Options{Limits: true})
	for op, body := range map[string]string{
		"CreateTable": `{"TableName":"tab","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],
			"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`,
	} {
		if status, text := call(t, s, op, body); status != 200 {
			t.Fatal(text)
		}
	}
	if it != "" {
		if status, text := call(t, s, "PutItem", `{"TableName":"tab","Item":`+it+`}`); status != 200 {
			t.Fatal(text)
		}
	}
	return s
}

const sample = `{"id":{"S":"1"},"n":{"N":"5"},"s":{"S":"hello"},"b":{"B":"AQID"},"t":{"BOOL":true},"z":{"NULL":true},
	"l":{"L":[{"N":"1"},{"S":"two"},{"L":[{"N":"3"}]}]},"m":{"M":{"a":{"N":"1"},"deep":{"M":{"x":{"S":"y"}}}}},
	"ss":{"SS":["a","b"]},"ns":{"NS":["1","2.0"]}}`

func TestConditions(t *testing.T) {
	s := one(t, sample)
	values := map[string]string{
		":n5": `{"N":"5.0"}`, ":n6": `{"N":"6"}`, ":n1": `{"N":"1"}`, ":hel": `{"S":"hel"}`, ":ell": `{"S":"ell"}`, ":hello": `{"S":"hello"}`,
		":N": `{"S":"N"}`, ":SS": `{"S":"SS"}`, ":a": `{"S":"a"}`, ":two": `{"S":"two"}`, ":y": `{"S":"y"}`, ":ba": `{"SS":["b","a"]}`,
		":b1": `{"B":"AQ=="}`, ":true": `{"BOOL":true}`, ":n3": `{"N":"3"}`, ":ns": `{"NS":["2","1"]}`,
	}
	for _, tt := range []struct {
		cond string
		want bool
	}{
		{"n = :n5", true},
		{"n <> :n5", false},
		{"n < :n6", true},
		{"n <= :n5", true},
		{"n > :n5", false},
		{"n >= :n5", true},
		{"n = :hello", false},
		{"n <> :hello", true},
		{"n < :hello", false},
		{":n5 = n", true},
		{"gone = :n5", false},
		{"gone <> :n5", true},
		{"NOT gone = :n5", true},
		{"gone < :n5", false},
		{"NOT gone < :n5", true},
		{"attribute_exists(n)", true},
		{"attribute_exists(m.deep.x)", true},
		{"attribute_exists(m.deep.y)", false},
		{"attribute_exists(l[2][0])", true},
		{"attribute_exists(l[3])", false},
		{"attribute_not_exists(gone)", true},
		{"attribute_not_exists(s.x)", true},
		{"attribute_type(n, :N)", true},
		{"attribute_type(ss, :SS)", true},
		{"attribute_type(s, :N)", false},
		{"attribute_type(gone, :N)", false},
		{"begins_with(s, :hel)", true},
		{"begins_with(s, :ell)", false},
		{"begins_with(b, :b1)", true},
		{"begins_with(n, :hel)", false},
		{"contains(s, :ell)", true},
		{"contains(ss, :a)", true},
		{"contains(ss, :two)", false},
		{"contains(l, :two)", true},
		{"contains(ns, :n1)", true},
		{"contains(n, :n5)", false},
		{"size(s) = :n5", true},
		{"size(l) = :n3", true},
		{"size(ss) < :n3", true},
		{"size(b) = :n3", true},
		{"size(n) = :n5", false},
		{"size(gone) <> :n5", true},
		{"n BETWEEN :n1 AND :n6", true},
		{"n between :n6 and :n6", false},
		{"gone BETWEEN :n1 AND :n6", false},
		{"n IN (:n1, :n5)", true},
		{"n IN (:n1)", false},
		{"s IN (:n1, :hello)", true},
		{"ss = :ba", true},
		{"ns = :ns", true},
		{"t = :true", true},
		{"m.deep.x = :y", true},
		{"l[1] = :two", true},
		{"n = :n6 OR s = :hello AND t = :true", true},
		{"(n = :n6 OR s = :hello) AND n = :n6", false},
		{"NOT (n = :n6 OR n = :n1)", true},
		{"NOT NOT n = :n5", true},
		{"not n = :n5 or n = :n5", true},
		{"#dot = :n5", false},
		{"#sz = :n5 OR n = :n5", true},
	} {
		var used []string
		for name, v := range values {
			if strings.Contains(tt.cond+" ", name+" ") || strings.Contains(tt.cond, name+")") || strings.Contains(tt.cond, name+",") {
				used = append(used, fmt.Sprintf("%q:%s", name, v))
			}
		}
		body := fmt.Sprintf(`{"TableName":"tab","Key":{"id":{"S":"1"}},"ReturnValues":"NONE","UpdateExpression":"SET touched = s","ConditionExpression":%q`, tt.cond)
		if len(used) > 0 {
			body += `,"ExpressionAttributeValues":{` + strings.Join(used, ",") + `}`
		}
		for name, full := range map[string]string{"#dot": "m.a", "#sz": "size"} {
			if strings.Contains(tt.cond, name) {
				body += fmt.Sprintf(`,"ExpressionAttributeNames":{%q:%q}`, name, full)
			}
		}
		status, text := call(t, s, "UpdateItem", body+"}")
		if got := status == 200; got != tt.want || !got && !strings.Contains(text, "ConditionalCheckFailedException") {
			t.Errorf("%s: %d %s, want %v", tt.cond, status, text, tt.want)
		}
	}
}

func TestUpdates(t *testing.T) {
	for _, tt := range []struct{ update, values, want string }{
		{"SET n = n + :v", `{":v":{"N":"0.1"}}`, `"n":{"N":"5.1"}`},
		{"SET n = :v - n", `{":v":{"N":"4"}}`, `"n":{"N":"-1"}`},
		{"SET n = n - :v", `{":v":{"N":"12345678901234567890123456789012345.5"}}`, `"n":{"N":"-12345678901234567890123456789012340.5"}`},
		{"SET c = if_not_exists(c, :v), d = if_not_exists(n, :v)", `{":v":{"N":"0"}}`, `"c":{"N":"0"},"d":{"N":"5"}`},
		{"SET c = if_not_exists(c, :v) + :v", `{":v":{"N":"1"}}`, `"c":{"N":"2"}`},
		{"SET l = list_append(l, :v)", `{":v":{"L":[{"S":"end"}]}}`, `"l":{"L":[{"N":"1"},{"S":"two"},{"L":[{"N":"3"}]},{"S":"end"}]}`},
		{"SET l = list_append(:v, l)", `{":v":{"L":[{"S":"0"}]}}`, `"l":{"L":[{"S":"0"},{"N":"1"}`},
		{"SET l[0] = :v, l[9] = :v", `{":v":{"S":"v"}}`, `"l":{"L":[{"S":"v"},{"S":"two"},{"L":[{"N":"3"}]},{"S":"v"}]}`},
		{"SET l[2][0] = :v", `{":v":{"S":"v"}}`, `{"L":[{"S":"v"}]}`},
		{"SET m.deep.x = :v, m.b = :v", `{":v":{"S":"v"}}`, `"m":{"M":{"a":{"N":"1"},"b":{"S":"v"},"deep":{"M":{"x":{"S":"v"}}}}}`},
		{"SET n = s, s = n", "", `"n":{"S":"hello"},"ns":{"NS":["1","2"]},"s":{"N":"5"}`},
		{"REMOVE l[0], l[1]", "", `"l":{"L":[{"L":[{"N":"3"}]}]}`},
		{"REMOVE n, gone SET x = n", "", `"x":{"N":"5"}`},
		{"REMOVE m.deep", "", `"m":{"M":{"a":{"N":"1"}}}`},
		{"ADD n :v, fresh :v", `{":v":{"N":"-5"}}`, `"fresh":{"N":"-5"},"id":{"S":"1"},"l"`},
		{"ADD ss :v", `{":v":{"SS":["b","c"]}}`, `"ss":{"SS":["a","b","c"]}`},
		{"ADD fresh :v", `{":v":{"SS":["b"]}}`, `"fresh":{"SS":["b"]}`},
		{"DELETE ss :v", `{":v":{"SS":["b","c"]}}`, `"ss":{"SS":["a"]}`},
		{"DELETE gone :v", `{":v":{"SS":["b"]}}`, `"id":{"S":"1"}`},
		{"set a1 = :v remove n add c :w delete ss :x", `{":v":{"S":"v"},":w":{"N":"1"},":x":{"SS":["a"]}}`, `"a1":{"S":"v"}`},
	} {
		s := one(t, sample)
		body := fmt.Sprintf(`{"TableName":"tab","Key":{"id":{"S":"1"}},"ReturnValues":"ALL_NEW","UpdateExpression":%q`, tt.update)
		if tt.values != "" {
			body += `,"ExpressionAttributeValues":` + tt.values
		}
		status, text := call(t, s, "UpdateItem", body+"}")
		if status != 200 || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %s\nlacks %s", tt.update, status, text, tt.want)
		}
	}
	s := one(t, sample)
	if _, text := call(t, s, "UpdateItem", `{"TableName":"tab","Key":{"id":{"S":"1"}},"UpdateExpression":"DELETE ss :v","ReturnValues":"ALL_NEW","ExpressionAttributeValues":{":v":{"SS":["a","b"]}}}`); strings.Contains(text, `"ss"`) {
		t.Errorf("an emptied set stayed: %s", text)
	}
	if _, text := call(t, s, "UpdateItem", `{"TableName":"tab","Key":{"id":{"S":"new"}},"UpdateExpression":"REMOVE x","ReturnValues":"ALL_NEW"}`); text != `{"Attributes":{"id":{"S":"new"}}}` {
		t.Errorf("an update of nothing made %s", text)
	}
	for returns, want := range map[string]string{
		"UPDATED_OLD": `{"Attributes":{"m":{"M":{"a":{"N":"1"}}}}}`, "UPDATED_NEW": `{"Attributes":{"m":{"M":{"a":{"N":"2"}}},"q":{"N":"1"}}}`, "NONE": `{}`,
	} {
		s := one(t, sample)
		_, text := call(t, s, "UpdateItem", `{"TableName":"tab","Key":{"id":{"S":"1"}},"UpdateExpression":"SET m.a = m.a + :v, q = :v","ReturnValues":"`+returns+`","ExpressionAttributeValues":{":v":{"N":"1"}}}`)
		if text != want {
			t.Errorf("%s: %s, want %s", returns, text, want)
		}
	}
}

// TestRefusals has what AWS refuses, with the words that it uses.
func TestRefusals(t *testing.T) {
	s := one(t, sample)
	update := func(rest string) string { return `{"TableName":"tab","Key":{"id":{"S":"1"}},` + rest + `}` }
	expr := func(e string) string {
		return update(`"UpdateExpression":"` + e + `","ExpressionAttributeValues":{":v":{"N":"1"}}`)
	}
	cond := func(e string) string {
		return update(`"ConditionExpression":"` + e + `","ExpressionAttributeValues":{":v":{"N":"1"}}`)
	}
	put := func(v string) string { return `{"TableName":"tab","Item":{"id":{"S":"2"},"a":` + v + `}}` }
	for _, tt := range []struct{ name, op, body, want string }{
		{"no such operation", "PartiQL", `{}`, "UnknownOperationException"},
		{"no such table", "GetItem", `{"TableName":"none","Key":{"id":{"S":"1"}}}`, "ResourceNotFoundException"},
		{"no table", "GetItem", `{}`, "TableName"},
		{"not JSON", "GetItem", `{`, "SerializationException"},
		{"a number for a name", "GetItem", `{"TableName":5}`, "SerializationException"},
		{"a bare number", "PutItem", put(`{"N":5}`), "SerializationException"},
		{"a bare string", "PutItem", put(`"x"`), "SerializationException"},
		{"no type", "PutItem", put(`{}`), "must contain exactly one of the supported datatypes"},
		{"two types", "PutItem", put(`{"S":"a","N":"1"}`), "more than one datatypes set"},
		{"an unknown type", "PutItem", put(`{"X":"a"}`), "must contain exactly one"},
		{"an empty set", "PutItem", put(`{"SS":[]}`), "An string set  may not be empty"},
		{"a set with a twin", "PutItem", put(`{"NS":["1","1.0"]}`), "contains duplicates"},
		{"a number that is none", "PutItem", put(`{"N":"NaN"}`), "cannot be converted to a numeric value: NaN"},
		{"39 digits", "PutItem", put(`{"N":"123456789012345678901234567890123456789"}`), "more than 38 significant digits"},
		{"too large", "PutItem", put(`{"N":"1e126"}`), "Number overflow"},
		{"too small", "PutItem", put(`{"N":"1e-131"}`), "Number underflow"},
		{"null that is not", "PutItem", put(`{"NULL":false}`), "must have the value of true"},
		{"too deep", "PutItem", put(strings.Repeat(`{"L":[`, 40) + `{"N":"1"}` + strings.Repeat(`]}`, 40)), "Nesting Levels have exceeded"},
		{"no key", "PutItem", `{"TableName":"tab","Item":{"x":{"S":"1"}}}`, "Missing the key id in the item"},
		{"a key of another type", "PutItem", `{"TableName":"tab","Item":{"id":{"N":"1"}}}`, "Type mismatch for key id expected: S actual: N"},
		{"an empty key", "PutItem", `{"TableName":"tab","Item":{"id":{"S":""}}}`, "cannot contain an empty string value. Key: id"},
		{"a key too many", "GetItem", `{"TableName":"tab","Key":{"id":{"S":"1"},"x":{"S":"1"}}}`, "The provided key element does not match the schema"},
		{"a wrong key", "DeleteItem", `{"TableName":"tab","Key":{"id":{"N":"1"}}}`, "The provided key element does not match the schema"},
		{"a reserved word", "UpdateItem", expr("SET shard = :v"), "Invalid UpdateExpression: Attribute name is a reserved keyword; reserved keyword: shard"},
		{"a reserved word in a condition", "UpdateItem", cond("Owner = :v"), "Invalid ConditionExpression: Attribute name is a reserved keyword; reserved keyword: Owner"},
		{"an unused value", "UpdateItem", expr("SET a = n"), "Value provided in ExpressionAttributeValues unused in expressions: keys: {:v}"},
		{"an unused name", "UpdateItem", update(`"UpdateExpression":"SET a = n","ExpressionAttributeNames":{"#x":"y"}`), "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}"},
		{"an undefined value", "UpdateItem", expr("SET a = :w"), "An expression attribute value used in expression is not defined; attribute value: :w"},
		{"an undefined name", "UpdateItem", expr("SET #a = :v"), "An expression attribute name used in the document path is not defined; attribute name: #a"},
		{"values without an expression", "UpdateItem", update(`"ExpressionAttributeValues":{":v":{"N":"1"}}`), "ExpressionAttributeValues can only be specified when using expressions"},
		{"no values", "UpdateItem", update(`"UpdateExpression":"SET a = n","ExpressionAttributeValues":{}`), "ExpressionAttributeValues must not be empty"},
		{"a value's name", "UpdateItem", update(`"UpdateExpression":"SET a = n","ExpressionAttributeValues":{"v":{"N":"1"}}`), "contains invalid key"},
		{"an empty expression", "UpdateItem", update(`"UpdateExpression":""`), "Invalid UpdateExpression: The expression can not be empty;"},
		{"syntax", "UpdateItem", cond("n = = :v"), `Syntax error; token: \"=\"`},
		{"parentheses twice", "UpdateItem", cond("((n = :v))"), "Invalid ConditionExpression: The expression has redundant parentheses;"},
		{"an open end", "UpdateItem", cond("n = :v AND"), "Syntax error"},
		{"an odd sign", "UpdateItem", cond("n == :v"), "Syntax error"},
		{"an odd byte", "UpdateItem", cond("n = :v ; x"), "Syntax error"},
		{"no such function", "UpdateItem", cond("exists(n)"), "Invalid function name; function: exists"},
		{"too few operands", "UpdateItem", cond("begins_with(s)"), "Incorrect number of operands for operator or function; operator or function: begins_with"},
		{"a comparison with itself", "UpdateItem", cond("n = n OR n = :v"), "must be distinct from the remaining operands"},
		{"an operand of the wrong type", "UpdateItem", cond("begins_with(s, :v)"), "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N"},
		{"bounds the wrong way", "UpdateItem", update(`"ConditionExpression":"n BETWEEN :b AND :a","ExpressionAttributeValues":{":a":{"N":"1"},":b":{"N":"2"}}`), "requires upper bound to be greater than or equal to lower bound"},
		{"a type that is none", "UpdateItem", update(`"ConditionExpression":"attribute_type(n, :a)","ExpressionAttributeValues":{":a":{"S":"NUMBER"}}`), "Invalid attribute type name found; type: NUMBER"},
		{"SET twice", "UpdateItem", expr("SET a = :v SET b = :v"), `The \"SET\" section can only be used once`},
		{"overlapping paths", "UpdateItem", expr("SET m.a = :v REMOVE m"), "Two document paths overlap with each other"},
		{"conflicting paths", "UpdateItem", expr("SET m.a = :v REMOVE m[0]"), "Two document paths conflict with each other"},
		{"a part of the key", "UpdateItem", expr("SET id = :v"), "Cannot update attribute id. This attribute is part of the key"},
		{"a path through nothing", "UpdateItem", expr("SET gone.x = :v"), "The document path provided in the update expression is invalid for update"},
		{"a path through a string", "UpdateItem", expr("SET s.x = :v"), "The document path provided in the update expression is invalid for update"},
		{"a sum with nothing", "UpdateItem", expr("SET a = gone + :v"), "The provided expression refers to an attribute that does not exist in the item"},
		{"a sum with a string", "UpdateItem", expr("SET a = s + :v"), "An operand in the update expression has an incorrect data type"},
		{"a sum of strings", "UpdateItem", update(`"UpdateExpression":"SET a = n + :v","ExpressionAttributeValues":{":v":{"S":"1"}}`), "operand type: S"},
		{"adding to a string", "UpdateItem", expr("ADD s :v"), "An operand in the update expression has an incorrect data type"},
		{"adding a string", "UpdateItem", update(`"UpdateExpression":"ADD n :v","ExpressionAttributeValues":{":v":{"S":"1"}}`), "operator: ADD, operand type: STRING"},
		{"deleting a number", "UpdateItem", expr("DELETE n :v"), "operator: DELETE, operand type: NUMBER"},
		{"ReturnValues", "PutItem", `{"TableName":"tab","Item":{"id":{"S":"2"}},"ReturnValues":"ALL_NEW"}`, "Return values set to invalid value"},
		{"old and new words", "UpdateItem", update(`"UpdateExpression":"REMOVE a","Expected":{"n":{"Exists":false}}`), "Can not use both expression and non-expression parameters"},
		{"a limit of nothing", "Scan", `{"TableName":"tab","Limit":0}`, "greater than or equal to 1"},
		{"no such index", "Scan", `{"TableName":"tab","IndexName":"ix"}`, "The table does not have the specified index: ix"},
		{"a start that is no key", "Scan", `{"TableName":"tab","ExclusiveStartKey":{"x":{"S":"1"}}}`, "The provided starting key is invalid"},
		{"a segment too many", "Scan", `{"TableName":"tab","Segment":2,"TotalSegments":2}`, "zero-based and must be less than"},
		{"a query without a key", "Query", `{"TableName":"tab"}`, "KeyConditionExpression parameter must be specified"},
		{"a query by another attribute", "Query", `{"TableName":"tab","KeyConditionExpression":"n = :v","ExpressionAttributeValues":{":v":{"N":"1"}}}`, "Query condition missed key schema element: id"},
		{"a query by a range of keys", "Query", `{"TableName":"tab","KeyConditionExpression":"id > :v","ExpressionAttributeValues":{":v":{"S":"1"}}}`, "Query key condition not supported"},
		{"a query with OR", "Query", `{"TableName":"tab","KeyConditionExpression":"id = :v OR id = :v","ExpressionAttributeValues":{":v":{"S":"1"}}}`, "Invalid operator used in KeyConditionExpression: OR"},
		{"a query of another type", "Query", `{"TableName":"tab","KeyConditionExpression":"id = :v","ExpressionAttributeValues":{":v":{"N":"1"}}}`, "Condition parameter type does not match schema type"},
		{"a filter on the key", "Query", `{"TableName":"tab","KeyConditionExpression":"id = :v","FilterExpression":"id = :v","ExpressionAttributeValues":{":v":{"S":"1"}}}`, "Filter Expression can only contain non-primary key attributes"},
		{"a projection twice", "GetItem", `{"TableName":"tab","Key":{"id":{"S":"1"}},"ProjectionExpression":"m, m.a"}`, "Invalid ProjectionExpression: Two document paths overlap"},
		{"an empty batch", "BatchWriteItem", `{"RequestItems":{}}`, "cannot be null or empty"},
		{"a table again", "CreateTable", `{"TableName":"tab","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`, "ResourceInUseException"},
		{"an attribute too many", "CreateTable", `{"TableName":"tab2","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"},{"AttributeName":"x","AttributeType":"S"}]}`, "does not exactly match number of attributes"},
		{"a key without a definition", "CreateTable", `{"TableName":"tab2","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}]}`, "not defined in AttributeDefinitions"},
		{"no throughput", "CreateTable", `{"TableName":"tab2","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`, "ReadCapacityUnits and WriteCapacityUnits must both be specified"},
	} {
		status, text := call(t, s, tt.op, tt.body)
		if status != 400 || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %s\nlacks %s", tt.name, status, text, tt.want)
		}
	}
	_, text := call(t, s, "GetItem", `{"TableName":"tab","Key":{"id":{"S":"1"}}}`)
	var got struct{ Item item }
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Item) != 10 {
		t.Errorf("a refused write changed the item: %s", text)
	}
}

func TestProjections(t *testing.T) {
	s := one(t, sample)
	for expr, want := range map[string]string{
		"n, s":              `{"n":{"N":"5"},"s":{"S":"hello"}}`,
		"m.deep.x, l[1]":    `{"l":{"L":[{"S":"two"}]},"m":{"M":{"deep":{"M":{"x":{"S":"y"}}}}}}`,
		"l[2][0], l[0]":     `{"l":{"L":[{"N":"1"},{"L":[{"N":"3"}]}]}}`,
		"gone, m.non, l[7]": `{}`,
	} {
		_, text := call(t, s, "GetItem", fmt.Sprintf(`{"TableName":"tab","Key":{"id":{"S":"1"}},"ProjectionExpression":%q}`, expr))
		if text != `{"Item":`+want+`}` {
			t.Errorf("%s: %s, want %s", expr, text, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "007": "7", "1.50": "1.5", "1e3": "1000", "-1.5E-3": "-0.0015", "+2": "2", ".5": "0.5", "100": "100", "1e-130": "0." + strings.Repeat("0", 129) + "1",
		"9.9999999999999999999999999999999999999E+125": strings.Repeat("9", 38) + strings.Repeat("0", 88), "0e999999": "0", "5.": "5",
	} {
		d, err := parseDecimal(in)
		if err != nil || d.String() != want {
			t.Errorf("%s: %v, %v; want %s", in, d, err, want)
		}
	}
	for _, in := range []string{"", "-", ".", "1e", "e5", "1..2", "0x10", "1_000", "Infinity", " 1", "--1", "1e9999999999999999999999", "١"} {
		if d, err := parseDecimal(in); err == nil {
			t.Errorf("%q was read as %s", in, d)
		}
	}
	if !reserved["SHARD"] || !reserved["ZONE"] || len(reserved) != 573 {
		t.Errorf("%d reserved words", len(reserved))
	}
}

func FuzzExpressions(f *testing.F) {
	for _, seed := range []string{
		"n = :v AND (attribute_not_exists(#a) OR NOT size(l[0].x) BETWEEN :v AND :w)", "begins_with(s, :s) OR n IN (:v, :w)",
		"SET a.b[0] = if_not_exists(x, :v) + :w, l = list_append(l, :l) REMOVE l[0], m.a ADD n :v DELETE ss :ss", "a, b.c[1], #a", "((((", "l[99999999999999999999]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var it item
		if err := json.Unmarshal([]byte(sample), &it); err != nil {
			t.Fatal(err)
		}
		var values map[string]value
		if err := json.Unmarshal([]byte(`{":v":{"N":"1"},":w":{"N":"2"},":s":{"S":"h"},":l":{"L":[{"N":"1"}]},":ss":{"SS":["a"]}}`), &values); err != nil {
			t.Fatal(err)
		}
		fresh := func() *names {
			return &names{names: map[string]string{"#a": "x"}, values: values, used: map[string]bool{}}
		}
		before, _ := json.Marshal(it)
		if c, err := parseCondition("ConditionExpression", text, fresh()); err == nil {
			negated := &condition{op: "NOT", subs: []*condition{c}}
			if c.holds(it) == negated.holds(it) || c.holds(nil) == negated.holds(nil) {
				t.Errorf("%q and its negation agree", text)
			}
		}
		if actions, err := parseUpdate(text, fresh()); err == nil {
			if after, err := apply(it, nil, actions); err == nil {
				if _, err := json.Marshal(after); err != nil {
					t.Errorf("%q made an item that cannot be written: %v", text, err)
				}
			}
		}
		if paths, err := parseProjection(text, fresh()); err == nil {
			project(it, paths)
		}
		if after, _ := json.Marshal(it); string(after) != string(before) {
			t.Errorf("%q changed the old item to %s", text, after)
		}
	})
}

func FuzzRequests(f *testing.F) {
	f.Add("PutItem", `{"TableName":"tab","Item":`+sample+`}`)
	f.Add("UpdateItem", `{"TableName":"tab","Key":{"id":{"S":"1"}},"AttributeUpdates":{"n":{"Action":"ADD","Value":{"N":"1"}}},"Expected":{"n":{"Value":{"N":"5"}}}}`)
	f.Add("Scan", `{"TableName":"tab","Limit":1,"ExclusiveStartKey":{"id":{"S":"0"}},"ScanFilter":{"n":{"ComparisonOperator":"GT","AttributeValueList":[{"N":"1"}]}}}`)
	f.Add("Query", `{"TableName":"tab","KeyConditions":{"id":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"1"}]}}}`)
	f.Add("TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"tab","Item":{"id":{"S":"2"}}}},{"Delete":{"TableName":"tab","Key":{"id":{"S":"1"}}}}]}`)
	f.Add("UpdateTable", `{"TableName":"tab","GlobalSecondaryIndexUpdates":[{"Create":{"IndexName":"idx","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"Projection":{"ProjectionType":"ALL"}}}]}`)
	f.Fuzz(func(t *testing.T, op, body string) {
		s := one(t, sample)
		for range 2 { // what the first call leaves behind must not break the next
			status, text := call(t, s, op, body)
			if status == 500 || !json.Valid([]byte(text)) {
				t.Errorf("%s %s: %d %s", op, body, status, text)
			}
			if status, text := call(t, s, "Scan", `{"TableName":"tab"}`); status != 200 && !strings.Contains(text, "ResourceNotFound") {
				t.Errorf("after %s %s: %s", op, body, text)
			}
		}
	})
}
