package dynamodb

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// kind is the type of an attribute's value, as the wire names it.
type kind string

const (
	kindString  kind = "S"
	kindNumber  kind = "N"
	kindBinary  kind = "B"
	kindBool    kind = "BOOL"
	kindNull    kind = "NULL"
	kindList    kind = "L"
	kindMap     kind = "M"
	kindStrings kind = "SS"
	kindNumbers kind = "NS"
	kindBinarys kind = "BS"
)

// value is an attribute's value. It is not changed once it is stored: an update
// makes a copy of what it changes, so that a reader may keep what it read.
type value struct {
	kind kind
	text string           // of S; the bytes of B; the canonical digits of N
	num  *decimal         // of N
	yes  bool             // of BOOL
	list []value          // of L; the elements of a set, each of its own kind
	m    map[string]value // of M
}

// item is an item, or a key: attributes by name.
type item map[string]value

// maxDepth is how deep lists and maps may nest.
const maxDepth = 32

// errShape marks input whose JSON has the wrong shape, a SerializationException.
var errShape = errors.New("the JSON value has the wrong type")

// refusal carries a validation error out of a JSON decoder.
type refusal struct{ reason *wire.Error }

func (r refusal) Error() string { return r.reason.Message }

func invalidValue(format string, args ...any) error {
	return refusal{wire.Errorf("ValidationException", format, args...)}
}

// UnmarshalJSON reads a value strictly: one type, well-formed numbers, sets
// that hold something and nothing twice.
func (v *value) UnmarshalJSON(b []byte) error { return v.read(b, 0) }

