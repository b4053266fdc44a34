package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// word is what the worker that loads tells the others. It is a hint: see confirm.
type word struct {
	Loader  string
	Number  int64 // of the loader's words; that it changes is a sign of life
	At      time.Time
	Shut    bool          `json:",omitempty"` // a load is about to begin, which misses what is staged now
	Loading []string      `json:",omitempty"` // the batches of the load under way
	Step    *step         `json:",omitempty"` // how far it has got; nil = nothing is known of that
	Since   time.Time     // when that load began
	Took    time.Duration `json:",omitempty"` // the last load that went in, without its wait for the lock
	Rest    time.Duration `json:",omitempty"` // until the batches of the next load are gathered
	Loads   int64         // of the loader that went in
	Looks   int64         // how often the loader has looked for what is staged
	Waiting []string      `json:",omitempty"` // batches that are staged and not in
	Oldest  time.Time     // when the oldest of them was staged
	Gone    bool          `json:",omitempty"` // the loader has ended
	Done    []outcome     `json:",omitempty"` // of the last loads
	raw     []byte
}

// step is a warehouse.Progress as JSON.
type step struct {
	Started   bool
	Statement int
	err       error // known to whoever loads alone
}

// known is the step where the warehouse has told it: nil = nothing is known.
func (s *step) known() *step {
	if s != nil && s.err != nil {
		return nil
	}
	return s
}

// underway is the load under way, by the word or by what this worker does itself: when
// it began, by this worker's clock, and how far it has got.
func (f *Fleet) underway(p place, w word) (loading []string, began time.Time, s *step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	loading, s = w.Loading, w.Step
	if p.ours() {
		loading, s = f.loader.loading, f.loader.step
	}
	switch {
	case loading == nil:
	case p.ours():
		began = f.loader.since
	default: // both times of the word are of one clock
		began = f.heard.Add(-w.At.Sub(w.Since))
	}
	return loading, began, s
}

// tellWaiting tells whoever watches the load of a batch how far the load has got that
// it waits for: the one under way, or none.
func tellWaiting(ctx context.Context, began time.Time, s *step) {
	if s == nil {
		s = &step{Started: true, Statement: -1} // there is no question that the warehouse has not answered
	}
	warehouse.Report(ctx, warehouse.Progress{Started: s.Started, Statement: s.Statement, Began: began, Err: s.err})
}

// outcome is what became of a batch.
type outcome struct {
	ID string
	// In says that all of its moves are in. Else Moves says what the warehouse answered
	// for each, or Back why its owner is to load it.
	In      bool                      `json:",omitempty"`
	Moves   []answer                  `json:",omitempty"`
	Back    string                    `json:",omitempty"`
	Written *[event.MaxFamilies]int64 `json:",omitempty"` // of a batch that went in alone
	Took    time.Duration             `json:",omitempty"` // the load that it was in
	at      time.Time
}

// answer is a warehouse.Outcome as JSON.
type answer struct {
	In       bool
	Term     int64
	Sequence string
	Sub      int64
}

const wordName = "/word.json"

// keepWords is how long an outcome is told.
const keepWords = 30 * time.Second

// errBack: the worker that loads gave the batch back.
var errBack = errors.New("fleet: the batch came back")

// of is the outcome as that of the owner's batch.
func (o outcome) of(b warehouse.Batch) (warehouse.Loaded, error) {
	out := warehouse.Loaded{Outcomes: make([]warehouse.Outcome, len(b.Moves)), Written: warehouse.Unknown(), Took: o.Took}
	switch {
	case o.Back != "":
		return out, fmt.Errorf("%w: %s", errBack, o.Back)
	case !o.In && len(o.Moves) != len(b.Moves):
		return out, fmt.Errorf("%w: its outcome is of %d moves and not of %d", errBack, len(o.Moves), len(b.Moves))
	}
	if o.Written != nil {
		out.Written = *o.Written
	}
	for i, m := range b.Moves {
		if o.In {
			out.Outcomes[i] = warehouse.Outcome{Verdict: warehouse.Committed, Term: m.Term, Position: m.To}
			continue
		}
		a := o.Moves[i]
		out.Outcomes[i] = warehouse.Outcome{Verdict: warehouse.Refused, Term: a.Term, Position: stream.Position{Sequence: a.Sequence, Sub: a.Sub}}
		if a.In {
			out.Outcomes[i].Verdict = warehouse.Committed
		}
	}
	return out, nil
}

// outcomeOf is the warehouse's answer for a batch.
func outcomeOf(id string, all []warehouse.Outcome) outcome {
	o := outcome{ID: id, In: true, at: time.Now()}
	for _, w := range all {
		in := w.Verdict == warehouse.Committed
		o.In = o.In && in
		o.Moves = append(o.Moves, answer{in, w.Term, w.Position.Sequence, w.Position.Sub})
	}
	if o.In {
		o.Moves = nil
	}
	return o
}

