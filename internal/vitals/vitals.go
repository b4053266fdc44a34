package vitals

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// Config is where the facts come from. What says so may be nil or empty.
type Config struct {
	Worker    string
	Names     verdict.Names
	NextStep  NextStep // nil = nothing is known
	Status    func() worker.Status
	Holder    *lease.Holder
	Shared    bool // workers share a lease table
	Metrics   *metrics.Metrics
	Staged    func() verdict.Staged                   // of the workers that load together; nil = this one loads for itself
	Apart     func() error                            // why it loads for itself though there are others; nil = nothing is known
	Retention func() time.Duration                    // of the stream; 0 = not known
	AWSTime   func(ours time.Time) time.Time          // what AWS's clock showed; nil = not known
	Publishes func() error                            // how the last publication of metrics ended; nil = there are none
	Hangs     func(now time.Time) string              // what of the worker does not get on; nil = nothing is watched
	Problems  func(since time.Time) []verdict.Problem // that were logged, newest first; nil = not known
	Version   string                                  // of the program
	Since     time.Time                               // when it started
	Page      func() string                           // URL of the worker's dashboard, for others; nil = it has none
	Log       *slog.Logger
}

// Watch judges one worker. It is safe for concurrent use; Run must run for what it
// says to be of now.
type Watch struct {
	c Config

	mu      sync.Mutex // guards what follows
	past    past
	peers   peers
	verdict verdict.Verdict
	self    verdict.Self
	staged  verdict.Staged
	partial time.Time // since when there are leases whose shards are not read yet
	told    telling
}

// New returns a Watch that has looked once.
func New(c Config) *Watch {
	w := &Watch{c: c, peers: newPeers()}
	w.look(time.Now())
	return w
}

// lookEvery is how often it is looked: whatever tells how it goes is this old at most.
const lookEvery = time.Second

// Run looks again and again, and tells the log, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look(time.Now())
			w.tell(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// Verdict is the last one.
func (w *Watch) Verdict() verdict.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.verdict
}

// Word is what the worker says of itself to others.
func (w *Watch) Word() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return verdict.Word(w.verdict.Own(), w.self)
}

// of is what the worker tells of itself now. The caller holds mu.
func (w *Watch) of(st worker.Status) verdict.Self {
	out := verdict.Self{Version: w.c.Version, Since: w.c.Since.UTC().Truncate(time.Second), Waiting: st.Waiting}
	if w.c.Page != nil {
		out.Page = w.c.Page()
	}
	records, _ := w.past.rate()
	out.Rate, out.Rejected = tenths(records), tenths(w.past.rejectRate())
	out.Staged = w.staged
	return out
}

func tenths(v float64) float64 { return math.Round(10*v) / 10 }

