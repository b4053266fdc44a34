package redshift

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxResultBytes bounds one result set: AWS documents 500 MB.
const maxResultBytes = 500 << 20

// resultSink encodes rows while they come from the engine.
type resultSink struct {
	res    *result
	dir    string // for what is too large for memory
	csv    bool
	limits bool
	buf    []byte
}

func (s *resultSink) columns(cols []column) error {
	s.res = &result{cols: cols}
	return nil
}

func (s *resultSink) row(values []any) error {
	if s.csv {
		s.buf = appendCSV(s.buf[:0], values)
	} else {
		s.buf = appendFields(s.buf[:0], values)
	}
	if s.limits && rowBytes(values) > maxRowBytes {
		return refusal("Packet for query is too large: a result row must not exceed 64 KB")
	}
	s.res.size += int64(len(s.buf))
	if s.res.size > maxResultBytes {
		return refusal("Query result is larger than %d MB; use UNLOAD, or select less", maxResultBytes>>20)
	}
	return s.res.add(s.buf, s.dir)
}

// take ends the result and returns it; nil where the statement returned none.
func (s *resultSink) take() (*result, error) {
	if s.res == nil {
		return nil, nil
	}
	return s.res, s.res.seal(s.dir)
}

// rowBytes is the size of a row's values, without the names around them.
func rowBytes(values []any) int {
	n := 0
	for _, v := range values {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		default:
			n += 8
		}
	}
	return n
}

// appendFields writes the values as a list of Field unions.
func appendFields(b []byte, values []any) []byte {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendField(b, v)
	}
	return append(b, ']')
}

func appendField(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, `{"isNull":true}`...)
	case bool:
		return append(strconv.AppendBool(append(b, `{"booleanValue":`...), v), '}')
	case int64:
		return append(strconv.AppendInt(append(b, `{"longValue":`...), v, 10), '}')
	case float64:
		b = append(b, `{"doubleValue":`...)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return append(strconv.AppendQuote(b, floatText(v)), '}')
		}
		return append(strconv.AppendFloat(b, v, 'g', -1, 64), '}')
	case []byte:
		b = append(b, `{"blobValue":"`...)
		return append(base64.StdEncoding.AppendEncode(b, v), `"}`...)
	default:
		return append(appendString(append(b, `{"stringValue":`...), fmt.Sprint(v)), '}')
	}
}

// appendString writes a JSON string. Only bytes that must be escaped are.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			q, err := json.Marshal(s)
			if err != nil { // a string always marshals
				return append(b, `""`...)
			}
			return append(b, q...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	default:
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
}

