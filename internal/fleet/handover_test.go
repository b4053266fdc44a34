package fleet

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// Where the one that loads gives no sign, the next one loads for all who waited: each
// by itself, they would stand in line for the lock.
func TestTheNextOneLoadsForAll(t *testing.T) {
	g := start(t)
	b, c := g.worker("b", "dead", "b", "c"), g.worker("c", "dead", "b", "c")
	g.claim(1, "shard-1", "shard-2")
	var said [2]bytes.Buffer
	for i, f := range []*Fleet{b, c} {
		f.c.Patience, f.c.Log = 6*time.Second, slog.New(slog.NewTextHandler(&said[i], nil))
	}
	go b.Run(t.Context())
	defer b.Close(t.Context())
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := b.Load(t.Context(), g.batch("shard-1", 1, "500", "order-1")); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.Load(t.Context(), g.batch("shard-2", 1, "500", "order-2")); err != nil {
		t.Error(err)
	}
	both.Wait()
	g.has("order-1", "order-2")
	for i := range said {
		if bytes.Contains(said[i].Bytes(), []byte("without the fleet")) {
			t.Errorf("%d said %s", i, said[i].String())
		}
	}
}

// A warehouse that stands further on, but under an older term than the worker has, does
// not hold what the worker was told is in.
func TestAnOlderTermIsNotBelieved(t *testing.T) {
	g := start(t)
	f := g.worker("a", "a", "b")
	g.claim(3, "shard-1")
	in := g.batch("shard-1", 3, "500", "order-1")
	if _, err := g.house.Load(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for term, want := range map[int64]int{2: 0, 3: 0, 4: 1} {
		told := g.batch("shard-1", term, "400", "").Moves
		if wrong, err := f.ask(t.Context(), told); err != nil || len(wrong) != want {
			t.Errorf("of term %d %d moves are not in, want %d: %v", term, len(wrong), want, err)
		}
	}
}

// Who has said that it has gone is not waited for, and who looks again and again and does
// not see a batch loads it never: both long before they would be missed.
func TestWhoDoesNotLoadABatchIsNotWaitedFor(t *testing.T) {
	for what, gone := range map[string]bool{"it has gone": true, "it does not know of the batch": false} {
		t.Run(what, func(t *testing.T) {
			g := start(t)
			a, b := g.worker("a", "a", "b"), g.worker("b", "a", "b")
			b.c.Patience = time.Hour
			g.claim(1, "shard-1")
			a.loader.folder = a.folder(identity)
			a.say(t.Context())
			go b.Run(t.Context())
			defer b.Close(t.Context())
			ctx, stop := context.WithTimeout(t.Context(), patience/2)
			defer stop()
			loaded := make(chan error, 1)
			go func() {
				_, err := b.Load(ctx, g.batch("shard-1", 1, "500", "order-1"))
				loaded <- err
			}()
			for tick := time.NewTicker(50 * time.Millisecond); ; {
				select {
				case err := <-loaded:
					tick.Stop()
					if err != nil {
						t.Error(err)
					}
					g.has("order-1")
					return
				case <-tick.C:
				}
				if gone {
					a.sayGone(t.Context())
				} else {
					a.loader.looks++
					a.say(t.Context())
				}
			}
		})
	}
}