// look takes the facts of now and judges them.
func (w *Watch) look(now time.Time) {
	st, view := w.c.Status(), w.c.Holder.View()
	hangs := ""
	if w.c.Hangs != nil {
		hangs = w.c.Hangs(now) // outside of mu: who is asked may be asking for the verdict
	}
	var staged verdict.Staged
	if w.c.Staged != nil {
		staged = w.c.Staged()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.staged = staged
	w.past.take(now, st, w.c.Metrics)
	w.peers.see(now, view, w.c.Worker)
	f := w.facts(now, st, view)
	f.Hangs = hangs
	w.verdict, w.self = verdict.Of(f), w.of(st)
}

// facts are what is known now. The caller holds mu.
func (w *Watch) facts(now time.Time, st worker.Status, view lease.View) verdict.Facts {
	f := verdict.Facts{Now: now, Worker: w.c.Worker, Names: w.c.Names, Stream: verdict.Stream{Source: verdict.Source{Asked: true, At: view.Listed}}}
	if w.c.Retention != nil {
		f.Stream.Retention = w.c.Retention()
	}
	failing, since := w.c.Holder.Failing(), w.c.Holder.FailingSince()
	f.Starting = view.At.IsZero() && failing == nil
	f.Leases = w.leases(now, st, view)
	f.Leases.Lost = errors.Is(failing, lease.ErrTableGone)
	if errors.As(failing, new(*lease.ListingError)) {
		f.Stream.Trouble = Trouble(Kinesis, failing, since, w.c.NextStep)
	} else {
		f.Leases.Trouble = Trouble(DynamoDB, failing, since, w.c.NextStep)
	}
	f.Told = w.peers.told(now, view)
	var other *worker.OtherStreamError
	if errors.As(st.Writes.Failing, &other) {
		f.Leases.Alarms = append(f.Leases.Alarms, verdict.Alarm{What: other.Error(), Next: w.next(other), Stream: true})
		st.Writes.Failing = nil
	}
	w.alarms(&f, other)
	f.Reads = w.past.reads(st, now, w.c.NextStep)
	f.Lag = w.lag(now, st, f.Leases.Mine)
	f.Loads = verdict.Loads{Write: w.write(DataAPI, st.Writes, now), Pending: st.Waiting, Full: st.Full, Staged: w.staged}
	if w.c.Apart != nil {
		f.Loads.Apart = Trouble(S3, w.c.Apart(), time.Time{}, w.c.NextStep)
	}
	f.Loads.Rate, f.Loads.Orders = w.past.rate()
	f.Letters = w.write(S3, st.Letters, now)
	f.Rejects = w.past.rejects()
	if w.c.Publishes != nil {
		f.Metrics = verdict.Source{Asked: true, Trouble: Trouble(CloudWatch, w.c.Publishes(), time.Time{}, w.c.NextStep)}
	}
	if w.c.AWSTime != nil {
		f.Clock = verdict.Clock{Known: true, Skew: now.Sub(w.c.AWSTime(now))}
	}
	if w.c.Problems != nil {
		f.Problems = ofKinds(w.c.Problems(now.Add(-time.Minute)))
	}
	return f
}

// alarms takes in what contradicts itself, each thing once. That shards have no
// owner is counted, and that the stream is another one is said already.
func (w *Watch) alarms(f *verdict.Facts, other *worker.OtherStreamError) {
	for _, c := range w.c.Holder.Contradictions() {
		switch {
		case c.Wrong == lease.NoOwner:
		case other != nil && errors.As(c.Err, new(*worker.OtherStreamError)):
		default:
			f.Leases.Alarms = append(f.Leases.Alarms, verdict.Alarm{What: c.Error(), Next: w.next(&c)})
		}
	}
}

func (w *Watch) next(err error) string {
	if w.c.NextStep == nil {
		return ""
	}
	return w.c.NextStep("", err)
}

func (w *Watch) leases(now time.Time, st worker.Status, view lease.View) verdict.Leases {
	out := verdict.Leases{Source: verdict.Source{Asked: true, At: view.At}, Shared: w.c.Shared, Mine: max(len(st.Shards), len(view.Held))}
	dead, live := make(map[string]int), make(map[string]bool)
	for i := range view.Rows {
		r := &view.Rows[i]
		if r.Ended() || r.Unreadable != "" || r.Foreign {
			continue
		}
		out.Shards++
		_, mine := view.Held[r.Shard]
		switch {
		case mine:
		case r.Live(now, view.TTL):
			live[r.Owner] = true
		case r.Owner != "" && r.Owner != w.c.Worker && view.At.Sub(r.Changed) > view.TTL: // of the time since the table was read nothing is known
			dead[r.Owner]++
		case !r.Free.IsZero() && view.At.Sub(r.Free) > view.TTL:
			out.Unowned++
		}
	}
	for _, since := range view.Rowless {
		if now.Sub(since) > view.TTL {
			out.Unowned++
			out.Shards++
		}
	}
	out.Live = len(live)
	for name, n := range dead {
		out.Dead = append(out.Dead, verdict.Dead{Worker: name, Shards: n})
	}
	out.Missed = w.peers.missed(now)
	return out
}

// claimTime is how long leases may be held before their shards are read: a claim is a
// transaction of the warehouse's, that waits for those of others.
const claimTime = 15 * time.Second

// lag is how far the shards of this worker are behind. The caller holds mu.
func (w *Watch) lag(now time.Time, st worker.Status, mine int) verdict.Lag {
	out := verdict.Lag{Known: true, Shards: len(st.Shards), Committed: st.Lag, Reading: st.Behind, Until: st.CompleteUntil()}
	out.Unread = mine
	for _, s := range st.Shards {
		if s.Read || s.Reads.Failed > 0 {
			out.Unread--
		} else {
			out.Known = false // its claim is over, so nothing is waited for but the read
		}
		out.By = append(out.By, verdict.ShardLag{Shard: s.ID, Owner: w.c.Worker, Lag: s.Lag})
	}
	switch {
	case out.Unread == 0:
		w.partial = time.Time{}
	case w.partial.IsZero():
		w.partial = now
	case now.Sub(w.partial) > claimTime:
		out.Known = false
	}
	return out
}

// write is how writing to a service goes.
func (w *Watch) write(service string, s worker.WriteStatus, now time.Time) verdict.Write {
	staging := errors.As(s.Failing, new(*warehouse.StagingError))
	if staging {
		service = S3
	}
	out := verdict.Write{Known: true, Staging: staging, Last: s.LastSuccess, Took: s.Took, Trouble: Trouble(service, s.Failing, s.Since, w.c.NextStep)}
	if !s.Waiting.IsZero() {
		out.Waiting = now.Sub(s.Waiting)
	}
	if p := s.Progress; p != nil {
		if p.Began.After(s.Waiting) { // before that it waited for loads of others
			out.Waiting = max(0, now.Sub(p.Began))
		}
		switch {
		case p.Err != nil && out.Trouble == nil && out.Waiting > askingFails:
			out.Trouble = Trouble(service, p.Err, s.Waiting, w.c.NextStep)
		case p.Err != nil:
		case !p.Started:
			out.Phase = verdict.Queued
		case p.Statement == 0:
			out.Phase = verdict.Locking
		default:
			out.Phase = verdict.Running
			out.Waiting = min(out.Waiting, now.Sub(s.Idle)) // that it waited before says nothing of its pace
		}
	}
	return out
}

// askingFails is how long a load may be under way whose status cannot be asked for.
const askingFails = 5 * time.Second
