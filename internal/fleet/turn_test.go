package fleet

import (
	"testing"
	"time"
)

// A worker takes no batch while a load that takes long is under way or about to begin,
// and takes what it has once that is over. Where loads are quick, one takes unusually
// long, or the worker stops, it goes on at once.
func TestABatchIsHeldBackWhileItWouldMissALoad(t *testing.T) {
	g := start(t)
	a := g.worker("a", "a", "b")
	a.loader.folder = a.folder(identity)
	for _, c := range []struct {
		what string
		took time.Duration // the last load
		runs time.Duration // the present one
		shut bool
		idle bool // no load is under way
		held bool
	}{
		{what: "a load is under way", took: 4 * time.Second, runs: time.Second, held: true},
		{what: "a load takes longer than the last", took: 12 * time.Second, runs: 15 * time.Second, held: true},
		{what: "a load takes much longer than the last", took: 4 * time.Second, runs: 9 * time.Second},
		{what: "a load takes very long, as the last did", took: time.Minute, runs: 31 * time.Second},
		{what: "loads are quick", took: time.Second, runs: time.Second / 2},
		{what: "no load is under way", took: 4 * time.Second, idle: true},
		{what: "a load is about to begin", took: 4 * time.Second, shut: true, idle: true, held: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			tell := func(loading []string, shut bool) {
				a.mu.Lock()
				a.loader.loading, a.loader.shut, a.loader.took, a.loader.since = loading, shut, c.took, time.Now().Add(-c.runs)
				a.mu.Unlock()
				a.say(t.Context())
			}
			loading := []string{"id"}
			if c.idle {
				loading = nil
			}
			tell(loading, c.shut)
			b := g.worker("b", "a", "b")
			b.c.Patience = time.Minute // the machine may be slow
			b.look(t.Context(), a.loader.folder)
			held, now := b.Turn()
			if now {
				t.Error("it is to be taken at once, though no load was seen to end")
			}
			if (held != nil) != c.held {
				t.Fatalf("held back: %t, want %t", held != nil, c.held)
			}
			if held == nil {
				return
			}
			a.mu.Lock()
			a.loader.loads++
			a.mu.Unlock()
			tell(nil, false)
			if _, looking := b.lookForHeld(t.Context(), b.place()); !looking {
				t.Error("nobody looks at the word for the batch that is held back")
			}
			<-held // it may have changed
			if held, now = b.Turn(); held != nil || !now {
				t.Errorf("after the load the batch is held back: %t, and to be taken at once: %t", held != nil, now)
			}
			if _, looking := b.lookForHeld(t.Context(), b.place()); looking {
				t.Error("the word is looked at for nothing")
			}
			tell(loading, c.shut)
			b.look(t.Context(), a.loader.folder)
			if held, _ = b.Turn(); held == nil {
				t.Fatal("the next load does not hold it back")
			}
			b.heard = time.Now().Add(-b.c.Patience)
			if stale, _ := b.Turn(); stale != nil {
				t.Error("it is held back by a word that was heard long ago")
			}
			b.heard = time.Now()
			if held, _ = b.Turn(); held == nil {
				t.Fatal("the next load does not hold it back any more")
			}
			b.Leave()
			<-held
			if held, now = b.Turn(); held != nil || now {
				t.Errorf("a worker that stops holds back: %t, by another's turn: %t", held != nil, now)
			}
		})
	}
}

// A batch that is held back may be gone before the load is over, with its shards: the
// word is not looked at for ever then, and quiet shards are told of again.
func TestNobodyLooksForABatchThatIsGone(t *testing.T) {
	g := start(t)
	a, b := g.worker("a", "a", "b"), g.worker("b", "a", "b")
	b.c.Patience = time.Minute // the machine may be slow
	a.loader.folder = a.folder(identity)
	a.loader.took, a.loader.loading, a.loader.since = 4*time.Second, []string{"id"}, time.Now()
	a.say(t.Context())
	b.look(t.Context(), a.loader.folder)
	if held, _ := b.Turn(); held == nil {
		t.Fatal("the load does not hold it back")
	}
	a.loader.loading = nil
	a.say(t.Context())
	for range 2 { // the first look finds that the load is over
		b.lookForHeld(t.Context(), b.place())
	}
	if _, looking := b.lookForHeld(t.Context(), b.place()); looking {
		t.Error("the word is looked at, and nothing is held back")
	}
}

// The worker that loads knows what it does without the word.
func TestWhoLoadsHoldsItsOwnBatchBack(t *testing.T) {
	g := start(t)
	a := g.worker("a", "a", "b")
	a.loader.took, a.loader.loading, a.loader.since = 4*time.Second, []string{"id"}, time.Now()
	held, _ := a.Turn()
	if held == nil {
		t.Fatal("it would miss its own load")
	}
	a.mu.Lock()
	a.loader.loading = nil
	a.broadcast()
	a.mu.Unlock()
	<-held
	if held, _ = a.Turn(); held != nil {
		t.Error("the load is over")
	}
}

// A batch is taken shortly before the next load may begin, where that is not soon: by who
// loads as well. Another one's interval is not waited for longer than one's own.
func TestABatchIsHeldBackForTheLoadInterval(t *testing.T) {
	g := start(t)
	for _, c := range []struct {
		what        string
		theirs, own time.Duration
		least, most time.Duration
	}{
		{"a long interval", time.Minute, time.Minute, time.Minute - gatherLast - patience/2, time.Minute - gatherLast},
		{"a longer one than one's own", time.Hour, time.Second, 0, longestHeld},
		{"a short interval", 2 * time.Second, time.Minute, -patience, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			a, b := g.worker("a", "a", "b"), g.worker("b", "a", "b")
			a.c.LoadInterval, b.c.LoadInterval = c.theirs, c.own
			a.loader.folder = a.folder(identity)
			a.load(t.Context(), nil)
			a.say(t.Context())
			b.look(t.Context(), a.loader.folder)
			held, _ := b.Turn()
			now := time.Now()
			until := b.gathers(b.place()).Sub(now)
			if (held != nil) != (c.most > 0) || until < c.least || until > c.most {
				t.Fatalf("held back: %t, for %v, want %v to %v", held != nil, until, c.least, c.most)
			}
			if held, _ := a.Turn(); (held != nil) != (c.most > 0) {
				t.Errorf("who loads holds its own back: %t", held != nil)
			}
			if held == nil {
				return
			}
			b.heard = now.Add(time.Second/4 - b.word.Rest)
			if b.c.LoadInterval < c.theirs {
				b.heard = now.Add(time.Second/4 - longestHeld)
			}
			if held, _ := b.Turn(); held != nil { // a slow machine is past it
				<-held
			}
			if held, now := b.Turn(); held != nil || now != (c.own >= gatherLast) {
				t.Errorf("when it is time, it is held back: %t, and to be taken at once: %t", held != nil, now)
			}
			b.Leave()
			if held, _ := b.Turn(); held != nil {
				t.Error("a worker that stops holds back")
			}
		})
	}
}