// look reads the word.
func (f *Fleet) look(ctx context.Context, folder string) {
	ctx, cancel := context.WithTimeout(ctx, f.c.Patience)
	defer cancel()
	body, err := f.c.Bucket.Get(ctx, folder+wordName)
	f.mu.Lock()
	f.looked = time.Now()
	f.mu.Unlock()
	var w word
	if err == nil {
		err = json.Unmarshal(body, &w)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil && !f.refused(err) {
			f.c.Log.Warn("the word of the worker that loads for the fleet cannot be read; without it each loads for itself", "error", err)
		}
		return
	}
	w.raw = body
	f.mu.Lock()
	defer f.mu.Unlock()
	if bytes.Equal(body, f.word.raw) {
		return
	}
	if w.Loader == f.word.Loader && w.Loads != f.word.Loads && w.Took >= worthHolding {
		f.over = time.Now()
	}
	f.word, f.heard = w, time.Now()
	if s, missed := f.silent[w.Loader]; missed {
		f.silent[w.Loader] = silence{s.at, passedOver} // it does speak, if late
	}
	f.broadcast()
}

// looks counts in how many looks of the worker that loads a batch was missing.
type looks struct {
	loader string
	known  int64 // the last look of which that need not be so
	missed int64
}

// mostMissed is how often a batch may be missing. The first look may have begun
// before it was staged.
const mostMissed = 3

func (l *looks) heard(w word, id string) {
	if l.loader != w.Loader || slices.Contains(w.Waiting, id) {
		l.loader, l.known = w.Loader, w.Looks
	}
	l.missed = w.Looks - l.known
}

// errSilent: the worker that loads gave no sign.
var errSilent = errors.New("fleet: no outcome came in time")

// await waits for the outcome of a batch. ours says that this process has loaded it.
func (f *Fleet) await(ctx context.Context, b batch) (o outcome, ours bool, err error) {
	began := time.Now()
	p, sign, idle := f.place(), began, began
	known, silent := looks{}, 0
	for {
		pulse.Beat(ctx)
		f.mu.Lock()
		w, heard, changed, patience, every := f.word, f.heard, f.changed, f.c.Patience, f.every(time.Since(began))
		o, ours = f.answers[b.ID]
		if f.leaving {
			patience = min(patience, mostHurried)
		}
		f.mu.Unlock()
		if ours {
			return o, true, nil
		}
		if i := slices.IndexFunc(w.Done, func(o outcome) bool { return o.ID == b.ID }); i >= 0 {
			return w.Done[i], false, nil
		}
		now := time.Now()
		if w.Gone && w.Loader == p.loader {
			f.miss(p.loader)
		}
		if next := f.place(); next.loader != p.loader || next.folder != p.folder {
			p, sign = next, now
		}
		if heard.After(sign) {
			sign = heard
		}
		if heard.After(began) {
			known.heard(w, b.ID)
		}
		loading, started, far := f.underway(p, w)
		if len(loading) > 0 && far.known() != nil {
			idle = now
		}
		switch {
		case known.missed >= mostMissed:
			return o, false, fmt.Errorf("%w: %s does not know of the batch", errSilent, w.Loader)
		case !p.ours() && now.Sub(sign) >= patience:
			f.miss(p.loader)
			if silent++; silent == 1 { // the next one has the batches of all in one load
				f.wake()
				continue
			}
			return o, false, fmt.Errorf("%w: no sign of %s for %s", errSilent, p.loader, patience)
		case p.folder == "":
			return o, false, fmt.Errorf("%w: the bucket does not let the worker read, list or remove", errSilent)
		case p.folder != b.folder:
			return o, false, fmt.Errorf("%w: the stream was made anew", errSilent)
		case now.Sub(idle) >= longestWait, now.Sub(began) >= longestQueue && !slices.Contains(loading, b.ID):
			return o, false, fmt.Errorf("%w: not within %s", errSilent, now.Sub(began).Round(time.Second))
		}
		tellWaiting(ctx, started, far)
		if err := wait(ctx, every, changed); err != nil {
			return o, false, err
		}
		if !p.ours() {
			f.look(ctx, b.folder)
		}
	}
}

// every is when the word is looked at, by how long it was waited for so far: not at all
// while it would be early, then often beside the time that a load takes, as each look
// is paid for. About when the last one came it is looked for as often as can be: those
// who load wait for the next batches. The caller holds mu.
func (f *Fleet) every(waited time.Duration) time.Duration {
	if early := min(f.waited/2, longestBlind, f.c.Patience/2) - waited; early > 0 {
		return early
	}
	often := 150 * time.Millisecond
	if waited < f.waited*6/7 || waited > f.waited*3/2 {
		often = min(max(often, f.waited/12), 500*time.Millisecond)
	}
	return min(often, f.c.Patience/4)
}

// longestBlind is for how long at most no word is looked for.
const longestBlind = 2 * time.Second

// silence is that of a worker that gave no sign.
type silence struct {
	at   time.Time // when it was missed
	over time.Duration
}

func (s silence) lasts(now time.Time) bool { return now.Sub(s.at) < s.over }

// miss passes a worker over for a while.
func (f *Fleet) miss(worker string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if worker != f.c.Self && !f.silent[worker].lasts(now) {
		f.silent[worker] = silence{now, min(longestPassed, max(passedOver, 2*f.silent[worker].over))}
	}
}

// wait waits for d, or until something changes, or ctx ends.
func wait(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