func (v *value) read(b []byte, depth int) error {
	var parts map[kind]json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return errShape
	}
	if depth > maxDepth {
		return invalidValue("Nesting Levels have exceeded supported limits")
	}
	for k, raw := range parts {
		if bytes.Equal(raw, []byte("null")) {
			delete(parts, k) // an SDK's way to leave a type out
		}
	}
	switch len(parts) {
	case 0:
		return invalidValue("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	case 1:
	default:
		return invalidValue("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
	}
	for k, raw := range parts {
		v.kind = k
		return v.readAs(raw, depth)
	}
	return nil
}

func (v *value) readAs(raw json.RawMessage, depth int) error {
	switch v.kind {
	case kindString, kindNumber, kindBinary:
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return errShape
		}
		return v.setScalar(s)
	case kindBool:
		if json.Unmarshal(raw, &v.yes) != nil {
			return errShape
		}
	case kindNull:
		var yes bool
		if json.Unmarshal(raw, &yes) != nil {
			return errShape
		}
		if !yes {
			return invalidValue("One or more parameter values were invalid: Null attribute value types must have the value of true")
		}
	case kindList:
		var raws []json.RawMessage
		if json.Unmarshal(raw, &raws) != nil {
			return errShape
		}
		v.list = make([]value, len(raws))
		for i, r := range raws {
			if err := v.list[i].read(r, depth+1); err != nil {
				return err
			}
		}
	case kindMap:
		var raws map[string]json.RawMessage
		if json.Unmarshal(raw, &raws) != nil {
			return errShape
		}
		v.m = make(map[string]value, len(raws))
		for name, r := range raws {
			var e value
			if err := e.read(r, depth+1); err != nil {
				return err
			}
			v.m[name] = e
		}
	case kindStrings, kindNumbers, kindBinarys:
		return v.readSet(raw)
	default:
		return invalidValue("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	}
	return nil
}

// setScalar sets a string, a number, or base64 bytes.
func (v *value) setScalar(s string) error {
	v.text = s
	switch v.kind {
	case kindNumber:
		d, err := parseDecimal(s)
		if err != nil {
			return refusal{err}
		}
		*v = numberValue(d)
	case kindBinary:
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return errShape
		}
		v.text = string(b)
	}
	return nil
}

func numberValue(d *decimal) value { return value{kind: kindNumber, text: d.String(), num: d} }

func (v *value) readSet(raw json.RawMessage) error {
	var raws []string
	if json.Unmarshal(raw, &raws) != nil {
		return errShape
	}
	if len(raws) == 0 {
		name := map[kind]string{kindStrings: "string", kindNumbers: "number", kindBinarys: "binary"}[v.kind]
		return invalidValue("One or more parameter values were invalid: An %s set  may not be empty", name)
	}
	seen := make(map[string]bool, len(raws))
	v.list = make([]value, len(raws))
	for i, s := range raws {
		e := value{kind: v.kind[:1]}
		if err := e.setScalar(s); err != nil {
			return err
		}
		if seen[e.text] {
			return invalidValue("One or more parameter values were invalid: Input collection [%s] contains duplicates.", strings.Join(raws, ", "))
		}
		seen[e.text] = true
		v.list[i] = e
	}
	return nil
}

// MarshalJSON writes the value as the wire has it.
func (v value) MarshalJSON() ([]byte, error) {
	var body any
	switch v.kind {
	case kindString, kindNumber:
		body = v.text
	case kindBinary:
		body = []byte(v.text)
	case kindBool:
		body = v.yes
	case kindNull:
		body = true
	case kindList:
		body = append([]value{}, v.list...) // an empty list is written [], not null
	case kindMap:
		body = v.m
	case kindBinarys:
		set := make([][]byte, len(v.list))
		for i, e := range v.list {
			set[i] = []byte(e.text)
		}
		body = set
	default:
		set := make([]string, len(v.list))
		for i, e := range v.list {
			set[i] = e.text
		}
		body = set
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write a value of type %s: %w", v.kind, err)
	}
	return slices.Concat([]byte(`{"`+string(v.kind)+`":`), text, []byte("}")), nil
}

func (v value) isSet() bool {
	return v.kind == kindStrings || v.kind == kindNumbers || v.kind == kindBinarys
}

// equal compares two values; sets are equal in any order.
func (v value) equal(o value) bool {
	if v.kind != o.kind || len(v.list) != len(o.list) || len(v.m) != len(o.m) {
		return false
	}
	switch {
	case v.isSet():
		return !slices.ContainsFunc(v.list, func(e value) bool { return !o.holds(e) })
	case v.kind == kindList:
		return slices.EqualFunc(v.list, o.list, value.equal)
	case v.kind == kindMap:
		return maps.EqualFunc(v.m, o.m, value.equal)
	}
	return v.text == o.text && v.yes == o.yes
}

// holds reports whether the list or set has the element.
func (v value) holds(e value) bool {
	return slices.ContainsFunc(v.list, e.equal)
}

// compare orders two strings, numbers or binaries of the same type; other
// values have no order.
func (v value) compare(o value) (int, bool) {
	if v.kind != o.kind {
		return 0, false
	}
	switch v.kind {
	case kindNumber:
		return v.num.compare(o.num), true
	case kindString, kindBinary: // both by their bytes, which for UTF-8 is by code point
		return strings.Compare(v.text, o.text), true
	}
	return 0, false
}

// size is what the size function makes of the value.
func (v value) size() (int, bool) {
	switch v.kind {
	case kindString:
		return utf8.RuneCountInString(v.text), true
	case kindBinary:
		return len(v.text), true
	case kindList, kindStrings, kindNumbers, kindBinarys:
		return len(v.list), true
	case kindMap:
		return len(v.m), true
	}
	return 0, false
}

// bytes is the size of the value as DynamoDB accounts for it, by the rules in
// its developer guide.
func (v value) bytes() int {
	switch v.kind {
	case kindNumber:
		// About one byte for two digits, and one.
		return (len(strings.Trim(v.text, "-0."))+1)/2 + 1
	case kindBool, kindNull:
		return 1
	case kindList, kindMap:
		n := 3
		for _, e := range v.list {
			n += 1 + e.bytes()
		}
		for name, e := range v.m {
			n += 1 + len(name) + e.bytes()
		}
		return n
	case kindStrings, kindNumbers, kindBinarys:
		n := 0
		for _, e := range v.list {
			n += e.bytes()
		}
		return n
	}
	return len(v.text)
}

func (it item) bytes() int {
	n := 0
	for name, v := range it {
		n += len(name) + v.bytes()
	}
	return n
}
