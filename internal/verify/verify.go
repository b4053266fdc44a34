// Package verify compares the stream with the warehouse: every order, level and
// payment that the stream holds up to the checkpoints must be in its table as its
// newest event says, every rejected record in the dead letters, and the rollups
// must equal the facts.
//
// Workers may go on loading meanwhile. The checkpoints are therefore read before
// and after the facts, and a key whose events lie between the two may stand at
// any of them. Memory stays bounded: what is read is spread over files by the
// hash of its key, and the files are compared one after another.
package verify

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Reader reads one shard; see stream.Page.
type Reader interface {
	Next(ctx context.Context) (stream.Page, error)
	NotBefore() time.Time
}

// Config says what to compare.
type Config struct {
	Stream string
	// Identity is which stream of that name it is; zero = not known, and positions
	// of any are taken for its own.
	Identity stream.Identity
	Shards   func(context.Context) ([]stream.Shard, error)
	Open     func(stream.Shard, stream.Position) Reader
	DB       warehouse.DB
	Letters  iter.Seq2[deadletter.Letter, error] // nil = rejected records are counted but not looked up
	// Fates tells of letters whose row went in later; nil = none did.
	Fates func(context.Context) (deadletter.Fates, error)
	// Families are those that workers load; nil = all. Tables of others need not be there.
	Families []event.Family
	Dir      string             // for temporary files; empty = the system's
	Tell     func(doing string) // progress; may be nil

	// Start is where loading of a shard once began. What lies before it may be in
	// the warehouse and need not be: a child shard, for one, begins at its oldest
	// record whatever its parents began at. nil = everything was to be loaded.
	Start func(stream.Shard) stream.Position
}

// Run compares and reports. An error means that the comparison could not be
// made, not that something differs.
func Run(ctx context.Context, c Config) (*Report, error) {
	return run(ctx, c, factsPage, time.Now())
}

func run(ctx context.Context, c Config, page int, now time.Time) (*Report, error) {
	if c.Tell == nil {
		c.Tell = func(string) {}
	}
	sp := newSpool(c.Dir)
	defer sp.remove()
	v := &verifier{
		Config: c, page: page, spool: sp, report: &Report{Stream: c.Stream, Shards: []ShardReport{}, Differences: []Difference{}, Gaps: []Gap{}}, began: now,
		read: make(map[string]reach), doubled: make(map[key]bool), mend: newMender(c),
	}
	for _, family := range event.Families() {
		f := warehouse.FactsOf(family)
		t := TableReport{Family: family.String(), Table: f.Name}
		if f.Rollup != nil {
			t.Rollup = f.Rollup.Name
		}
		v.rows = append(v.rows, newRowReader(family))
		v.report.Tables = append(v.report.Tables, t)
	}
	if err := v.collect(ctx); err != nil {
		return nil, err
	}
	if err := v.compare(ctx); err != nil {
		return nil, err
	}
	v.report.Mend = v.mend.finish()
	v.report.finish()
	return v.report, nil
}

type verifier struct {
	Config
	page          int                     // rows of facts in one query
	rows          []*rowReader            // by family
	event         event.Event             // the one that is being read
	absent        [event.MaxFamilies]bool // tables that are not there, and need not be
	spool         *spool
	mend          *mender
	report        *Report
	began         time.Time
	before, after map[string]stream.Position // checkpoints around the reading of the facts
	doubled       map[key]bool               // keys that stand twice
	fates         deadletter.Fates           // of before the facts were read
	refused       map[string]bool            // places of good events that the warehouse itself refused
	late          map[string]bool            // places of those that it took at a later try
	lettered      map[uint64]bool            // hashes of the places that have a letter
	read          map[string]reach           // what was read of each shard
	blind         bool                       // a shard that may have been loaded was not read
	past          past
}

// loads reports whether workers load events of the family.
func (v *verifier) loads(f event.Family) bool {
	return v.Families == nil || slices.Contains(v.Families, f)
}

