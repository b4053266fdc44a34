// Package redrive puts dead letters back onto the stream, each at most once.
//
// # At most once
//
// Storing a mark and putting a record are two acts in two services, so a crash
// between them leaves one without the other. The mark comes first: a letter is
// claimed, put, and its outcome noted. A claim without an outcome is in doubt: its
// record may be on the stream or not, and it is never put again unasked. It is
// reported at each run until someone decides (Config.Doubtful).
//
// To decide for "again" costs little where the letter is an order: an event that
// is on the stream twice takes effect once, as fact_orders keeps one row an order.
package redrive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Marks keeps what was put back; *deadletter.Store does.
type Marks interface {
	Attempts(context.Context) (deadletter.Attempts, error)
	Fates(context.Context) (deadletter.Fates, error)
	Claim(ctx context.Context, l deadletter.Letter, n int, run string) (bool, error)
	Settle(ctx context.Context, l deadletter.Letter, n int, o deadletter.Outcome, run string) error
}

// Config says what to put back.
type Config struct {
	Letters iter.Seq2[deadletter.Letter, error]
	Marks   Marks
	// Put puts the letters' records on the stream in one call that nothing
	// repeats. It returns an outcome for each, and why those not placed are not.
	Put func(context.Context, []deadletter.Letter) ([]deadletter.Outcome, error)
	Run string // names this run; no other one may have the name

	Match    func(deadletter.Letter) bool // nil = every letter
	InVain   func(deadletter.Letter) bool // it would be rejected again at once, and is left alone; nil = none
	Limit    int                          // letters to put at most; 0 = all
	DryRun   bool                         // only count
	Doubtful bool                         // put letters again that are in doubt
	Tell     func(Summary)                // progress; may be nil
}

// Summary is what came of a run. Its keys are the words of the table that redrive
// prints.
type Summary struct {
	Letters  int `json:"looked_at"`         // looked at
	Matched  int `json:"matched"`           // of them, those that the filters let through
	Already  int `json:"went_back_earlier"` // of those, put back by an earlier run
	Loaded   int `json:"loaded"`            // of those, rows that the warehouse took at a later try: nothing to put back
	Doubtful int `json:"in_doubt"`          // claimed by an earlier run whose outcome is not known; left alone
	InVain   int `json:"left_out"`          // of those, records that would be rejected again at once; left alone
	Due      int `json:"would_go_back"`     // the rest, up to the limit
	Placed   int `json:"went_back"`         // put back by this run
	Refused  int `json:"refused"`           // the stream did not take them; another run tries again
	Unknown  int `json:"no_answer"`         // this run got no answer: they are in doubt from now on
	Lost     int `json:"left_to_another"`   // another program claimed them first
}

// One call of PutRecords takes 500 records and 5 MiB; less at a time leaves less
// in doubt if it goes wrong.
const (
	batchLetters = 100
	batchBytes   = 3 << 20
	markers      = 16 // marks under way at once
)

// Run puts the letters back. An error ends it early; the summary says how far it came.
func Run(ctx context.Context, c Config) (Summary, error) {
	if c.Tell == nil {
		c.Tell = func(Summary) {}
	}
	attempts, err := c.Marks.Attempts(ctx)
	if err != nil {
		return Summary{}, err
	}
	fates, err := c.Marks.Fates(ctx)
	if err != nil {
		return Summary{}, err
	}
	r := &run{Config: c}
	bytes := 0
	for l, err := range c.Letters {
		if err != nil {
			return r.sum, fmt.Errorf("read dead letters: %w", err)
		}
		n, due := r.due(l, attempts, fates)
		if !due {
			continue
		}
		if bytes+len(l.Data) > batchBytes || len(r.batch) == batchLetters {
			if err := r.flush(ctx); err != nil {
				return r.sum, err
			}
			bytes = 0
		}
		r.batch = append(r.batch, claim{l, n})
		bytes += len(l.Data)
		if c.Limit > 0 && r.sum.Due == c.Limit {
			break
		}
	}
	return r.sum, r.flush(ctx)
}

type run struct {
	Config
	sum   Summary
	batch []claim
}

