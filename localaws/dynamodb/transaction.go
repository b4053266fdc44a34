package dynamodb

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

type transactWriteInput struct {
	TransactItems []struct {
		ConditionCheck, Put, Delete, Update *writeInput
	}
	ClientRequestToken string
}

type transactOutput struct {
	Responses []itemOutput `json:",omitempty"` // of TransactGetItems

	reasons []cancellation
}

type cancellation struct {
	Code    string
	Message string `json:",omitempty"`
	Item    item   `json:",omitempty"`
}

func (o *transactOutput) explain() map[string]any {
	if o == nil || o.reasons == nil {
		return nil
	}
	return map[string]any{"CancellationReasons": o.reasons}
}

// maxTransaction is how many actions a transaction takes.
const maxTransaction = 100

// maxToken is how long a ClientRequestToken may be.
const maxToken = 36

func (s *Service) transactWriteItems(in *transactWriteInput, _ string) (*transactOutput, *wire.Error) {
	if n := len(in.TransactItems); n < 1 || s.limits && n > maxTransaction {
		return nil, wire.Errorf("ValidationException", "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have length between 1 and %d", maxTransaction)
	}
	sum, done, err := s.doneBefore(in)
	if done || err != nil {
		return &transactOutput{}, err
	}
	var writes []*write
	seen := map[string]bool{}
	for _, one := range in.TransactItems {
		w, err := s.prepareAction(map[string]*writeInput{
			"ConditionCheck": one.ConditionCheck, "PutItem": one.Put, "DeleteItem": one.Delete, "UpdateItem": one.Update,
		})
		if err != nil {
			return nil, err
		}
		place := w.table.place(w.key)
		if seen[place] {
			return nil, wire.Errorf("ValidationException", "Transaction request cannot include multiple operations on one item")
		}
		seen[place] = true
		writes = append(writes, w)
	}
	changes := make([]change, len(writes))
	out := &transactOutput{}
	failed := false
	var codes []string
	for i, w := range writes {
		var err *wire.Error
		reason := cancellation{Code: "None"}
		if changes[i], err = s.compute(w); err != nil {
			failed = true
			reason = cancellation{Code: "ValidationError", Message: err.Message}
			if err.Code == "ConditionalCheckFailedException" {
				reason.Code = "ConditionalCheckFailed"
				if w.in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" {
					reason.Item = changes[i].before
				}
			}
		}
		codes = append(codes, reason.Code)
		out.reasons = append(out.reasons, reason)
	}
	if failed {
		return out, wire.Errorf("TransactionCanceledException",
			"Transaction cancelled, please refer cancellation reasons for specific reasons [%s]", strings.Join(codes, ", "))
	}
	for i, w := range writes {
		w.commit(changes[i])
	}
	if in.ClientRequestToken != "" {
		s.transactions = append(s.transactions, transaction{in.ClientRequestToken, sum, time.Now()})
	}
	return &transactOutput{}, nil
}

// tokenLife is how long a repeated transaction is known by its token.
const tokenLife = 10 * time.Minute

// transaction is one that was made and carried a token.
type transaction struct {
	token string
	sum   [sha256.Size]byte // of its items
	made  time.Time
}

// doneBefore reports whether the transaction was made already: one that is
// repeated because its answer was lost succeeds, and changes nothing.
func (s *Service) doneBefore(in *transactWriteInput) (sum [sha256.Size]byte, done bool, _ *wire.Error) {
	if len(in.ClientRequestToken) > maxToken {
		return sum, false, wire.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'clientRequestToken' failed to satisfy constraint: Member must have length less than or equal to %d", in.ClientRequestToken, maxToken)
	}
	text, err := json.Marshal(in.TransactItems)
	if err != nil {
		return sum, false, wire.Internal("read the transaction: " + err.Error())
	}
	sum = sha256.Sum256(text)
	old := time.Now().Add(-tokenLife)
	s.transactions = slices.DeleteFunc(s.transactions, func(t transaction) bool { return t.made.Before(old) })
	for _, t := range s.transactions {
		switch {
		case in.ClientRequestToken == "" || t.token != in.ClientRequestToken:
		case t.sum != sum:
			return sum, false, wire.Errorf("IdempotentParameterMismatchException", "The request uses the same client token as a previous, but non-identical request.")
		default:
			return sum, true, nil
		}
	}
	return sum, false, nil
}

// prepareAction prepares the one action that a transaction's item has.
func (s *Service) prepareAction(actions map[string]*writeInput) (*write, *wire.Error) {
	maps.DeleteFunc(actions, func(_ string, in *writeInput) bool { return in == nil })
	if len(actions) != 1 {
		return nil, wire.Errorf("ValidationException", "TransactItems can only contain one of Check, Put, Update or Delete")
	}
	for verb, in := range actions {
		return s.prepare(verb, in)
	}
	return nil, wire.Internal("unreachable")
}

type transactGetInput struct {
	TransactItems []struct{ Get *getInput }
}

func (s *Service) transactGetItems(in *transactGetInput, _ string) (*transactOutput, *wire.Error) {
	if n := len(in.TransactItems); n < 1 || s.limits && n > maxTransaction {
		return nil, wire.Errorf("ValidationException", "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have length between 1 and %d", maxTransaction)
	}
	out := &transactOutput{}
	for _, one := range in.TransactItems {
		if one.Get == nil {
			return nil, wire.Errorf("ValidationException", "The Get of a transaction's item is required")
		}
		got, err := s.getItem(one.Get, "")
		if err != nil {
			return nil, err
		}
		out.Responses = append(out.Responses, *got)
	}
	return out, nil
}
