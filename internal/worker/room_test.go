package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// asks reserves n bytes in the background and appends name to granted once it
// has them.
func asks(t *testing.T, q *queue, n int64, name string, granted *[]string) {
	t.Helper()
	go func() {
		if _, err := q.reserve(t.Context(), n); err == nil {
			*granted = append(*granted, name)
		}
	}()
	synctest.Wait()
}

func TestG9_ReadingWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(250)
		s := named("a")
		q.add(page(s, 0, 2, false), 0, time.Time{}) // 200 bytes
		var granted []string
		asks(t, q, 50, "small", &granted)
		asks(t, q, 250, "large", &granted)
		asks(t, q, 1, "behind it", &granted)
		if want := []string{"small"}; !slices.Equal(granted, want) {
			t.Fatalf("%q read with 200 of 250 bytes held, want %q", granted, want)
		}
		if due, _ := q.due(time.Now(), 100, time.Hour); due == 0 {
			t.Error("a load starts to make room while the read under way may bring nothing")
		}
		q.release(50)
		if due, _ := q.due(time.Now(), 100, time.Hour); due != 0 {
			t.Errorf("a load that would make room is due in %v", due)
		}
		q.settle(q.take(2), nil)
		synctest.Wait()
		if want := []string{"small", "large"}; !slices.Equal(granted, want) {
			t.Errorf("%q read once all was loaded, want %q", granted, want)
		}
		q.release(250)
		synctest.Wait()
		if want := []string{"small", "large", "behind it"}; !slices.Equal(granted, want) {
			t.Errorf("%q read in the end, want %q", granted, want)
		}
		q.release(1)
		if q.reading != 0 || q.held != 0 {
			t.Errorf("%d bytes of reads and %d of pages still counted", q.reading, q.held)
		}
	})
}

func TestG9_APageLargerThanTheLimitIsReadAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		var granted []string
		asks(t, q, 10, "small", &granted)
		asks(t, q, 1000, "huge", &granted)
		if len(granted) != 1 {
			t.Fatalf("%q read side by side", granted)
		}
		if q.enlarge(10, 200) != true || q.enlarge(200, 10) != true {
			t.Error("a reply that turns out to be huge has no room although it is alone")
		}
		q.release(10)
		synctest.Wait()
		if len(granted) != 2 {
			t.Error("a huge page is never read")
		}
		if q.enlarge(10, 20) {
			t.Error("there is room beside a huge page")
		}
		q.release(1000)
	})
}

func TestAReadThatGivesUpLeavesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		if _, err := q.reserve(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := q.reserve(ctx, 60)
			ended <- err
		}()
		synctest.Wait()
		var granted []string
		asks(t, q, 40, "behind it", &granted)
		if len(granted) > 0 {
			t.Error("a small read went past a larger one that waits")
		}
		cancel(why)
		if err := <-ended; !errors.Is(err, why) {
			t.Errorf("reserve returned %v, want the context's cause", err)
		}
		synctest.Wait()
		if len(granted) == 0 {
			t.Error("the read behind one that gave up still waits")
		}
		q.release(100)
		if q.reading != 0 || len(q.turns) > 0 {
			t.Errorf("%d bytes and %d turns still counted", q.reading, len(q.turns))
		}
	})
}

// ledger counts the memory of pages, as their readers see it, and of what was
// decoded of them.
type ledger struct {
	held      func() int64 // by what was decoded
	mu        sync.Mutex   // guards what follows, and the fields of bursts
	now, most int64
	declined  int
}

func (l *ledger) add(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += n
	l.most = max(l.most, l.now+l.held())
}

// burst is a shard that brings small pages, and large ones from some moment on.
type burst struct {
	ledger *ledger
	room   func(int) error
	large  int // bytes of a page; 0 = small ones
	left   int // large pages
	turn   int // of the next record
}

func (*burst) NotBefore() time.Time { return time.Now().Add(200 * time.Millisecond) }

var noEvents = make([]byte, fullPage)

// smallReply is the length of a reply that holds a record or none.
const smallReply = 500