// claim is a letter and the number of the attempt to put it.
type claim struct {
	letter deadletter.Letter
	n      int
}

// due decides about one letter: whether to put it, as which attempt.
func (r *run) due(l deadletter.Letter, attempts deadletter.Attempts, fates deadletter.Fates) (n int, due bool) {
	r.sum.Letters++
	if r.Match != nil && !r.Match(l) {
		return 0, false
	}
	r.sum.Matched++
	before := attempts.Of(l)
	switch {
	case before.Outcome == deadletter.Placed:
		r.sum.Already++
		return 0, false
	case fates.Of(l) == deadletter.Loaded:
		r.sum.Loaded++
		return 0, false
	case before.Outcome == deadletter.InDoubt && !r.Doubtful:
		r.sum.Doubtful++
		return 0, false
	case r.InVain != nil && r.InVain(l):
		r.sum.InVain++
		return 0, false
	}
	r.sum.Due++
	return before.N + 1, true
}

// flush claims, puts and settles what is collected.
func (r *run) flush(ctx context.Context) error {
	batch := r.batch
	r.batch = nil
	if len(batch) == 0 || r.DryRun {
		return nil
	}
	ours, err := r.claim(ctx, batch)
	if err == nil {
		err = r.put(ctx, ours)
	}
	r.Tell(r.sum)
	return err
}

func (r *run) claim(ctx context.Context, batch []claim) ([]claim, error) {
	got := make([]bool, len(batch))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(markers)
	for i, c := range batch {
		g.Go(func() (err error) {
			got[i], err = r.Marks.Claim(gctx, c.letter, c.n, r.Run)
			return err
		})
	}
	err := g.Wait()
	var ours []claim
	for i, c := range batch {
		if got[i] {
			ours = append(ours, c)
		} else if err == nil {
			r.sum.Lost++
		}
	}
	if err == nil {
		return ours, nil
	}
	// Nothing was put yet, so what was claimed is given back.
	err = fmt.Errorf("mark dead letters before they are put back: %w", err)
	return nil, errors.Join(err, r.settle(ctx, ours, outcomes(len(ours), deadletter.Refused)))
}

func outcomes(n int, o deadletter.Outcome) []deadletter.Outcome {
	out := make([]deadletter.Outcome, n)
	for i := range out {
		out[i] = o
	}
	return out
}

// A full shard has room again within a second.
const (
	putTries = 12
	putAgain = 500 * time.Millisecond
)

// put puts the claimed letters, again those that were refused for lack of room,
// and notes what became of each.
func (r *run) put(ctx context.Context, todo []claim) error {
	for try := 1; len(todo) > 0; try++ {
		if ctx.Err() != nil { // told to end: what is not put yet is not in doubt
			return errors.Join(context.Cause(ctx), r.settle(ctx, todo, outcomes(len(todo), deadletter.Refused)))
		}
		letters := make([]deadletter.Letter, len(todo))
		for i, c := range todo {
			letters[i] = c.letter
		}
		fates, err := r.Put(ctx, letters)
		again := errors.Is(err, stream.ErrThrottled) && try < putTries && ctx.Err() == nil
		var settled, left []claim
		var ends []deadletter.Outcome
		for i, c := range todo {
			if again && fates[i] == deadletter.Refused {
				left = append(left, c)
				continue
			}
			settled, ends = append(settled, c), append(ends, fates[i])
		}
		if serr := r.settle(ctx, settled, ends); serr != nil || err != nil && !again {
			return errors.Join(err, serr)
		}
		if todo = left; len(todo) > 0 {
			pause(ctx, putAgain)
		}
	}
	return nil
}

// settle notes the outcomes, also when ctx has ended: what is not noted is in doubt.
func (r *run) settle(ctx context.Context, claims []claim, ends []deadletter.Outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(markers)
	for i, c := range claims {
		switch ends[i] {
		case deadletter.Placed:
			r.sum.Placed++
		case deadletter.Refused:
			r.sum.Refused++
		default:
			r.sum.Unknown++
			continue // the claim alone says it
		}
		g.Go(func() error { return r.Marks.Settle(ctx, c.letter, c.n, ends[i], r.Run) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("note what became of dead letters; those without a note are in doubt: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