// appendCSV writes the values as one line. NULL is an empty field, the empty
// string a quoted one.
func appendCSV(b []byte, values []any) []byte {
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		if v == nil {
			continue
		}
		s := plainText(v)
		if s == "" || strings.ContainsAny(s, "\",\r\n") {
			s = `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
		b = append(b, s...)
	}
	return append(b, '\n')
}

func plainText(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case float64:
		return floatText(v)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	default:
		return fmt.Sprint(v)
	}
}

// textSink keeps rows as text.
type textSink struct {
	names []string
	rows  [][]string
}

func (t *textSink) columns(cols []column) error {
	for _, c := range cols {
		t.names = append(t.names, c.name)
	}
	return nil
}

func (t *textSink) row(values []any) error {
	r := make([]string, len(values))
	for i, v := range values {
		r[i] = plainText(v)
	}
	t.rows = append(t.rows, r)
	return nil
}

// columnReply is ColumnMetadata; its members start in lower case on the wire.
type columnReply struct {
	Name            string `json:"name"`
	Label           string `json:"label"`
	TypeName        string `json:"typeName"`
	SchemaName      string `json:"schemaName"`
	TableName       string `json:"tableName"`
	Nullable        int32  `json:"nullable"`
	Length          int32  `json:"length"`
	Precision       int32  `json:"precision"`
	Scale           int32  `json:"scale"`
	IsSigned        bool   `json:"isSigned"`
	IsCaseSensitive bool   `json:"isCaseSensitive"`
	IsCurrency      bool   `json:"isCurrency"`
}

func columnReplies(cols []column) []columnReply {
	out := make([]columnReply, len(cols))
	for i, c := range cols {
		signed := strings.HasPrefix(c.typeName, "int") || strings.HasPrefix(c.typeName, "float") || c.typeName == "numeric"
		out[i] = columnReply{
			Name: c.name, Label: c.name, TypeName: c.typeName, SchemaName: c.schema, TableName: c.table,
			Nullable: c.nullable, Length: c.length, Precision: c.precision, Scale: c.scale,
			IsSigned: signed, IsCaseSensitive: c.typeName == "varchar" || c.typeName == "bpchar",
		}
	}
	return out
}

type resultReply struct {
	ColumnMetadata []columnReply
	Records        []json.RawMessage
	NextToken      string `json:",omitempty"`
	ResultFormat   string `json:",omitempty"`
	TotalNumRows   int64
}

func (s *Service) getStatementResult(_ context.Context, in members) (any, error) {
	res, id, from, err := s.fetch(in, "JSON")
	if err != nil {
		return nil, err
	}
	page, next, err := s.page(res, id, from)
	if err != nil {
		return nil, err
	}
	out := resultReply{
		ColumnMetadata: columnReplies(res.cols), Records: []json.RawMessage{},
		NextToken: nextToken(id, next), TotalNumRows: res.count,
	}
	for line := range bytes.Lines(page) { // no row has a line feed in it: JSON escapes them
		out.Records = append(out.Records, json.RawMessage(line[:len(line)-1]))
	}
	return out, nil
}

func (s *Service) getStatementResultV2(_ context.Context, in members) (any, error) {
	res, id, from, err := s.fetch(in, "CSV")
	if err != nil {
		return nil, err
	}
	page, next, err := s.page(res, id, from)
	if err != nil {
		return nil, err
	}
	var text []byte
	if from == 0 { // the first page starts with the names
		names := make([]any, len(res.cols))
		for i, c := range res.cols {
			names[i] = c.name
		}
		text = appendCSV(text, names)
	}
	text = append(text, page...)
	record, err := json.Marshal(map[string]string{"CSVRecords": string(text)})
	if err != nil {
		return nil, err
	}
	return resultReply{
		ColumnMetadata: columnReplies(res.cols), Records: []json.RawMessage{record}, ResultFormat: "CSV",
		NextToken: nextToken(id, next), TotalNumRows: res.count,
	}, nil
}

// fetch finds the result that the call asks for and the page to go on from.
func (s *Service) fetch(in members, format string) (res *result, id string, from int, err error) {
	id, err = readID(in)
	if err != nil {
		return nil, "", 0, err
	}
	var nextToken string
	if _, err := in.read("NextToken", &nextToken); err != nil {
		return nil, "", 0, err
	}
	j, sub, err := s.jobs.find(id)
	if err != nil {
		return nil, "", 0, err
	}
	v := j.view()
	switch {
	case j.sub.batch && sub == 0:
		return nil, "", 0, invalid("BatchExecuteStatement result can only be retrieved with sub-statement id.")
	case v.status != finished:
		return nil, "", 0, wire404("Query is not finished: it is in %s state.", v.status)
	case j.sub.format != format:
		return nil, "", 0, invalid("The result of the query has the format %s; fetch it with the operation for that format.", j.sub.format)
	}
	part := v.parts[max(sub, 1)-1]
	if part.result == nil {
		return nil, "", 0, wire404("Query does not have result. Please check query status with DescribeStatement.")
	}
	from, err = parseToken(nextToken, id, len(part.result.pages))
	return part.result, id, from, err
}

// page reads a page of a result, and tells which comes next; -1 at the end.
func (s *Service) page(res *result, id string, n int) (text []byte, next int, err error) {
	text, err = res.page(n)
	if errors.Is(err, os.ErrClosed) { // it was forgotten meanwhile
		return nil, 0, wire404("Query does not exist.")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read a page of a result: %w", err)
	}
	if n+1 < len(res.pages) {
		return text, n + 1, nil
	}
	s.jobs.read(id, res)
	return text, -1, nil
}

// nextToken names a place in a list, "" at its end. It carries what it was made for, so
// that one of another list is refused.
func nextToken(list string, at int) string {
	if at < 0 {
		return ""
	}
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s %d", list, at))
}

func parseToken(token, list string, length int) (int, error) {
	if token == "" {
		return 0, nil
	}
	b, err := base64.StdEncoding.DecodeString(token)
	if err == nil {
		if n, ok := strings.CutPrefix(string(b), list+" "); ok {
			if at, err := strconv.Atoi(n); err == nil && at >= 0 && at <= length {
				return at, nil
			}
		}
	}
	return 0, invalid("NextToken is invalid.")
}

// tokenList returns the list that a token was made for, "" for no token of ours.
func tokenList(token string) string {
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return ""
	}
	list, _, _ := strings.Cut(string(b), " ")
	return list
}
