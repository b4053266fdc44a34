package fleet

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// passed makes what is passed over for a while due again.
func (f *Fleet) passed() {
	for id, o := range f.loader.over {
		o.until = time.Now().Add(-time.Second)
		f.loader.over[id] = o
	}
}

// An object that cannot be removed is loaded once, however long it stays; once it can
// be, it is removed.
func TestWhatCannotBeRemovedIsLoadedOnce(t *testing.T) {
	g := start(t)
	a, f := g.worker("a", "b", "a"), g.worker("b", "b", "a")
	g.claim(1, "shard-1")
	g.local.SetFaults(fault.Fault{Service: "s3", Operation: "DeleteObjects", Kind: fault.InternalError})
	g.stage(a, g.batch("shard-1", 1, "500", "order-1"))
	for range 3 {
		f.round(t.Context())
		f.loader.listed = time.Time{}
		f.passed()
	}
	if n := f.loader.loads; n != 1 {
		t.Errorf("it was loaded %d times", n)
	}
	if len(f.loader.waiting) > 0 {
		t.Errorf("%q are told to wait", f.loader.waiting)
	}
	g.local.SetFaults()
	g.swept(f)
	g.has("order-1")
}

// A worker that may not remove what it stages would leave more of it in the bucket
// with each load, for whoever loads next to list, read and load again. It loads for
// itself, until it may.
func TestAWorkerThatMayNotRemoveStagesNothing(t *testing.T) {
	g := start(t)
	f := g.worker("a", "a", "b")
	g.claim(1, "shard-1", "shard-2")
	g.local.SetFaults(fault.Fault{Service: "s3", Operation: "DeleteObjects", Kind: fault.AccessDenied})
	if _, err := g.house.Load(t.Context(), g.batch("shard-1", 1, "500", "order-1")); err != nil {
		t.Fatal(err)
	}
	g.becomes(f, false)
	if _, err := f.Load(t.Context(), g.batch("shard-2", 1, "500", "order-2")); err != nil {
		t.Fatal(err)
	}
	g.has("order-1", "order-2")
	if s := f.Status(); s.Together || !errors.Is(s.Apart, fs.ErrPermission) {
		t.Errorf("it tells %+v", s)
	}
	names, err := g.bucket.List(t.Context(), f.folder(identity))
	if err != nil || len(names) > 0 {
		t.Errorf("it has staged %q (%v)", names, err)
	}
	g.local.SetFaults()
	f.c.Copy.Remove(t.Context(), "one", "another")
	g.becomes(f, true)
	if s := f.Status(); !s.Together || s.Apart != nil {
		t.Errorf("it tells %+v once it may", s)
	}
}

// A worker that may not see what others stage tells why it loads for itself, for longer
// than it does not try: it is as before then. One that is alone has nobody to load with.
func TestAWorkerThatMayNotListTellsSo(t *testing.T) {
	g := start(t)
	owners := []string{"a", "b"}
	f := g.worker("a")
	f.c.Owners = func() ([]string, stream.Identity) { return owners, identity }
	g.local.SetFaults(fault.Fault{Service: "s3", Operation: "ListObjectsV2", Kind: fault.AccessDenied})
	f.round(t.Context())
	f.denied = f.denied.Add(-askAgain)
	if s := f.Status(); !errors.Is(s.Apart, fs.ErrPermission) || !strings.Contains(s.Apart.Error(), "AccessDenied") {
		t.Errorf("it tells %+v", s)
	}
	owners = owners[:1]
	if s := f.Status(); s.Apart != nil {
		t.Errorf("alone it tells %+v", s)
	}

	owners = owners[:2]
	g.local.SetFaults()
	g.claim(1, "shard-1")
	go f.Run(t.Context())
	defer f.Close(t.Context())
	if _, err := f.Load(t.Context(), g.batch("shard-1", 1, "500", "order-1")); err != nil {
		t.Fatal(err)
	}
	if s := f.Status(); s.Apart != nil || !s.Together {
		t.Errorf("it has loaded with the fleet, and tells %+v", s)
	}
}

