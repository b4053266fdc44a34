package event

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Reason says why a record is no row. The list is closed: dead letters are
// counted and searched by these texts, so they do not change.
type Reason string

// The reasons that concern the text as a whole.
const (
	NotJSON         Reason = "not JSON"
	NotAnObject     Reason = "not an object"
	TextAfterObject Reason = "text after the object"
	NestedTooDeep   Reason = "nested deeper than 64"
	KeyTwice        Reason = "a key given twice"
	UnknownFamily   Reason = "unknown family"

	// FamilyOff is of a good event whose family is not loaded. Decode never gives it.
	FamilyOff Reason = "family switched off"
)

// The reasons that concern one column are its name and what is wrong with it. Those
// of the event type also speak of the status that it is made from, those of the
// timestamp of whichever key was used; the detail names the key.

// textFaults are the reasons of a column of text, by the fault.
type textFaults [textFaultCount]Reason

// textReasons are those of a column that loses its trailing blanks.
func textReasons(column string, limit int) textFaults {
	of := func(what string) Reason { return Reason(column + " " + what) }
	return textFaults{
		textMissing: of("missing"), textNull: of("null"), textNotString: of("not a string"), textEmpty: of("empty"),
		textTooLong: of("longer than " + strconv.Itoa(limit) + " bytes"), textNotUTF8: of("is not valid UTF-8"),
		textNUL: of("holds a NUL"), textLoneSurrogate: of("holds a lone surrogate"), textNoncharacter: of("holds a noncharacter"),
	}
}

// keyReasons are those of a key column.
func keyReasons(column string, limit int) textFaults {
	out := textReasons(column, limit)
	out[textEndsInBlank] = Reason(column + " ends in a blank")
	return out
}

// optional leaves out what a column that need not be there cannot be.
func (f textFaults) optional() textFaults {
	f[textMissing], f[textNull] = "", ""
	return f
}

func (f textFaults) list() []Reason { return f[1:] }

// integerFaults are the reasons of a column of integers.
type integerFaults struct{ missing, null, notInteger, negative, outOfRange Reason }

func integerReasons(column string) integerFaults {
	of := func(what string) Reason { return Reason(column + " " + what) }
	return integerFaults{of("missing"), of("null"), of("not an integer"), of("negative"), of("out of 32 bits")}
}

// absent is the reason of a value that is not there, or is null.
func (f integerFaults) absent(t token) Reason {
	if t.kind == kindNull {
		return f.null
	}
	return f.missing
}

// amountFaults are the reasons of an amount of money.
type amountFaults struct{ missing, null, notNumber, tooLarge, roundsTooLarge Reason }

func amountReasons(column string) amountFaults {
	of := func(what string) Reason { return Reason(column + " " + what) }
	return amountFaults{
		of("missing"), of("null"), of("not a number"), of("does not fit DECIMAL(10,2)"), of("does not fit DECIMAL(10,2) after rounding"),
	}
}

func (f amountFaults) list() []Reason {
	return []Reason{f.missing, f.null, f.notNumber, f.tooLarge, f.roundsTooLarge}
}

// The reasons of the columns that several families have, and of the time.
var (
	orderIDReasons    = keyReasons("order_id", maxIDBytes)
	customerIDReasons = textReasons("customer_id", maxIDBytes)
	storeIDReasons    = integerReasons("store_id")
	totalReasons      = amountReasons("total_amount")
	itemCountReasons  = integerReasons("item_count")
	eventTypeReasons  = textReasons("event_type", maxEventTypeBytes).optional()
)

// The reasons of the time.
const (
	TimestampNotTime    Reason = "timestamp not a time"
	TimestampOutOfRange Reason = "timestamp before 2000 or more than a day ahead of arrival"
)

// Reasons lists every reason there is: those of the text, then those of each
// family in the order in which they win, each once.
func Reasons() []Reason {
	out := []Reason{NotJSON, NotAnObject, TextAfterObject, NestedTooDeep, KeyTwice, UnknownFamily, FamilyOff}
	var all []Reason
	for _, f := range Families() {
		all = append(all, families[f].reasons...)
	}
	for _, r := range slices.Concat(all, eventTypeReasons.list(), []Reason{TimestampNotTime, TimestampOutOfRange}) {
		if r != "" && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// NoFamily stands for a family's name where it could not be told whose a record is.
const NoFamily = "none"

// Rejection is why a record was not taken, as an error.
type Rejection struct {
	Reason Reason
	Detail string // which key, where, what stood there; printable and short whatever the record holds
	Family string // name of that whose rules the record is against; NoFamily = it could not be told
}

// Error gives the reason and the detail.
func (r *Rejection) Error() string {
	if r.Detail == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Detail
}

// reject says that the value at t, of the key that name tells, is the reason.
func (s *scanner) reject(reason Reason, name string, t token) *Rejection {
	if t.kind == kindAbsent {
		return &Rejection{Reason: reason, Detail: "the object has no key " + strconv.Quote(name)}
	}
	return &Rejection{Reason: reason, Detail: fmt.Sprintf("key %q at byte %d: %s", name, t.start, excerpt(s.data[t.start:t.end]))}
}

// excerptLimit bounds the bytes of a record that its rejection repeats: details
// go to logs and dead letters, one for each record of a bad producer.
const excerptLimit = 80

// excerpt quotes the beginning of text so that it can stand in a log line, a
// JSON string or a terminal: valid UTF-8, with everything that is not printable
// (control characters, broken UTF-8, text direction marks) written as escapes.
func excerpt(text []byte) string {
	const more = `…"`
	out := []byte{'"'}
	for len(text) > 0 {
		_, size := utf8.DecodeRune(text)
		quoted := strconv.Quote(string(text[:size]))
		quoted = quoted[1 : len(quoted)-1]
		if len(out)+len(quoted)+len(more) > excerptLimit {
			return string(out) + more
		}
		out = append(out, quoted...)
		text = text[size:]
	}
	return string(append(out, '"'))
}
