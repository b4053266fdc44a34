package deadletter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Letter is one rejected record: what came, from where, and why it was refused.
type Letter struct {
	Reason         string // from the closed list of the decoder, or the warehouse's refusal
	Detail         string // what exactly was wrong, for people
	Stream         string
	ShardID        string
	SequenceNumber string
	// SubSequenceNumber is the index among the events of one Kinesis record.
	SubSequenceNumber int64
	PartitionKey      string
	ArrivedAt         time.Time // kept to the millisecond, which is all that Kinesis tells
	RejectedAt        time.Time // kept to the millisecond
	Data              []byte    // the record's bytes as they came
}

// Place is the letter's own position in its shard, which names it for good.
func (l Letter) Place() stream.Position {
	return stream.Position{Sequence: l.SequenceNumber, Sub: l.SubSequenceNumber}
}

// line is a letter as JSON. The names are documented; readers outside rely on
// them.
type line struct {
	Reason            string `json:"reason"`
	Detail            string `json:"detail"`
	Stream            string `json:"stream"`
	ShardID           string `json:"shard_id"`
	SequenceNumber    string `json:"sequence_number"`
	SubSequenceNumber int64  `json:"sub_sequence_number"`
	PartitionKey      string `json:"partition_key"`
	ArrivedAt         string `json:"arrived_at"`
	RejectedAt        string `json:"rejected_at"`
	// Data is a pointer to tell a line without the field from an empty record.
	Data *[]byte `json:"data_base64"`
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// MarshalJSON writes the letter as one line of ASCII. Everything beyond ASCII
// is escaped: a terminal that shows the line must not obey a control sequence
// or a change of writing direction that came in with an event.
//
// Text that is no valid UTF-8 reads back with U+FFFD in place of the bad bytes;
// Data is exact whatever it holds.
func (l Letter) MarshalJSON() ([]byte, error) {
	data := l.Data
	if data == nil {
		data = []byte{} // "" rather than null
	}
	b, err := json.Marshal(line{
		Reason:            l.Reason,
		Detail:            l.Detail,
		Stream:            l.Stream,
		ShardID:           l.ShardID,
		SequenceNumber:    l.SequenceNumber,
		SubSequenceNumber: l.SubSequenceNumber,
		PartitionKey:      l.PartitionKey,
		ArrivedAt:         writable(l.ArrivedAt).Format(timeFormat),
		RejectedAt:        writable(l.RejectedAt).Format(timeFormat),
		Data:              &data,
	})
	if err != nil {
		return nil, err
	}
	return escapeBeyondASCII(b), nil
}

// UnmarshalJSON reads what MarshalJSON writes. Fields that it does not know are
// ignored, so that an older program can replay what a newer one kept.
func (l *Letter) UnmarshalJSON(b []byte) error {
	var in line
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	switch {
	case in.ShardID == "":
		return errors.New("shard_id is missing")
	case in.SequenceNumber == "":
		return errors.New("sequence_number is missing")
	case in.Data == nil:
		return errors.New("data_base64 is missing")
	}
	arrived, err := time.Parse(time.RFC3339, in.ArrivedAt)
	if err != nil {
		return fmt.Errorf("arrived_at: %w", err)
	}
	rejected, err := time.Parse(time.RFC3339, in.RejectedAt)
	if err != nil {
		return fmt.Errorf("rejected_at: %w", err)
	}
	*l = Letter{
		Reason:            in.Reason,
		Detail:            in.Detail,
		Stream:            in.Stream,
		ShardID:           in.ShardID,
		SequenceNumber:    in.SequenceNumber,
		SubSequenceNumber: in.SubSequenceNumber,
		PartitionKey:      in.PartitionKey,
		ArrivedAt:         writable(arrived),
		RejectedAt:        writable(rejected),
		Data:              *in.Data,
	}
	return nil
}

// writable is t in UTC, or the zero time where RFC 3339 has no year for it.
func writable(t time.Time) time.Time {
	t = t.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// escapeBeyondASCII rewrites valid JSON so that it is all printable ASCII. In
// JSON such characters stand only inside strings, where an escape means the
// same.
func escapeBeyondASCII(b []byte) []byte {
	printable := func(c byte) bool { return c >= ' ' && c < 0x7f }
	i := 0
	for i < len(b) && printable(b[i]) {
		i++
	}
	if i == len(b) {
		return b
	}
	out := append(make([]byte, 0, len(b)+64), b[:i]...)
	for i < len(b) {
		if printable(b[i]) {
			out = append(out, b[i])
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		i += size
		if r > 0xffff { // JSON escapes are UTF-16
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		out = fmt.Appendf(out, `\u%04x`, r)
	}
	return out
}

// decode reads the letters of the object called name. After an error the
// letters before it are returned too.
func decode(name string, body []byte) ([]Letter, error) {
	var out []Letter
	for n := 1; len(body) > 0; n++ {
		text, rest, ended := bytes.Cut(body, []byte("\n"))
		if !ended {
			return out, corrupt(name, n, errors.New("the line has no end: the object is cut short"))
		}
		var l Letter
		if err := l.UnmarshalJSON(text); err != nil {
			return out, corrupt(name, n, err)
		}
		out = append(out, l)
		body = rest
	}
	return out, nil
}

// BrokenError says that a line of an object is no letter. The letters before it are
// read. What the object held may be nowhere else, so the program neither skips nor
// replaces it by itself: an operator restores it, or moves it away.
type BrokenError struct {
	Object string
	Line   int // from 1
	Err    error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("dead-letter object %q, line %d: %v; restore the object from a backup, or move it away to go on without it", e.Object, e.Line, e.Err)
}

// Unwrap gives what is wrong with the line.
func (e *BrokenError) Unwrap() error { return e.Err }

func corrupt(name string, n int, err error) error { return &BrokenError{name, n, err} }