func (v *verifier) collect(ctx context.Context) (err error) {
	if v.before, err = v.checkpoints(ctx, func(Difference) {}); err != nil {
		return err
	}
	if v.Fates != nil { // before the facts: what is marked by now is among them
		if v.fates, err = v.Fates(ctx); err != nil {
			return err
		}
	}
	for i := range v.rows {
		if err := v.readFacts(ctx, v.rows[i]); err != nil {
			return err
		}
	}
	if v.after, err = v.checkpoints(ctx, v.report.note); err != nil {
		return err
	}
	if err := v.readLetters(); err != nil {
		return err
	}
	return v.readStream(ctx)
}

func (v *verifier) query(ctx context.Context, what, sql string) (warehouse.Result, error) {
	results, err := v.DB.Run(ctx, warehouse.Token(), []string{sql})
	if err != nil {
		return warehouse.Result{}, fmt.Errorf("read %s: %w", what, err)
	}
	return results[0], nil
}

// checkpoints returns where each shard stands, and tells of rows that no worker
// can have written.
func (v *verifier) checkpoints(ctx context.Context, tell func(Difference)) (map[string]stream.Position, error) {
	held, err := warehouse.Checkpoints(ctx, v.DB, v.Stream)
	if err != nil {
		return nil, err
	}
	out := make(map[string]stream.Position, len(held))
	foreign := make(map[string]int) // shards by the stream that they are of
	for _, c := range held {
		if v.foreign(c.Stream) {
			foreign[c.Stream.String()]++
			out[c.Shard] = stream.Position{} // it is no place in this stream
			continue
		}
		if other, twice := out[c.Shard]; twice {
			tell(Difference{Kind: "checkpoint twice", Key: c.Shard, Warehouse: fmt.Sprintf("%q and %q", other, c.Position)})
		}
		out[c.Shard] = c.Position
		if !isPlace(c.Position) {
			tell(Difference{Kind: "checkpoint is no position", Key: c.Shard, Warehouse: fmt.Sprintf("%q", c.Position)})
		}
	}
	for other, n := range foreign {
		tell(Difference{
			Kind: "positions of another stream", Key: v.Stream, Stream: v.Identity.String(),
			Warehouse: fmt.Sprintf("positions of another stream, %s, are those of %s; analytics-worker positions --start-over makes the workers begin anew", other, plural.Of(n, "shard")),
		})
	}
	return out, nil
}

// foreign reports whether a position is known to be of another stream of the name:
// one that was deleted, or of another region or account.
func (v *verifier) foreign(i stream.Identity) bool {
	return !i.IsZero() && !v.Identity.IsZero() && !i.Equal(v.Identity)
}

// isPlace reports whether p is a position that a worker writes. LATEST is none:
// it is another place each time that it is opened.
func isPlace(p stream.Position) bool {
	switch p.Sequence {
	case stream.TrimHorizon, stream.AtTimestamp, stream.ShardEnd:
		return true
	}
	return p.Sequence != "" && strings.Trim(p.Sequence, "0123456789") == ""
}

func (v *verifier) readLetters() error {
	v.refused, v.late, v.lettered = make(map[string]bool), make(map[string]bool), make(map[uint64]bool)
	if v.Letters == nil {
		return nil
	}
	known := make(map[string]bool)
	for _, r := range event.Reasons() {
		known[string(r)] = true
	}
	delete(known, string(event.FamilyOff)) // such an event decodes, and may have been loaded before it was switched off
	for l, err := range v.Letters {
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		if l.Stream != v.Stream {
			continue
		}
		if v.report.Letters++; v.report.Letters%10_000 == 0 {
			v.Tell(fmt.Sprintf("read %d dead letters", v.report.Letters))
		}
		p := placeOf(l.ShardID, l.Place())
		v.lettered[v.spool.hash(p)] = true
		switch fate := v.fates.Of(l); {
		case fate == deadletter.Loaded:
			v.report.LettersLoaded++
			v.late[p] = true
		case !known[l.Reason]:
			v.refused[p] = true
			if fate == deadletter.Parked {
				v.report.LettersParked++
			}
		}
		if err := v.spool.add(p, entry{kind: kindLetter, place: p}); err != nil {
			return err
		}
	}
	return nil
}

func placeOf(shard string, p stream.Position) string {
	return shard + " " + p.Sequence + "/" + strconv.FormatInt(p.Sub, 10)
}
