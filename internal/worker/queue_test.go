package worker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// page makes a chunk of n records that start at sequence number from; every
// third record is rejected.
func page(s *shard, from, n int, ends bool) *chunk {
	p := stream.Page{Ended: ends}
	for i := range n {
		r := stream.Record{SequenceNumber: fmt.Sprint(from + i), ArrivedAt: time.Unix(1e9, 0), Data: []byte("no event")}
		if (from+i)%3 != 0 {
			r.Data = fmt.Appendf(nil, `{"order_id":"order-%d","customer_id":"c","store_id":1,"total_amount":1}`, from+i)
		}
		p.Records = append(p.Records, r)
	}
	c := newDecoder(warehouse.Insert{}.Encoder(), func(event.Family) bool { return true }).decode(s, p)
	c.bytes = int64(100 * n)
	return c
}

func named(id string) *shard {
	return &shard{term: lease.Term{Shard: stream.Shard{ID: id}}, stop: func(error) {}}
}

// TestQueueKeepsEachShardsOrder takes random amounts from random pages and
// looks at what comes out: every record once, in its shard's order, with the
// rejections on the right records, and nothing held at the end.
func TestQueueKeepsEachShardsOrder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		q := newQueue(1 << 40)
		shards := []*shard{named("a"), named("b"), named("c")}
		next := make(map[*shard]int)
		seen := make(map[*shard]int)
		for range 60 {
			if s := shards[rng.IntN(3)]; rng.IntN(2) == 0 && !s.ended {
				n := rng.IntN(20)
				q.add(page(s, next[s], n, rng.IntN(15) == 0), 0, time.Time{})
				next[s] += n
				continue
			}
			take(t, q, 1+rng.IntN(25), seen)
		}
		take(t, q, 1<<30, seen)
		for _, s := range shards {
			if seen[s] != next[s] || s.waiting != 0 {
				t.Fatalf("seed %d, shard %s: %d of %d records came out, %d wait", seed, s.term.Shard.ID, seen[s], next[s], s.waiting)
			}
		}
		if q.held != 0 || q.records != 0 {
			t.Fatalf("seed %d: %d bytes and %d records still counted", seed, q.held, q.records)
		}
	}
}

func take(t *testing.T, q *queue, most int, seen map[*shard]int) {
	t.Helper()
	spans := q.take(most)
	for _, sp := range spans {
		for i := sp.lo; i < sp.hi; i++ {
			n := seen[sp.shard]
			_, rejected := sp.rejected(i)
			if got := sp.place(i).Sequence; got != fmt.Sprint(n) || rejected != (n%3 == 0) {
				t.Fatalf("shard %s: record %s (rejected %v) in place of %d", sp.shard.term.Shard.ID, got, rejected, n)
			}
			if line := string(sp.row(i).Line); rejected != (line == "") || !rejected && !strings.HasPrefix(line, fmt.Sprintf("'order-%d','c',1,1.00,", n)) {
				t.Fatalf("shard %s: record %d has the line %s", sp.shard.term.Shard.ID, n, line)
			}
			seen[sp.shard]++
		}
	}
	q.settle(spans, nil)
}

func TestQueueDropsALostShard(t *testing.T) {
	q := newQueue(1000)
	lost, kept := named("lost"), named("kept")
	q.add(page(lost, 0, 3, false), 0, time.Time{})
	q.add(page(kept, 0, 3, false), 0, time.Time{})
	inFlight := q.take(1) // of lost
	q.drop(lost)
	q.add(page(lost, 3, 3, false), 0, time.Time{}) // a read that was under way
	q.settle(inFlight, nil)
	spans := q.take(100)
	if len(spans) != 1 || spans[0].shard != kept {
		t.Fatalf("%d spans are left, want the one of the shard that is still ours", len(spans))
	}
	if n, _ := q.waiting(lost); n != 0 {
		t.Errorf("%d records of the lost shard still wait for a load", n)
	}
	q.settle(spans, nil)
	if q.held != 0 || q.records != 0 {
		t.Errorf("%d bytes and %d records still counted", q.held, q.records)
	}
}

func TestLoadsStartByCountOrPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1 << 20)
		s := named("a")
		const batch, patience = 10, 5 * time.Second
		check := func(what string, want time.Duration) {
			t.Helper()
			if got, _ := q.due(time.Now(), batch, patience); got != want {
				t.Errorf("%s: due in %v, want %v", what, got, want)
			}
		}
		check("nothing waits", -1)
		q.add(page(s, 0, 4, false), 0, time.Time{})
		check("few records", patience)
		time.Sleep(3 * time.Second) // of the virtual clock
		check("few records, later", 2*time.Second)
		q.add(page(s, 4, 6, false), 0, time.Time{})
		check("a batch", 0)
		q.settle(q.take(100), nil)
		q.add(page(s, 10, 1, true), 0, time.Time{})
		check("the end of a shard", 0)
		q.settle(q.take(100), nil)
		q.add(page(named("b"), 0, 1, false), 0, time.Time{})
		q.hurry(1)
		check("a shard is being handed over", 0)
		q.hurry(-1)
		check("no more", patience)
	})
}

func TestPaceSlowsAtOnceAndRecoversSlowly(t *testing.T) {
	p, now := newPace(time.Second), time.Unix(0, 0)
	p.started(now)
	if w := p.wait(now.Add(300 * time.Millisecond)); w != 700*time.Millisecond {
		t.Errorf("wait %v after 300 ms, want 700 ms", w)
	}
	p.throttled()
	p.throttled()
	if p.gap != 4*time.Second {
		t.Errorf("gap %v after two throttles, want 4 s", p.gap)
	}
	for range 100 {
		p.throttled()
	}
	if p.gap != widestGap {
		t.Errorf("gap %v, want at most %v", p.gap, widestGap)
	}
	n := 0
	for ; p.gap > time.Second; n++ {
		p.succeeded()
	}
	if n < 5 {
		t.Errorf("back to one load a second after %d loads; a throttle is to be remembered for longer", n)
	}
}
