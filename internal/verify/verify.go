// Package verify compares the stream with the warehouse: every order that the
// stream holds up to the checkpoints must be in fact_orders as its newest event
// says, every rejected record in the dead letters, and the rollups must equal
// the facts.
//
// Workers may go on loading meanwhile. The checkpoints are therefore read before
// and after the facts, and an order whose events lie between the two may stand
// at any of them. Memory stays bounded: what is read is spread over files by the
// hash of its key, and the files are compared one after another.
package verify

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
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
	Stream  string
	Shards  func(context.Context) ([]stream.Shard, error)
	Open    func(stream.Shard, stream.Position) Reader
	DB      warehouse.DB
	Letters iter.Seq2[deadletter.Letter, error] // nil = rejected records are counted but not looked up
	Dir     string                              // for temporary files; empty = the system's
	Tell    func(doing string)                  // progress; may be nil

	// Start is where loading of a shard once began. What lies before it may be in
	// the warehouse and need not be: a child shard, for one, begins at its oldest
	// record whatever its parents began at. nil = everything was to be loaded.
	Start func(stream.Shard) stream.Position
}

// Run compares and reports. An error means that the comparison could not be
// made, not that something differs.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Tell == nil {
		c.Tell = func(string) {}
	}
	sp := newSpool(c.Dir)
	defer sp.remove()
	v := &verifier{Config: c, spool: sp, report: &Report{Stream: c.Stream}}
	if err := v.collect(ctx); err != nil {
		return nil, err
	}
	if err := v.compare(ctx); err != nil {
		return nil, err
	}
	v.report.finish()
	return v.report, nil
}

type verifier struct {
	Config
	spool         *spool
	report        *Report
	before, after map[string]stream.Position // checkpoints around the reading of the facts
	refused       map[string]bool            // places of good events that the warehouse itself refused
	horizon       time.Time                  // arrival of the oldest record still on the stream
}

