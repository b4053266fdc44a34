package aws

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Attributes of a lease row, as KCL names them; the last five are ours.
const (
	attrKey           = "leaseKey"
	attrOwner         = "leaseOwner" // absent where nobody owns the lease
	attrCounter       = "leaseCounter"
	attrCheckpoint    = "checkpoint"
	attrCheckpointSub = "checkpointSubSequenceNumber"
	attrSwitches      = "ownerSwitchesSinceCheckpoint"
	attrParents       = "parentShardId" // a set, in spite of its name
	attrChildren      = "childShardIds"
	attrHashStart     = "startingHashKey"
	attrHashEnd       = "endingHashKey"
	attrTerm          = "term"
	attrStreamARN     = "streamArn"
	attrStreamCreated = "streamCreated" // epoch milliseconds
	attrWord          = "ownerWord"     // what the owner says of itself
	attrUntil         = "completeUntil" // epoch milliseconds

	attrHandoverFrom = "checkpointOwner" // KCL 3: the old owner, while it finishes
	attrEntity       = "entityType"      // KCL 3.5: LEASE, or something that shares the table
	attrStream       = "streamName"      // KCL's multi-stream mode
)

type item = map[string]types.AttributeValue

func key(shard string) item { return item{attrKey: text(shard)} }

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// isLease reports whether the item is a lease of a single-stream application:
// newer KCLs keep other things in the same table.
func isLease(it item) bool {
	if kind, ok := it[attrEntity].(*types.AttributeValueMemberS); ok && kind.Value != "LEASE" {
		return false
	}
	id, ok := it[attrKey].(*types.AttributeValueMemberS)
	return ok && it[attrStream] == nil && !strings.Contains(id.Value, ":")
}

func encodeRow(r lease.Row) item {
	it := item{
		attrKey:      text(r.Shard),
		attrCounter:  number(r.Counter),
		attrSwitches: number(r.OwnerSwitches),
		attrTerm:     number(r.Term),
	}
	for name, s := range map[string]string{attrOwner: r.Owner, attrHashStart: r.HashStart, attrHashEnd: r.HashEnd} {
		if s != "" {
			it[name] = text(s)
		}
	}
	if !r.Checkpoint.IsZero() {
		it[attrCheckpoint], it[attrCheckpointSub] = text(r.Checkpoint.Sequence), number(r.Checkpoint.Sub)
	}
	// DynamoDB refuses empty sets.
	for name, set := range map[string][]string{attrParents: r.Parents, attrChildren: r.Children} {
		if len(set) > 0 {
			it[name] = &types.AttributeValueMemberSS{Value: set}
		}
	}
	if !r.Stream.IsZero() {
		it[attrStreamARN], it[attrStreamCreated] = text(r.Stream.ARN), number(r.Stream.Created.UnixMilli())
	}
	if r.Word != "" {
		it[attrWord] = text(r.Word)
	}
	if !r.Until.IsZero() {
		it[attrUntil] = number(r.Until.UnixMilli())
	}
	return it
}

// decodeRow reads a lease row. A row without a counter, or with an attribute of
// another type than KCL gives it, is an error.
func decodeRow(it item) (lease.Row, error) {
	d := decoder{item: it}
	r := lease.Row{
		Shard:         d.text(attrKey),
		Owner:         d.text(attrOwner),
		Counter:       d.number(attrCounter),
		Checkpoint:    stream.Position{Sequence: d.text(attrCheckpoint), Sub: d.number(attrCheckpointSub)},
		OwnerSwitches: d.number(attrSwitches),
		Parents:       d.set(attrParents),
		Children:      d.set(attrChildren),
		HashStart:     d.text(attrHashStart),
		HashEnd:       d.text(attrHashEnd),
		Term:          d.number(attrTerm),
	}
	if created := d.number(attrStreamCreated); d.item[attrStreamARN] != nil {
		r.Stream = stream.Identity{ARN: d.text(attrStreamARN), Created: time.UnixMilli(created).UTC()}
	}
	// What these two say is for people: a row is a lease whatever they hold.
	if word, ok := it[attrWord].(*types.AttributeValueMemberS); ok {
		r.Word = word.Value
	}
	if until, ok := it[attrUntil].(*types.AttributeValueMemberN); ok {
		if n, err := strconv.ParseInt(until.Value, 10, 64); err == nil {
			r.Until = time.UnixMilli(n).UTC()
		}
	}
	if it[attrCounter] == nil {
		d.errs = append(d.errs, errors.New(attrCounter+" is missing"))
	}
	if len(d.errs) > 0 {
		return r, fmt.Errorf("lease row of %q: %w", r.Shard, errors.Join(d.errs...))
	}
	return r, nil
}

