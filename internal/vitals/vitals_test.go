package vitals

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestErrorsHaveTheirKinds(t *testing.T) {
	for want, errs := range map[verdict.Kind][]error{
		verdict.Throttled: {stream.ErrThrottled, warehouse.ErrTooMany},
		verdict.Denied:    {stream.ErrDenied, warehouse.ErrDenied, fs.ErrPermission},
		verdict.Full:      {warehouse.ErrFull, syscall.ENOSPC, syscall.EDQUOT},
		verdict.NoTable:   {warehouse.ErrNoTable},
		verdict.Conflict:  {warehouse.ErrConflict},
		verdict.Gone:      {stream.ErrGone, fs.ErrNotExist},
		verdict.Failing:   {warehouse.ErrUnavailable, warehouse.ErrEnded, errors.New("anything")},
	} {
		for _, err := range errs {
			got := Trouble(S3, fmt.Errorf("do it: %w", err), noon, func(service string, _ error) string { return "mend " + service })
			if got.Kind != want || got.Next != "mend S3" || !got.Since.Equal(noon) || !strings.Contains(got.Says, "do it") {
				t.Errorf("%v: %+v, want %s", err, got, want)
			}
		}
	}
	if got := Trouble(S3, nil, noon, nil); got != nil {
		t.Errorf("no error is %+v", got)
	}
}

// A load that could not be staged is the bucket's trouble, and not the warehouse's.
func TestTheBucketIsNotTheWarehouse(t *testing.T) {
	w := &Watch{c: Config{NextStep: func(service string, _ error) string { return "mend " + service }}}
	denied := fmt.Errorf("load 2 rows: %w", fs.ErrPermission)
	for want, err := range map[string]error{DataAPI: denied, S3: fmt.Errorf("prepare: %w", &warehouse.StagingError{Err: denied})} {
		got := w.write(DataAPI, worker.WriteStatus{Failing: err}, noon)
		if got.Staging != (want == S3) || got.Trouble.Kind != verdict.Denied || got.Trouble.Next != "mend "+want {
			t.Errorf("%v: %+v with %+v, want to mend %s", err, got, got.Trouble, want)
		}
	}
}

func TestProblemsHaveTheKindsOfTheirErrors(t *testing.T) {
	got := ofKinds([]verdict.Problem{{Err: fmt.Errorf("read: %w", stream.ErrThrottled)}, {}, {Err: errors.New("anything")}, {Err: fmt.Errorf("ask: %w", context.DeadlineExceeded)}})
	if got[0].Kind != verdict.Throttled || got[1].Kind != "" || got[2].Kind != verdict.Failing || got[3].Kind != verdict.Unreached { // what does not answer does not refuse
		t.Errorf("got %+v", got)
	}
}

// The share that is rejected is of a short while where much arrives, so that what is
// over is seen to be over, and of a longer one where little does.
func TestRejectsAreOfAShortWhile(t *testing.T) {
	var p past
	var m metrics.Metrics
	at := noon
	second := func(good, bad int) {
		m.RecordsProcessed.Add(good + bad)
		m.RecordsRejected.Add(bad)
		m.RejectedBy.Add("not JSON", bad)
		at = at.Add(time.Second)
		p.take(at, worker.Status{}, &m)
	}
	second(0, 0)
	for range 30 {
		second(0, 10)
	}
	r := p.rejects()
	if r.Window != lately || r.Records != 200 || r.Rejected != 200 || len(r.Reasons) != 1 || r.Reasons[0] != (verdict.Reason{Text: "not JSON", N: 200}) {
		t.Errorf("while all is rejected: %+v", r)
	}
	for range 20 {
		second(10, 0)
	}
	if r := p.rejects(); r.Rejected != 0 || r.Records != 200 || len(r.Reasons) != 0 {
		t.Errorf("20 seconds after: %+v", r)
	}
	for range 300 {
		second(0, 0)
	}
	second(0, 1)
	if r := p.rejects(); r.Rejected != 1 || r.Records != 1 || r.Window > longer {
		t.Errorf("one record in five minutes: %+v", r)
	}
	if records, _ := p.rate(); records != 1.0/20 {
		t.Errorf("a rate of %v", records)
	}
	if n := len(p.counts); n > 302 {
		t.Errorf("%d counts are kept", n)
	}
}

