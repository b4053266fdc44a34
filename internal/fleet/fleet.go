// Package fleet loads the batches of all workers of a stream in one transaction.
//
// Loads come one after another in the warehouse, and each takes seconds there. So
// workers stage their batches in a bucket, and one of them loads what is staged for
// all. The fence of the load transaction judges each shard's move by its term and its
// place, and does not care who submits it: whoever loads needs no authority, two of
// them at once do no harm, and nothing rests on what is in the bucket. See
// docs/ARCHITECTURE.md, "Loads of the fleet".
package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Bucket keeps what workers tell each other.
type Bucket interface {
	Put(ctx context.Context, name string, body []byte) (url string, err error)
	// Get returns fs.ErrNotExist where there is no such object.
	Get(ctx context.Context, name string) ([]byte, error)
	List(ctx context.Context, prefix string) ([]string, error)
}

// Config is what a Fleet needs. Patience and Time may be left zero.
type Config struct {
	Warehouse *warehouse.Warehouse
	Copy      *warehouse.Copy // that Warehouse fills its loads with
	Bucket    Bucket          // that Copy stages in
	Self      string          // as in the lease table
	Stream    string          // its name
	// Place names what has to be the same for two workers to load for each other,
	// beside the stream and the format of files: the lease table, the warehouse, its
	// schema.
	Place []string
	// Owners are the workers that own shards, in the same order for all of them as
	// far as possible, and the stream that the shards are of; see lease.View.
	Owners func() ([]string, stream.Identity)
	// Quiet are moves that say how long nothing has arrived, of shards that have
	// nothing else to load. Advanced says which of them went in.
	Quiet        func() []warehouse.Move
	Advanced     func([]warehouse.Move)
	Misled       func(shard string, term int64) // the worker was told that moves of the shard are in, and they are not
	Duplicates   func(n int)                    // counts rows of a load of several workers that changed nothing
	LoadInterval time.Duration                  // least time between the starts of two loads
	PollInterval time.Duration                  // how often quiet shards tell so
	Time         func(time.Time) time.Time      // is AWS's time at a moment of this machine's clock, which may be wrong; nil = that is right
	Patience     time.Duration                  // how long a worker waits for a sign of the one that loads; default 5 s
	Log          *slog.Logger
}

const (
	usualPatience = 5 * time.Second
	// mostHurried is the patience of a worker that is told to stop.
	mostHurried = 2 * time.Second
	// longestWait is how long a worker waits for an outcome, whatever signs there are,
	// while no load is known to run or to be queued in the warehouse. Behind one that
	// is, a load of its own would have to wait as well; so one that has the batch is
	// waited for to its end, and others for longestQueue.
	longestWait  = time.Minute
	longestQueue = 10 * time.Minute
	// askAgain is how long a worker that may not list or read loads for itself.
	askAgain = 20 * time.Second
	// warnAgain is how often it says so, at most.
	warnAgain = 10 * time.Minute
	// passedOver is how long a worker that gave no sign is not taken for the one that
	// loads. It is doubled, up to longestPassed, each time that there was none again: a
	// worker without a bucket, or with another one, never gives any.
	passedOver    = 30 * time.Second
	longestPassed = 16 * time.Minute
)

// Fleet is a worker's warehouse that it shares the loads of with other workers. Run
// must run while Load is called.
type Fleet struct {
	c    Config
	kick chan struct{} // asks for a round at once
	stop chan struct{} // closed by Close
	done chan struct{} // closed when Run has returned

	mu      sync.Mutex // guards what follows
	changed chan struct{}
	word    word               // as last written or read
	heard   time.Time          // when that was another one than before
	looked  time.Time          // when it was last looked for
	held    time.Time          // since when a batch is held back; zero = none is
	rings   time.Time          // when those who hold a batch back are woken
	over    time.Time          // when a load that takes long was last seen to have ended
	answers map[string]outcome // of batches staged here which this process has loaded
	mine    map[string]batch   // staged by this process, and waited for
	silent  map[string]silence // workers that gave no sign
	denied  time.Time          // when the bucket last refused to list, to read or to take a word; zero = it did not
	denial  error              // what it said then
	warned  time.Time          // when that was told
	stays   bool               // what is staged may not be removed: nothing is staged
	leaving bool
	end     context.CancelFunc // of Run
	waited  time.Duration      // for the last outcome
	loader  loader

	news    news
	saying  chan struct{} // taken by whoever writes the word
	beliefs beliefs
}

// New returns a Fleet.
func New(c Config) *Fleet {
	if c.Patience == 0 {
		c.Patience = usualPatience
	}
	if c.Time == nil {
		c.Time = func(ours time.Time) time.Time { return ours }
	}
	return &Fleet{
		c: c, kick: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}), saying: make(chan struct{}, 1),
		answers: make(map[string]outcome), mine: make(map[string]batch), silent: make(map[string]silence),
		loader: newLoader(),
	}
}

// Claim claims shards.
func (f *Fleet) Claim(ctx context.Context, streamName string, claims []warehouse.Claim) ([]warehouse.Claimed, error) {
	return f.c.Warehouse.Claim(ctx, streamName, claims)
}

// Retry loads rows that belong to no shard any more.
func (f *Fleet) Retry(ctx context.Context, rows []warehouse.Row) (warehouse.Written, error) {
	return f.c.Warehouse.Retry(ctx, rows)
}

// Probe loads one row and takes it out again.
func (f *Fleet) Probe(ctx context.Context, sample warehouse.Row) error {
	return f.c.Warehouse.Probe(ctx, sample)
}