type decoder struct {
	item item
	errs []error
}

func (d *decoder) wrong(name, want string) {
	d.errs = append(d.errs, fmt.Errorf("%s is not %s", name, want))
}

func (d *decoder) text(name string) string {
	switch v := d.item[name].(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case nil, *types.AttributeValueMemberNULL:
	default:
		d.wrong(name, "a string")
	}
	return ""
}

func (d *decoder) number(name string) int64 {
	switch v := d.item[name].(type) {
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil {
			d.wrong(name, "a whole number of 64 bits")
		}
		return n
	case nil, *types.AttributeValueMemberNULL:
	default:
		d.wrong(name, "a number")
	}
	return 0
}

// set returns the members in order: DynamoDB gives them in any.
func (d *decoder) set(name string) []string {
	switch v := d.item[name].(type) {
	case *types.AttributeValueMemberSS:
		return slices.Sorted(slices.Values(v.Value))
	case nil, *types.AttributeValueMemberNULL:
	default:
		d.wrong(name, "a set of strings")
	}
	return nil
}

// expression collects the names and values that stand for themselves in
// DynamoDB's expressions. Every name is aliased: DynamoDB reserves hundreds.
type expression struct {
	names  map[string]string
	values item
}

func newExpression() *expression { return &expression{map[string]string{}, item{}} }

func (e *expression) name(attribute string) string {
	alias := "#" + attribute
	e.names[alias] = attribute
	return alias
}

func (e *expression) value(v types.AttributeValue) string {
	alias := ":v" + strconv.Itoa(len(e.values))
	e.values[alias] = v
	return alias
}

// unchanged holds while nobody else has written the row. The owner is in it
// because KCL 3 changes it without the counter. It is never compared with an
// empty string: the owner may be the key of an index of KCL 3's, and such a key is
// never empty, so that DynamoDB may refuse to look for it.
func (e *expression) unchanged(seen lease.Row) string {
	counter := e.name(attrCounter) + " = " + e.value(number(seen.Counter))
	owner := e.name(attrOwner)
	if seen.Owner != "" {
		return counter + " AND " + owner + " = " + e.value(text(seen.Owner))
	}
	return counter + " AND (attribute_not_exists(" + owner + ") OR size(" + owner + ") = " + e.value(number(0)) + ")"
}

// update sets what differs, and nothing else.
func (e *expression) update(seen, want lease.Row) string {
	set := []string{e.name(attrCounter) + " = " + e.value(number(seen.Counter+1))}
	var remove []string
	assign := func(attribute string, v types.AttributeValue) {
		set = append(set, e.name(attribute)+" = "+e.value(v))
	}
	if want.Owner != seen.Owner {
		remove = append(remove, e.name(attrHandoverFrom)) // ends a handover of KCL 3 that was under way
		if want.Owner == "" {
			remove = append(remove, e.name(attrOwner))
		} else {
			assign(attrOwner, text(want.Owner))
		}
	}
	if want.Checkpoint != seen.Checkpoint {
		assign(attrCheckpoint, text(want.Checkpoint.Sequence))
		assign(attrCheckpointSub, number(want.Checkpoint.Sub))
		// KCL announces a checkpoint with these, and removes them once it is made.
		for _, p := range [...]string{"pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"} {
			remove = append(remove, e.name(p))
		}
	}
	if want.OwnerSwitches != seen.OwnerSwitches {
		assign(attrSwitches, number(want.OwnerSwitches))
	}
	if want.Term != seen.Term {
		assign(attrTerm, number(want.Term))
	}
	if want.Stream != seen.Stream {
		assign(attrStreamARN, text(want.Stream.ARN))
		assign(attrStreamCreated, number(want.Stream.Created.UnixMilli()))
	}
	if !slices.Equal(want.Children, seen.Children) {
		if len(want.Children) > 0 {
			assign(attrChildren, &types.AttributeValueMemberSS{Value: want.Children})
		} else {
			remove = append(remove, e.name(attrChildren))
		}
	}
	switch {
	case want.Word == seen.Word:
	case want.Word == "":
		remove = append(remove, e.name(attrWord))
	default:
		assign(attrWord, text(want.Word))
	}
	if !want.Until.Equal(seen.Until) && !want.Until.IsZero() {
		assign(attrUntil, number(want.Until.UnixMilli()))
	}
	out := "SET " + strings.Join(set, ", ")
	if len(remove) > 0 {
		out += " REMOVE " + strings.Join(remove, ", ")
	}
	return out
}
