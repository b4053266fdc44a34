package event

import (
	"fmt"
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
)

// The reasons that concern one column. Those of the event type also speak of
// the status that it is made from, those of the timestamp of whichever of the
// three keys was used; the detail names the key.
const (
	OrderIDMissing       Reason = "order_id missing"
	OrderIDNull          Reason = "order_id null"
	OrderIDNotString     Reason = "order_id not a string"
	OrderIDEmpty         Reason = "order_id empty"
	OrderIDTooLong       Reason = "order_id longer than 100 bytes"
	OrderIDNotUTF8       Reason = "order_id is not valid UTF-8"
	OrderIDNUL           Reason = "order_id holds a NUL"
	OrderIDLoneSurrogate Reason = "order_id holds a lone surrogate"
	OrderIDNoncharacter  Reason = "order_id holds a noncharacter"
	OrderIDEndsInBlank   Reason = "order_id ends in a blank"

	CustomerIDMissing       Reason = "customer_id missing"
	CustomerIDNull          Reason = "customer_id null"
	CustomerIDNotString     Reason = "customer_id not a string"
	CustomerIDEmpty         Reason = "customer_id empty"
	CustomerIDTooLong       Reason = "customer_id longer than 100 bytes"
	CustomerIDNotUTF8       Reason = "customer_id is not valid UTF-8"
	CustomerIDNUL           Reason = "customer_id holds a NUL"
	CustomerIDLoneSurrogate Reason = "customer_id holds a lone surrogate"
	CustomerIDNoncharacter  Reason = "customer_id holds a noncharacter"

	StoreIDMissing    Reason = "store_id missing"
	StoreIDNull       Reason = "store_id null"
	StoreIDNotInteger Reason = "store_id not an integer"
	StoreIDOutOfRange Reason = "store_id out of 32 bits"

	AmountMissing        Reason = "total_amount missing"
	AmountNull           Reason = "total_amount null"
	AmountNotNumber      Reason = "total_amount not a number"
	AmountTooLarge       Reason = "total_amount does not fit DECIMAL(10,2)"
	AmountRoundsTooLarge Reason = "total_amount does not fit DECIMAL(10,2) after rounding"

	ItemCountNotInteger Reason = "item_count not an integer"
	ItemCountNegative   Reason = "item_count negative"
	ItemCountOutOfRange Reason = "item_count out of 32 bits"

	EventTypeNotString     Reason = "event_type not a string"
	EventTypeEmpty         Reason = "event_type empty"
	EventTypeTooLong       Reason = "event_type longer than 50 bytes"
	EventTypeNotUTF8       Reason = "event_type is not valid UTF-8"
	EventTypeNUL           Reason = "event_type holds a NUL"
	EventTypeLoneSurrogate Reason = "event_type holds a lone surrogate"
	EventTypeNoncharacter  Reason = "event_type holds a noncharacter"

	TimestampNotTime    Reason = "timestamp not a time"
	TimestampOutOfRange Reason = "timestamp before 2000 or more than a day ahead of arrival"
)

// Reasons lists every reason there is, in the order in which they win.
func Reasons() []Reason {
	return []Reason{
		NotJSON, NotAnObject, TextAfterObject, NestedTooDeep, KeyTwice, UnknownFamily,
		OrderIDMissing, OrderIDNull, OrderIDNotString, OrderIDEmpty, OrderIDTooLong, OrderIDNotUTF8,
		OrderIDNUL, OrderIDLoneSurrogate, OrderIDNoncharacter, OrderIDEndsInBlank,
		CustomerIDMissing, CustomerIDNull, CustomerIDNotString, CustomerIDEmpty, CustomerIDTooLong, CustomerIDNotUTF8,
		CustomerIDNUL, CustomerIDLoneSurrogate, CustomerIDNoncharacter,
		StoreIDMissing, StoreIDNull, StoreIDNotInteger, StoreIDOutOfRange,
		AmountMissing, AmountNull, AmountNotNumber, AmountTooLarge, AmountRoundsTooLarge,
		ItemCountNotInteger, ItemCountNegative, ItemCountOutOfRange,
		EventTypeNotString, EventTypeEmpty, EventTypeTooLong, EventTypeNotUTF8, EventTypeNUL, EventTypeLoneSurrogate, EventTypeNoncharacter,
		TimestampNotTime, TimestampOutOfRange,
	}
}

// Rejection is why a record was not taken, as an error.
type Rejection struct {
	Reason Reason
	Detail string // which key, where, what stood there; printable and short whatever the record holds
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
		return &Rejection{reason, "the object has no key " + strconv.Quote(name)}
	}
	return &Rejection{reason, fmt.Sprintf("key %q at byte %d: %s", name, t.start, excerpt(s.data[t.start:t.end]))}
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
