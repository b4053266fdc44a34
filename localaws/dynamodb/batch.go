package dynamodb

import (
	"maps"
	"slices"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// How many writes and reads a batch takes.
const (
	maxBatchWrites = 25
	maxBatchReads  = 100
)

type batchGetInput struct {
	RequestItems map[string]struct {
		Keys                 []item
		ProjectionExpression *string
		AttributesToGet      []string
		expressions
		ConsistentRead bool
	}
	ReturnConsumedCapacity string
}

type batchGetOutput struct {
	Responses        map[string][]item
	UnprocessedKeys  struct{}           // none: all are read at once
	ConsumedCapacity []consumedCapacity `json:",omitempty"`
}

func (s *Service) batchGetItem(in *batchGetInput, _ string) (*batchGetOutput, *wire.Error) {
	count := 0
	for _, of := range in.RequestItems {
		count += len(of.Keys)
	}
	if count == 0 {
		return nil, wire.Errorf("ValidationException", "The requestItems parameter is required for BatchGetItem")
	}
	if s.limits && count > maxBatchReads {
		return nil, wire.Errorf("ValidationException", "Too many items requested for the BatchGetItem call")
	}
	out := &batchGetOutput{Responses: map[string][]item{}}
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		of := in.RequestItems[name]
		found := []item{}
		seen := map[string]bool{}
		for _, key := range of.Keys {
			got, err := s.getItem(&getInput{
				TableName: name, Key: key, ConsistentRead: of.ConsistentRead, expressions: of.expressions,
				ProjectionExpression: of.ProjectionExpression, AttributesToGet: of.AttributesToGet,
			}, "")
			if err != nil {
				return nil, err
			}
			place := s.tables[tableName(name)].place(key)
			if seen[place] {
				return nil, wire.Errorf("ValidationException", "Provided list of item keys contains duplicates")
			}
			seen[place] = true
			if got.Item != nil {
				found = append(found, *got.Item)
			}
		}
		out.Responses[name] = found
		if c := consumed(in.ReturnConsumedCapacity, s.tables[tableName(name)], float64(len(of.Keys))); c != nil {
			out.ConsumedCapacity = append(out.ConsumedCapacity, *c)
		}
	}
	return out, nil
}

type batchWriteInput struct {
	RequestItems map[string][]struct {
		PutRequest    *struct{ Item item }
		DeleteRequest *struct{ Key item }
	}
	ReturnConsumedCapacity string
}

type batchWriteOutput struct {
	UnprocessedItems struct{}           // none: all are written at once
	ConsumedCapacity []consumedCapacity `json:",omitempty"`
}

// batchWriteItem checks all writes before it makes any.
func (s *Service) batchWriteItem(in *batchWriteInput, _ string) (*batchWriteOutput, *wire.Error) {
	var writes []*write
	seen := map[string]bool{}
	out := &batchWriteOutput{}
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		for _, one := range in.RequestItems[name] {
			verb, of := "DeleteItem", &writeInput{TableName: name}
			switch {
			case (one.PutRequest == nil) == (one.DeleteRequest == nil):
				return nil, wire.Errorf("ValidationException", "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes: each request is a PutRequest or a DeleteRequest")
			case one.PutRequest != nil:
				verb, of.Item = "PutItem", one.PutRequest.Item
			default:
				of.Key = one.DeleteRequest.Key
			}
			w, err := s.prepare(verb, of)
			if err != nil {
				return nil, err
			}
			place := w.table.place(w.key)
			if seen[place] {
				return nil, wire.Errorf("ValidationException", "Provided list of item keys contains duplicates")
			}
			seen[place] = true
			writes = append(writes, w)
		}
		if t := s.tables[tableName(name)]; t != nil {
			if c := consumed(in.ReturnConsumedCapacity, t, float64(len(in.RequestItems[name]))); c != nil {
				out.ConsumedCapacity = append(out.ConsumedCapacity, *c)
			}
		}
	}
	switch {
	case len(writes) == 0:
		return nil, wire.Errorf("ValidationException", "The batch write request list for a table cannot be null or empty.")
	case s.limits && len(writes) > maxBatchWrites:
		return nil, wire.Errorf("ValidationException", "Too many items requested for the BatchWriteItem call")
	}
	for _, w := range writes {
		if _, err := s.run(w); err != nil {
			return nil, err
		}
	}
	return out, nil
}
