package main

import (
	"bytes"
	"iter"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
)

// The byte that is marked is where the decoder says that the fault is, whatever the
// key and the record say.
func TestTheOffendingByteIsTheDecodersOwn(t *testing.T) {
	for _, c := range []struct {
		record string
		want   string // what the record says from that byte on; "" = no byte is named
	}{
		{`hello`, `hello`},
		{`{"a":01}`, `1}`},
		{`{} {}`, `{}`},
		{`{"order_id": "x"`, ``},
		{"\ufeff{}", "\ufeff{}"},
		{`{"order_id":17}`, `17}`},
		{`{"order_id":"a"}`, ``},
		{`{"at byte 3":1,"\u0061t byte 3":2}`, `\u0061t byte 3":2}`},
		{`{"order_id":"a","customer_id":"c","store_id":"at byte 2"}`, `at byte 2"}`},
	} {
		var e event.Event
		rejected := event.Decode([]byte(c.record), time.Now(), &e)
		if rejected == nil {
			t.Fatalf("%s is an event", c.record)
		}
		at, is := offendingByte(deadletter.Letter{Detail: rejected.Detail, Data: []byte(c.record)})
		atEnd := c.want == "" && at == len(c.record)
		if is != (c.want != "" || atEnd) || is && c.record[at:] != c.want {
			t.Errorf("%s: %q names byte %d, %v; want %q", c.record, rejected.Detail, at, is, c.want)
		}
	}
}

// A record of any bytes is shown as ASCII alone, with the mark below its byte.
func TestRecordsAreShownAsASCII(t *testing.T) {
	data := append(bytes.Repeat([]byte("x"), 5000), "\x1b[2J\xff\u202eé\n tail"...)
	data = append(data, bytes.Repeat([]byte("y"), 5000)...)
	for _, at := range []int{-1, 0, 80, 5000, 5004, len(data) - 1, len(data)} {
		var out strings.Builder
		if err := writeRecord(&out, data, at); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) > recordLines+4 {
			t.Errorf("%d lines for byte %d", len(lines), at)
		}
		marked := ""
		for i, line := range lines {
			if len(line) > 4+recordWidth+20 || strings.ContainsFunc(strings.ReplaceAll(line, "…", ""), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("line %q", line)
			}
			if strings.HasSuffix(line, "^ byte "+strconv.Itoa(at)) {
				marked = (lines[i-1] + " ")[strings.Index(line, "^"):]
			}
		}
		want := " " // behind the end
		if at >= 0 && at < len(data) {
			want = strings.Trim(strconv.QuoteToASCII(string(data[at:at+1])), `"`)
		}
		if at >= 0 && !strings.HasPrefix(marked, want) {
			t.Errorf("byte %d is marked at %q, want %q:\n%s", at, marked, want, out.String())
		}
	}
}

// The newest letters are kept whatever the order within an hour, and older hours are
// not asked for once there are enough.
func TestNewestLettersStopsAtTheHourThatHasEnough(t *testing.T) {
	hour := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	asked := 0
	var letters iter.Seq2[found, error] = func(yield func(found, error) bool) {
		for h := range 5 {
			for minute := range 10 {
				asked++
				at := hour.Add(-time.Duration(h) * time.Hour).Add(time.Duration(minute*7%10) * time.Minute)
				if !yield(found{Letter: deadletter.Letter{SequenceNumber: strconv.Itoa(asked), ArrivedAt: at}}, nil) {
					return
				}
			}
		}
	}
	last, err := newestLetters(letters, 12)
	if err != nil || len(last) != 12 || asked != 21 {
		t.Fatalf("%d letters, %d asked for, %v", len(last), asked, err)
	}
	for i, l := range last {
		want := hour.Add(time.Duration(9-i) * time.Minute)
		if i >= 10 {
			want = hour.Add(-time.Hour).Add(time.Duration(19-i) * time.Minute)
		}
		if !l.ArrivedAt.Equal(want) {
			t.Errorf("letter %d arrived at %v, want %v", i, l.ArrivedAt, want)
		}
	}
}
