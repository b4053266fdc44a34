package event

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// writer makes events that are valid, in every way that JSON and the rules
// allow to write the same row.
type writer struct{ *rand.Rand }

// text is a string of up to n bytes of any Unicode but NUL and what Redshift
// refuses, which does not end in a blank.
func (w writer) text(n int) string {
	var b strings.Builder
	for {
		r := rune(1 + w.IntN(0x7f))
		switch w.IntN(8) {
		case 0:
			r = rune(w.IntN(0x800))
		case 1:
			r = rune(w.IntN(0x10000))
		case 2:
			r = rune(0x10000 + w.IntN(0x100000))
		case 3:
			r = []rune(`"\/'` + "\n\t\b\x01\x7f\u2028\ufffd")[w.IntN(11)]
		}
		if r == 0 || !utf8.ValidRune(r) || refused(r) {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > n || b.Len() > 0 && w.IntN(30) == 0 {
			break
		}
		b.WriteRune(r)
	}
	if text := strings.TrimRight(b.String(), " "); text != "" {
		return text
	}
	return "x"
}

// refused are the code points that Redshift documents as refused.
func refused(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r == 0xfffe || r == 0xffff }

// loose is a text with what it is to lose.
func (w writer) loose(text string) string {
	return w.quote(text + strings.Repeat(" ", max(0, w.IntN(9)-5)))
}

// quote writes a string with any choice of escapes.
func (w writer) quote(text string) string {
	eager := w.IntN(6) // how often a rune is escaped without need: 0 for never
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		short := strings.IndexRune("\"\\/\b\f\n\r\t", r)
		must := r < ' ' || r == '"' || r == '\\'
		switch {
		case !must && (eager == 0 || w.IntN(eager) > 0):
			b.WriteRune(r)
		case short >= 0 && w.IntN(2) == 0:
			b.WriteString(`\` + `"\/bfnrt`[short:short+1])
		case r >= 0x10000:
			fmt.Fprintf(&b, w.hexFormat()+w.hexFormat(), 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		default:
			fmt.Fprintf(&b, w.hexFormat(), r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (w writer) hexFormat() string { return []string{`\u%04x`, `\u%04X`}[w.IntN(2)] }

func (w writer) space() string {
	return []string{"", "", "", " ", "\n\t", "\r\n  "}[w.IntN(6)]
}

// integer writes n as a number, or as a string that spells it.
func (w writer) integer(n int64) string { return w.spelled(w.integerText(n)) }

// spelled puts the text of a number into a string now and then.
func (w writer) spelled(text string) string {
	switch w.IntN(6) {
	case 0:
		return w.quote(text)
	case 1: // zeros lead, or the one before the point is missing
		sign, size := "", text
		if text[0] == '-' {
			sign, size = "-", text[1:]
		}
		if strings.HasPrefix(size, "0.") {
			return w.quote(sign + size[1:])
		}
		return w.quote(sign + "00" + size)
	}
	return text
}

func (w writer) integerText(n int64) string {
	switch w.IntN(5) {
	case 0:
		return fmt.Sprintf("%d.000", n)
	case 1:
		if n != 0 { // no number begins with several zeros
			return fmt.Sprintf("%d000e-3", n)
		}
	case 2:
		if n%10 == 0 && n != 0 {
			return fmt.Sprintf("%dE+1", n/10)
		}
	}
	return strconv.FormatInt(n, 10)
}

// amount writes cents as a number or a string, some with digits to round away.
func (w writer) amount(cents int64) string {
	sign, size := "", cents
	if cents < 0 {
		sign, size = "-", -cents
	}
	text := fmt.Sprintf("%s%d.%02d", sign, size/100, size%100)
	switch w.IntN(4) {
	case 0:
		text += "0000000000000001"
	case 1:
		text = fmt.Sprintf("%s%de-2", sign, size)
	}
	return w.spelled(text)
}

func (w writer) time(micros int64) string {
	when := time.UnixMicro(micros)
	switch w.IntN(7) {
	case 0:
		return w.spelled(fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6))
	case 1:
		return w.spelled(fmt.Sprintf("%d.%03d", micros/1e3, micros%1e3))
	case 2:
		return w.spelled(fmt.Sprint(micros))
	case 3:
		return w.spelled(fmt.Sprintf("%d%03d", micros, w.IntN(1000)))
	case 4:
		return w.quote(when.UTC().Format("2006-01-02 15:04:05.999999999") + []string{" UTC", "UTC", " +0000", " -00:00"}[w.IntN(4)])
	case 5:
		return w.quote(when.In(time.FixedZone("", (w.IntN(27)-13)*3600)).Format(time.RFC3339Nano))
	}
	return w.quote(when.UTC().Format("2006-01-02 15:04:05.999999999"))
}

// other is any value, for a field that the decoder does not know.
func (w writer) other(depth int) string {
	kinds := 7
	if depth == 0 {
		kinds = 5
	}
	switch w.IntN(kinds) {
	case 0:
		return []string{"null", "true", "false"}[w.IntN(3)]
	case 1:
		return strconv.FormatFloat(w.NormFloat64()*1e9, 'g', -1, 64)
	case 2:
		return "\"\xff\xc0\" "
	case 3, 4:
		return w.quote(w.text(40))
	case 5:
		var parts []string
		for range w.IntN(4) {
			parts = append(parts, w.other(depth-1))
		}
		return "[" + w.space() + strings.Join(parts, w.space()+","+w.space()) + w.space() + "]"
	}
	var fields []string
	keys := w.IntN(4)
	if w.IntN(20) == 0 {
		keys = 3 * fewKeys
	}
	for i := range keys {
		fields = append(fields, w.quote(strconv.Itoa(i)+w.text(9)), w.other(depth-1))
	}
	return w.object(fields)
}

// object writes names and values, in turn, in any order.
func (w writer) object(fields []string) string {
	var parts []string
	for i := 0; i < len(fields); i += 2 {
		parts = append(parts, fields[i]+w.space()+":"+w.space()+fields[i+1]+w.space())
	}
	w.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return "{" + w.space() + strings.Join(parts, ","+w.space()) + "}"
}

// event writes a row as a record.
func (w writer) event(e *Event) []byte {
	switch r := e.Row.(type) {
	case *Level:
		return w.record(w.level(*r))
	case *Payment:
		return w.record(w.payment(*r))
	}
	return w.record(w.order(*e.Row.(*Order)))
}

// record writes the fields of a row among others.
func (w writer) record(fields []string) []byte {
	for i := range w.IntN(6) {
		fields = append(fields, w.quote(fmt.Sprintf("unknown %d %s", i, w.text(20))), w.other(3))
	}
	return []byte(w.space() + w.object(fields) + w.space())
}

// foreign writes fields that mean something to other families, and nothing here.
func (w writer) foreign(names ...string) (fields []string) {
	for _, n := range names {
		if w.IntN(4) == 0 {
			fields = append(fields, w.quote(n), w.other(2))
		}
	}
	return fields
}

// timed writes a time under one of the keys that say when an event was.
func (w writer) timed(micros int64, ours string) []string {
	return []string{w.quote([]string{"event_timestamp", "timestamp", ours}[w.IntN(3)]), w.time(micros)}
}

func (w writer) order(o Order) []string {
	fields := []string{
		w.quote("order_id"), w.quote(o.OrderID), w.quote("customer_id"), w.loose(o.CustomerID),
		w.quote("total_amount"), w.amount(o.AmountCents),
	}
	fields = append(fields, w.timed(o.EventTime, "created_at")...)
	fields = append(fields, w.foreign("sku", "quantity", "amount", "payment_method", "transaction_id", "fraud_score")...)
	fields = append(fields, w.quote("store_id"), w.integer(int64(o.StoreID)))
	if w.IntN(2) == 0 {
		fields = append(fields, w.quote("item_count"), w.integer(int64(o.ItemCount)), w.quote("items"), w.other(2))
	} else {
		fields = append(fields, w.quote("items"), w.itemList(o.ItemCount))
	}
	if status, ok := strings.CutPrefix(o.EventType, "order_"); ok && status != "created" && w.IntN(2) == 0 {
		fields = append(fields, w.quote("status"), w.loose(status))
	} else {
		fields = append(fields, w.quote("event_type"), w.loose(o.EventType), w.quote("status"), w.other(1))
	}
	return fields
}

func (w writer) level(l Level) []string {
	fields := []string{w.quote("sku"), w.quote(l.SKU), w.quote("store_id"), w.integer(int64(l.StoreID)), w.quote("quantity"), w.integer(int64(l.Quantity))}
	fields = append(fields, w.timed(l.EventTime, "updated_at")...)
	fields = append(fields, w.foreign("customer_id", "status", "items", "item_count", "total_amount", "amount", "fraud_score")...)
	return append(fields, w.unless(l.EventType == "inventory_updated", "event_type", l.EventType)...)
}

func (w writer) payment(p Payment) []string {
	fields := []string{
		w.quote("payment_id"), w.quote(p.PaymentID), w.quote("order_id"), w.loose(p.OrderID), w.quote("customer_id"), w.loose(p.CustomerID),
		w.quote("amount"), w.amount(p.AmountCents), w.quote("payment_method"), w.loose(p.Method),
	}
	fields = append(fields, w.timed(p.EventTime, "processed_at")...)
	fields = append(fields, w.foreign("sku", "quantity", "store_id", "items", "item_count", "total_amount")...)
	switch {
	case p.TransactionID != "":
		fields = append(fields, w.quote("transaction_id"), w.loose(p.TransactionID))
	case w.IntN(2) == 0:
		fields = append(fields, w.quote("transaction_id"), "null")
	}
	switch {
	case p.Scored:
		fields = append(fields, w.quote("fraud_score"), w.integer(int64(p.FraudScore)))
	case w.IntN(2) == 0:
		fields = append(fields, w.quote("fraud_score"), "null")
	}
	// Each stands in for the other where it can.
	usual := p.Status == "completed" && p.EventType == "payment_completed"
	if w.IntN(2) == 0 {
		fields = append(fields, w.unless(usual || p.Status == strings.TrimPrefix(p.EventType, "payment_"), "status", p.Status)...)
		return append(fields, w.quote("event_type"), w.loose(p.EventType))
	}
	fields = append(fields, w.unless(p.EventType == "payment_"+p.Status, "event_type", p.EventType)...)
	return append(fields, w.quote("status"), w.loose(p.Status))
}

// unless writes a text that may be left out, or be null, where that says the same.
func (w writer) unless(same bool, name, text string) []string {
	if same && w.IntN(2) == 0 {
		return [][]string{nil, {w.quote(name), "null"}}[w.IntN(2)]
	}
	return []string{w.quote(name), w.loose(text)}
}

// itemList writes items whose quantities add up to n.
func (w writer) itemList(n int32) string {
	var list []string
	for range w.IntN(5) {
		part := w.Int32N(n + 1)
		n -= part
		list = append(list, w.object([]string{w.quote("quantity"), w.integer(int64(part)), w.quote("item_id"), w.other(1)}))
	}
	if n > 0 {
		list = append(list, w.object([]string{w.quote("item_id"), w.other(1)}))
		n--
	}
	list = append(list, w.object([]string{w.quote("quantity"), w.integer(int64(n)), w.quote("name"), w.other(1)}))
	return "[" + strings.Join(list, ",") + "]"
}

func (w writer) row(f Family) Event {
	at := earliestMicros + w.Int64N(arrival.UnixMicro()+aheadMicros-earliestMicros+1)
	cents := w.Int64N(2*centsLimit-1) - (centsLimit - 1)
	switch f {
	case Inventory:
		l := &Level{SKU: w.text(100), StoreID: int32(w.Uint32()), Quantity: w.Int32(), EventTime: at}
		l.EventType = []string{"inventory_updated", "inventory_" + w.text(40), w.text(50)}[w.IntN(3)]
		return Event{Row: l}
	case Payments:
		p := w.paymentRow(at, cents)
		return Event{Row: &p}
	}
	o := w.orderRow(at, cents)
	return Event{Row: &o}
}

func (w writer) paymentRow(at, cents int64) Payment {
	p := Payment{PaymentID: w.text(100), OrderID: w.text(100), CustomerID: w.text(100), Method: w.text(50), AmountCents: cents, EventTime: at}
	if w.IntN(2) == 0 {
		p.TransactionID = w.text(100)
	}
	if w.IntN(2) == 0 {
		p.FraudScore, p.Scored = int32(w.Uint32())>>w.IntN(32), true
	}
	p.EventType, p.Status = w.text(50), w.text(50)
	switch w.IntN(4) {
	case 0:
		p.EventType, p.Status = "payment_completed", "completed"
	case 1:
		p.Status = w.text(42)
		p.EventType = "payment_" + p.Status
	case 2:
		p.Status = p.EventType
	}
	return p
}

func (w writer) orderRow(at, cents int64) Order {
	o := Order{
		OrderID: w.text(100), CustomerID: w.text(100), EventType: w.text(50),
		StoreID: int32(w.Uint32()), ItemCount: w.Int32(),
		AmountCents: cents, EventTime: at,
	}
	switch w.IntN(3) {
	case 0:
		o.EventType = []string{"order_created", "order_completed", "order_ready", "order_x"}[w.IntN(4)]
	case 1:
		o.EventType = "order_" + w.text(44)
	}
	return o
}

// Any valid event, however it is written, decodes to the row that it was made
// from; encoding/json, which was written by others, confirms that the text says
// that and is JSON.
func TestEveryWayOfWritingAnEvent(t *testing.T) {
	const seed = 7
	for _, f := range Families() {
		w := writer{rand.New(rand.NewPCG(seed, uint64(f)))}
		for i := range 1000 {
			want := w.row(f)
			record := w.event(&want)
			var got Event
			if rejected := Decode(record, arrival, &got); rejected != nil || rowOf(got) != rowOf(want) {
				t.Fatalf("seed %d, event %d of %v: %s\n got %+v, %v\nwant %+v", seed, i, f, record, rowOf(got), rejected, rowOf(want))
			}
			agrees(t, record, &got)
		}
	}
}

// A row shares the memory of its record, so that no string is copied.
func TestRowSharesTheRecord(t *testing.T) {
	record := with("order_id", `"order-1"`, "customer_id", `"cust\u0031"`, "status", `"ready"`)
	o, _ := decoded(t, record)
	clear(record)
	if o.OrderID != "\x00\x00\x00\x00\x00\x00\x00" {
		t.Errorf("order_id %q is a copy", o.OrderID)
	}
	if o.CustomerID != "cust1" || o.EventType != "order_ready" {
		t.Errorf("%q and %q should have memory of their own", o.CustomerID, o.EventType)
	}
}

func TestAllocations(t *testing.T) {
	for name, record := range shapes(t) {
		limit := 0.0
		if name == "escapes" {
			limit = 1 // the one string that had to be made
		}
		var e Event
		if n := testing.AllocsPerRun(100, func() { Decode(record, arrival, &e) }); n > limit {
			t.Errorf("%s: %v allocations, want at most %v", name, n, limit)
		}
	}
}