func (b *burst) size() int64 {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	if b.large > 0 && b.left > 0 {
		return int64(b.large)
	}
	return smallReply
}

func (b *burst) Next(ctx context.Context) (stream.Page, error) {
	size := b.size()
	time.Sleep(20 * time.Millisecond) // of the virtual clock: until the reply begins
	if err := b.room(int(size)); err != nil {
		b.ledger.mu.Lock()
		defer b.ledger.mu.Unlock()
		b.ledger.declined++
		return stream.Page{}, err
	}
	b.ledger.add(size)
	time.Sleep(time.Duration(size) * time.Second / (100 << 20)) // until it is in
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	behind := time.Duration(0)
	if size > smallReply {
		b.left--
		behind = time.Second
	}
	b.turn++
	return stream.Page{
		Records: []stream.Record{{SequenceNumber: fmt.Sprint(b.turn), ArrivedAt: time.Now(), Data: noEvents[:size]}}, // kept whole
		Behind:  behind, Bytes: int(size), Free: func() { b.ledger.add(-size) },
	}, ctx.Err()
}

// TestG9_AResumedStallKeepsToTheLimit has shards that were caught up, with small
// pages, wait for a warehouse that stands still. When it comes back each of them
// brings full pages, all at once.
func TestG9_AResumedStallKeepsToTheLimit(t *testing.T) {
	for _, limit := range []int64{12 << 20, 20 << 20, 80 << 20} {
		for name, pages := range map[string]int{"full": fullPage, "a third": fullPage / 3} {
			t.Run(fmt.Sprintf("%d-MiB/%s", limit>>20, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { resumedStall(t, limit, pages) })
			})
		}
	}
}

func resumedStall(t *testing.T, limit int64, size int) {
	shards, pages := 80, 3
	if limit < 8*fullPage { // so few pages at a time need not be as many: to copy them under the race detector takes seconds
		shards, pages = 40, 2
	}
	ctx, stop := context.WithCancel(t.Context())
	var book ledger
	bursts := make(map[string]*burst)
	w := New(Config{
		PollInterval: time.Second, PageBytes: limit, Warehouse: warehouse.New(nil, warehouse.Insert{}), Metrics: new(metrics.Metrics), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Open: func(s stream.Shard, _ stream.Position, room func(int) error) Reader {
			bursts[s.ID].room = room
			return bursts[s.ID]
		},
	})
	book.held = func() int64 { return w.Status().HeldBytes }
	var reading sync.WaitGroup
	for i := range shards {
		bursts[fmt.Sprint(i)] = &burst{ledger: &book, left: pages}
	}
	for id := range bursts {
		reading.Go(func() { _ = w.read(ctx, named(id)) })
	}
	load := func() { w.queue.settle(w.queue.take(1000), nil) }
	for range 40 { // caught up: a load every quarter of a second
		time.Sleep(time.Second / 4)
		load()
	}
	book.mu.Lock()
	for _, b := range bursts {
		b.large = size
	}
	book.mu.Unlock()
	time.Sleep(time.Minute) // the stall: what there is room for is read
	if !w.Status().Full {
		t.Fatal("the stall holds nothing back")
	}
	began := time.Now()
	for left := 1; left > 0; {
		time.Sleep(time.Second / 4)
		load()
		left = 0
		book.mu.Lock()
		for _, b := range bursts {
			left += b.left
		}
		book.mu.Unlock()
		if time.Since(began) > time.Hour {
			t.Fatalf("%d pages are not read after an hour", left)
		}
	}
	stop()
	reading.Wait()
	t.Logf("%d MiB at most, %d replies declined, %v for %d MiB", book.most>>20, book.declined, time.Since(began), shards*pages*size>>20)
	if most := max(limit, int64(size)); book.most > most {
		t.Errorf("pages of %d MiB at a time, limit %d MiB", book.most>>20, most>>20)
	}
	if book.declined > shards {
		t.Errorf("%d replies were declined: what they will bring is guessed too low", book.declined)
	}
}
