// Package fault keeps the named faults that a user has asked the local AWS for.
//
// A fault names a service, an operation of it (or all), and what goes wrong. It
// is used up by its count, or drawn by its probability from a seeded generator,
// so that a run can be repeated.
package fault

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is what goes wrong.
type Kind string

// The kinds of faults.
const (
	Throttle        Kind = "throttle"         // the service's own throttling error, no effect
	InternalError   Kind = "internal-error"   // HTTP 500, no effect
	Reset           Kind = "reset"            // the connection is reset before any effect
	ReplyLost       Kind = "reply-lost"       // the call takes effect, then the connection is reset
	Delay           Kind = "delay"            // the call waits first
	EmptyReply      Kind = "empty-reply"      // status 200 and no body, no effect
	AccessDenied    Kind = "access-denied"    // the caller is refused, no effect; "Code: text" as the error text names another code
	ExpiredIterator Kind = "expired-iterator" // kinesis: ExpiredIteratorException of GetRecords
	NoIterator      Kind = "no-iterator"      // kinesis: a page of GetRecords without its NextShardIterator
	StatementFailed Kind = "statement-failed" // redshift-data: a statement ends FAILED with the given error text
	StatementSlow   Kind = "statement-slow"   // redshift-data: a statement takes the given delay longer
	Paused          Kind = "paused"           // redshift-data: no statement starts while this stands
	LineRefused     Kind = "line-refused"     // redshift-data: COPY refuses a line with a field that holds the text of match
	SnapshotEarly   Kind = "snapshot-early"   // redshift-data: a transaction takes its snapshot before its first statement
)

var services = map[string][]Kind{
	"kinesis":       {ExpiredIterator, NoIterator},
	"dynamodb":      nil,
	"s3":            nil,
	"redshift-data": {StatementFailed, StatementSlow, Paused, SnapshotEarly, LineRefused},
	"redshift":      nil,
	"cloudwatch":    nil,
	"sts":           nil,
	"autoscaling":   nil,
	"imds":          nil,
}

var everywhere = []Kind{Throttle, InternalError, Reset, ReplyLost, Delay, EmptyReply, AccessDenied}

// Fault is one fault as the admin API takes it.
type Fault struct {
	Service     string   `json:"service"`               // kinesis, dynamodb, s3, redshift-data, cloudwatch, imds, ...
	Operation   string   `json:"operation,omitempty"`   // e.g. GetRecords; empty means every operation
	Caller      string   `json:"caller,omitempty"`      // access key id that the call is signed with; empty means every caller
	Kind        Kind     `json:"fault"`                 //
	Count       int      `json:"count,omitempty"`       // how often it strikes; 0 means without end
	Probability *float64 `json:"probability,omitempty"` // of striking at each call, 0..1; absent means 1
	Seed        uint64   `json:"seed,omitempty"`        // of the draw
	Delay       Duration `json:"delay,omitempty"`       // for delay and statement-slow; absent means 1s
	Error       string   `json:"error,omitempty"`       // the error text, where the kind has one
	Match       string   `json:"match,omitempty"`       // statement-failed, statement-slow, line-refused: only where the SQL, or the field, holds this text; of s3 only where the path, which ends with the key, does
	Above       int      `json:"above,omitempty"`       // statement-failed: only where the SQL has more bytes than this
}

// Duration is a time.Duration that JSON writes as "2s", or as a number of seconds.
type Duration time.Duration

// MarshalJSON writes the duration as time.Duration prints it.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads "2s", "250ms", or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		p, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("delay %q: not a duration like \"2s\"", v)
		}
		*d = Duration(p)
	case float64:
		*d = Duration(v * float64(time.Second))
	default:
		return fmt.Errorf("delay: a string like \"2s\" or a number of seconds")
	}
	if *d < 0 {
		return fmt.Errorf("delay: must not be negative")
	}
	return nil
}

// Set is the faults that stand. It is safe for concurrent use.
type Set struct {
	mu      sync.Mutex // guards what follows
	faults  []*standing
	changed chan struct{} // closed and replaced at each Put and Clear
}

type standing struct {
	Fault
	left int // strikes left; -1 means without end
	rng  *rand.Rand
}

// NewSet returns an empty Set.
func NewSet() *Set { return &Set{changed: make(chan struct{})} }