func (v *verifier) collect(ctx context.Context) (err error) {
	if v.before, err = v.checkpoints(ctx); err != nil {
		return err
	}
	if err := v.readFacts(ctx); err != nil {
		return err
	}
	if v.after, err = v.checkpoints(ctx); err != nil {
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

func (v *verifier) checkpoints(ctx context.Context) (map[string]stream.Position, error) {
	held, err := warehouse.Checkpoints(ctx, v.DB, v.Stream)
	if err != nil {
		return nil, err
	}
	out := make(map[string]stream.Position, len(held))
	for _, c := range held {
		if _, twice := out[c.Shard]; twice {
			v.report.note(Difference{Kind: "checkpoint twice", Key: c.Shard})
		}
		out[c.Shard] = c.Position
	}
	return out, nil
}

// factsPage is how many rows one query returns: some 10 MB on the wire.
const factsPage = 100_000

func (v *verifier) readFacts(ctx context.Context) error {
	last := ""
	for {
		where := ""
		if last != "" {
			where = "WHERE order_id > " + warehouse.Quote(last)
		}
		r, err := v.query(ctx, "facts", fmt.Sprintf(`SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp
FROM fact_orders %s ORDER BY order_id LIMIT %d`, where, factsPage))
		if err != nil {
			return err
		}
		for _, row := range r.Rows {
			f, err := readFact(row)
			if err != nil {
				return fmt.Errorf("fact_orders, order %q: %w", row[0].Text, err)
			}
			if err := v.spool.add(f.OrderID, entry{kind: kindFact, order: f}); err != nil {
				return err
			}
			v.report.Facts++
			last = f.OrderID
		}
		v.Tell(fmt.Sprintf("read %d facts", v.report.Facts))
		if len(r.Rows) < factsPage {
			return nil
		}
	}
}

func (v *verifier) readLetters() error {
	v.refused = make(map[string]bool)
	if v.Letters == nil {
		return nil
	}
	known := make(map[string]bool)
	for _, r := range event.Reasons() {
		known[string(r)] = true
	}
	for l, err := range v.Letters {
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		if l.Stream != v.Stream {
			continue
		}
		v.report.Letters++
		p := placeOf(l.ShardID, l.Place())
		if !known[l.Reason] {
			v.refused[p] = true
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

func (v *verifier) readStream(ctx context.Context) error {
	shards, err := v.Shards(ctx)
	if err != nil {
		return fmt.Errorf("list shards: %w", err)
	}
	listed := make(map[string]bool)
	for i, s := range shards {
		listed[s.ID] = true
		if err := v.readShard(ctx, i, s); err != nil {
			return fmt.Errorf("read shard %s: %w", s.ID, err)
		}
	}
	for id, p := range v.after {
		if !listed[id] && p.Sequence != stream.ShardEnd {
			v.report.note(Difference{Kind: "checkpoint of a shard that is not listed", Key: id, Warehouse: p.String()})
		}
	}
	return nil
}

// readShard reads a shard from its oldest record to the later checkpoint.
func (v *verifier) readShard(ctx context.Context, number int, s stream.Shard) error {
	sr := ShardReport{ID: s.ID, Checkpoint: "none"}
	defer func() { v.report.Shards = append(v.report.Shards, sr) }()
	before, after := v.before[s.ID], v.after[s.ID]
	if after.IsZero() {
		return nil
	}
	sr.Checkpoint = after.String()
	var start stream.Position
	if v.Start != nil {
		start = v.Start(s)
	}
	reader := v.Open(s, stream.Position{Sequence: stream.TrimHorizon})
	for {
		page, err := nextPage(ctx, reader)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if !after.Covers(r) {
				return nil
			}
			if v.horizon.IsZero() || r.ArrivedAt.Before(v.horizon) {
				v.horizon = r.ArrivedAt
			}
			sr.Records++
			w := when{early: precedes(r, start), settled: before.Covers(r)}
			if err := v.addRecord(number, s.ID, r, w); err != nil {
				return err
			}
		}
		v.Tell(fmt.Sprintf("read %d records of shard %s", sr.Records, s.ID))
		if page.Ended || len(page.Records) == 0 && page.Behind == 0 {
			if after.IsSequence() && !v.before[s.ID].IsZero() && !page.Ended && sr.Records == 0 {
				sr.Note = "its records are past the retention"
			}
			return nil
		}
	}
}

// precedes reports whether r lies before the position.
func precedes(r stream.Record, p stream.Position) bool {
	if p.Sequence == stream.AtTimestamp {
		return r.ArrivedAt.Before(p.Time())
	}
	return p.IsSequence() && p.Covers(r)
}

// nextPage reads one page, waiting out throttles: other consumers share the
// stream's limits.
func nextPage(ctx context.Context, r Reader) (stream.Page, error) {
	for tries := 1; ; tries++ {
		timer := time.NewTimer(max(0, time.Until(r.NotBefore())))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return stream.Page{}, context.Cause(ctx)
		}
		page, err := r.Next(ctx)
		if err == nil || tries == readTries || ctx.Err() != nil {
			return page, err
		}
	}
}

const readTries = 20

// when is where a record lies between the start and the checkpoints.
type when struct {
	early   bool // before the start
	settled bool // before the earlier checkpoint
}

func (v *verifier) addRecord(shard int, id string, r stream.Record, w when) error {
	e := entry{kind: kindEvent, shard: uint32(shard), settled: w.settled && !w.early}
	p := placeOf(id, stream.Position{Sequence: r.SequenceNumber, Sub: r.SubSequence})
	rejected := event.Decode(r.Data, r.ArrivedAt, &e.order) != nil || v.refused[p]
	switch {
	case w.early:
		v.report.Early++
	case rejected:
		v.report.Rejected++
		v.report.Records++
	default:
		v.report.Records++
	}
	if rejected {
		return v.spool.add(p, entry{kind: kindRejected, place: p, settled: e.settled})
	}
	return v.spool.add(e.order.OrderID, e)
}