// Where little arrives, what is rejected is told all the time that it lasts, soon after
// it began, and not any more soon after it is over.
func TestRejectsOfLittleTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration // a record
		bad   int           // one in so many is
		look  verdict.State // at least
		told  time.Duration // at most
		over  time.Duration // at most
	}{
		"all of one a second":         {time.Second, 1, verdict.Act, 30 * time.Second, 30 * time.Second},
		"all of one in two seconds":   {2 * time.Second, 1, verdict.Act, 30 * time.Second, 30 * time.Second},
		"all of one in five seconds":  {5 * time.Second, 1, verdict.Look, 30 * time.Second, 30 * time.Second},
		"one in twenty of five":       {200 * time.Millisecond, 20, verdict.Look, 30 * time.Second, 30 * time.Second},
		"one in twenty of ten":        {100 * time.Millisecond, 20, verdict.Look, 30 * time.Second, 30 * time.Second},
		"one in twenty of a thousand": {time.Millisecond, 20, verdict.Look, 30 * time.Second, 30 * time.Second},
	} {
		var p past
		var m metrics.Metrics
		at, due, n := noon, time.Duration(0), 0
		second := func(bad int) verdict.State {
			for due += time.Second; due >= c.every; due -= c.every {
				n++
				m.RecordsProcessed.Add(1)
				if bad > 0 && n%bad == 0 {
					m.RecordsRejected.Add(1)
					m.RejectedBy.Add("not JSON", 1)
				}
			}
			at = at.Add(time.Second)
			p.take(at, worker.Status{}, &m)
			r := p.rejects()
			return r.State()
		}
		for range 400 {
			if s := second(0); s != verdict.Fine {
				t.Fatalf("%s: it is %v before it begins", name, s)
			}
		}
		told := time.Duration(0)
		for i := range 400 {
			switch s := second(c.bad); {
			case s != verdict.Fine && told == 0:
				told = time.Duration(i+1) * time.Second
			case s == verdict.Fine && told != 0:
				t.Errorf("%s: it is fine again after %d s while it lasts", name, i+1)
			case i > 120 && s < c.look:
				t.Fatalf("%s: it is %v after %d s", name, s, i+1)
			}
		}
		over := time.Duration(0)
		for i := range 400 {
			switch s := second(0); {
			case s == verdict.Fine && over == 0:
				over = time.Duration(i+1) * time.Second
			case s != verdict.Fine && over != 0:
				t.Errorf("%s: it is %v again, %d s after its end", name, s, i+1)
			}
		}
		t.Logf("%s: told after %v, over after %v", name, told, over)
		if told == 0 || told > c.told || over == 0 || over > c.over {
			t.Errorf("%s: told after %v, over after %v", name, told, over)
		}
	}
}

// A shard is hot by records or by bytes, while the others are not, and while it is read
// as fast as it is filled.
func TestHotShards(t *testing.T) {
	const kilo = 1 << 10
	for name, c := range map[string]struct {
		records, bytes [2]int64 // a second, of two shards
		behind         time.Duration
		hot            bool
	}{
		"records":       {[2]int64{900, 5}, [2]int64{90 * kilo, kilo}, 0, true},
		"bytes":         {[2]int64{50, 5}, [2]int64{950 * kilo, kilo}, 0, true},
		"neither":       {[2]int64{500, 5}, [2]int64{500 * kilo, kilo}, 0, false},
		"both are busy": {[2]int64{900, 800}, [2]int64{kilo, kilo}, 0, false},
		"it catches up": {[2]int64{5000, 5}, [2]int64{1900 * kilo, kilo}, time.Hour, false},
	} {
		first, last := map[string]shardCounts{}, map[string]shardCounts{}
		for i, id := range []string{"a", "b"} {
			s := shardCounts{term: 1, at: noon, behind: c.behind, start: "0", end: "340282366920938463463374607431768211455"}
			first[id] = s
			s.at, s.records, s.bytes = noon.Add(10*time.Second), 10*c.records[i], 10*c.bytes[i]
			last[id] = s
		}
		got := hot(first, last)
		if (len(got) == 1) != c.hot {
			t.Errorf("%s: %+v", name, got)
		}
		if len(got) == 1 && (got[0].Shard != "a" || got[0].Middle != "170141183460469231731687303715884105728") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A worker that stops renewing is told of when others have its shards, until it comes
// back or another one stands in its place. One that gives its shards back is not.
func TestLostWorkersAreRemembered(t *testing.T) {
	view := func(now time.Time, rows ...lease.Seen) lease.View {
		return lease.View{At: now, TTL: 10 * time.Second, Rows: rows}
	}
	row := func(owner string, changed time.Time) lease.Seen {
		return lease.Seen{Row: lease.Row{Shard: "s", Owner: owner}, Changed: changed}
	}
	p := newPeers()
	at := noon
	p.see(at, view(at, row("vm-7-AAAAAA", at)), "me")
	p.see(at, view(at, row("", at)), "me")
	if got := p.missed(at); len(got) != 0 || len(p.seen) != 0 {
		t.Errorf("one that gave back: %+v", got)
	}
	p.see(at, view(at, row("vm-7-AAAAAA", at)), "me")
	at = at.Add(11 * time.Second)
	p.see(at, view(at, row("vm-7-AAAAAA", noon)), "me")
	p.see(at, view(at, row("me", at)), "me")
	if got := p.missed(at); len(got) != 1 || got[0].Worker != "vm-7-AAAAAA" || got[0].For != 11*time.Second {
		t.Fatalf("one that stopped renewing: %+v", got)
	}
	back := p
	back.lost = map[string]time.Time{"vm-7-AAAAAA": noon}
	at = at.Add(time.Second)
	p.see(at, view(at, row("other-9-BBBBBB", at)), "me")
	if got := p.missed(at); len(got) != 1 {
		t.Errorf("another machine's takes its place: %+v", got)
	}
	p.see(at, view(at, row("vm-8-CCCCCC", at)), "me")
	if got := p.missed(at); len(got) != 0 {
		t.Errorf("replaced on its machine: %+v", got)
	}
	back.see(at, view(at, row("vm-7-AAAAAA", at)), "me")
	if got := back.missed(at); len(got) != 0 {
		t.Errorf("come back: %+v", got)
	}
	p.lost["vm-1-DDDDDD"] = at
	at = at.Add(lostFor + time.Second)
	p.see(at, view(at), "me")
	if got := p.missed(at); len(got) != 0 {
		t.Errorf("after long: %+v", got)
	}
}