// Fits tells how many of the leading rows one load can take.
func (f *Fleet) Fits(rows []warehouse.Row) int { return f.c.Warehouse.Fits(rows) }

// Encoder returns a new Encoder of the lines that loads take.
func (f *Fleet) Encoder() warehouse.Encoder { return f.c.Warehouse.Encoder() }

// Load loads a batch, with those of other workers where there are any, and returns
// what became of each move. How many rows were written is not known of a batch that
// went in together with others. Errors are as those of warehouse.Load; loading the
// same batch again is safe.
func (f *Fleet) Load(ctx context.Context, b warehouse.Batch) (warehouse.Loaded, error) {
	p := f.place()
	if !p.shared() || b.Alone {
		return f.c.Warehouse.Load(ctx, b)
	}
	started := time.Now()
	mine, err := f.stage(ctx, p.folder, b)
	if err != nil {
		return warehouse.Loaded{}, err
	}
	defer f.forget(mine)
	o, ours, err := f.await(ctx, mine)
	if err != nil && ctx.Err() != nil {
		return warehouse.Loaded{}, err
	}
	if err == nil {
		f.note(started)
		var loaded warehouse.Loaded
		if loaded, err = o.of(b); err == nil && !ours {
			err = f.believe(ctx, b, loaded)
		}
		if err == nil {
			f.granted(started)
			return loaded, nil
		}
	}
	f.c.Log.Info("loading a batch without the fleet", "rows", len(b.Rows), "shards", len(b.Moves), "reason", err)
	f.forget(mine)                        // else this process loads it for the fleet as well, and misses its files
	f.c.Copy.Remove(ctx, mine.names()...) // nobody else need load it now; if one does, no harm is done
	return f.c.Warehouse.Load(ctx, b)
}

// place is where a worker stands in its fleet.
type place struct {
	folder string // of the fleet's objects; empty = it is not known which stream is read
	loader string // who loads
	self   string
	others int // workers besides this one
}

// shared reports whether there is anybody to load together with.
func (p place) shared() bool { return p.folder != "" && p.others > 0 }

// ours reports whether this worker loads.
func (p place) ours() bool { return p.folder != "" && p.loader == p.self }

// place looks at the leases. Who loads is the first owner of whom a sign was not
// missed of late. A worker that may not do what it takes stands alone: what nobody
// removes would be listed, read and loaded again by each who loads next.
func (f *Fleet) place() place {
	owners, id := f.c.Owners()
	p := place{loader: f.c.Self, self: f.c.Self}
	if !id.IsZero() {
		p.folder = f.folder(id)
	}
	now, stays := time.Now(), f.c.Copy.MayNotRemove()
	f.mu.Lock()
	defer f.mu.Unlock()
	if stays != nil && !f.stays {
		f.c.Log.Warn("the worker may not remove what it stages, and loads for itself; with many workers that makes orders arrive later",
			"error", stays, "hint", "allow s3:DeleteObject where batches are staged to the worker's role; see deploy/iam")
	}
	f.stays = stays != nil
	if stays != nil || !f.denied.IsZero() && now.Sub(f.denied) < askAgain {
		return place{loader: f.c.Self, self: f.c.Self}
	}
	found := false
	for _, o := range owners {
		if o != f.c.Self {
			p.others++
		}
		if !found && (o == f.c.Self || !f.silent[o].lasts(now)) {
			p.loader, found = o, true
		}
	}
	return p
}

// version is of the objects that workers leave for each other.
const version = "1"

// folder is where the fleet's objects lie. Its name stands for all that has to be
// the same: who differs does not see them.
func (f *Fleet) folder(id stream.Identity) string {
	all := append(slices.Clone(f.c.Place), f.c.Stream, version, warehouse.Format(), id.ARN, id.Created.UTC().Format(time.RFC3339Nano))
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	return "fleet-" + hex.EncodeToString(sum[:8])
}

// Leave says that the worker was told to stop: it waits for others less long from
// now on.
func (f *Fleet) Leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaving = true
	f.broadcast()
	f.wake()
}

// Close ends Run, which must have been started, once the load under way has ended, or
// with ctx.
func (f *Fleet) Close(ctx context.Context) {
	close(f.stop)
	select {
	case <-f.done:
		return
	case <-ctx.Done():
	}
	f.mu.Lock()
	if f.end != nil {
		f.end()
	}
	f.mu.Unlock()
	<-f.done
}

// refused notes that the bucket does not let this worker see what others stage, or tell
// them anything: a role of an older version may put and delete alone. It loads for itself
// meanwhile.
func (f *Fleet) refused(err error) bool {
	if !errors.Is(err, fs.ErrPermission) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.warned) >= warnAgain {
		f.warned = now
		f.c.Log.Warn("the bucket does not let the worker load together with others, and it loads for itself; with many workers that makes orders arrive later",
			"error", err, "hint", "allow s3:ListBucket, s3:GetObject and s3:PutObject where batches are staged to the worker's role; see deploy/iam")
	}
	f.denied, f.denial = time.Now(), err
	f.broadcast()
	return true
}

// granted notes that a batch that was staged then went in with the fleet: what was
// refused before that is not any more.
func (f *Fleet) granted(since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.denied.Before(since) {
		f.denied, f.denial = time.Time{}, nil
	}
}

// broadcast wakes whoever waits for a word. The caller holds mu.
func (f *Fleet) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// forget ends the wait for a batch.
func (f *Fleet) forget(b batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.mine, b.ID)
	delete(f.answers, b.ID)
}

// note keeps how long an outcome takes.
func (f *Fleet) note(started time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waited = time.Since(started)
}
