package event

import (
	"fmt"
	"strings"
	"time"
)

// Family is a kind of event: whose rows they are. Each has a file here with its
// keys, its row and its rules, and a table in package warehouse.
type Family uint8

// MaxFamilies is how many families there may be: what is kept for each of them has
// so many places, of which those past the last one stay empty.
const MaxFamilies = 8

// family is what the file of a family says of it, once.
type family struct {
	name    string                // by which settings, metrics and the warehouse know it
	prefix  string                // with which its event types begin, and nobody else's
	key     string                // that tells its events, for people
	claims  func(s *scanner) bool // whether the keys of an event are this family's, where its type tells nothing
	reasons []Reason              // of its own columns, in the order in which they win
	row     func() row
}

// families are all of them, by number, without a gap (a test sees to it).
var families [MaxFamilies]*family

// declare makes a family known. The variables of this package alone call it.
func declare(f Family, what family) Family {
	families[f] = &what
	return f
}

// Families are all families, in the order of their numbers.
func Families() []Family {
	var out []Family
	for f := Family(0); f < MaxFamilies && families[f] != nil; f++ {
		out = append(out, f)
	}
	return out
}

// String is the name by which settings and metrics know the family.
func (f Family) String() string {
	if f < MaxFamilies && families[f] != nil {
		return families[f].name
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// ParseFamily is the family of that name.
func ParseFamily(name string) (Family, bool) {
	for _, f := range Families() {
		if families[f].name == name {
			return f, true
		}
	}
	return 0, false
}

// family tells whose event this is: by its type where it names a service's, else
// by the keys that only that service's events have. Families are asked from the
// last to the first: orders take what has nothing but some key of an order, so
// that a broken order is rejected with a reason that helps its producer.
func (s *scanner) family() (Family, *Rejection) {
	t := s.at(fieldEventType)
	if t.kind == kindString {
		eventType, _ := s.unescaped(t)
		for i, f := range families {
			if f != nil && strings.HasPrefix(eventType, f.prefix) {
				return Family(i), nil
			}
		}
	}
	for i := len(families) - 1; i >= 0; i-- {
		if f := families[i]; f != nil && f.claims(s) {
			return Family(i), nil
		}
	}
	detail := "it has none of the keys " + keysOfFamilies()
	if t.present() {
		detail += ", and its event_type is " + excerpt(s.bytes(t))
	}
	return 0, &Rejection{Reason: UnknownFamily, Detail: detail}
}

// keysOfFamilies lists the keys that tell families apart.
func keysOfFamilies() string {
	var keys []string
	for _, f := range Families() {
		keys = append(keys, families[f].key)
	}
	last := len(keys) - 1
	return strings.Join(keys[:last], ", ") + " and " + keys[last]
}

// Row is a row of a family's table: *Order, *Level, *Payment.
type Row interface {
	Family() Family
	// Fields tells the values of the row, in the order of its table's columns.
	Fields(to Fields)
}

// row is a Row as its family's file has it.
type row interface {
	Row
	// read judges the fields of a record and fills the row, or leaves it as it was.
	read(s *scanner, arrived time.Time) *Rejection
	// plain makes it say as little as an event can.
	plain(text string, micros int64)
}

// Event is one decoded event. Its row is written over by the next that is decoded
// into it, so an Event that was decoded into is not to be copied.
type Event struct {
	Row // nil = none was decoded

	// Both are kept from one record to the next, so that no record takes memory.
	rows    [MaxFamilies]row
	scanner *scanner
}

// Plain is an event of a family that says as little as an event can: no text in it
// is unusual, and no number large.
func Plain(f Family, at time.Time) Event {
	r := families[f].row()
	r.plain("probe", at.UnixMicro())
	return Event{Row: r}
}

// Fields takes the values of a row, in the order of its table's columns.
type Fields interface {
	Text(s string)     // VARCHAR
	Int(n int64)       // INTEGER
	Cents(n int64)     // DECIMAL(10,2), in hundredths
	Time(micros int64) // TIMESTAMP, UTC microseconds since 1970
	Null()             // of any type
}

// Decode reads one record that arrived at the given time. It returns nil and
// fills e, or says why the record is no event and leaves e as it was. It keeps
// neither data nor e. The strings of a row may share memory with data, which must
// not change while they are in use.
//
// Where a record has several problems, those of the text come first (not JSON,
// not an object, text after the object, nested deeper, a key twice), then the
// family, then the fields in the order of the table's columns.
func Decode(data []byte, arrived time.Time, e *Event) *Rejection {
	if e.scanner == nil {
		e.scanner = new(scanner)
	}
	s := e.scanner
	s.data = data
	rejected := e.decode(s, arrived)
	s.reset()
	return rejected
}

func (e *Event) decode(s *scanner, arrived time.Time) *Rejection {
	rejected := s.text()
	var f Family
	if rejected == nil {
		f, rejected = s.family()
	}
	if rejected != nil {
		rejected.Family = NoFamily
		return rejected
	}
	if e.rows[f] == nil {
		e.rows[f] = families[f].row()
	}
	if rejected := e.rows[f].read(s, arrived); rejected != nil {
		rejected.Family = families[f].name
		return rejected
	}
	e.Row = e.rows[f]
	return nil
}