// becomes waits until the worker loads with the others, or for itself.
func (g *ground) becomes(f *Fleet, shared bool) {
	g.t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for f.place().shared() != shared {
		select {
		case <-tick.C:
		case <-deadline:
			g.t.Fatalf("that it shares loads does not become %t", shared)
		}
	}
}

// A worker that loads its batch for itself does not load it for the fleet beside that:
// it has taken the files away.
func TestWhoGoesAloneDoesNotLoadForTheFleetToo(t *testing.T) {
	g := start(t)
	f := g.worker("a", "b", "a") // b is silent
	f.loader.folder = f.folder(identity)
	g.claim(1, "shard-1")
	g.local.SetFaults(fault.Fault{Service: "redshift-data", Kind: fault.Paused})
	before := len(g.local.Calls("redshift-data", "BatchExecuteStatement"))
	loaded := make(chan error, 1)
	go func() {
		_, err := f.Load(t.Context(), g.batch("shard-1", 1, "500", "order-1"))
		loaded <- err
	}()
	g.submitted(f, before)
	if err := f.list(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(f.loader.batches); n > 0 {
		t.Errorf("%d batches are to be loaded for the fleet", n)
	}
	g.local.SetFaults()
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	g.has("order-1")
}

// submitted waits until another load waits for the warehouse, and no batch is staged any
// more.
func (g *ground) submitted(f *Fleet, before int) {
	g.t.Helper()
	g.untilStaged(f, func(names []string) bool {
		return len(names) == 0 && len(g.local.Calls("redshift-data", "BatchExecuteStatement")) > before
	})
}

// An object that the bucket does not give, or that is no batch and cannot be removed, is
// not asked for at each listing: it may lie there for years.
func TestWhatCannotBeReadIsReadLessAndLessOften(t *testing.T) {
	g := start(t)
	for kind, faults := range map[string][]fault.Fault{
		"denied":   {{Service: "s3", Operation: "GetObject", Kind: fault.AccessDenied, Match: "foreign"}},
		"no batch": {{Service: "s3", Operation: "DeleteObject", Kind: fault.AccessDenied}},
	} {
		f := g.worker("a", "a", "b")
		f.loader.folder = f.folder(identity)
		object := f.loader.folder + stagedFolder + "foreign"
		if _, err := g.bucket.Put(t.Context(), object, nil); err != nil {
			t.Fatal(err)
		}
		g.local.SetFaults(faults...)
		asked := func() (n int) {
			for _, c := range g.local.Calls("s3", "GetObject") {
				if c.Fault != "" || strings.Contains(c.Summary, "foreign") { // what is refused has no summary
					n++
				}
			}
			return n
		}
		before, gap := asked(), time.Duration(0)
		for tries := range 3 {
			var u unread
			for lists := range 3 {
				began := time.Now()
				if err := f.list(t.Context()); err != nil {
					t.Fatal(err)
				}
				if u = f.loader.unread["foreign"]; lists == 0 && (u.gap <= gap || u.next.Before(began.Add(u.gap)) || time.Until(u.next) > u.gap) {
					t.Errorf("%s: it is tried again in %v, %v after it was tried; before that it was %v", kind, time.Until(u.next), u.gap, gap)
				}
				u.next = time.Now().Add(time.Hour) // a slow machine lists less often
				f.loader.unread["foreign"] = u
			}
			if n := asked() - before; n != tries+1 {
				t.Errorf("%s: it was asked for %d times, want %d", kind, n, tries+1)
			}
			gap, u.next = u.gap, time.Now()
			f.loader.unread["foreign"] = u
		}
		if !f.place().shared() {
			t.Errorf("%s: the worker stands alone", kind)
		}
		g.local.SetFaults()
		g.emptied(f, func() {
			clear(f.loader.unread)
			if err := f.list(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A worker that may not read what others stage, or not tell them what became of it, is
// none that loads for them: it looked for their batches and said so, and they waited for
// it each time. What it cannot tell of it leaves to the next one.
func TestAWorkerThatMayNotReadOrTellStandsAlone(t *testing.T) {
	for _, operation := range []string{"GetObject", "PutObject"} {
		t.Run(operation, func(t *testing.T) {
			g := start(t)
			f, other := g.worker("a", "a", "b"), g.worker("b", "a", "b")
			g.claim(1, "shard-1")
			g.stage(other, g.batch("shard-1", 1, "500", "order-1"))
			f.round(t.Context()) // it is told of nothing yet, and
			g.has("order-1")     // may do everything
			g.claim(2, "shard-1")
			next := g.batch("shard-1", 2, "600", "order-2")
			next.Moves[0].From.Sequence = "500"
			g.stage(other, next)
			g.local.SetFaults(fault.Fault{Service: "s3", Operation: operation, Kind: fault.AccessDenied})
			f.loader.listed = time.Time{}
			f.round(t.Context())
			if s := f.Status(); s.Together || s.Apart == nil {
				t.Errorf("it tells %+v", s)
			}
			f.round(t.Context())
			g.local.SetFaults()
			g.has("order-1")
			if other.look(t.Context(), other.folder(identity)); other.word.Gone != (operation == "GetObject") {
				t.Errorf("that it has gone is said: %t", other.word.Gone)
			}
			other.miss("a")
			g.swept(other)
			g.has("order-1", "order-2")
		})
	}
}

// Nobody's batch is removed by a worker that cannot tell it so, whatever the reason: its
// owner, and whoever loads next, would look for it in vain.
func TestWhoCannotTellTakesNothingAway(t *testing.T) {
	g := start(t)
	f, other := g.worker("a", "a", "b"), g.worker("b", "a", "b")
	g.claim(1, "shard-1")
	staged := g.stage(other, g.batch("shard-1", 1, "500", "order-1"))
	f.loader.folder = f.folder(identity)
	g.local.SetFaults(fault.Fault{Service: "s3", Operation: "PutObject", Match: wordName, Kind: fault.InternalError})
	f.giveBack(t.Context(), []batch{staged}, errors.New("no load works"))
	g.copy.Close(t.Context()) // what is to be removed is
	names, err := g.bucket.List(t.Context(), f.loader.folder+stagedFolder)
	if err != nil || len(names) != 1 {
		t.Errorf("staged are %q, %v", names, err)
	}
}

// A worker that was frozen finds that another has loaded what it had staged, and makes no
// load for the fleet that misses the file: whether it loaded for all before, or begins to.
func TestWhoWasFrozenMissesNoFile(t *testing.T) {
	for name, loadedBefore := range map[string]bool{"it loaded for all": true, "it begins to": false} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			f, other := g.worker("a", "a", "b"), g.worker("b", "a", "b")
			if loadedBefore {
				f.round(t.Context())
				f.loader.listed = time.Time{}
			}
			g.claim(1, "shard-1")
			b := g.batch("shard-1", 1, "500", "order-1")
			staged := g.stage(f, b)
			other.miss("a")
			g.swept(other)
			g.has("order-1")
			loads := len(g.local.Calls("redshift-data", "BatchExecuteStatement"))
			f.round(t.Context())
			if n := len(g.local.Calls("redshift-data", "BatchExecuteStatement")) - loads; n != 0 {
				t.Errorf("%d loads were made for the fleet", n)
			}
			o, ours, err := f.await(t.Context(), staged)
			if err != nil || ours != loadedBefore || o.In == loadedBefore || o.Back == "" == loadedBefore {
				t.Errorf("its owner is told %+v, by itself %t, %v", o, ours, err)
			}
		})
	}
}

// A worker that ends leaves no news of quiet shards behind: nobody may load for days.
func TestWhoEndsTakesItsNewsAlong(t *testing.T) {
	g := start(t)
	f := g.worker("a", "b", "a")
	b := f.newBatch(f.folder(identity), warehouse.Staged{Stream: streamName, Moves: g.batch("shard-1", 1, "500", "order-1").Moves})
	b.News = true
	if err := f.put(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	f.news.sent = b
	go f.Run(t.Context())
	f.Close(t.Context())
	g.emptied(f, func() {})
}