// Put replaces the faults that stand by fs. It reports everything wrong with
// them at once, and then changes nothing.
func (s *Set) Put(fs []Fault) error {
	var wrong []string
	next := make([]*standing, 0, len(fs))
	for i, f := range fs {
		for _, p := range f.Problems() {
			wrong = append(wrong, fmt.Sprintf("fault %d: %s", i, p))
		}
		if (f.Kind == Delay || f.Kind == StatementSlow) && f.Delay == 0 {
			f.Delay = Duration(time.Second)
		}
		left := f.Count
		if left == 0 {
			left = -1
		}
		next = append(next, &standing{Fault: f, left: left, rng: rand.New(rand.NewPCG(f.Seed, uint64(i)))})
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = next
	s.change()
	return nil
}

// Problems lists everything that is wrong with the fault.
func (f Fault) Problems() []string {
	var out []string
	own, known := services[f.Service]
	if !known {
		out = append(out, fmt.Sprintf("unknown service %q", f.Service))
	}
	if !slices.Contains(everywhere, f.Kind) && !slices.Contains(own, f.Kind) {
		out = append(out, fmt.Sprintf("unknown fault %q for service %q", f.Kind, f.Service))
	}
	if (f.Kind == NoIterator || f.Kind == ExpiredIterator) && f.Operation != "" && !strings.EqualFold(f.Operation, "GetRecords") {
		out = append(out, fmt.Sprintf("fault %q is of the operation GetRecords alone", f.Kind))
	}
	if f.Count < 0 {
		out = append(out, "count must not be negative")
	}
	if f.Match != "" && f.Service != "s3" && f.Kind != StatementFailed && f.Kind != StatementSlow && f.Kind != LineRefused || f.Above != 0 && f.Kind != StatementFailed {
		out = append(out, "match is for statement-failed, statement-slow, line-refused and the service s3, above for statement-failed alone")
	}
	if f.Caller != "" && !slices.Contains(everywhere, f.Kind) {
		out = append(out, fmt.Sprintf("fault %q cannot be of one caller", f.Kind))
	}
	if f.Above < 0 {
		out = append(out, "above must not be negative")
	}
	if f.Probability != nil && (*f.Probability < 0 || *f.Probability > 1) {
		out = append(out, "probability must be from 0 to 1")
	}
	return out
}

// List returns what is left of the faults, each with its remaining count.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		if f.left == 0 {
			continue
		}
		left := f.Fault
		left.Count = max(f.left, 0)
		out = append(out, left)
	}
	return out
}

// Add puts a fault beside those that stand, unless one of its service and kind stands
// for every operation already; it reports whether it did. The fault must be right.
func (s *Set) Add(f Fault) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(f.Problems()) > 0 || slices.ContainsFunc(s.faults, f.covered) {
		return false
	}
	left := f.Count
	if left == 0 {
		left = -1
	}
	s.faults = append(s.faults, &standing{Fault: f, left: left, rng: rand.New(rand.NewPCG(f.Seed, uint64(len(s.faults))))})
	s.change()
	return true
}

// covered reports whether one that stands does what f would.
func (f Fault) covered(o *standing) bool {
	return o.left != 0 && o.Service == f.Service && o.Kind == f.Kind && o.Operation == "" && o.Caller == "" && o.Match == ""
}

// Remove takes away the faults of a service and a kind, and reports whether any stood.
func (s *Set) Remove(service string, kind Kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.faults)
	s.faults = slices.DeleteFunc(s.faults, func(f *standing) bool { return f.Service == service && f.Kind == kind })
	if len(s.faults) == before {
		return false
	}
	s.change()
	return true
}

// change tells those who wait. The caller holds mu.
func (s *Set) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Clear removes every fault.
func (s *Set) Clear() { _ = s.Put(nil) }

// Changed returns a channel that is closed at the next Put or Clear, for those
// who wait for a fault to go away (Paused).
func (s *Set) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Take draws the first standing fault of one of the kinds for this call, whoever
// makes it, and uses up one of its strikes.
func (s *Set) Take(service, operation string, kinds ...Kind) (Fault, bool) {
	return s.take(service, operation, kinds, func(f Fault) bool { return f.Caller == "" })
}

// TakeOf is Take for a call that is signed with an access key, of a path.
func (s *Set) TakeOf(caller, path, service, operation string, kinds ...Kind) (Fault, bool) {
	return s.take(service, operation, kinds, func(f Fault) bool {
		return (f.Caller == "" || f.Caller == caller) && strings.Contains(path, f.Match)
	})
}

// TakeSQL is Take for a call that runs the statements, or for the fields of a line.
func (s *Set) TakeSQL(service, operation string, sqls []string, kinds ...Kind) (Fault, bool) {
	return s.take(service, operation, kinds, func(f Fault) bool {
		size, found := 0, f.Match == ""
		for _, sql := range sqls {
			size += len(sql)
			found = found || strings.Contains(sql, f.Match)
		}
		return found && size > f.Above
	})
}

func (s *Set) take(service, operation string, kinds []Kind, meets func(Fault) bool) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.left == 0 || f.Service != service || !slices.Contains(kinds, f.Kind) {
			continue
		}
		if f.Operation != "" && !strings.EqualFold(f.Operation, operation) {
			continue
		}
		if !meets(f.Fault) {
			continue
		}
		if f.Probability != nil && f.rng.Float64() >= *f.Probability {
			continue
		}
		if f.left > 0 {
			f.left--
		}
		return f.Fault, true
	}
	return Fault{}, false
}

// Standing reports whether a fault of the kind stands for the service, without
// using it up.
func (s *Set) Standing(service string, kind Kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.faults, func(f *standing) bool {
		return f.left != 0 && f.Service == service && f.Kind == kind
	})
}
